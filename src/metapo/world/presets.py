"""The offline world's arms as data: which rubric an arm starts with, and in which settings it differs from a run under
one fixed vague rubric."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from pydantic import Field

from metapo.errors import RunError
from metapo.meta.hygiene import HygieneSettings
from metapo.rubric import Rubric
from metapo.settings import TrainSettings
from metapo.shipped import shipped_rubric
from metapo.world.policy import Start

STEPS = 200
SWAY = 0.25
TUNING_SEEDS = frozenset({0, 1, 3, 4, 11, 12, 21, 22, *range(31, 36), *range(100, 114)})
"""The world's constants were chosen by what runs under these seeds showed (docs/log.md), so figures from them flatter
the loop: no report may rest on them."""
META_EVERY = 10
WARMUP = 0.3  # of the steps: a policy that learns fast from the start forgets what it writes rarely, for good
PPO_LEARNING_RATE = 3e-4  # each batch is gone through four times
MIN_WORDS = 20  # a title and a thesis are shorter
MAX_COMPLETION_TOKENS = 104
RESULT = "result.json"


class MetaKind(StrEnum):
    """Which meta model revises: the world's own, one with flawed merges now and then, or one that only rewords."""

    RULES = "rules"
    FLAWED = "flawed"
    REWORDING = "rewording"


class WorldSettings(TrainSettings):
    """A run in the offline world: the arm's name, and what its judge, meta model and policy are like.

    `sway` is how often a remark to the grader sways a vague criterion. `flaw` is the share of the rubrics that a flawed
    meta model spoils. `start` is the policy to begin with. With `strict` the meta model's criteria are passed or
    failed, with no credit for less. With `tires_after` the judge takes an essay of more sentences for thorough, and the
    meta model knows better.
    """

    task: Literal["world"] = "world"
    arm: str
    sway: float = Field(default=SWAY, ge=0, le=1)
    meta_model: MetaKind = MetaKind.RULES
    flaw: float = Field(default=0.3, ge=0, le=1)
    start: Start = Start.USUAL
    strict: bool = False
    tires_after: int | None = Field(default=None, ge=1)


@dataclass(frozen=True)
class Source:
    """The run whose rubric an arm starts with: that arm under the same seed, and the share of its steps after which the
    rubric is taken (1: its last rubric)."""

    arm: str
    share: float = 1.0


@dataclass(frozen=True)
class Preset:
    """An arm: what it is in a few words, the shipped rubric that it starts with or the run that it takes it from, and
    the settings in which it differs, by dotted path."""

    about: str
    rubric: str = "iter0"
    source: Source | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Variant:
    """What may be different about an arm: in a few words, and the settings by dotted path."""

    about: str
    changes: Mapping[str, Any]


def varied(name: str, preset: Preset, variants: Iterable[str]) -> dict[str, Preset]:
    """`<name>-<variant>` for each variant; a source is varied alike."""
    found = {}
    for variant in variants:
        by = VARIANTS[variant]
        source = preset.source and Source(f"{preset.source.arm}-{variant}", preset.source.share)
        changes = {**preset.changes, **by.changes}
        found[f"{name}-{variant}"] = Preset(f"{preset.about}; {by.about}", preset.rubric, source, changes)
    return found


VARIANTS = {
    "every-20": Variant("a meta step every 20 steps", {"meta.every": 20}),
    "every-40": Variant("a meta step every 40 steps", {"meta.every": 40}),
    "raw": Variant("trained on the plain sum of points", {"reward": "raw_sum"}),
    "sway-0": Variant("no remark sways the judge", {"sway": 0.0}),
    "sway-1": Variant("every remark sways the judge", {"sway": 1.0}),
    "weak": Variant("the policy starts weak", {"start": Start.WEAK}),
    "strict": Variant("criteria are passed or failed", {"strict": True}),
    "weak-strict": Variant(
        "the policy starts weak, criteria are passed or failed", {"start": Start.WEAK, "strict": True}
    ),
    "no-gate": Variant("every readable proposal is adopted", {"meta.gate": None}),
    "no-anchors": Variant("no pinned or archived pairs", {"meta.gate.anchors": False}),
    "no-attack": Variant("no proposal is attacked", {"meta.gate.attack": False}),
    "no-comparison": Variant("the meta model orders no pairs", {"meta.exam.compared": 0}),
    "no-earlier": Variant("no pairs of earlier meta steps", {"meta.exam.earlier": 0}),
    "no-damage": Variant("no damaged copies", {"meta.exam.damaged": False, "meta.exam.exemplars": 0}),
    "no-choice": Variant("one proposal, never repaired", {"meta.candidates": 1, "meta.repair": False}),
    "no-selection": Variant("samples drawn at random", {"meta.select": "random"}),
    "no-hygiene": Variant("no hygiene", {f"meta.hygiene.{rule}": False for rule in HygieneSettings.model_fields}),
    "no-rollback": Variant("no way back", {"meta.rollback": False}),
    "no-triggers": Variant("a meta step every 10 steps, whatever happens", {"meta.when": "every"}),
    "blocking": Variant("training waits for the meta step", {"meta.staleness": 0}),
    "expected": Variant("rewards are the mean over the levels' probabilities", {"judging.mode": "expected"}),
    "joint": Variant("rewards are the levels that the judge names", {"judging.mode": "joint"}),
    "conjunctive": Variant("failure clauses multiply", {"reward": "conjunctive"}),
    "additive": Variant("deductions are added up with the rest", {"reward": "normalized"}),
    "dropout": Variant("half of the criteria masked per group", {"dropout": 0.5}),
    "ppo": Variant(
        "trained by PPO with a value head", {"engine.algorithm": "ppo", "engine.learning_rate": PPO_LEARNING_RATE}
    ),
    "late": Variant("the judge tires after 9 sentences, which few essays have at first", {"tires_after": 9}),
}
_EVOLVING = {"meta.every": META_EVERY, "meta.method": "mpo"}
_GATED = {
    "meta.every": META_EVERY,
    "meta.method": "metapo",
    "judging.mode": "expected",
    "reward": "conjunctive",
}
_MPO = Preset("the vague rubric, evolving as published", changes=_EVOLVING)
_METAPO = Preset("the vague rubric, evolving behind a gate", changes=_GATED)
_NULL = {**_EVOLVING, "meta_model": MetaKind.REWORDING}
_FINAL = Preset("the last rubric of mpo under the same seed, fixed", source=Source("mpo"))
_HALFWAY = Preset("the rubric that mpo had halfway under the same seed, fixed", source=Source("mpo", 0.5))
_BASE = {
    "iter0": Preset("one vague criterion, fixed"),
    "expert": Preset("six general traits, fixed", "expert"),
    "oracle": Preset("exact criteria, tuned by hand, fixed", "oracle"),
    "autoprompt": Preset("the vague rubric, refined before training by 'metapo world autoprompt', fixed", "autoprompt"),
    "mpo": _MPO,
    "metapo": _METAPO,
    "null-rewrite": Preset("the vague rubric, reworded and reordered, its meaning unchanged", changes=_NULL),
    "null-rewrite-oracle": Preset("oracle's, reworded and reordered, its meaning unchanged", "oracle", changes=_NULL),
    "flawed-nogate": Preset(
        "as mpo, but 30 % of the new rubrics are flawed", changes={**_EVOLVING, "meta_model": MetaKind.FLAWED}
    ),
    "flawed-gate": Preset(
        "as metapo, but 30 % of the new rubrics are flawed", changes={**_GATED, "meta_model": MetaKind.FLAWED}
    ),
    "final-from-start": _FINAL,
    "halfway-from-start": _HALFWAY,
}
PARTS = (
    "no-gate",
    "no-anchors",
    "no-attack",
    "no-comparison",
    "no-earlier",
    "no-damage",
    "no-choice",
    "no-selection",
    "no-hygiene",
    "no-rollback",
    "no-triggers",
    "blocking",
    "joint",
    "additive",
)
_ADDED = ("dropout",)
SWAYS = ("sway-0", "sway-1")
PPO = ("iter0", "mpo", "metapo", "iter0-raw", "mpo-raw", "metapo-raw")
WORLDS = ("weak", "strict", "weak-strict", "late")
ARMS: dict[str, Preset] = {
    **_BASE,
    **varied("metapo", _METAPO, (*PARTS, *_ADDED)),
    **varied("mpo", _MPO, ("every-20", "every-40", "expected", "conjunctive")),
    **varied("metapo", _METAPO, ("every-20", "every-40")),
    **{k: v for name in ("iter0", "mpo", "metapo") for k, v in varied(name, _BASE[name], ("raw",)).items()},
    **{
        k: v
        for name in ("iter0", "expert", "oracle", "mpo", "metapo")
        for k, v in varied(name, _BASE[name], SWAYS).items()
    },
    **{k: v for name in ("iter0", "oracle") for k, v in varied(name, _BASE[name], ("weak", "late")).items()},
    **varied("mpo", _MPO, WORLDS),
    **varied("metapo", _METAPO, WORLDS),
    **varied("final-from-start", _FINAL, WORLDS),
    **varied("halfway-from-start", _HALFWAY, WORLDS),
}
ARMS |= {arm: preset for name in PPO for arm, preset in varied(name, ARMS[name], ("ppo",)).items()}


def under(algorithm: str, arms: Iterable[str]) -> list[str]:
    """The arms' names where they are trained by `algorithm`, grpo or ppo; not each has one."""
    return [arm if algorithm == "grpo" or arm.endswith("-ppo") else f"{arm}-{algorithm}" for arm in arms]


def preset_rubric(name: str) -> Rubric:
    """One of the world's rubrics, such as iter0, expert, oracle."""
    rubric = shipped_rubric(f"world/{name}")
    assert rubric is not None, name
    return rubric


def arm_settings(
    arm: str, *, seed: int, steps: int = STEPS, sway: float = SWAY, rubric: Rubric | None = None
) -> WorldSettings:
    """The settings of an arm; seeds are paired across arms (same prompts in the same order, same first samples).

    `sway` holds unless the arm sets its own; `rubric` is what an arm with a source starts with. Raises RunError where
    it is missing.
    """
    preset = ARMS[arm]
    if preset.source and rubric is None:
        raise RunError(
            f"{arm} starts with a rubric of {preset.source.arm} under the same seed. Use 'metapo world compare', which "
            "runs both, or name the finished run's folder with --rubric-of."
        )
    data = _fixed(arm, seed, steps, sway, rubric if preset.source and rubric else preset_rubric(preset.rubric))
    for path, value in preset.changes.items():
        _put(data, path, value)
    return WorldSettings.model_validate(data)


def with_sources(arms: Iterable[str]) -> list[str]:
    """The arms in order, each once, with the arm whose rubric one starts with before it."""
    found: dict[str, None] = {}
    for arm in arms:
        if source := ARMS[arm].source:
            found.setdefault(source.arm)
        found.setdefault(arm)
    return list(found)


def _put(data: dict[str, Any], path: str, value: Any) -> None:
    *outer, last = path.split(".")
    for name in outer:
        data = data.setdefault(name, {})
    data[last] = value


def _fixed(arm: str, seed: int, steps: int, sway: float, rubric: Rubric) -> dict[str, Any]:
    """What all arms have in common, under a rubric that never changes. Only what is not the default stands here, so
    that a setting which decides over others, set by an arm, still does."""
    return {
        "arm": arm,
        "sway": sway,
        "seed": seed,
        "task_description": "Write an essay that argues the assigned side of the assigned topic.",
        "rubric": rubric,
        "judge": {"url": "world://offline", "model": "rules"},
        "min_words": MIN_WORDS,
        "meta": {"every": 0},
        "data": {"train": "world", "eval": "world"},
        "policy": {"model": "world"},
        "engine": {
            "steps": steps,
            "batch_size": 64,
            "num_generations": 8,
            "learning_rate": 1e-3,
            "schedule": "cosine",
            "warmup": WARMUP,
            "kl": 0.02,
            "max_completion_tokens": MAX_COMPLETION_TOKENS,
            "save_every": 50,
            "keep_checkpoints": 1,
            "device": "cpu",
        },
    }
