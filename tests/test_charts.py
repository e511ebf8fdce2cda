import pytest
from hypothesis import given
from hypothesis import strategies as st

from metapo.charts import MAX_STEPS, Mark, dot_chart, round_range

numbers = st.floats(-1e4, 1e4, allow_nan=False)


@given(numbers, numbers, st.sampled_from([0.0, 1.0]))
def test_a_round_range_holds_all_and_has_few_ticks(a: float, b: float, least: float) -> None:
    low, high, distance = round_range(min(a, b), max(a, b), least)
    slack = 1e-6 * max(1, abs(a), abs(b))
    assert low - slack <= min(a, b)
    assert max(a, b) <= high + slack
    assert distance >= least
    assert 1 <= round((high - low) / distance) <= MAX_STEPS + 2


@pytest.mark.parametrize(
    ("low", "high", "least", "wanted"),
    [
        (0, 8, 1, (0, 8, 2)),
        (0, 1, 0, (0, 1, 0.2)),
        (-17, 30, 0, (-20, 30, 10)),
        (0, 1, 1, (0, 1, 1)),
        (0, 0, 1, (0, 1, 1)),
    ],
)
def test_ranges_are_as_a_person_would_choose_them(
    low: float, high: float, least: float, wanted: tuple[float, float, float]
) -> None:
    assert round_range(low, high, least) == pytest.approx(wanted)


@given(st.lists(st.tuples(numbers, st.floats(0, 10), st.floats(0, 10)), min_size=1, max_size=30))
def test_dots_and_intervals_lie_within_the_plot_in_the_order_of_their_values(
    drawn: list[tuple[float, float, float]],
) -> None:
    marks = [Mark(value, value - below, value + above) for value, below, above in drawn]
    chart = dot_chart({"": marks}, "revision")
    [line] = chart.lines
    frame = chart.frame
    for dot, mark in zip(line.dots, marks, strict=True):
        assert dot.low is not None
        assert dot.high is not None
        assert frame.left <= dot.x <= frame.right
        assert frame.bottom + 0.1 >= dot.low >= dot.y >= dot.high >= frame.top - 0.1
        assert mark.low is not None
        assert dot.y == frame.y(mark.value)
    assert [dot.x for dot in line.dots] == sorted({dot.x for dot in line.dots})
    assert chart.x_ticks[0].text == "1"


def test_names_beside_the_plot_do_not_cover_each_other() -> None:
    chart = dot_chart({"most": [Mark(5)], "fewest": [Mark(5)]}, "revision")
    assert abs(chart.lines[0].label_y - chart.lines[1].label_y) >= 16
    assert [tick.text for tick in chart.y_ticks] == ["0", "1", "2", "3", "4", "5"]
