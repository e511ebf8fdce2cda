"""Runs as one HTML file that needs neither server nor network: the built page, with the answers that it would ask for.

The answers are keyed by path, as `metapo ui` answers them, then compressed. Of the rollouts it holds a bounded number:
those that meta steps read, and groups of steps that are evenly spaced.
"""

import base64
import gzip
import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from datetime import datetime
from importlib.metadata import version
from importlib.resources import files
from itertools import pairwise, permutations
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel

from metapo.errors import RunError
from metapo.rollout import Split
from metapo.viewing import acts, criteria, differences, lineage, meta_steps, one, overview, rollouts
from metapo.viewing.answers import MetaStepAnswer, RolloutEntry, RunsAnswer, TreeAnswer
from metapo.viewing.runs import Viewed

Answers = dict[str, BaseModel]

MOST_STEPS = 400  # of a criterion's history
MOST_IN_ALL_PAIRS = 16  # revisions that are compared each with each
MOST_ANCHORS = 50
SOURCES = ("anchor", "archive", "earlier")
IN_A_STEP = 16  # rollouts that are taken of a step


def write(runs: Sequence[Viewed], n_rollouts: int, now: datetime) -> str:
    """The page. Raises RunError, StoreError."""
    told = RunsAnswer(version=version("metapo"), runs=overview.entries(runs), can_act=False)
    found: Answers = {"/v1/runs": told}
    held = {}
    for run in runs:
        of_run = _answers(run, n_rollouts)
        held[run.name] = sum("/rollouts/" in path for path in of_run)
        found |= of_run
    report = {"made_at": now.isoformat(), "held": held}
    answers = {path: answer.model_dump(mode="json") for path, answer in found.items()}
    return _page({"report": report, **answers})


def _answers(run: Viewed, n_rollouts: int) -> Answers:
    base = f"/v1/runs/{quote(run.name, safe='')}"
    names = overview.metrics(run, 0, None, None).names
    every = sorted({name for of_kind in names.values() for name in of_kind})
    found: Answers = {
        base: overview.in_full(run),
        f"{base}/metrics": overview.metrics(run, 0, None, every),
        f"{base}/acts": acts.record(run),
    }
    for source in SOURCES:
        found[f"{base}/anchors?source={source}"] = acts.anchors(run, source, None, MOST_ANCHORS)
    for cluster in lineage.clusters(run):
        tree = lineage.tree(run, cluster)
        found[f"{base}/lineage?cluster={_query(cluster)}"] = tree
        history = criteria.history(run, cluster, Split.TRAIN, 0, None, MOST_STEPS)
        found[f"{base}/criteria?cluster={_query(cluster)}"] = history
        found |= {f"{base}/revisions/{node.id}": lineage.shown(run, node.id) for node in tree.nodes}
        for old, new in _compared(tree):
            diff = differences.difference(old, run.rubric(old), new, run.rubric(new))
            found[f"{base}/diff?from={old}&to={new}"] = diff
    steps = list(_meta_steps(run))
    for step in steps:
        entry = step.entry
        path, of = f"{base}/meta-steps/{entry.step}", f"?cluster={_query(entry.cluster)}"
        found[path + of] = step
        for asked in step.exchanges:
            in_full = meta_steps.exchange(run, entry.step, entry.cluster, asked.position)
            found[f"{path}/exchanges/{asked.position}{of}"] = in_full
    found[f"{base}/meta-steps"] = meta_steps.overview(run, None)
    for rollout_id in _chosen(run, steps, n_rollouts):
        shown = one.rollout(run, rollout_id)
        found[f"{base}/rollouts/{rollout_id}"] = shown.model_copy(update={"calls": ()})
    return found


def _query(text: str) -> str:
    """As a browser writes it."""
    return quote(text, safe="!'()*-._~")


def _compared(tree: TreeAnswer) -> set[tuple[str, str]]:
    """Each revision with each where they are few; else a child with its parents, and what followed in force."""
    ids = [node.id for node in tree.nodes]
    if len(ids) <= MOST_IN_ALL_PAIRS:
        return set(permutations(ids, 2))
    in_force = [node.id for node in tree.nodes if node.in_force_from is not None]
    followed = set(pairwise(in_force))
    return followed | {(parent, node.id) for node in tree.nodes for parent in node.parents if parent in ids}


def _meta_steps(run: Viewed) -> Iterator[MetaStepAnswer]:
    for entry in meta_steps.overview(run, None).meta_steps:
        yield meta_steps.in_full(run, entry.step, entry.cluster)


def _chosen(run: Viewed, steps: Sequence[MetaStepAnswer], most: int) -> list[str]:
    """The rollouts to hold, by id: those that meta steps read, newest first, then groups of spaced steps."""
    read = [sample.rollout.id for step in reversed(steps) for sample in step.samples]
    chosen = dict.fromkeys(read[: most // 2])
    rows = run.figures.read().of(Split.TRAIN.value)
    noted = [row["step"] for row in rows]
    in_a_step = min([IN_A_STEP, *(row["n_rollouts"] for row in rows[-1:])])
    n_steps = max(1, math.ceil((most - len(chosen)) / max(1, in_a_step)))
    for step in criteria.spaced(noted, n_steps):
        chosen |= dict.fromkeys(entry.id for entry in _of_step(run, step))
    return list(chosen)[:most]


def _of_step(run: Viewed, step: int) -> Sequence[RolloutEntry]:
    wanted = rollouts.Wanted(split=Split.TRAIN, from_step=step, to_step=step)
    return rollouts.find(run, wanted, rollouts.Order.OLDEST, None, IN_A_STEP).rollouts


def _page(answers: dict[str, Any]) -> str:
    """The built page with script, style and answers inside, and a policy that lets nothing else run."""
    built = files("metapo") / "ui"
    try:
        html, script, style = ((built / name).read_text() for name in ("index.html", "app.js", "app.css"))
    except OSError as e:
        raise RunError(f"the built page is missing from {built}: {e.strerror}. Build it: make ui") from e
    packed = base64.b64encode(gzip.compress(json.dumps(answers).encode(), mtime=0)).decode()
    may = f"script-src '{_hash(script)}'; style-src '{_hash(style)}'; img-src data: blob:"
    policy = f"default-src 'none'; {may}; base-uri 'none'; form-action 'none'"
    head, _, rest = html.partition("<title>")
    title, _, body = rest.partition("</head>")
    return "".join(
        [
            head,
            f'<meta http-equiv="Content-Security-Policy" content="{policy}" />',
            "<title>",
            title.partition("</title>")[0],
            "</title>",
            f"<style>{style}</style></head>",
            body.partition("</body>")[0],
            f'<script type="application/gzip" id="answers">{packed}</script>',
            f'<script type="module">{script}</script></body></html>\n',
        ]
    )


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
