"""The report's charts as plain geometry; its template draws them as inline SVG with the page's own fonts and colours.

A `Series` holds one measure of one run as (step, value) pairs, steps rising. Values lie in [0, 1] everywhere, so all
charts share their axes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

Series = Sequence[tuple[int, float]]

WIDTH = 360
SMOOTHED_STEPS = 5
MAX_TICKS = 6
LABEL_GAP = 17
STRIP_HEIGHT = 50


@dataclass(frozen=True)
class Frame:
    """The plot's place in the drawing, in its units, and the end of its x axis (at least 1)."""

    left: float
    top: float
    right: float
    bottom: float
    n_steps: int

    def x(self, step: float) -> float:
        return round(self.left + (self.right - self.left) * step / self.n_steps, 1)

    def y(self, value: float) -> float:
        return round(self.bottom - (self.bottom - self.top) * value, 1)

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


def x_ticks(frame: Frame) -> tuple[Tick, ...]:
    """Round steps, at most MAX_TICKS of them, 0 included."""
    sizes = (factor * 10**power for power in range(9) for factor in (1, 2, 5))
    size = next(s for s in sizes if frame.n_steps // s < MAX_TICKS)
    return tuple(Tick(frame.x(step), str(step)) for step in range(0, frame.n_steps + 1, size))


def spread_out(places: Sequence[float], frame: Frame) -> list[float]:
    """Heights of labels, in order, moved apart so that none covers another and all lie beside the plot."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    moved = [places[i] for i in order]
    for above, below in pairwise(range(len(moved))):
        moved[below] = max(moved[below], moved[above] + LABEL_GAP)
    excess = max(0.0, moved[-1] - frame.bottom) if moved else 0.0
    return [round(moved[order.index(i)] - excess, 1) for i in range(len(places))]
