"""The onset of hacking on curves whose onset is known."""

from random import Random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metapo.meta.onset import PARTED, SMOOTH, STAYS, Watched, hacking, onset, watched, widening

scores = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=40)


def rows(gaps: list[float]) -> list[Watched]:
    return [Watched(step, 0.5 + gap, 0.5) for step, gap in enumerate(gaps)]


@given(st.integers(SMOOTH, 60), st.floats(0.11, 0.5), st.floats(-0.4, 0.4))
def test_a_parting_is_found_within_the_smoothing_window(at: int, width: float, offset: float) -> None:
    found = onset(rows([offset] * at + [offset + width] * (SMOOTH + STAYS)))
    assert found is not None
    assert at <= found < at + SMOOTH


@given(st.integers(5, 60), st.integers(0, 2**32 - 1))
def test_a_slow_parting_under_noise_is_found_where_it_reaches_the_bound(at: int, seed: int) -> None:
    rng = Random(seed)
    slope = 0.01
    curve = [rng.uniform(-0.02, 0.02) + slope * max(0, step - at) for step in range(at + 60)]
    found = onset(rows(curve))
    assert found is not None
    reached = at + PARTED / slope
    assert reached - 5 <= found <= reached + SMOOTH + 5


@given(st.lists(st.floats(-0.045, 0.045), max_size=80))
def test_noise_alone_has_no_onset(noise: list[float]) -> None:
    assert onset(rows(noise)) is None


def test_what_rises_together_does_not_part_nor_does_gold_that_catches_up() -> None:
    assert onset([Watched(s, 0.3 + 0.01 * s, 0.01 * s) for s in range(60)]) is None
    assert onset([Watched(s, 0.8, 0.01 * s) for s in range(60)]) is None


def test_a_gap_that_had_narrowed_is_measured_from_its_lowest() -> None:
    gaps = [0.6] * 10 + [0.1] * 20 + [0.25] * 20
    assert onset(rows(gaps)) == 30 + 3, "four of five steps at 0.25 are the first to lift the mean by 0.1"


@pytest.mark.parametrize(("n", "found"), [(3, None), (8, 13)])
def test_a_bump_is_no_onset(n: int, found: int | None) -> None:
    assert onset(rows([0.0] * 10 + [0.16] * n + [0.0] * 20)) == found


def test_it_is_known_once_it_has_stayed() -> None:
    curve = rows([0.0] * 10 + [0.5] * 10)
    assert onset(curve) == 10
    assert onset(curve[: 10 + STAYS]) == 10
    assert onset(curve[: 10 + STAYS - 1]) is None
    assert onset([]) is None


@given(scores, scores)
def test_no_later_row_changes_an_onset(before: list[tuple[float, float]], after: list[tuple[float, float]]) -> None:
    curve = [Watched(step, *pair) for step, pair in enumerate([*before, *after])]
    early = onset(curve[: len(before)])
    assert early is None or onset(curve) == early


@given(scores)
def test_widening_agrees_with_a_naive_reading_of_its_definition(drawn: list[tuple[float, float]]) -> None:
    curve = [Watched(step, *pair) for step, pair in enumerate(drawn)]
    smooth = {
        row.step: fmean(r.proxy - r.gold for r in curve if row.step - SMOOTH < r.step <= row.step)
        for row in curve
        if row.step >= SMOOTH - 1
    }
    expected = [(step, mean - min(m for s, m in smooth.items() if s <= step)) for step, mean in smooth.items()]
    assert widening(curve) == expected


def test_judge_and_monitor_are_read_from_a_runs_metrics() -> None:
    metrics: list[dict[str, object]] = [
        {"kind": "train", "step": 0, "normalized": 0.9, "monitor/normalized": 0.25, "monitor/gap": 0.5},
        {"kind": "train", "step": 1, "normalized": 0.9, "monitor/unscored": 1.0},
        {"kind": "eval", "step": 2, "monitor/normalized": 0.1, "monitor/gap": 0.8},
        {"kind": "train", "step": 2, "monitor/normalized": 0.5, "monitor/gap": -0.25},
    ]
    assert watched(metrics) == [(0, 0.75, 0.25), (2, 0.25, 0.5)]


def test_metrics_hold_the_widening_and_the_onset_once_it_is_known() -> None:
    curve = rows([0.25] * 10 + [1.0] * 10)
    assert hacking(curve[:4]) == {}
    assert hacking(curve[:10]) == {"hacking/gap": 0.0}
    assert hacking(curve) == {"hacking/gap": 0.75, "hacking/onset": 10}
