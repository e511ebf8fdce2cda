"""What the arms were made to answer: each question with the pairs of arms that speak to it."""

from collections.abc import Iterable
from dataclasses import dataclass

from metapo.world.presets import PARTS, PPO, SWAYS, WORLDS

Pairs = tuple[tuple[str, str], ...]
"""(arm, the arm that it is held against)"""


@dataclass(frozen=True)
class Question:
    """A question, how to read the words below it where that needs saying, and the pairs of arms."""

    title: str
    note: str
    pairs: Pairs


def _against(arm: str, others: Iterable[str]) -> Pairs:
    return tuple((arm, other) for other in others)


def _variants(names: Iterable[str], variants: Iterable[str]) -> Pairs:
    """Each arm's variants against the arm itself."""
    kept = tuple(variants)
    return tuple((f"{name}-{variant}", name) for name in names for variant in kept)


_FIXED = ("expert", "oracle", "autoprompt")
_ENDS = ("", *(f"-{world}" for world in WORLDS))
_PARTS = tuple(part for part in PARTS if part not in ("no-gate", "joint", "additive"))
QUESTIONS = (
    Question(
        "Does an evolving rubric help?",
        "",
        (*_against("mpo", ("iter0", *_FIXED)), *_against("metapo", ("iter0", *_FIXED))),
    ),
    Question(
        "Is it enough to refine the rubric before training?",
        "autoprompt's rubric was refined once, on what the policy writes before training, and is the same under every "
        "seed.",
        _against("autoprompt", ("iter0", "expert", "oracle")),
    ),
    Question(
        "Is evolving on better than the final rubric from the start?",
        "`final-from-start` has the last rubric of the mpo run under the same seed from step 0, `halfway-from-start` "
        "the one that it had halfway. The endings name the worlds: a weak policy, criteria passed or failed, both, and "
        "a judge that tires of long essays.",
        tuple(
            (f"{name}{end}", f"{fixed}-from-start{end}")
            for end in _ENDS
            for name in ("mpo", "metapo")
            for fixed in ("final", "halfway")
        ),
    ),
    Question(
        "Is it only the moving target?",
        "A rubric that is reworded and reordered but keeps its meaning, against the same rubric left alone.",
        (("null-rewrite", "iter0"), ("null-rewrite-oracle", "oracle"), ("mpo", "null-rewrite")),
    ),
    Question(
        "Does the gate help?",
        "metapo-no-gate is metapo in all else, which mpo is not.",
        (
            *_against("metapo", ("mpo", "metapo-no-gate")),
            ("flawed-gate", "flawed-nogate"),
            ("flawed-gate", "metapo"),
        ),
    ),
    Question(
        "What does each part do?",
        "Each arm lacks one part of metapo: where it is worse, the part helps.",
        _variants(("metapo",), _PARTS),
    ),
    Question(
        "How often should a meta step come?",
        "Every 20 or 40 steps against every 10.",
        _variants(("mpo", "metapo"), ("every-20", "every-40")),
    ),
    Question(
        "What if remarks sway the judge never, or always?",
        "Each arm against itself where a remark sways a vague criterion a quarter of the time, then the methods "
        "against each other.",
        (
            *_variants(("iter0", "expert", "oracle", "mpo", "metapo"), SWAYS),
            *((f"mpo-{sway}", f"iter0-{sway}") for sway in SWAYS),
            *((f"metapo-{sway}", f"mpo-{sway}") for sway in SWAYS),
        ),
    ),
    Question(
        "Is the plain sum of points as good as the normalised score?",
        "",
        _variants(("iter0", "mpo", "metapo"), ("raw",)),
    ),
    Question(
        "Do other ways of adding up help?",
        "",
        (("metapo", "metapo-additive"), ("mpo-conjunctive", "mpo"), ("metapo-dropout", "metapo")),
    ),
    Question(
        "Does the mean over the levels' probabilities help?",
        "The judge of this world tells its probabilities exactly, so its slips average out.",
        (("mpo-expected", "mpo"), ("metapo", "metapo-joint")),
    ),
    Question(
        "What holds in other worlds?",
        "",
        (
            *((f"metapo-{world}", f"mpo-{world}") for world in WORLDS),
            *((f"mpo-{world}", f"{fixed}-{world}") for world in ("weak", "late") for fixed in ("iter0", "oracle")),
        ),
    ),
    Question(
        "Under PPO",
        "Arms trained by PPO, with a value head, against each other, then each against the same one under GRPO.",
        (
            ("mpo-ppo", "iter0-ppo"),
            ("metapo-ppo", "iter0-ppo"),
            ("metapo-ppo", "mpo-ppo"),
            *((f"{name}-raw-ppo", f"{name}-ppo") for name in ("iter0", "mpo", "metapo")),
            *_variants(PPO, ("ppo",)),
        ),
    ),
)
