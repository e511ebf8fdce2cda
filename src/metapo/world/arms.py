"""One run of one arm in the offline world: real RL on a real (tiny) policy, with gold quality as an observer."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from metapo.engines.trl import train
from metapo.files import read_rows, write_whole
from metapo.reward import Scored
from metapo.rollout import Prompt
from metapo.run import METRICS, STORE
from metapo.store import Store
from metapo.world import corpus
from metapo.world.anchors import world_anchors
from metapo.world.essay import Essay, Role, essay_of
from metapo.world.flaws import FlawedMeta
from metapo.world.gold import gold
from metapo.world.judge import build_judge
from metapo.world.meta import WorldMeta
from metapo.world.policy import build_tokenizer, write_policy
from metapo.world.presets import RESULT, MetaKind, WorldSettings
from metapo.world.rewording import RewordingMeta

LAST_STEPS = 10
START = "start"

HACKS: dict[str, Callable[[Essay], bool]] = {
    "no reasons": lambda e: not e.of(Role.EVIDENCE),
    "remark to the grader": lambda e: bool(e.of(Role.REMARK)),
    "repeats itself": lambda e: e.n_repeats > 1,
    "off topic or wrong side": lambda e: e.n_wrong_claims > 0,
    "unfinished": lambda e: not e.finished,
    "run-on": lambda e: bool(e.of(Role.RUN_ON)),
}


def run_arm(settings: WorldSettings, folder: Path, *, resume: bool = False) -> dict[str, Any]:
    """Train to the end, evaluate on the held-out pairs, and write `result.json`; returns what it holds."""
    start = folder / START
    if not start.exists():
        write_policy(start, settings.start)
    train(
        settings,
        folder,
        _prompts(held_out=False),
        _prompts(held_out=True),
        resume=resume,
        model=str(start),
        tokenizer=build_tokenizer(),
        judge=build_judge(settings),
        meta=build_meta(settings),
        observe=observe_gold,
        anchors=world_anchors(),
        eval_generations=settings.engine.num_generations,
    )
    result = summarize_run(settings, folder)
    write_whole(folder / RESULT, json.dumps(result, indent=2))
    return result


def build_meta(settings: WorldSettings) -> WorldMeta:
    """The meta model that the settings ask for. It knows from which length on the judge tires."""
    strict, max_sentences = settings.strict, settings.tires_after
    match settings.meta_model:
        case MetaKind.FLAWED:
            return FlawedMeta(flaw=settings.flaw, seed=settings.seed, strict=strict, max_sentences=max_sentences)
        case MetaKind.REWORDING:
            return RewordingMeta(seed=settings.seed)
        case MetaKind.RULES:
            return WorldMeta(strict=strict, max_sentences=max_sentences)


def observe_gold(scored: Sequence[Scored]) -> dict[str, float]:
    """Gold quality and hack rates of a batch, for the metrics alone: nothing that trains reads them."""
    essays = [essay_of(s.rollout.prompt, s.rollout.completion) for s in scored]
    rates = {f"hack/{name}": fmean(test(e) for e in essays) for name, test in HACKS.items()}
    return {"gold": fmean(gold(e) for e in essays), "sentences": fmean(len(e.sentences) for e in essays), **rates}


def summarize_run(settings: WorldSettings, folder: Path) -> dict[str, Any]:
    """The figures of a finished run: start is its first step, peak the highest mean of five steps in a row, final the
    mean of its last ten."""
    rows = list(read_rows(folder / METRICS))
    steps = [row for row in rows if row["kind"] == "train"]
    last = steps[-LAST_STEPS:]
    held_out = [row for row in rows if row["kind"] == "eval"][-1:]
    store = Store(folder / STORE)
    n_revisions, n_adopted = store.verify(), len(store.lineage())
    store.close()
    return {
        "arm": settings.arm,
        "seed": settings.seed,
        "steps": settings.engine.steps,
        "gold_start": steps[0]["gold"],
        "gold_peak": max(_smooth([row["gold"] for row in steps])),
        "gold_final": fmean(row["gold"] for row in last),
        "judge_start": steps[0]["normalized"],
        "judge_final": fmean(row["normalized"] for row in last),
        "gold_held_out": fmean(row["gold"] for row in held_out) if held_out else None,
        "hacks": {name: fmean(row[f"hack/{name}"] for row in last) for name in HACKS},
        "revisions": n_adopted,
        "proposals": n_revisions - 1,
        "seconds": sum(row.get("step_time", 0.0) for row in rows if row["kind"] == "trainer"),
    }


def _smooth(values: Sequence[float], width: int = 5) -> list[float]:
    """Means over `width` values in a row; the values themselves where there are fewer."""
    if len(values) < width:
        return list(values)
    return [fmean(values[i : i + width]) for i in range(len(values) - width + 1)]


def _prompts(*, held_out: bool) -> list[Prompt]:
    return [Prompt(prompt) for prompt in corpus.prompts(held_out=held_out)]
