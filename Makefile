# `make help` lists the targets. Each makes the environment .venv first, if it is missing or older than its sources.

PYTHON ?= python3
# torch stands apart from the locks: pip picks the build (CPU or CUDA) that suits the machine.
TORCH ?= torch==2.13.0
ARGS ?=

# --require-virtualenv: an environment that is broken halfway must not turn into an installation for the whole machine.
PIP := bin/python -m pip -qq --no-input --disable-pip-version-check --require-virtualenv
HEALTHY := bin/python -c 'import pip, sys; sys.exit(sys.prefix == sys.base_prefix)' 2>/dev/null
STAMP := .venv/.stamp
LATEST := .venv-latest/.stamp

# GRPO and RLOO on one rank and on two, resumed, with adapters, tools and dialogues; neither judges in this process nor
# tournaments, which don't train, nor PPO, which the newest TRL lacks, nor other engines.
LATEST_TESTS := tests/test_lock.py tests/test_examples.py tests/engines \
  --ignore tests/engines/test_local.py --ignore tests/engines/test_connect.py --ignore tests/engines/test_ppo.py \
  --ignore tests/engines/test_verl.py --ignore tests/engines/test_same_everywhere.py \
  tests/tasks/test_end_to_end.py --deselect \
  tests/tasks/test_end_to_end.py::test_an_essay_policy_beats_the_model_that_it_began_as

export OMP_NUM_THREADS := 1

.PHONY: help env demo test test-latest check docs ui bench bench-judge bench-server bench-ui llama-server vllm lock \
  lock-latest clean

help: ## list the targets
	@grep -E '^[a-z-]+:.* ## ' Makefile | sed -E 's/^([a-z-]+):.* ## /\1\t/' | awk -F'\t' '{printf "  make %-13s%s\n", $$1, $$2}'

env: $(STAMP) ## make the environment .venv; PYTHON=python3.12 chooses another Python
	@echo ".venv is ready"

demo: $(STAMP) ## a fixed rubric and an evolving one, side by side, in some minutes; writes runs/demo
	@.venv/bin/metapo world demo --out runs/demo

test: $(STAMP) ## every test; ARGS="-k rubric" chooses
	@.venv/bin/pytest -n 2 $(ARGS)

# The newest packages warn of one another's deprecations: these are shown, ours fail `make test`.
test-latest: $(LATEST) ## the tests of training on the newest TRL, in an environment of its own, .venv-latest
	@.venv-latest/bin/pytest -n 2 -W default::FutureWarning $(LATEST_TESTS) $(ARGS)

check: $(STAMP) ## format, lint, types, the order of the modules, the docs executed, and the site built
	.venv/bin/ruff format --check
	.venv/bin/ruff check
	.venv/bin/mypy
	.venv/bin/pytest tests/test_architecture.py tests/test_lock.py tests/docs

docs: $(STAMP) ## the documentation as a site that needs no network: site/index.html
	@.venv/bin/sphinx-build --fail-on-warning --keep-going -q -c docs -d build/doctrees . site
	@echo "Site: site/index.html"

bench: $(STAMP) ## every measurement in bench/; that on vLLM only where `make vllm` has been
	@set -e; for script in bench/*.py; do echo "== $$script"; .venv/bin/python "$$script"; done
	@$(MAKE) --no-print-directory bench-judge bench-server bench-ui

bench-judge: $(STAMP) ## what judging costs: in this process, and on vLLM; ARGS="--essays 8 --criteria 1" goes to the latter
	@echo "== bench/judge/client.py"; .venv/bin/python -m bench.judge.client
	@echo "== bench/judge/bench.py"; .venv/bin/python -m bench.judge.bench $(ARGS)

bench-server: $(STAMP) ## rewards a second over HTTP, and their latency; ARGS="--clients 1,16 --servers 1" chooses
	@echo "== bench/server"; .venv/bin/python -m bench.server $(ARGS)

llama-server: $(STAMP) ## the server that tests/real asks, built once (9 minutes of CPU time) into ~/.cache/metapo
	@.venv/bin/python -m tests.real.build_llama_server

bench-ui: $(STAMP) ## what `metapo ui` takes on a run of 100,000 rollouts; ARGS="--rollouts 10000" chooses
	@echo "== bench/ui"; .venv/bin/python -m bench.ui $(ARGS)
	@echo "== bench/ui/first_chart.py"; .venv/bin/python -m bench.ui.first_chart $(ARGS)

ui: $(STAMP) ## the page of `metapo ui` and `metapo report`, built from web/ into src/metapo/ui; needs Node 20.19 or newer
	@command -v npm >/dev/null || { \
	  echo "'make ui' needs Node 20.19 or newer with npm. On Debian 13: apt-get install npm" >&2; exit 1; }
	@.venv/bin/python web/write_answers.py
	@cd web && npm install --no-save --no-audit --no-fund && npm run --silent check && npm run --silent build

vllm: $(STAMP) ## vLLM's CPU build for bench-judge, installed once (3.4 GB) into ~/.cache/metapo
	@.venv/bin/python -m bench.judge.setup_vllm

# Left out: torch and what only its CUDA builds bring. $(1): the environment, $(2): its lock, $(3): the command.
define freeze
@$(1)/bin/python -m pip freeze --all --exclude pip --exclude metapo --exclude torch > $(2).new
@{ echo "# Made by '$(3)': the complete environment except torch, which is installed first (see Makefile)."; \
   grep -Ev '^(#|nvidia-|cuda-|triton|pytorch-triton)' $(2).new; } > $(2).tmp
@rm $(2).new; mv $(2).tmp $(2)
@echo "$(2): $$(grep -c == $(2)) packages"
endef

# Freezes what .venv holds now, so it doesn't bring .venv back to the old lock first.
lock: ## write requirements.lock from what .venv holds
	$(call freeze,.venv,requirements.lock,make lock)
	@if [ -e $(STAMP) ]; then touch $(STAMP); fi

lock-latest: ## make .venv-latest afresh with the newest TRL and all it needs, and write requirements-latest.lock
	@$(PYTHON) -m venv --clear .venv-latest
	@touch .venv-latest/.unfinished
	@.venv-latest/$(PIP) install "$(TORCH)" "setuptools>=77"
	@.venv-latest/$(PIP) install --no-build-isolation --editable ".[latest]"
	$(call freeze,.venv-latest,requirements-latest.lock,make lock-latest)
	@rm .venv-latest/.unfinished; touch $(LATEST)

clean: ## remove the environments, caches and build output; runs/ stays
	rm -rf .venv .venv-latest build dist site src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -r {} +

$(STAMP): LOCK := requirements.lock
$(STAMP): requirements.lock
$(LATEST): LOCK := requirements-latest.lock
$(LATEST): requirements-latest.lock

# Two makes at once take turns; the second finds the work done.
ifndef ALONE
$(STAMP) $(LATEST): pyproject.toml
	@$$(command -v flock >/dev/null && echo flock Makefile) $(MAKE) --no-print-directory ALONE=1 $@
else
# .unfinished lies in the environment, $(@D), while pip works. Found there by the next run, it tells that the last one was
# interrupted: pip takes a half-written package for an installed one, so the environment is then made afresh.
$(STAMP) $(LATEST): pyproject.toml
	@if [ -e $(@D)/.unfinished ]; then echo "the last installation was interrupted: starting afresh"; fi
	@if [ -e $(@D)/.unfinished ] || ! $(@D)/$(HEALTHY); then \
	  $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    echo "metapo needs Python 3.11 or newer, and '$(PYTHON)' is none." \
	         "On Debian: apt-get install python3 python3-venv. Another one: make env PYTHON=python3.12" >&2; exit 1; }; \
	  echo "making $(@D) with $$($(PYTHON) --version)"; \
	  $(PYTHON) -m venv --clear $(@D) || { \
	    echo "'$(PYTHON) -m venv' failed. On Debian: apt-get install python3-venv" >&2; exit 1; }; \
	fi
	@touch $(@D)/.unfinished
	@echo "installing $(TORCH) (1 of 3; the first time all three take about 3 minutes, longer where torch brings CUDA)"
	@$(@D)/$(PIP) install --constraint $(LOCK) "$(TORCH)"
	@echo "installing $(LOCK) (2 of 3)" # without what some ask for beside it: verl wants loggers that nobody starts here
	@$(@D)/$(PIP) install --no-deps --requirement $(LOCK)
	@echo "installing metapo from this folder (3 of 3)"
	@$(@D)/$(PIP) install --no-deps --no-build-isolation --editable .
	@rm $(@D)/.unfinished
	@touch $@
endif
