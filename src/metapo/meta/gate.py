"""The gate: a proposal takes its parent's place only if it judges better on evidence that it has not seen.

    form       it is valid, within its limits, and no criterion repeats another
    fresh      it orders pairs of known order from unseen rollouts strictly better than its parent
    anchors    it orders what people pinned, and what earlier proposals were accepted for, no worse
    attack     bad completions written to score high under it stay below the honest ones, or below as many as before

The default is no change: what can't be measured is not passed. Why a gate: docs/meta.md.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from metapo.meta.change import Change, Move, place
from metapo.meta.paired import in_one_reading
from metapo.meta.pairs import Pair, Source
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
    def gaps(self) -> list[float | None]:
        """By how much the better completion of each pair scores higher; None where one has no reward."""
        return [_gap(b.reward.value, w.reward.value) for b, w in zip(self.better, self.worse, strict=True)]

    @property
    def ordered(self) -> list[tuple[Grades, Grades]]:
        """Each pair's grades, criterion by criterion."""
        return [(_grades(b), _grades(w)) for b, w in zip(self.better, self.worse, strict=True)]


def _gap(better: float | None, worse: float | None) -> float | None:
    return None if better is None or worse is None else better - worse


def _grades(scored: Scored) -> Grades:
    return {part.criterion_id: part.fraction for part in scored.reward.parts}


@dataclass(frozen=True)
class Exam:
    """What all proposals of a meta step are measured by: pairs that none of them has seen, fresh ones and such as were
    fresh for earlier proposals, and the anchors."""

    fresh: tuple[Pair, ...]
    anchors: tuple[Pair, ...] = ()
    earlier: tuple[Pair, ...] = ()

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
    """The checks in order, up to the first that failed; `fresh` is the proposal's measurement of the fresh pairs, and
    `gain` by how much more likely it makes their order than its parent does, in nats per pair."""

    findings: tuple[Finding, ...]
    fresh: Measured | None = None
    gain: float = 0.0

    @property
    def accepted(self) -> bool:
        return all(f.passed for f in self.findings)

    @property
    def reason(self) -> str:
        """Why it was refused, or what spoke for it."""
        failed = [f for f in self.findings if not f.passed]
        return "; ".join(f"{f.check.value}: {f.detail}" for f in (failed or self.findings))


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
        if not any(f.check is Check.FRESH for f in findings):
            return Report(tuple(findings))
        gain = (await self._change(child, self.exam.fresh)).likelier
        return Report(tuple(findings), await self.measure(child, self.exam.fresh), gain)

    async def prefers(self, other: Rubric) -> str:
        """Why another rubric judges the fresh pairs better than the parent; empty where it doesn't clearly, or judges
        the pinned pairs worse. The archive is not asked: it holds what spoke for the parent."""
        change = await self._change(other, self.exam.fresh)
        if change.n < self._settings.min_pairs or change.gap or not change.better:
            return ""
        pinned = await self._change(other, self.exam.pinned if self._settings.anchors else ())
        return "" if pinned.gap or pinned.worse else change.weighed

    async def won(self, child: Rubric) -> list[Pair]:
        """The fresh pairs that the child puts in the right order and the parent does not."""
        before, after = await self.measure(self.parent, self.exam.fresh), await self.measure(child, self.exam.fresh)
        gaps = zip(self.exam.fresh, before.gaps, after.gaps, strict=True)
        return [pair for pair, b, a in gaps if b is not None and a is not None and place(a) == 1 > place(b)]

    async def _fresh(self, child: Rubric) -> Finding:
        change = await self._change(child, self.exam.fresh)
        if change.n < self._settings.min_pairs:
            detail = f"only {change.n} pairs of known order have verdicts, {self._settings.min_pairs} are needed"
            return Finding(Check.FRESH, False, detail, n=change.n)
        if change.gap:
            return Finding(Check.FRESH, False, change.gap, n=change.n)
        told, weighed = change.weighed, self.exam.fresh
        if change.hopeful and self.exam.earlier:
            weighed += self.exam.earlier
            change = change.joined(await self._change(child, self.exam.earlier))
            if change.gap:
                return Finding(Check.FRESH, False, change.gap, n=change.n)
            told += f"; with those of earlier meta steps, {change.weighed}"
        passed = change.better and change.joined(await self._change(child, self._anchors_beside(weighed))).better
        return _finding(Check.FRESH, passed, change, told)

    def _anchors_beside(self, pairs: Sequence[Pair]) -> tuple[Pair, ...]:
        """The anchors that are not among the pairs. They can only speak against a proposal: it has to be better without
        them as well."""
        known = {pair.key for pair in pairs}
        anchors = self.exam.anchors if self._settings.anchors else ()
        return tuple(pair for pair in anchors if pair.key not in known)

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
        return _finding(Check.ANCHORS, not change.worse, change, change.told)

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

    async def _change(self, child: Rubric, pairs: Sequence[Pair], source: Source | None = None) -> Change:
        """From parent to child, on the pairs (of one source, if it is named) for which both gave all scores."""
        before, after = await self.measure(self.parent, pairs), await self.measure(child, pairs)
        gaps = zip(pairs, before.gaps, after.gaps, strict=True)
        known = [(p, b, a) for p, b, a in gaps if b is not None and source in (None, p.source)]
        moves = [Move(digest([p.prompt, p.better]), b, a) for p, b, a in known if a is not None]
        return Change(tuple(moves), len(known))


def _finding(check: Check, passed: bool, change: Change, told: str) -> Finding:
    return Finding(check, passed, told, change.share_before, change.share_after, change.n)
