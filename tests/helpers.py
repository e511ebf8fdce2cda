"""Builders for values that tests read, and hypothesis strategies for values that they don't."""

import re

from hypothesis import strategies as st

from metapo.intervals import Interval
from metapo.rubric import (
    MAX_ABS_POINTS,
    MAX_WEIGHT,
    Criterion,
    Level,
    Outcome,
    Polarity,
    Reason,
    Rubric,
    Unscored,
    Verdict,
)


def criterion(criterion_id: str = "depth", points: tuple[int, ...] = (0, 2, 5), weight: float = 1.0) -> Criterion:
    """A criterion whose levels say no more than their points."""
    levels = tuple(Level(points=p, description=f"worth {p}") for p in points)
    polarity = Polarity.NEGATIVE if points[-1] <= 0 else Polarity.POSITIVE
    return Criterion(id=criterion_id, name=criterion_id.title(), levels=levels, weight=weight, polarity=polarity)


def rubric(*criteria: Criterion) -> Rubric:
    return Rubric(criteria=criteria or (criterion("depth"), criterion("style", (0, 1))))


def verdict(criterion_id: str, points: int) -> Verdict:
    return Verdict(criterion_id=criterion_id, points=points)


# What a reader could take for syntax, next to what it couldn't.
FRAGMENTS = (
    *("**", "__", "*", "# ", "### ", "- ", "- **5**: ", "**3**: x", "Score 5: ", "[4] ", "4-5 points - ", "5/5: "),
    *("(Example: ", "( Example: ", "Example: ", ")", "(", "Instruction: ", "weight: 2", "polarity: negative"),
    *("<b>", "</b>", "<", ">", "</", '"', "'", 'id="x"', "{{rubric}}", "{rubric}", "~~~~~~~~~~ completion", "```"),
    *("\n", "\r\n", "\t", "\u2028", "\x85", "\x0c", "\x1c", "\u00a0", "\u200b", "\x00", "\ufeff", "\ud800", "\\", "|"),
    *("good", "Criterion 1: ", "1. ", "---", "é", "漢字", "🙂", "\u0301", "\u202e", "İ", "ſ", "-5", "0", " "),
)
odd_texts = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=8), min_size=1, max_size=6).map("".join)
markup = re.compile(r"</?\s*(rubric|item)\b", re.IGNORECASE)
line_texts = odd_texts.filter(lambda t: t.strip() and not markup.search(t))
examples = line_texts.filter(lambda t: not re.search(r"\(\s*Example:", " ".join(t.split())))
ids = st.from_regex(r"\A[a-z0-9][a-z0-9_-]{0,8}\Z")
all_points = st.integers(-MAX_ABS_POINTS, MAX_ABS_POINTS)
all_weights = st.just(1.0) | st.floats(1e-6, MAX_WEIGHT)


@st.composite
def levels(draw: st.DrawFn, points: st.SearchStrategy[int] = all_points) -> tuple[Level, ...]:
    on_offer = sorted(draw(st.sets(points, min_size=2, max_size=5)))
    return tuple(Level(points=p, description=draw(line_texts), example=draw(st.just("") | examples)) for p in on_offer)


@st.composite
def criteria(
    draw: st.DrawFn,
    points: st.SearchStrategy[int] = all_points,
    weights: st.SearchStrategy[float] = all_weights,
) -> Criterion:
    """Any valid criterion; `negative` is drawn only where no level adds points."""
    drawn = draw(levels(points))
    return Criterion(
        id=draw(ids),
        name=draw(line_texts),
        instruction=draw(st.just("") | line_texts),
        levels=drawn,
        weight=draw(weights),
        polarity=draw(st.sampled_from(Polarity)) if drawn[-1].points <= 0 else Polarity.POSITIVE,
        pinned=draw(st.booleans()),
        evidence=draw(st.booleans()),
    )


any_criteria = criteria()


def rubrics(criterion_from: st.SearchStrategy[Criterion] = any_criteria) -> st.SearchStrategy[Rubric]:
    """Any valid rubric of up to four criteria."""
    unique = st.lists(criterion_from, min_size=1, max_size=4, unique_by=lambda c: c.id)
    return unique.map(lambda cs: Rubric(criteria=tuple(cs)))


@st.composite
def plain_criteria(draw: st.DrawFn) -> Criterion:
    """Criteria for arithmetic: points and weights vary, texts don't."""
    on_offer = sorted(draw(st.sets(st.integers(-100, 100), min_size=2, max_size=5)))
    return criterion(draw(ids), tuple(on_offer), draw(st.just(1.0) | st.floats(0.1, 10)))


@st.composite
def judged(draw: st.DrawFn) -> tuple[Rubric, list[Verdict]]:
    """A rubric and one verdict on each of its criteria, in its order."""
    drawn = draw(rubrics(plain_criteria()))
    return drawn, [verdict(c.id, draw(st.sampled_from(c.levels)).points) for c in drawn.criteria]


def unscored(criterion_id: str, reason: Reason = Reason.TIMEOUT) -> Outcome:
    return Unscored(criterion_id=criterion_id, reason=reason)


def ends(interval: Interval | None) -> tuple[float, float]:
    """Both ends of an interval that has to be there."""
    assert interval is not None
    return interval.low, interval.high
