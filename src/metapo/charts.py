"""Charts as plain geometry; a page's template draws them as inline SVG with the page's own fonts and colours.

A `Series` holds one measure of one run as (step, value) pairs, steps rising. Its values lie in [0, 1], so all charts of
series share their axes; a `DotChart` has a range of its own.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import NamedTuple

Series = Sequence[tuple[int, float]]

WIDTH = 360
SMOOTHED_STEPS = 5
MAX_TICKS = 6
MAX_STEPS = 5  # between ticks of a range
LABEL_GAP = 17
STRIP_HEIGHT = 50


@dataclass(frozen=True)
class Frame:
    """The plot's place in the drawing, in its units, the end of its x axis (at least 1), and the ends of its y axis."""

    left: float
    top: float
    right: float
    bottom: float
    n_steps: int
    low: float = 0.0
    high: float = 1.0

    def x(self, step: float) -> float:
        return round(self.left + (self.right - self.left) * step / self.n_steps, 1)

    def y(self, value: float) -> float:
        return round(self.bottom - (self.bottom - self.top) * ((value - self.low) / (self.high - self.low)), 1)

    def line(self, series: Series) -> str:
        """The `points` of a polyline."""
        return " ".join(f"{self.x(step)},{self.y(value)}" for step, value in series)

    def area(self, series: Series) -> str:
        """The `points` of a polygon between the series and the x axis."""
        if not series:
            return ""
        return f"{self.x(series[0][0])},{self.bottom} {self.line(series)} {self.x(series[-1][0])},{self.bottom}"


@dataclass(frozen=True)
class Tick:
    """A place on an axis and what stands there."""

    at: float
    text: str


@dataclass(frozen=True)
class Curve:
    """One measure: a thin line for each run, a thick one for their mean, and where its name stands beside the plot."""

    name: str
    style: str
    thin: tuple[str, ...]
    thick: str
    label_y: float


@dataclass(frozen=True)
class LineChart:
    """Measures of one arm over the training steps; `marks` are the places of vertical lines."""

    frame: Frame
    curves: tuple[Curve, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    marks: tuple[float, ...]
    width: int = WIDTH
    height: int = 240


@dataclass(frozen=True)
class Strip:
    """One share over the training steps: its name, its figures in words, and its small plot."""

    name: str
    figures: str
    frame: Frame
    thin: tuple[str, ...]
    thick: str
    area: str


@dataclass(frozen=True)
class StripChart:
    """Several shares of one arm, one small plot below the other, with one x axis."""

    strips: tuple[Strip, ...]
    x_ticks: tuple[Tick, ...]
    height: int
    width: int = WIDTH


class Mark(NamedTuple):
    """A value to draw, with both ends of its interval where it has one."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def reach(self) -> tuple[float, ...]:
        """All of it that has to fit into the plot."""
        return tuple(end for end in self if end is not None)


@dataclass(frozen=True)
class Dot:
    """Where a value stands, and the ends of its interval, None without one."""

    x: float
    y: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class DotLine:
    """A measure, a dot for each value, joined by a line, and where its name stands beside the plot."""

    name: str
    dots: tuple[Dot, ...]
    points: str
    label_y: float


@dataclass(frozen=True)
class DotChart:
    """Measures of things that come one after another, such as revisions, counted from 1."""

    frame: Frame
    lines: tuple[DotLine, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    x_name: str
    width: int = WIDTH
    height: int = 200


def line_chart(
    measures: Mapping[str, Sequence[Series]], n_steps: int, *, marks: Sequence[int], jumps: Iterable[int]
) -> LineChart:
    """`measures` holds, per name, one series for each run; its order gives the curves' styles.

    `marks` are the steps of vertical lines; at `jumps` a measure changes its meaning, so no mean reaches across.
    """
    frame = Frame(left=28, top=12, right=WIDTH - 54, bottom=196, n_steps=max(1, n_steps))
    means = {name: smooth(mean(series), jumps) for name, series in measures.items()}
    labels = spread_out([frame.y(line[-1][1]) if line else frame.bottom for line in means.values()], frame)
    curves = tuple(
        Curve(name, f"curve-{i}", tuple(frame.line(s) for s in measures[name]), frame.line(means[name]), labels[i])
        for i, name in enumerate(measures)
    )
    y_ticks = tuple(Tick(frame.y(value), f"{value:g}") for value in (0, 0.25, 0.5, 0.75, 1))
    return LineChart(frame, curves, x_ticks(frame), y_ticks, tuple(frame.x(step) for step in marks))


def strip_chart(shares: Mapping[str, Sequence[Series]], figures: Mapping[str, str], n_steps: int) -> StripChart:
    """`shares` and `figures` hold, per name, one series for each run and the words that stand beside the name."""
    strips = []
    for i, (name, series) in enumerate(shares.items()):
        top = i * STRIP_HEIGHT
        frame = Frame(left=4, top=top + 21, right=WIDTH - 12, bottom=top + 45, n_steps=max(1, n_steps))
        line = smooth(mean(series))
        thin = tuple(frame.line(s) for s in series)
        strips.append(Strip(name, figures[name], frame, thin, frame.line(line), frame.area(line)))
    return StripChart(tuple(strips), x_ticks(strips[0].frame) if strips else (), len(strips) * STRIP_HEIGHT + 40)


def dot_chart(
    measures: Mapping[str, Sequence[Mark]], x_name: str, *, whole: bool = False, ends: tuple[float, float] | None = None
) -> DotChart:
    """`measures` holds, per name, one mark for each thing, all of one length of at least 1. The y axis ends at `ends`,
    or at round numbers around 0 and all marks, which are `whole` where only those mean something."""
    reach = [end for marks in measures.values() for mark in marks for end in mark.reach]
    low, high, distance = round_range(*(ends or (min(0.0, *reach), max(reach))), least=1.0 if whole else 0.0)
    n = max(map(len, measures.values()))
    frame = Frame(
        left=40,
        top=12,
        right=WIDTH - (64 if any(measures) else 12),
        bottom=156,
        n_steps=max(1, n - 1),
        low=low,
        high=high,
    )
    labels = spread_out([frame.y(marks[-1].value) for marks in measures.values()], frame)
    lines = tuple(
        _dot_line(name, marks, label_y, frame) for (name, marks), label_y in zip(measures.items(), labels, strict=True)
    )
    ticks = [low + i * distance for i in range(round((high - low) / distance) + 1)]
    y_ticks = tuple(Tick(frame.y(value), f"{value:.10g}") for value in ticks)
    return DotChart(frame, lines, x_ticks(frame, first=1), y_ticks, x_name)


def _dot_line(name: str, marks: Sequence[Mark], label_y: float, frame: Frame) -> DotLine:
    dots = tuple(
        Dot(frame.x(i), frame.y(value), *(None if end is None else frame.y(end) for end in ends))
        for i, (value, *ends) in enumerate(marks)
    )
    return DotLine(name, dots, frame.line([(i, mark.value) for i, mark in enumerate(marks)]), label_y)


def round_range(low: float, high: float, least: float = 0.0) -> tuple[float, float, float]:
    """Round numbers at or around `low` and `high`, and the distance, at least `least`, of the ticks between them, of
    which there are MAX_STEPS or a few more."""
    wanted = max((high - low) / MAX_STEPS, least, 1e-9)
    power = math.floor(math.log10(wanted))
    distance = next(f * 10.0**power for f in (1, 2, 5, 10) if f * 10.0**power >= wanted * (1 - 1e-9))
    first, last = math.floor(low / distance + 1e-9), math.ceil(high / distance - 1e-9)
    return first * distance, max(last, first + 1) * distance, distance


def mean(series: Sequence[Series]) -> list[tuple[int, float]]:
    """The mean at each step over the series that have it, by step."""
    at: dict[int, list[float]] = {}
    for step, value in (pair for one in series for pair in one):
        at.setdefault(step, []).append(value)
    return [(step, fmean(values)) for step, values in sorted(at.items())]


def smooth(series: Series, jumps: Iterable[int] = ()) -> list[tuple[int, float]]:
    """Each value as the mean of the SMOOTHED_STEPS around it.

    Near an end, and near a step in `jumps`, it is the mean of fewer, as many on either side.
    """
    smoothed = []
    starts = sorted({0, len(series), *(sum(step < jump for step, _ in series) for jump in jumps)})
    for first, end in pairwise(starts):
        for i in range(first, end):
            reach = min(SMOOTHED_STEPS // 2, i - first, end - 1 - i)
            smoothed.append((series[i][0], fmean(value for _, value in series[i - reach : i + reach + 1])))
    return smoothed


def x_ticks(frame: Frame, first: int = 0) -> tuple[Tick, ...]:
    """Round steps, at most MAX_TICKS of them, 0 included; what stands there is counted from `first`."""
    sizes = (factor * 10**power for power in range(9) for factor in (1, 2, 5))
    size = next(s for s in sizes if frame.n_steps // s < MAX_TICKS)
    return tuple(Tick(frame.x(step), str(step + first)) for step in range(0, frame.n_steps + 1, size))


def spread_out(places: Sequence[float], frame: Frame) -> list[float]:
    """Heights of labels, in order, moved apart so that none covers another and all lie beside the plot."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    moved = [places[i] for i in order]
    for above, below in pairwise(range(len(moved))):
        moved[below] = max(moved[below], moved[above] + LABEL_GAP)
    excess = max(0.0, moved[-1] - frame.bottom) if moved else 0.0
    return [round(moved[order.index(i)] - excess, 1) for i in range(len(places))]
