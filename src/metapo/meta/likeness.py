"""Which completions say the same: near-duplicates, and how much of a text is new.

Texts are compared by their shingles, the runs of SHINGLE tokens that occur in them: exact, no index on disk, and a
fraction of a second for 640 essays. An edit distance would take a hundred times as long on so many pairs, and would
miss two essays that hold the same sentences in another order.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence, Set

from metapo.rollout import Rollout

SHINGLE = 3
ALIKE = 0.7  # one word in seventeen was changed
SHORT = 20

# Letters of scripts that may put no space between words count one by one; signs count, for they tell formulas apart.
_TOKEN = re.compile(r"[^\W\u0e00-\U0010ffff]+|\S")

Shingles = frozenset[tuple[str, ...]]


def shingles(text: str) -> Shingles:
    """Every run of SHINGLE tokens, whatever their case; a text of fewer tokens is one run, a blank one none."""
    tokens = _TOKEN.findall(text.casefold())
    runs = list(zip(*(tokens[i:] for i in range(SHINGLE)), strict=False))
    return frozenset(runs or ([tuple(tokens)] if tokens else []))


def likeness(a: Set[object], b: Set[object]) -> float:
    """Jaccard: the share of all members that both have, in [0, 1]; two empty sets are alike."""
    n_common = len(a & b)
    n_all = len(a) + len(b) - n_common
    return n_common / n_all if n_all else 1.0


def new_share(text: str, known: Set[tuple[str, ...]]) -> float:
    """The share of a text's shingles that are not known, in [0, 1]; 0 for a blank text."""
    own = shingles(text)
    return len(own - known) / len(own) if own else 0.0


def without_duplicates(rollouts: Sequence[Rollout]) -> list[int]:
    """The places of the rollouts whose completion is not ALIKE to an earlier one that was kept, in order.

    A completion of fewer than SHORT shingles repeats another only on the same prompt: "42" may be right here and
    wrong there.
    """
    return _distinct([_marks(rollout) for rollout in rollouts])


def _marks(rollout: Rollout) -> frozenset[object]:
    own = shingles(rollout.completion)
    return own if len(own) >= SHORT else frozenset((rollout.prompt, run) for run in own)


def _distinct(marks: Sequence[frozenset[object]]) -> list[int]:
    """The places of the sets that are not ALIKE to an earlier one that was kept, in order.

    Two sets of which ALIKE is common share one of their rarest members, so only those that do are compared; that
    loses none (prefix filtering: Chaudhuri, Ganti, Kaushik, A primitive operator for similarity joins, 2006).
    """
    n_holders = Counter(mark for own in marks for mark in own)
    by_rarity = {mark: i for i, mark in enumerate(sorted(n_holders, key=n_holders.__getitem__))}
    sets = [frozenset(by_rarity[mark] for mark in own) for own in marks]
    kept: list[int] = []
    holders: dict[int, list[int]] = defaultdict(list)
    for i, own in enumerate(sets):
        rarest = sorted(own)[: len(own) - math.ceil(ALIKE * len(own)) + 1] or [-1]
        rivals = {j for mark in rarest for j in holders[mark]}
        if not any(likeness(own, sets[j]) >= ALIKE for j in rivals):
            kept.append(i)
            for mark in rarest:
                holders[mark].append(i)
    return kept
