"""When a meta step begins: a pure function of the training steps' figures and of the meta steps so far, so that a
resumed run decides as an uninterrupted one, and every rank alike."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from statistics import median
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from metapo.judge.budget import Budget
from metapo.rollout import Split
from metapo.rubric import Frozen

WINDOW = 5  # steps whose median is compared: two odd batches among them move it no further than the others lie
LEAST_KL = 0.1  # in nats: KL starts near 0, where anything is a jump in proportion


class Triggers(Frozen):
    """What brings the next meta step forward; None switches a trigger off.

    `saturated` is a share of groups (0 to 1) whose rewards are all equal. The others compare the last steps with the
    first ones after the last meta step: the share of flagged completions rises by `flagged`, or the judge's normalised
    score over the monitor's by `gap`; the mean number of words grows or shrinks by the factor `words`; KL grows by the
    factor `kl`.
    """

    saturated: float | None = Field(default=0.5, gt=0, le=1)
    flagged: float | None = Field(default=0.15, gt=0, le=1)
    gap: float | None = Field(default=0.1, gt=0)
    words: float | None = Field(default=1.5, gt=1)
    kl: float | None = Field(default=3.0, gt=1)


class ScheduleSettings(Frozen):
    """When a meta step begins, and when what it brings comes into force.

    `every`: after every so many steps (the paper); 0 is never, adaptive or not. `adaptive`: `earliest` steps after the
    beginning and after a meta step that changed the rubric; after one that changed nothing in `every` steps, and each
    further one in a row doubles the wait, up to `latest` times `every`; a trigger cuts it short, down to `earliest`.

    What a meta step brings scores from `staleness` steps after it began, while training goes on; with 0 training waits.
    The next one begins later still. So an adaptive `earliest` that is not set is 3, or more where `staleness` asks for
    it, but never more than `every`.
    """

    when: Literal["every", "adaptive"] = "every"
    every: int = Field(default=10, ge=0)
    staleness: int = Field(default=0, ge=0)
    earliest: int = Field(default=3, ge=1)
    latest: int = Field(default=2, ge=1)
    triggers: Triggers = Triggers()

    @model_validator(mode="after")
    def _earliest_follows(self) -> Self:
        if self.when == "adaptive" and self.every and "earliest" not in self.model_fields_set:
            fitting = min(max(self.earliest, self.staleness + 1), self.every)
            object.__setattr__(self, "earliest", fitting)  # frozen from here on
        return self

    @model_validator(mode="after")
    def _earliest_comes_first(self) -> Self:
        if self.when == "adaptive" and 0 < self.every < self.earliest:
            raise ValueError(
                f"earliest = {self.earliest} is later than every = {self.every}: lower earliest, or raise every"
            )
        return self

    @model_validator(mode="after")
    def _one_meta_step_at_a_time(self) -> Self:
        earliest = self.when == "adaptive" and self.earliest < self.every
        name, least = ("earliest", self.earliest) if earliest else ("every", self.every)
        if self.every and self.staleness >= least:
            raise ValueError(
                f"staleness = {self.staleness} must be less than {name} = {least}: the next meta step needs rollouts "
                f"under what the last one brought. Lower staleness (at 0 training waits), or raise {name}"
            )
        return self


class MetaBudget(Budget):
    """What all meta steps of a run may cost: tokens and money of the meta model and of the judge for it, and how many
    may be begun. Once one is reached, training goes on under the rubric in force."""

    field: ClassVar[str] = "meta.budget"
    steps: int | None = Field(default=None, ge=1)

    def reached(self, tokens: float, usd: float, steps: int = 0) -> str:
        """Which of the three is used up, as the settings write it; empty while none is."""
        if self.steps is not None and steps >= self.steps:
            return f"{self.field}.steps = {self.steps}"
        return super().reached(tokens, usd)


@dataclass(frozen=True)
class Progress:
    """The figures of one training step, which is counted from 0; None where one is not known.

    `saturated` is the share of groups whose rewards are all equal, `flagged` that of completions that a detector flags;
    `gap` is the judge's normalised score minus the monitor's, `words` the mean length; `kl` is measured in nats, from
    the first policy.
    """

    step: int
    saturated: float | None = None
    flagged: float | None = None
    gap: float | None = None
    words: float | None = None
    kl: float | None = None


@dataclass(frozen=True)
class Past:
    """A meta step after `step` training steps, and whether another rubric came into force by it."""

    step: int
    changed: bool


@dataclass(frozen=True)
class _Pace:
    """From the meta step after `last` steps, triggers are heard after `wait` more steps, and none is needed after
    `period`."""

    last: int
    wait: int
    period: int


def progress(rows: Iterable[Mapping[str, Any]]) -> list[Progress]:
    """What the rows of a run's metrics tell of its training steps, in the rows' order.

    The trainer writes its own row once a step is over, so it counts from 1 and the last step's KL is not known yet.
    """
    rows = list(rows)
    kl = {row["step"] - 1: row.get("kl") for row in rows if row["kind"] == "trainer"}
    return [
        Progress(
            step=row["step"],
            saturated=row.get("saturated"),
            flagged=row.get("flagged"),
            gap=row.get("monitor/gap"),
            words=row.get("words"),
            kl=kl.get(row["step"]),
        )
        for row in rows
        if row["kind"] == Split.TRAIN
    ]


def due(
    step: int, rows: Sequence[Progress], past: Sequence[Past], settings: ScheduleSettings, start: int = 0
) -> str | None:
    """What calls for a meta step after `step` training steps (at least 1), in words; None where nothing does. `start`
    is the first step with anything to read.

    `rows` are the training steps and `past` the meta steps so far, each in order; rows before the last meta step may be
    missing.
    """
    if settings.every == 0:
        return None
    if settings.when == "every":
        last = past[-1].step if past else start
        return f"every {settings.every} steps" if step - step % settings.every > last else None
    pace = reduce(partial(_paced, settings), past, _Pace(start, settings.earliest, settings.earliest))
    since = step - pace.last
    if since >= pace.wait:
        recent = [row for row in rows if pace.last <= row.step < step]
        if trigger := _trigger(recent, settings.triggers):
            return trigger
    return f"{since} steps without a meta step" if since >= pace.period else None


def _paced(settings: ScheduleSettings, pace: _Pace, past: Past) -> _Pace:
    """The pace after one more meta step. One that changes nothing lengthens the period, and where a trigger brought it
    forward, the wait too; a period without a trigger makes triggers as good as new."""
    if past.changed:
        return _Pace(past.step, settings.earliest, settings.earliest)
    longest = settings.every * settings.latest
    wait = pace.wait
    if past.step - pace.last < pace.period:
        wait = min(2 * wait, longest)
    elif wait < pace.period:
        wait = settings.earliest
    period = settings.every if pace.period < settings.every else min(2 * pace.period, longest)
    return _Pace(past.step, wait, period)


def _trigger(rows: Sequence[Progress], triggers: Triggers) -> str | None:
    """The first trigger that fires on the steps since the last meta step, in words."""
    saturated = [row.saturated for row in rows if row.saturated is not None]
    if triggers.saturated is not None and len(saturated) >= WINDOW:
        share = median(saturated[-WINDOW:])
        if share >= triggers.saturated:
            return f"saturation: {share:.0%} of the groups have no variance"
    before, now = _ends([row.flagged for row in rows])
    if triggers.flagged is not None and now - before >= triggers.flagged:
        return f"detector flags rose from {before:.0%} to {now:.0%}"
    before, now = _ends([row.gap for row in rows])
    if triggers.gap is not None and now - before >= triggers.gap:
        return f"gap to the monitor widened from {before:.2f} to {now:.2f}"
    before, now = _ends([row.words for row in rows])
    if triggers.words is not None and max(before, now) >= triggers.words * max(min(before, now), 1):
        return f"words went from {before:.0f} to {now:.0f}"
    before, now = _ends([row.kl for row in rows])
    if triggers.kl is not None and now - before >= LEAST_KL and now >= triggers.kl * before:
        return f"KL jumped from {before:.2f} to {now:.2f}"
    return None


def _ends(figures: Sequence[float | None]) -> tuple[float, float]:
    """The medians of the first and the last WINDOW figures that are known; (0, 0) while there are fewer."""
    known = [figure for figure in figures if figure is not None]
    return (median(known[:WINDOW]), median(known[-WINDOW:])) if len(known) >= WINDOW else (0.0, 0.0)
