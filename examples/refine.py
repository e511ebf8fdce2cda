"""A rubric refined before any training, on completions that people labelled: python refine.py

`metapo autoprompt rubric.yaml --labels labels.jsonl --judge URL --out runs/refined` does the same.
"""

import asyncio
from pathlib import Path

from metapo import Settings
from metapo.engines.connect import connect
from metapo.offline.autoprompt import AutopromptPlan
from metapo.offline.cases import load_labels
from metapo.offline.search import search_autoprompt

settings = Settings.load("serve.yaml")
cases = load_labels(Path("labels.jsonl"))
plan = AutopromptPlan(rounds=3, cases=4)
found = asyncio.run(search_autoprompt(settings, connect(settings), plan, cases, (), Path("runs/refined")))
print(f"{found.n_rounds} rounds, {found.n_changes} changes, {found.spent}")
print(f"agreement with the labels held out: {found.before:.0%}, now {found.after:.0%}")
print(f"written to {found.path}")
