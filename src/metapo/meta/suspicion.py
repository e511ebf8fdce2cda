"""What speaks for a rollout that the judge was taken in by: detectors, the monitor, new phrases, a saturated group.

Each sign has a strength in [0, 1]; they add up. A sign alone proves nothing: it decides what the meta model reads.
"""

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median
from typing import NamedTuple

from metapo.audit.detectors import MIN_WORDS, Detector, detect
from metapo.audit.passage import Passage
from metapo.meta.likeness import Shingles, new_share, shingles
from metapo.reward import Scored
from metapo.rubric import Rubric

USUAL_TO_SHORT = 3
MIN_GAP = 0.1
FULL_GAP = 0.5
NEWER_THAN = 0.9
NOVEL = 0.5
SATURATED = 0.5


class Sign(NamedTuple):
    """`strength` in [0, 1]; `words` say to the meta model what was seen."""

    strength: float
    words: str


def score_of(scored: Scored) -> float:
    """The normalised reward, in [0, 1]. Raises ValueError for a rollout without a reward: it is no evidence."""
    if scored.reward.normalized is None:
        raise ValueError(
            f"a rollout of step {scored.rollout.step} has no reward; a meta step looks at scored ones only"
        )
    return scored.reward.normalized


@dataclass(frozen=True)
class Scene:
    """What rollouts are seen against: all `recent` ones, the `distinct` ones among them, those `before` them, and the
    `rubric` that they were scored by, whose words none should repeat."""

    recent: Sequence[Scored]
    distinct: Sequence[Scored]
    before: Sequence[Scored]
    rubric: Rubric | None = None

    def flags(self, scored: Scored) -> tuple[Detector, ...]:
        """The detectors that fire on a rollout, in the order of `Detector`."""
        rollout = scored.rollout
        found = detect(rollout.prompt, rollout.spoken, rubric=self.rubric, min_words=self.min_words)
        return tuple(flag.detector for flag in found)

    def signs(self, scored: Scored) -> list[Sign]:
        """What speaks against a rollout; empty if nothing does."""
        found = (self._flagged(scored), self._disputed(scored), self._novel(scored), self._saturated(scored))
        return [sign for sign in found if sign]

    @cached_property
    def min_words(self) -> int:
        """The least length of a completion to a prompt that asks for a long text.

        The detectors' own bound is for essays of some 300 words, and would flag every completion of a task with
        shorter ones. So it is a third of what is usual here, MIN_WORDS at most. What was usual before counts too:
        where the policy now writes titles only, a title is usual, and yet too short.
        """
        usual = [_usual_words(part) for part in (self.recent, self.before) if part]
        return int(min(MIN_WORDS, max(usual, default=0.0) / USUAL_TO_SHORT))

    @cached_property
    def _scores_by_group(self) -> dict[tuple[str, int], list[float]]:
        groups: dict[tuple[str, int], list[float]] = defaultdict(list)
        for s in self.recent:
            groups[s.rollout.prompt, s.rollout.step].append(score_of(s))
        return groups

    @cached_property
    def _known(self) -> Shingles:
        return frozenset().union(*(shingles(s.rollout.completion) for s in self.before))

    @cached_property
    def _new_shares(self) -> list[float]:
        return sorted(new_share(s.rollout.completion, self._known) for s in self.distinct)

    def _flagged(self, scored: Scored) -> Sign | None:
        flags = self.flags(scored)
        return Sign(1.0, f"detectors flag it: {', '.join(flags)}") if flags else None

    def _disputed(self, scored: Scored) -> Sign | None:
        """The judge gives at least MIN_GAP more than the monitor; below that, judges differ by chance."""
        monitor = scored.monitored.reward.normalized if scored.monitored else None
        if monitor is None or (gap := score_of(scored) - monitor) < MIN_GAP:
            return None
        return Sign(min(gap / FULL_GAP, 1.0), f"the monitor gives {monitor:.2f}")

    def _novel(self, scored: Scored) -> Sign | None:
        """More of its phrases are new than in NEWER_THAN of the distinct ones; nothing is, where nothing came before.

        Among all recent ones, a trick that most of them use would be new in too many to stand out.
        """
        if not self.before:
            return None
        share = new_share(scored.rollout.completion, self._known)
        if bisect_left(self._new_shares, share) < NEWER_THAN * len(self.distinct):
            return None
        return Sign(NOVEL * share, f"{share:.0%} of its phrases did not occur before")

    def _saturated(self, scored: Scored) -> Sign | None:
        scores = self._scores_by_group[scored.rollout.prompt, scored.rollout.step]
        if len(scores) < 2 or not math.isclose(min(scores), max(scores), abs_tol=1e-9):
            return None
        return Sign(SATURATED, f"all {len(scores)} completions of its group have this score")


def _usual_words(part: Sequence[Scored]) -> float:
    return median(Passage(s.rollout.spoken).n_words for s in part)
