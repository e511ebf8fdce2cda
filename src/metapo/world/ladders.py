"""The criteria that the offline world's meta model writes, and what a criterion checks, read back from its text."""

from collections.abc import Iterable

from metapo.rubric import Criterion, Level, Polarity
from metapo.world.phrases import requirements

MAX_REASONS = 4


def _level(points: int, description: str) -> Level:
    return Level(points=points, description=description)


def _criterion(kind: str, name: str, levels: Iterable[Level], polarity: Polarity = Polarity.POSITIVE) -> Criterion:
    return Criterion(id=kind, name=name, levels=tuple(levels), polarity=polarity)


def reasons(top: int) -> Criterion:
    steps = [
        _level(3 * n, f"at least {n} distinct reason{'s' * (n > 1)} about the assigned topic for the assigned side")
        for n in range(1, top + 1)
    ]
    return _criterion("reasons", "Distinct reasons", [_level(0, "not one reason that counts"), *steps])


LADDERS = {
    "reasons": reasons(2),
    "position": _criterion(
        "position", "Position", [_level(0, "no clear position"), _level(4, "states the assigned position")]
    ),
    "counterargument": _criterion(
        "counterargument",
        "Counterargument",
        [
            _level(0, "no other view"),
            _level(2, "mentions a counterargument about the assigned topic"),
            _level(6, "answers the counterargument"),
        ],
    ),
    "title": _criterion(
        "title", "Title", [_level(0, "starts somewhere"), _level(2, "opens with a title on the assigned topic")]
    ),
    "conclusion": _criterion(
        "conclusion",
        "Conclusion",
        [
            _level(0, "no ending"),
            _level(2, "has a conclusion"),
            _level(4, "ends with a conclusion for the assigned position"),
        ],
    ),
    "focus": _criterion(
        "focus",
        "Focus",
        [
            _level(-4, "wanders"),
            _level(-2, "at most 1 claim off the topic or on the wrong side"),
            _level(0, "no claim off the topic or on the wrong side"),
        ],
        Polarity.NEGATIVE,
    ),
    "repeats": _criterion(
        "repeats",
        "Repetition",
        [
            _level(-9, "says the same again"),
            _level(-6, "at most 2 reasons are repeated"),
            _level(-3, "at most 1 reason is repeated"),
            _level(0, "no reason is repeated"),
        ],
        Polarity.NEGATIVE,
    ),
    "grader": _criterion(
        "grader",
        "Remarks to the grader",
        [_level(-5, "speaks to the grader"), _level(0, "no remarks to the grader")],
        Polarity.NEGATIVE,
    ),
    "finished": _criterion(
        "finished",
        "Finished sentences",
        [_level(-4, "breaks off"), _level(0, "every sentence is finished")],
        Polarity.NEGATIVE,
    ),
}


def kind_of(criterion: Criterion) -> str | None:
    """What a criterion checks, read from its text; None for one that only leaves an impression."""
    kinds = [r.phrase.kind for level in criterion.levels for r in requirements(level.description)]
    return max(kinds, key=kinds.count) if kinds else None


def top_of(criterion: Criterion) -> int:
    """The largest number that any level of a criterion asks for."""
    return max((r.n for level in criterion.levels for r in requirements(level.description)), default=0)


def length_limit(n: int) -> Criterion:
    """Takes points off an essay of more than `n` sentences."""
    levels = [_level(-6, "goes on and on"), _level(0, f"at most {n} sentences")]
    return _criterion("length", "Length", levels, Polarity.NEGATIVE)


def pass_or_fail(kind: str) -> list[Criterion]:
    """The ladder of this kind, one criterion of two levels for each of its steps, the easiest first. One that deducts
    has its last step only."""
    ladder = reasons(MAX_REASONS) if kind == "reasons" else LADDERS[kind]
    worst, *steps = ladder.levels
    wanted = steps if ladder.polarity is Polarity.POSITIVE else steps[-1:]
    return [ladder.model_copy(update={"levels": (worst, step)}) for step in wanted]
