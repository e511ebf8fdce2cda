"""When a meta step begins: each trigger, the back-off, and what holds whatever the figures are."""

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from metapo.meta.schedule import (
    LEAST_KL,
    WINDOW,
    MetaBudget,
    Past,
    Progress,
    ScheduleSettings,
    Triggers,
    due,
    progress,
)

ADAPTIVE = ScheduleSettings(when="adaptive", every=20, earliest=5, latest=4)
CALM = Progress(step=0, saturated=0.1, flagged=0.02, gap=0.3, words=80.0, kl=0.05)
OFF = Triggers(saturated=None, flagged=None, gap=None, words=None, kl=None)
WAITING = (Past(5, changed=False),)  # the next one comes 20 steps later, or on a trigger
Figures = Callable[[int], Progress]


def calm(n: int, start: int = 0) -> list[Progress]:
    return [replace(CALM, step=step) for step in range(start, start + n)]


def then(n: int, **figures: float | None) -> list[Progress]:
    """Eight calm steps after the first meta step, then `n` with other figures."""
    return calm(8, start=5) + [replace(row, **figures) for row in calm(n, start=13)]  # type: ignore[arg-type]


def decide(
    rows: Sequence[Progress], settings: ScheduleSettings = ADAPTIVE, past: Sequence[Past] = WAITING
) -> str | None:
    return due(rows[-1].step + 1, rows, past, settings)


def simulate(
    n: int, settings: ScheduleSettings, figures: Figures, changed: Callable[[int], bool] = lambda i: False
) -> list[tuple[int, str]]:
    """The meta steps of a run of `n` steps, with what called for each; `changed` tells by a meta step's number."""
    rows: list[Progress] = []
    past: list[Past] = []
    called = []
    for step in range(1, n + 1):
        rows.append(figures(step - 1))
        if why := due(step, rows, past, settings):
            past.append(Past(step, changed(len(past))))
            called.append((step, why))
    return called


# --- every k steps


@given(st.integers(1, 30), st.lists(st.booleans(), min_size=1))
def test_every_k_gives_the_multiples_of_k_whatever_happens(every: int, changes: list[bool]) -> None:
    wild = replace(CALM, saturated=1.0, flagged=1.0)
    called = simulate(
        100, ScheduleSettings(every=every), lambda s: replace(wild, step=s), lambda i: changes[i % len(changes)]
    )
    assert called == [(step, f"every {every} steps") for step in range(every, 101, every)]


def test_one_that_could_not_begin_at_its_step_begins_later() -> None:
    settings = ScheduleSettings(every=10)
    assert due(23, (), [Past(10, True)], settings) == "every 10 steps", "step 20 ended in an error"
    assert due(23, (), [Past(20, True)], settings) is None
    assert due(30, (), [Past(23, True)], settings) == "every 10 steps"


def test_what_comes_late_is_read_for_a_while_first() -> None:
    every, adaptive = ScheduleSettings(every=10), ScheduleSettings(when="adaptive", every=10, earliest=3)
    assert [step for step in range(16, 24) if due(step, (), (), every, start=15)] == [20, 21, 22, 23]
    assert [step for step in range(16, 24) if due(step, (), (), adaptive, start=15)] == [18, 19, 20, 21, 22, 23]


@pytest.mark.parametrize("settings", [ScheduleSettings(every=0), ScheduleSettings(when="adaptive", every=0)])
def test_every_zero_is_never(settings: ScheduleSettings) -> None:
    assert simulate(100, settings, lambda s: replace(CALM, step=s, saturated=1.0)) == []


# --- triggers

FIRED: list[tuple[dict[str, float], str]] = [
    ({"saturated": 0.7}, "saturation: 70% of the groups have no variance"),
    ({"flagged": 0.2}, "detector flags rose from 2% to 20%"),
    ({"gap": 0.42}, "gap to the monitor widened from 0.30 to 0.42"),
    ({"words": 200.0}, "words went from 80 to 200"),
    ({"words": 9.0}, "words went from 80 to 9"),
    ({"words": 0.0}, "words went from 80 to 0"),
    ({"kl": 0.16}, "KL jumped from 0.05 to 0.16"),
]


@pytest.mark.parametrize(("figures", "why"), FIRED)
def test_a_lasting_change_of_a_figure_calls_for_a_meta_step(figures: dict[str, float], why: str) -> None:
    assert decide(then(2, **figures)) is None, "two odd batches are no trend"
    assert decide(then(3, **figures)) == why
    assert decide(then(3, **figures), ADAPTIVE.model_copy(update={"triggers": OFF})) is None


@pytest.mark.parametrize(("figures", "why"), FIRED)
def test_what_is_not_known_in_a_step_is_passed_over(figures: dict[str, float], why: str) -> None:
    rows = then(4, **figures)
    unknown = dict.fromkeys(figures)
    rows[-1] = replace(rows[-1], **unknown)  # type: ignore[arg-type]
    assert decide(rows) == why, "the trainer tells the last step's KL later"
    assert decide([replace(row, **unknown) for row in rows]) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "figures",
    [
        {"saturated": 0.49},
        {"flagged": 0.16},
        {"gap": 0.39},
        {"gap": 0.0},
        {"words": 119.0},
        {"words": 54.0},
        {"kl": 0.14},
        {"kl": 0.0},
    ],
)
def test_a_small_change_or_one_for_the_better_does_not(figures: dict[str, float]) -> None:
    assert decide(then(8, **figures)) is None


def test_kl_that_is_still_small_does_not_jump() -> None:
    rows = [replace(CALM, step=s, kl=0.009 * (s - 5)) for s in range(5, 17)]
    assert rows[-3].kl == pytest.approx(0.081)
    assert decide(rows) is None
    assert decide([replace(row, kl=2 * row.kl) for row in rows if row.kl is not None]) is not None
    assert LEAST_KL == 0.1


def test_figures_are_compared_with_those_since_the_last_meta_step() -> None:
    rows = then(12, flagged=0.6)
    assert decide(rows) is not None
    again = [*WAITING, Past(13, changed=False)]
    assert decide(rows, past=again) is None, "0.6 ever since"
    worse = [*rows, *(replace(CALM, step=25 + i, flagged=0.9) for i in range(3))]
    assert decide(worse, past=again) == "detector flags rose from 60% to 90%"


noises = st.floats(-1, 1)
odd = st.builds(
    Progress,
    step=st.just(0),
    saturated=st.none() | st.floats(0, 1),
    flagged=st.none() | st.floats(0, 1),
    gap=st.none() | st.floats(-1, 1),
    words=st.none() | st.floats(0, 1e4),
    kl=st.none() | st.floats(0, 50),
)


@given(st.data(), st.integers(0, 40))
def test_small_noise_and_two_odd_batches_trigger_nothing(data: st.DataObject, n: int) -> None:
    settings = ScheduleSettings(when="adaptive", every=100)

    def noisy(step: int) -> Progress:
        a, b, c, d, e = data.draw(st.tuples(noises, noises, noises, noises, noises))
        return Progress(
            step, 0.3 + 0.19 * a, 0.2 + 0.07 * b, 0.4 + 0.049 * c, 80 * (1 + 0.19 * d), 0.15 * (1 + 0.3 * e)
        )

    rows = [noisy(step) for step in range(n + 1)]
    for place in data.draw(st.lists(st.integers(0, n), max_size=2)):
        rows[place] = replace(data.draw(odd), step=place)
    # a figure that an odd batch lacks moves the windows, not the order of what is in them
    assert decide(rows, settings) is None


# --- pace


def test_meta_steps_come_soon_while_they_change_something_and_else_later_and_later() -> None:
    quiet = simulate(400, ADAPTIVE, lambda s: replace(CALM, step=s))
    assert [step for step, _ in quiet] == [5, 25, 65, 145, 225, 305, 385]
    assert [why for _, why in quiet[:2]] == ["5 steps without a meta step", "20 steps without a meta step"]
    useful = simulate(30, ADAPTIVE, lambda s: replace(CALM, step=s), lambda i: True)
    assert [step for step, _ in useful] == [5, 10, 15, 20, 25, 30]
    mixed = simulate(200, ADAPTIVE, lambda s: replace(CALM, step=s), lambda i: i == 1)
    assert [step for step, _ in mixed] == [5, 25, 30, 50, 90, 170], "a change sets the pace back"


def test_a_trigger_that_persists_though_meta_steps_change_nothing_is_heard_less_and_less() -> None:
    stuck = simulate(500, ADAPTIVE, lambda s: replace(CALM, step=s, saturated=1.0))
    assert [b - a for (a, _), (b, _) in pairwise([(0, ""), *stuck])] == [5, 5, 10, 20, 40, 80, 80, 80, 80, 80]
    fought = simulate(50, ADAPTIVE, lambda s: replace(CALM, step=s, saturated=1.0), lambda i: True)
    assert [step for step, _ in fought] == list(range(5, 51, 5))


def test_after_a_quiet_period_a_trigger_is_as_good_as_new() -> None:
    def figures(step: int) -> Progress:
        return replace(CALM, step=step, saturated=1.0 if step < 20 or step >= 100 else 0.0)

    called = simulate(110, ADAPTIVE, figures)
    assert [step for step, _ in called] == [5, 10, 20, 100, 105], "before, it had to wait for 20 steps"
    assert called[-1][1].startswith("saturation")


settings_drawn = st.builds(
    lambda earliest, more, latest: ScheduleSettings(
        when="adaptive", every=earliest + more, earliest=earliest, latest=latest
    ),
    st.integers(1, 12),
    st.integers(0, 20),
    st.integers(1, 5),
)


@given(settings_drawn, st.lists(odd, min_size=1, max_size=30), st.lists(st.booleans(), min_size=1, max_size=9))
def test_never_sooner_than_earliest_and_never_later_than_the_longest_period(
    settings: ScheduleSettings, figures: list[Progress], changes: list[bool]
) -> None:
    n = 150
    called = simulate(
        n, settings, lambda s: replace(figures[s % len(figures)], step=s), lambda i: changes[i % len(changes)]
    )
    steps = [0, *(step for step, _ in called)]
    waits = [b - a for a, b in pairwise(steps)]
    longest = settings.every * settings.latest
    assert all(settings.earliest <= wait <= longest for wait in waits)
    assert n - steps[-1] < longest
    assert waits[:1] in ([], [settings.earliest])
    for i, wait in enumerate(waits[1:]):
        assert not changes[i % len(changes)] or wait == settings.earliest, "soon after a change"


@given(st.lists(odd, min_size=WINDOW + 1, max_size=40), st.data())
def test_rows_before_the_last_meta_step_make_no_difference(figures: list[Progress], data: st.DataObject) -> None:
    rows = [replace(row, step=step) for step, row in enumerate(figures)]
    last = data.draw(st.integers(1, len(rows) - 1))
    past = [Past(last, data.draw(st.booleans()))]
    assert decide(rows, past=past) == decide(rows[last:], past=past)


def test_earliest_may_not_come_after_every() -> None:
    with pytest.raises(ValidationError, match="earliest = 3 is later than every = 2: lower earliest, or raise every"):
        ScheduleSettings(when="adaptive", every=2, earliest=3)
    assert ScheduleSettings(every=2).earliest == 3, "it has no meaning there"


@given(st.integers(1, 30), st.integers(0, 30))
def test_an_earliest_that_is_not_set_fits_the_others(every: int, staleness: int) -> None:
    if staleness >= every:
        with pytest.raises(ValidationError, match=f"staleness = {staleness} must be less than every = {every}"):
            ScheduleSettings(when="adaptive", every=every, staleness=staleness)
        return
    earliest = ScheduleSettings(when="adaptive", every=every, staleness=staleness).earliest
    assert staleness < earliest <= every
    assert earliest == 3 or earliest in (staleness + 1, every), "no further from 3 than it must be"
    assert (
        ScheduleSettings(when="adaptive", every=every, staleness=staleness, earliest=staleness + 1).earliest > staleness
    )


# --- what it reads and what it may cost


def test_progress_is_read_from_a_runs_metrics() -> None:
    rows: list[dict[str, object]] = [
        {"kind": "train", "step": 0, "saturated": 0.25, "flagged": 0.0, "words": 80.0, "monitor/gap": 0.1},
        {"kind": "trainer", "step": 1, "loss": 0.1, "kl": 0.02},
        {"kind": "eval", "step": 1, "saturated": 1.0, "flagged": 1.0, "words": 1.0},
        {"kind": "meta", "step": 1, "decision": "adopted"},
        {"kind": "train", "step": 1, "flagged": 0.5, "words": 70.0},
    ]
    assert progress(rows) == [Progress(0, 0.25, 0.0, 0.1, 80.0, 0.02), Progress(1, None, 0.5, None, 70.0, None)]
    assert {f.name for f in fields(Progress)} - {"step"} == set(Triggers.model_fields), "a trigger for each figure"


@pytest.mark.parametrize(
    ("spent", "reached"),
    [
        ((99, 0.4, 2), ""),
        ((100, 0.4, 2), "meta.budget.tokens = 100"),
        ((0, 0.5, 2), "meta.budget.usd = 0.5"),
        ((0, 0.0, 3), "meta.budget.steps = 3"),
    ],
)
def test_a_meta_budget_names_the_bound_that_is_reached(spent: tuple[float, float, int], reached: str) -> None:
    assert MetaBudget(tokens=100, usd=0.5, steps=3).reached(*spent) == reached
    assert MetaBudget().reached(10**9, 10**9, 10**9) == ""
