"""What the policy writes on one prompt before and after training, as the report shows it."""

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from metapo.run import STORE
from metapo.store import RolloutRecord, Store
from metapo.world.essay import essay_of
from metapo.world.gold import gold
from metapo.world.language import NEWLINE
from metapo.world.runs import Arm

LATE_STEPS = 20


@dataclass(frozen=True)
class Answer:
    """One essay, where it comes from, its gold quality, and per arm the judge's score (None: unscored)."""

    when: str
    lines: tuple[str, ...]
    gold: float
    judged: tuple[tuple[str, float | None], ...]


@dataclass(frozen=True)
class Answers:
    """Essays on one prompt: those before training, each with all the arms that began with it, then one per arm."""

    prompt: str
    before: tuple[Answer, ...]
    after: tuple[Answer, ...]


Records = dict[str, RolloutRecord]


def compare_answers(arms: Sequence[Arm]) -> list[Answers]:
    """Essays of each arm's first seed: at step 0, and late in training on the same prompt.

    All arms show one prompt if they share one, else each its own: the one that came up latest. Of the group of essays
    that a step has on it, the one of middle gold quality stands for all.
    """
    early, late = {}, {}
    for arm in arms:
        with closing(Store(arm.first.folder / STORE)) as store:
            early[arm.name] = _typical_by_prompt(store.rollouts(to_step=1))
            late[arm.name] = _typical_by_prompt(store.rollouts(from_step=max(1, arm.n_steps - LATE_STEPS)))
    names = [arm.name for arm in arms]
    if shared := _latest_prompt(early, late, names):
        return [_answers(shared, early, late, names)]
    alone = {name: _latest_prompt(early, late, [name]) for name in names}
    return [_answers(prompt, early, late, [name]) for name, prompt in alone.items() if prompt]


def _typical_by_prompt(records: Iterable[RolloutRecord]) -> Records:
    """Per prompt the rollout of middle gold quality in the latest group that has it."""
    groups: dict[str, list[RolloutRecord]] = {}
    for record in records:  # by step
        group = groups.setdefault(record.rollout.prompt, [])
        if group and group[0].rollout.step < record.rollout.step:
            group.clear()
        group.append(record)
    return {prompt: sorted(group, key=_gold)[(len(group) - 1) // 2] for prompt, group in groups.items()}


def _gold(record: RolloutRecord) -> float:
    return gold(essay_of(record.rollout.prompt, record.rollout.completion))


def _latest_prompt(early: Mapping[str, Records], late: Mapping[str, Records], names: Sequence[str]) -> str | None:
    """The prompt that every named arm has early and late, and whose late essays are the latest."""
    candidates = [p for p in early[names[0]] if all(p in early[name] and p in late[name] for name in names)]
    return max(candidates, key=lambda p: min(late[name][p].rollout.step for name in names), default=None)


def _answers(prompt: str, early: Mapping[str, Records], late: Mapping[str, Records], names: Sequence[str]) -> Answers:
    begun: dict[str, list[str]] = {}
    for name in names:
        begun.setdefault(early[name][prompt].rollout.completion, []).append(name)
    before = [_answer("Before training", {name: early[name][prompt] for name in same}) for same in begun.values()]
    after = [_answer(f"{n}, step {late[n][prompt].rollout.step}", {n: late[n][prompt]}) for n in names]
    return Answers(readable(prompt), tuple(before), tuple(after))


def _answer(when: str, records: Mapping[str, RolloutRecord]) -> Answer:
    first = next(iter(records.values()))
    return Answer(
        when=when,
        lines=tuple(readable(line) for line in first.rollout.completion.removesuffix(NEWLINE).split(NEWLINE)),
        gold=_gold(first),
        judged=tuple((name, record.normalized) for name, record in records.items()),
    )


def readable(text: str) -> str:
    """The policy's words with no space before a stop, a comma or a colon, as people write."""
    return re.sub(r" +([.,:])(?= |$)", r"\1", text).strip()
