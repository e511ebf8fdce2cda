"""The figures of an evolution for people: rows of a table, and one self-contained page with charts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from metapo.charts import DotChart, Mark, dot_chart
from metapo.evals.agreement import Word
from metapo.evals.evolution import Figure, Scores, Stage
from metapo.intervals import Interval
from metapo.pages import load_page

PAGE = "evolution.html"
X_NAME = "revision"
TEXT_HEADER = ("no.", "from step", "revision", "criteria", "words", "per criterion", "points")
SCORE_HEADER = ("no.", "unscored", "score", "spread", "pairs told apart", "against the first")
SAID = {
    Word.STRICTER: "it is stricter than the first",
    Word.MILDER: "it is milder than the first",
    Word.UNTOLD: "whether it is stricter than the first can't be told",
}
Row = tuple[str, ...]


@dataclass(frozen=True)
class ChartView:
    """A chart, what it shows, and the same in words."""

    title: str
    chart: DotChart
    words: str


@dataclass(frozen=True)
class ClusterView:
    """One lineage as the page shows it; `name` is empty where prompts have no clusters."""

    name: str
    outcome: str
    charts: tuple[ChartView, ...]
    tables: tuple[tuple[Row, ...], ...]


def render_page(title: str, evolutions: Mapping[str, Sequence[Stage]], judged: str) -> str:
    """The page on the lineages by cluster; `judged` says which rollouts who scored, "" for nobody. Equal figures give
    an equal page. Raises MissingExtra."""
    clusters = [_view(name, stages) for name, stages in evolutions.items()]
    return load_page(PAGE, "metapo.evals").render(
        title=title, clusters=clusters, judged=judged, version=version("metapo")
    )


def tables(stages: Sequence[Stage]) -> tuple[tuple[Row, ...], ...]:
    """The table of the texts, and, where rollouts were judged, that of the scores; the header comes first."""
    text = (TEXT_HEADER, *(_text_row(stage) for stage in stages))
    if not any(stage.scores or stage.n_unscored for stage in stages):
        return (text,)
    return text, (SCORE_HEADER, *(_score_row(stage) for stage in stages))


def describe(stages: Sequence[Stage]) -> str:
    """What became of the rubric from its first revision to its last, and whether that can be told."""
    if len(stages) < 2:
        return "The rubric never changed."
    first, last = stages[0], stages[-1]
    told = f"{first.text.n_criteria} to {last.text.n_criteria} criteria, {first.text.words} to {last.text.words} words."
    if last.scores is None:
        return told
    moved = f"{last.scores.mean.change:+.2f}{_interval(last.scores.mean.change_interval)}"
    return f"{told} The last revision moves the score of the same rollouts by {moved}: {SAID[last.scores.word]}."


def _text_row(stage: Stage) -> Row:
    text = stage.text
    points = f"{text.min_points:g} to {text.max_points:g}"
    counts = (str(text.n_criteria), str(text.words), f"{text.words_per_criterion:.1f}")
    return (str(stage.number), str(stage.step), stage.revision.short_id, *counts, points)


def _score_row(stage: Stage) -> Row:
    scores = stage.scores
    if scores is None:
        return (str(stage.number), str(stage.n_unscored), "none", "none", "none", "none")
    figures = [f"{f.value:.2f}{_interval(f.interval)}" for f in (scores.mean, scores.spread, scores.told_apart)]
    return (str(stage.number), str(stage.n_unscored), *figures, _against_first(stage.number, scores))


def _against_first(number: int, scores: Scores) -> str:
    if number == 1:
        return ""
    return f"{scores.mean.change:+.2f}{_interval(scores.mean.change_interval)} {scores.word.value}"


def _interval(interval: Interval | None) -> str:
    return "" if interval is None else f" [{interval.low:.2f}, {interval.high:.2f}]"


def _view(name: str, stages: Sequence[Stage]) -> ClusterView:
    return ClusterView(name, describe(stages), tuple(_charts(stages)), tables(stages))


def _charts(stages: Sequence[Stage]) -> list[ChartView]:
    texts = [stage.text for stage in stages]
    charts = [
        _chart("Criteria", {"": [Mark(t.n_criteria) for t in texts]}, whole=True),
        _chart("Words in the rubric", {"": [Mark(t.words) for t in texts]}, whole=True),
        _chart("Words per criterion", {"": [Mark(t.words_per_criterion) for t in texts]}),
        _chart("Points", {"most": [Mark(t.max_points) for t in texts], "fewest": [Mark(t.min_points) for t in texts]}),
    ]
    scores = [stage.scores for stage in stages if stage.scores is not None]
    if scores:
        whole = (0.0, 1.0)
        charts += [
            _chart("Score of the same rollouts", {"": [_mark(s.mean) for s in scores]}, ends=whole),
            _chart("Standard deviation of the scores", {"": [_mark(s.spread) for s in scores]}),
            _chart("Pairs told apart", {"": [_mark(s.told_apart) for s in scores]}, ends=whole),
        ]
    return charts


def _chart(
    title: str, measures: Mapping[str, Sequence[Mark]], *, whole: bool = False, ends: tuple[float, float] | None = None
) -> ChartView:
    course = "; ".join(
        f"{name} {marks[0].value:.4g} to {marks[-1].value:.4g}".strip() for name, marks in measures.items()
    )
    words = f"{title} by revision, first to last: {course}."
    return ChartView(title, dot_chart(measures, X_NAME, whole=whole, ends=ends), words)


def _mark(figure: Figure) -> Mark:
    return Mark(figure.value, *((figure.interval.low, figure.interval.high) if figure.interval else ()))
