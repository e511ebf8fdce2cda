"""The offline world's arms, and one run of one of them: real GRPO on a real (tiny) policy."""

import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from metapo.engines.trl import train
from metapo.files import read_rows, write_whole
from metapo.judge.openai import EndpointSettings
from metapo.reward import Scored
from metapo.rubric import Rubric
from metapo.run import METRICS
from metapo.settings import DataSettings, EngineSettings, MetaSchedule, PolicySettings, TrainSettings
from metapo.store import Store
from metapo.world import corpus
from metapo.world.essay import Essay, Role, parse_essay
from metapo.world.gold import gold
from metapo.world.judge import WorldJudge
from metapo.world.language import read_ask
from metapo.world.meta import WorldMeta
from metapo.world.policy import MAX_COMPLETION_TOKENS, build_tokenizer, write_policy

STEPS = 150
SWAY = 0.25
META_EVERY = 10
LAST_STEPS = 10
RESULT = "result.json"
START = "start"

# Each arm: the rubric it starts with, and whether meta steps follow.
ARMS = {"iter0": ("iter0", False), "expert": ("expert", False), "oracle": ("oracle", False), "mpo": ("iter0", True)}

HACKS = {
    "no reasons": lambda e: not e.of(Role.EVIDENCE),
    "remark to the grader": lambda e: bool(e.of(Role.REMARK)),
    "repeats itself": lambda e: e.n_repeats > 1,
    "off topic or wrong side": lambda e: e.n_wrong_claims > 0,
    "unfinished": lambda e: not e.finished,
    "run-on": lambda e: bool(e.of(Role.RUN_ON)),
}


class WorldSettings(TrainSettings):
    """A run in the offline world: the arm's name, and how easily a remark to the grader sways a vague criterion."""

    task: Literal["generic", "world"] = "world"
    arm: str
    sway: float = SWAY


def preset_rubric(name: str) -> Rubric:
    """One of the shipped rubrics: iter0, expert, oracle."""
    path = files("metapo.world").joinpath("rubrics", f"{name}.yaml")
    return Rubric.from_yaml(path.read_text(encoding="utf-8"), source=f"rubric {name}")


def arm_settings(arm: str, *, seed: int, steps: int = STEPS, sway: float = SWAY) -> WorldSettings:
    """The settings of an arm; seeds are paired across arms (same prompts in the same order, same first samples)."""
    rubric, evolves = ARMS[arm]
    here = EndpointSettings(url="world://offline", model="rules")
    return WorldSettings(
        arm=arm,
        sway=sway,
        seed=seed,
        task_description="Write an essay that argues the assigned side of the assigned topic.",
        rubric=preset_rubric(rubric),
        judge=here,
        meta=MetaSchedule(every=META_EVERY if evolves else 0),
        data=DataSettings(train="world", eval="world"),
        policy=PolicySettings(model="world"),
        engine=EngineSettings(
            steps=steps,
            batch_size=64,
            num_generations=8,
            learning_rate=1e-3,
            kl=0.02,
            max_completion_tokens=MAX_COMPLETION_TOKENS,
            save_every=50,
            keep_checkpoints=1,
            device="cpu",
        ),
    )


def run_arm(settings: WorldSettings, folder: Path, *, resume: bool = False) -> dict[str, Any]:
    """Train to the end, evaluate on the held-out pairs, and write `result.json`; returns what it holds."""
    start = folder / START
    if not resume or not (start / "config.json").exists():
        write_policy(start)
    train(
        settings,
        folder,
        _rows(held_out=False),
        _rows(held_out=True),
        resume=resume,
        model=str(start),
        tokenizer=build_tokenizer(),
        judge=WorldJudge(sway=settings.sway, seed=settings.seed),
        meta=WorldMeta(),
        observe=observe_gold,
    )
    result = summarize_run(settings, folder)
    write_whole(folder / RESULT, json.dumps(result, indent=2))
    return result


def observe_gold(scored: Sequence[Scored]) -> dict[str, float]:
    """Gold quality and hack rates of a batch, for the metrics alone: nothing that trains reads them."""
    essays = [parse_essay(s.rollout.completion, read_ask(s.rollout.prompt)) for s in scored]
    rates = {f"hack/{name}": fmean(test(e) for e in essays) for name, test in HACKS.items()}
    return {"gold": fmean(gold(e) for e in essays), "sentences": fmean(len(e.sentences) for e in essays), **rates}


def summarize_run(settings: WorldSettings, folder: Path) -> dict[str, Any]:
    """The figures of a finished run; "final" means over its last ten steps."""
    rows = list(read_rows(folder / METRICS))
    steps = [row for row in rows if row["kind"] == "train"]
    last = steps[-LAST_STEPS:]
    held_out = [row for row in rows if row["kind"] == "eval"][-1:]
    store = Store(folder / "store.db")
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


def _rows(*, held_out: bool) -> list[dict[str, Any]]:
    return [{"prompt": prompt, "reference": None} for prompt in corpus.prompts(held_out=held_out)]


def essay_of(prompt: str, completion: str) -> Essay:
    """A completion of this world, parsed against its prompt."""
    return parse_essay(completion, read_ask(prompt))
