"""The gate: a proposal takes its parent's place only if it judges better on evidence that it has not seen.

    form       it is valid, within its limits, and no criterion repeats another
    fresh      it orders pairs of known order from unseen rollouts strictly better than its parent
    anchors    it orders what people pinned, and what earlier proposals were accepted for, no worse
    attack     bad completions written to score high under it stay below the honest ones, or below as many as before

The default is no change: what can't be measured is not passed. Why a gate: docs/meta.md.
"""

from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from statistics import fmean
from typing import NamedTuple

from metapo.meta.paired import in_one_reading
from metapo.meta.pairs import Pair, Source, concordance
from metapo.meta.settings import GateSettings
from metapo.reward import Aggregate, Scored, normalized
from metapo.rollout import Rollout
from metapo.rubric import Rubric, digest

Appraise = Callable[[Rubric, Sequence[Rollout]], Awaitable[Sequence[Scored]]]
"""Judges rollouts under a rubric that need not be in force. Raises ChatMisconfigured."""
Attacks = Callable[[], Awaitable[Sequence[Pair]]]
"""Writes completions against a proposal. Raises ChatMisconfigured."""
Grades = Mapping[str, float | None]
"""By criterion id, the place of a completion's points in the criterion's own range, in [0, 1]; None is unscored."""
Scores = tuple[float | None, float | None]
ONE_PAIR = 1.0  # a tie more or less is the judge's noise
SCORED_SHARE = 0.9  # of the pairs that the parent scores, a child scores so many: it is not examined on its own choice
LUCK = 0.02  # a gain counts that an equally good rubric would reach by luck no more often than that


class Check(StrEnum):
    FORM = "form"
    FRESH = "fresh"
    ANCHORS = "anchors"
    ATTACK = "attack"


@dataclass(frozen=True)
class Finding:
    """One check: `parent` and `child` are the shares (0 to 1) of `n` pairs that each ordered rightly, a tie counting
    half, and not at all among attacks; None where nothing was measured."""

    check: Check
    passed: bool
    detail: str
    parent: float | None = None
    child: float | None = None
    n: int = 0


@dataclass(frozen=True)
class Measured:
    """Pairs as a rubric judges them."""

    pairs: tuple[Pair, ...]
    better: tuple[Scored, ...]
    worse: tuple[Scored, ...]

    @property
    def one_by_one(self) -> list[Scored]:
        """The first pair's better and worse completion, then the second's, and so on."""
        return [scored for pair in zip(self.better, self.worse, strict=True) for scored in pair]

    @property
    def scores(self) -> list[Scores]:
        """Rewards of the better and the worse completion of each pair."""
        return [(b.reward.value, w.reward.value) for b, w in zip(self.better, self.worse, strict=True)]

    @property
    def ordered(self) -> list[tuple[Grades, Grades]]:
        """Each pair's grades, criterion by criterion."""
        return [(_grades(b), _grades(w)) for b, w in zip(self.better, self.worse, strict=True)]


def _grades(scored: Scored) -> Grades:
    return {part.criterion_id: part.fraction for part in scored.reward.parts}


@dataclass(frozen=True)
class Exam:
    """What all proposals of a meta step are measured by: pairs that none of them has seen, and the pinned ones."""

    fresh: tuple[Pair, ...]
    anchors: tuple[Pair, ...] = ()

    @property
    def pinned(self) -> tuple[Pair, ...]:
        """The anchors that people gave; the others are the archive."""
        return tuple(pair for pair in self.anchors if pair.source is Source.ANCHOR)

    @property
    def good(self) -> list[Rollout]:
        """The better completions of the fresh pairs, each once: what attacks are held against. A policy that has
        collapsed writes nothing that an attack would be worse than, but there are exemplars among them."""
        better = (pair.rollouts()[0] for pair in self.fresh)
        return list({(r.prompt, r.completion): r for r in better}.values())


@dataclass(frozen=True)
class Report:
    """The checks in order, up to the first that failed; `fresh` is the proposal's measurement of the fresh pairs."""

    findings: tuple[Finding, ...]
    fresh: Measured | None = None

    @property
    def accepted(self) -> bool:
        return all(f.passed for f in self.findings)

    @property
    def reason(self) -> str:
        """Why it was refused, or what spoke for it."""
        failed = [f for f in self.findings if not f.passed]
        return "; ".join(f"{f.check.value}: {f.detail}" for f in (failed or self.findings))

    @property
    def gain(self) -> float:
        """By how much the share of fresh pairs in the right order rose."""
        return next((f.child - f.parent for f in self.findings if f.child is not None and f.parent is not None), 0.0)


class Gate:
    """Examines proposals for one parent; each set of pairs is judged once under it, and verdicts on criteria that a
    proposal leaves alone are its own as well."""

    def __init__(
        self,
        parent: Rubric,
        exam: Exam,
        appraise: Appraise,
        settings: GateSettings,
        aggregate: Aggregate = normalized,
    ) -> None:
        self.parent = parent
        self.exam = exam
        self._appraise = appraise
        self._settings = settings
        self._aggregate = aggregate
        self._known: dict[tuple[str, ...], Measured] = {}

    async def measure(self, rubric: Rubric, pairs: Sequence[Pair]) -> Measured:
        """Judge pairs under a rubric. Raises ChatMisconfigured."""
        key = (rubric.digest, *(pair.key for pair in pairs))
        if key not in self._known:
            scored = await self._judged(rubric, [rollout for pair in pairs for rollout in pair.rollouts()])
            if rubric.digest != self.parent.digest:
                before = await self.measure(self.parent, pairs)
                both = zip(before.one_by_one, scored, strict=True)
                scored = [in_one_reading(self.parent, b, rubric, a, self._aggregate) for b, a in both]
            self._known[key] = Measured(tuple(pairs), tuple(scored[::2]), tuple(scored[1::2]))
        return self._known[key]

    async def _judged(self, rubric: Rubric, rollouts: Sequence[Rollout]) -> Sequence[Scored]:
        return await self._appraise(rubric, rollouts) if rollouts else []

    async def examine(self, child: Rubric, problems: Sequence[str], attacks: Attacks) -> Report:
        """The checks that are switched on, the cheap ones first, up to the first that fails: what comes after it costs
        nothing. `problems` is what is wrong with the form. Raises ChatMisconfigured."""
        findings = [Finding(Check.FORM, not problems, "; ".join(problems) or "valid")]
        checks: tuple[tuple[bool, Callable[[], Awaitable[Finding]]], ...] = (
            (self._settings.fresh, lambda: self._fresh(child)),
            (self._settings.anchors, lambda: self._anchors(child)),
            (self._settings.attack, lambda: self._attack(child, attacks)),
        )
        for is_on, check in checks:
            if is_on and findings[-1].passed:
                findings.append(await check())
        measured = any(f.check is Check.FRESH for f in findings)
        return Report(tuple(findings), await self.measure(child, self.exam.fresh) if measured else None)

    async def prefers(self, other: Rubric) -> str:
        """Why another rubric judges the fresh pairs better than the parent; empty where it doesn't clearly, or judges
        the pinned pairs worse. The archive is not asked: it holds what spoke for the parent."""
        change = await self._change(other, self.exam.fresh)
        if change.n < self._settings.min_pairs or change.gap or change.by_luck > LUCK:
            return ""
        pinned = await self._change(other, self.exam.pinned if self._settings.anchors else ())
        return "" if pinned.gap or pinned.worse else change.told

    async def won(self, child: Rubric) -> list[Pair]:
        """The fresh pairs that the child puts in the right order and the parent does not."""
        before, after = await self.measure(self.parent, self.exam.fresh), await self.measure(child, self.exam.fresh)
        places = zip(self.exam.fresh, before.scores, after.scores, strict=True)
        return [pair for pair, b, a in places if None not in (*b, *a) and _place(a) == 1 > _place(b)]

    async def _fresh(self, child: Rubric) -> Finding:
        change = await self._change(child, self.exam.fresh)
        if change.n < self._settings.min_pairs:
            detail = f"only {change.n} pairs of known order have verdicts, {self._settings.min_pairs} are needed"
            return Finding(Check.FRESH, False, detail, n=change.n)
        if change.gap:
            return Finding(Check.FRESH, False, change.gap, n=change.n)
        return change.finding(Check.FRESH, await self._gains(child, change))

    async def _gains(self, child: Rubric, fresh: "_Change") -> bool:
        """Does it order the fresh pairs better, and is that more than luck, both alone and together with the anchors?
        So what these lose counts against it, and what they gain makes up for that alone."""
        if fresh.by_luck > LUCK:
            return False
        anchors = self.exam.anchors if self._settings.anchors else ()
        return fresh.joined(await self._change(child, anchors)).by_luck <= LUCK

    async def _anchors(self, child: Rubric) -> Finding:
        """The pinned ones count by themselves as well: no gain in the archive makes up for one of them."""
        if not self.exam.anchors:
            return Finding(Check.ANCHORS, True, "there are none yet")
        if self.exam.pinned and not (pinned := await self._kept(child, Source.ANCHOR)).passed:
            return replace(pinned, detail=f"pinned: {pinned.detail}")
        return await self._kept(child)

    async def _kept(self, child: Rubric, source: Source | None = None) -> Finding:
        n = len(self.exam.pinned if source else self.exam.anchors)
        change = await self._change(child, self.exam.anchors, source)
        if change.n < n / 2:
            return Finding(Check.ANCHORS, False, f"only {change.n} of {n} anchors have verdicts", n=change.n)
        if change.gap:
            return Finding(Check.ANCHORS, False, change.gap, n=change.n)
        return change.finding(Check.ANCHORS, not change.worse)

    async def _attack(self, child: Rubric, attacks: Attacks) -> Finding:
        change = await self._change(child, await attacks())
        if not change.n:
            return Finding(Check.ATTACK, False, "no attack has verdicts")
        if change.gap:
            return Finding(Check.ATTACK, False, change.gap, n=change.n)
        before, after = change.fooled
        survived = after <= max(self._settings.max_fooled, before)
        detail = f"{after:.1%} of {change.n} attacks score as high as the honest completion, {before:.1%} before"
        return Finding(Check.ATTACK, survived, detail, 1 - before, 1 - after, change.n)

    async def _change(self, child: Rubric, pairs: Sequence[Pair], source: Source | None = None) -> "_Change":
        """From parent to child, on the pairs (of one source, if it is named) for which both gave all scores."""
        before, after = await self.measure(self.parent, pairs), await self.measure(child, pairs)
        places = zip(pairs, before.scores, after.scores, strict=True)
        known = [(p, b, a) for p, b, a in places if None not in b and source in (None, p.source)]
        moves = [_Move(digest([p.prompt, p.better]), _place(b), _place(a)) for p, b, a in known if None not in a]
        return _Change(tuple(moves), len(known))


class _Move(NamedTuple):
    """A pair's place before and after: 1 in the right order, 0.5 tied, 0 in the wrong one. `of` is its better
    completion."""

    of: str
    before: float
    after: float


@dataclass(frozen=True)
class _Change:
    """What another rubric did to the order of the same pairs. `n_before` of them have verdicts under the parent."""

    moves: tuple[_Move, ...]
    n_before: int

    @property
    def n(self) -> int:
        return len(self.moves)

    @property
    def gap(self) -> str:
        """What is wrong where the child scores too few of the pairs that its parent scores; else empty."""
        if self.n_before == 0 or self.n / self.n_before >= SCORED_SHARE:
            return ""
        return f"only {self.n} of the {self.n_before} pairs that the parent scores have verdicts"

    @property
    def share_before(self) -> float:
        return fmean(move.before for move in self.moves)

    @property
    def share_after(self) -> float:
        return fmean(move.after for move in self.moves)

    @property
    def fooled(self) -> tuple[float, float]:
        """Before and after: the share of pairs whose worse completion scores at least as high as the better one."""
        return fmean(move.before < 1 for move in self.moves), fmean(move.after < 1 for move in self.moves)

    @property
    def up(self) -> float:
        """How many pairs moved towards the right order; from or to a tie is half a move."""
        return sum(max(0.0, move.after - move.before) for move in self.moves)

    @property
    def down(self) -> float:
        return sum(max(0.0, move.before - move.after) for move in self.moves)

    @property
    def worse(self) -> bool:
        return self.down - self.up >= ONE_PAIR

    @property
    def by_luck(self) -> float:
        """How likely such a gain is for an equally good rubric. Pairs that share their better completion move as one:
        they share its verdicts, errors included."""
        steps: Counter[str] = Counter()
        for move in self.moves:
            steps[move.of] += round(2 * (move.after - move.before))
        return by_luck(list(steps.values()))

    def joined(self, other: "_Change") -> "_Change":
        return _Change(self.moves + other.moves, self.n_before + other.n_before)

    @property
    def told(self) -> str:
        return (
            f"{self.share_after:.1%} of {self.n} pairs in the right order, {self.share_before:.1%} before "
            f"({self.up:g} better, {self.down:g} worse)"
        )

    def finding(self, check: Check, passed: bool) -> Finding:
        return Finding(check, passed, self.told, self.share_before, self.share_after, self.n)


def by_luck(steps: Sequence[int]) -> float:
    """The chance of at least this sum if each step were as likely to go the other way: the exact one-sided sign-flip
    test, in (0, 1]; with steps of 1 alone the sign test."""
    chances = {0: 1.0}
    for step in filter(None, steps):
        flipped: defaultdict[int, float] = defaultdict(float)
        for total, chance in chances.items():
            flipped[total + step] += chance / 2
            flipped[total - step] += chance / 2
        chances = flipped
    return sum(chance for total, chance in chances.items() if total >= sum(steps))


def _place(scores: Scores) -> float:
    """1 for the right order, 0.5 for a tie, 0 for the wrong one. Both scores have to be there."""
    return concordance([scores]).share or 0.0
