"""Which rollouts a meta step looks at.

    random       as in the paper: uniform, without replacement
    thirds       as many of the low, the mid and the high third by score (the paper's math task)
    contrast     beside what the policy wrote to the same prompt before training moved it
    suspicious   scored high, and yet something speaks against them
    mixed        a quarter of each

All but `random` count near-duplicates once, and let recent steps weigh more: RECENCY_HALF_LIFE steps halve a
rollout's chance in a draw, and its place in a ranking. Where a selection finds too few, the rest is drawn.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import cycle
from operator import itemgetter
from random import Random

from metapo.audit.detectors import Detector
from metapo.meta.likeness import ALIKE, likeness, shingles, without_duplicates
from metapo.meta.suspicion import Scene, score_of
from metapo.reward import Scored
from metapo.rubric import Rubric

RECENCY_HALF_LIFE = 10


@dataclass(frozen=True)
class Evidence:
    """What a meta step may look at: training rollouts that have a reward.

    `recent` are those since the last meta step, oldest first; `earlier` some from before it, which tell what is new.
    `reference` holds, by prompt, what the policy wrote before training moved it. `rubric` is the one in force: without
    it no detector can tell who repeats its words.
    """

    recent: Sequence[Scored]
    earlier: Sequence[Scored] = ()
    reference: Mapping[str, Scored] = field(default_factory=dict)
    rubric: Rubric | None = None


@dataclass(frozen=True)
class Sample:
    """One rollout for the meta model to read: why it was chosen, what detectors flagged, and what it stands against."""

    scored: Scored
    why: str = ""
    flags: tuple[Detector, ...] = ()
    against: Scored | None = None


Select = Callable[[Evidence, int, Random], list[Sample]]
"""At most so many samples, no rollout twice; the same for equal evidence and an `rng` in the same state."""


def random_sample(evidence: Evidence, n: int, rng: Random) -> list[Sample]:
    """`n` recent rollouts drawn without replacement, all where there are fewer; nothing is said of them (the paper)."""
    return [Sample(s) for s in rng.sample(list(evidence.recent), min(n, len(evidence.recent)))]


@dataclass(frozen=True)
class _Pool:
    """What the other selections choose from: distinct rollouts, in the order in which a draw brought them."""

    evidence: Evidence
    scene: Scene
    newest: int
    drawn: Sequence[Scored]

    @classmethod
    def of(cls, evidence: Evidence, rng: Random) -> "_Pool":
        distinct = _distinct(evidence.recent)
        newest = max((s.rollout.step for s in distinct), default=0)
        # The order of arrival in a race with these rates is a weighted draw without replacement.
        arrivals = [(rng.expovariate(_recency(s, newest)), s) for s in distinct]
        before = [*evidence.earlier, *evidence.reference.values()]
        scene = Scene(evidence.recent, distinct, before, evidence.rubric)
        return cls(evidence, scene, newest, [s for _, s in sorted(arrivals, key=itemgetter(0))])

    def ranked(self, samples: Iterable[tuple[float, Sample]]) -> list[Sample]:
        """By value times recency, highest first; every prompt's first before any prompt's second. Equal ones stay in
        order."""
        ranked = sorted(samples, key=lambda vs: -vs[0] * _recency(vs[1].scored, self.newest))
        n_seen: Counter[str] = Counter()
        rounds = []
        for _, sample in ranked:
            rounds.append((n_seen[sample.scored.rollout.prompt], sample))
            n_seen[sample.scored.rollout.prompt] += 1
        return [sample for _, sample in sorted(rounds, key=itemgetter(0))]


_Hand = Callable[[_Pool], list[Sample]]
"""The rollouts that a selection would take from a pool, first choice first."""


def _thirds(pool: _Pool) -> list[Sample]:
    ranked = sorted(pool.drawn, key=score_of)
    place = {id(s): 3 * i // len(ranked) for i, s in enumerate(ranked)}

    def third(number: int, name: str) -> list[Sample]:
        members = [s for s in pool.drawn if place[id(s)] == number]
        return [Sample(s, f"scored {score_of(s):.2f}, in the {name} third") for s in members]

    hands = third(2, "high"), third(0, "low"), third(1, "mid")
    return _by_turns(len(ranked), hands, [s for hand in hands for s in hand])


def _contrast(pool: _Pool) -> list[Sample]:
    """Those whose score moved most against the reference's; none that is ALIKE to it, as it shows nothing new."""
    moved = []
    for s in pool.drawn:
        then = pool.evidence.reference.get(s.rollout.prompt)
        if then and likeness(shingles(s.rollout.completion), shingles(then.rollout.completion)) < ALIKE:
            why = f"scored {score_of(s):.2f}, the reference policy {score_of(then):.2f}"
            moved.append((abs(score_of(s) - score_of(then)), Sample(s, why, against=then)))
    return pool.ranked(moved)


def _suspicious(pool: _Pool) -> list[Sample]:
    """Those with any sign against them, by their score times the strength of the signs."""
    found = []
    for s in pool.drawn:
        signs = pool.scene.signs(s)
        if (suspicion := score_of(s) * sum(sign.strength for sign in signs)) > 0:
            found.append((suspicion, Sample(s, "; ".join([f"scored {score_of(s):.2f}", *(w.words for w in signs)]))))
    return pool.ranked(found)


def _rest(pool: _Pool) -> list[Sample]:
    return [Sample(s, "drawn at random") for s in pool.drawn]


def _select(evidence: Evidence, n: int, rng: Random, *, hands: Sequence[_Hand]) -> list[Sample]:
    """From each hand in turn; what detectors flag is told of every sample."""
    pool = _Pool.of(evidence, rng)
    chosen = _by_turns(n, [hand(pool) for hand in hands], _rest(pool))
    return [replace(sample, flags=pool.scene.flags(sample.scored)) for sample in chosen]


SELECTS: dict[str, Select] = {
    "random": random_sample,
    "thirds": partial(_select, hands=(_thirds,)),
    "contrast": partial(_select, hands=(_contrast,)),
    "suspicious": partial(_select, hands=(_suspicious,)),
    "mixed": partial(_select, hands=(_suspicious, _contrast, _thirds, _rest)),
}


def _by_turns(n: int, hands: Iterable[Sequence[Sample]], rest: Sequence[Sample]) -> list[Sample]:
    """Up to `n` samples, one of each hand in turn, no rollout twice; a hand that has none left takes from the rest."""
    taken: dict[int, Sample] = {}
    for hand in cycle([iter([*hand, *rest]) for hand in hands]):
        sample = next((s for s in hand if id(s.scored) not in taken), None)
        if sample is None or len(taken) >= n:
            break
        taken[id(sample.scored)] = sample
    return list(taken.values())


def _distinct(recent: Sequence[Scored]) -> list[Scored]:
    """One rollout for each set of near-duplicates, the newest; of one step the best scored, for where the judge
    disagrees with itself, the higher score is the one to explain."""
    preferred = sorted(recent, key=lambda s: (-s.rollout.step, -score_of(s)))
    return [preferred[i] for i in without_duplicates([s.rollout for s in preferred])]


def _recency(scored: Scored, newest: int) -> float:
    """A rollout's weight, in (0, 1]: 1 for one of the newest step."""
    n_halvings = (newest - scored.rollout.step) / RECENCY_HALF_LIFE
    return math.exp2(-min(n_halvings, 1000))  # a float holds little more
