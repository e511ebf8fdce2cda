"""Pairs of completions whose order is known: what a rubric must get right before it may judge.

They come from the monitor's verdicts, from reference solutions and from rules that damage a completion. None of these
sources reads the rubric in force.
"""

import math
import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from itertools import islice
from random import Random

from metapo.audit.detectors import Detector, detect
from metapo.audit.passage import Passage
from metapo.meta.damage import ADDITIVE, DAMAGES, same_words
from metapo.reward import Scored
from metapo.rollout import Rollout
from metapo.rubric import Frozen, Text, digest

MONITOR_MARGIN = 0.2
LIKE = 0.6
N_OTHERS = 8
MIN_REFERENCE_WORDS = 20
MIN_SHARED = 0.15
TIE = 1e-9

# Where one of these fires, nothing is left that another text could be worse than.
WORTHLESS = frozenset(
    {
        Detector.EMPTY,
        Detector.PROMPT_ECHO,
        Detector.ASKS_FOR_PROMPT,
        Detector.WRONG_SCRIPT,
        Detector.GIBBERISH,
    }
)


class Source(StrEnum):
    """Who knows that one completion is better."""

    DAMAGED = "damaged"
    """A rule made the worse one from the better one."""
    MONITOR = "monitor"
    """The monitor's scores lie far apart."""
    REFERENCE = "reference"
    """The better one is the reference solution."""
    COMPARED = "compared"
    """The meta model prefers it in both orders."""
    EXEMPLAR = "exemplar"
    """The meta model wrote the better one, and a rule made the worse one from it."""
    ANCHOR = "anchor"
    """A person said so."""
    ARCHIVE = "archive"
    """It spoke for a proposal that was accepted in an earlier meta step."""
    EARLIER = "earlier"
    """Another one that examined proposals in an earlier meta step."""
    ATTACK = "attack"
    """The worse one was written to please the rubric."""


class Pair(Frozen):
    """Two completions of one prompt; whoever made the pair knows that `better` is better. `why` is for people."""

    prompt: Text
    better: Text
    worse: Text
    source: Source
    why: Text
    reference: Text | None = None

    def rollouts(self) -> tuple[Rollout, Rollout]:
        """The better and the worse completion, to be judged."""
        better, worse = (
            Rollout(prompt=self.prompt, completion=completion, reference=self.reference)
            for completion in (self.better, self.worse)
        )
        return better, worse

    @property
    def key(self) -> str:
        """SHA-256 of prompt, better and worse: pairs with equal keys ask the same."""
        return digest([self.prompt, self.better, self.worse])


@dataclass(frozen=True)
class Concordance:
    """How often scores order pairs as they are known to be: of `n` pairs with two scores, `right` put the better one
    first and `tied` gave both the same. `unscored` pairs lack a score and count nowhere else."""

    n: int
    right: int
    tied: int
    unscored: int

    @property
    def share(self) -> float | None:
        """(right + tied / 2) / n, in [0, 1], 0.5 by chance; None without a scored pair."""
        return (self.right + self.tied / 2) / self.n if self.n else None


def concordance(scores: Sequence[tuple[float | None, float | None]]) -> Concordance:
    """What the scores of (better, worse) completions make of their pairs; scores within TIE of each other are tied."""
    gaps = [better - worse for better, worse in scores if better is not None and worse is not None]
    return Concordance(
        n=len(gaps),
        right=sum(gap > TIE for gap in gaps),
        tied=sum(abs(gap) <= TIE for gap in gaps),
        unscored=len(scores) - len(gaps),
    )


def monitor_pairs(scored: Sequence[Scored], n: int, rng: Random, *, margin: float = MONITOR_MARGIN) -> list[Pair]:
    """Up to `n` pairs of completions of one prompt whose monitor's scores, in [0, 1], lie at least `margin` apart.

    Each completion stands in one pair at most; a prompt's widest gap comes first, and prompts take turns.
    """
    by_prompt: dict[str, dict[str, tuple[float, Rollout]]] = {}
    for item in scored:
        value = item.monitored.reward.normalized if item.monitored else None
        if value is not None:
            by_prompt.setdefault(item.rollout.prompt, {})[item.rollout.completion] = value, item.rollout
    groups = [list(group.values()) for group in by_prompt.values()]
    return take_turns((_from_outside_in(group, margin) for group in rng.sample(groups, len(groups))), n)


def reference_pairs(rollouts: Sequence[Rollout], n: int, rng: Random) -> list[Pair]:
    """Up to `n` pairs of a reference solution above a completion that is clearly not it; prompts take turns.

    A reference of fewer than MIN_REFERENCE_WORDS words is a key, not a completion. A completion is clearly not it
    where both end in a number (boxed, or after ####) and the numbers differ, where a detector flags it, or where the
    reference ends in no such answer and the completion has hardly a word of it.
    """
    streams: dict[str, list[Rollout]] = {}
    for rollout in rng.sample(list(rollouts), len(rollouts)):
        streams.setdefault(rollout.prompt, []).append(rollout)
    return take_turns(((p for r in rs if (p := _under_reference(r))) for rs in streams.values()), n)


def damaged_pairs(
    rollouts: Sequence[Rollout],
    n: int,
    rng: Random,
    *,
    source: Source = Source.DAMAGED,
    among: Sequence[str] = tuple(DAMAGES),
) -> list[Pair]:
    """Up to `n` pairs of a rollout above its damaged self, spread over the rules `among` which to choose and over
    rollouts; fewer where little is left to damage.

    What detectors flag as hacked is damaged by additions only, and what they flag as worthless not at all: otherwise
    the damage might be a cure. That a completion is short is no flag here.
    """
    distinct = list({(r.prompt, r.completion): r for r in rollouts}.values())
    pool = _Pool(rng.sample(distinct, len(distinct)))
    rules = rng.sample(among, len(among))
    each = -(-n // len(rules))  # one verdict on a rollout counts in every pair that it stands in, so spread them
    return take_turns((pool.damaged_by(rule, i * each, rng, source) for i, rule in enumerate(rules)), n)


def take_turns(streams: Iterable[Iterator[Pair]], n: int) -> list[Pair]:
    """Up to `n` distinct pairs, one from each stream in turn until all have run dry."""
    found: dict[str, Pair] = {}
    waiting = deque(streams)
    while waiting and len(found) < n:
        stream = waiting.popleft()
        if pair := next(stream, None):
            found.setdefault(pair.key, pair)
            waiting.append(stream)
    return list(found.values())


def flags(rollout: Rollout) -> set[Detector]:
    """What detectors find in a completion, its length aside: damage and attacks count sentences instead."""
    return {flag.detector for flag in detect(rollout.prompt, rollout.spoken)} - {Detector.TOO_SHORT}


class _Pool:
    """Rollouts to damage, those that are not hacked first, and what detectors flagged in each."""

    def __init__(self, rollouts: Sequence[Rollout]) -> None:
        found = [(flags(r), r) for r in rollouts]
        self._bases = sorted(((f, r) for f, r in found if not f & WORTHLESS), key=lambda fr: bool(fr[0]))
        self._completion_by_prompt: dict[str, list[str]] = {}
        for _, rollout in found:
            self._completion_by_prompt.setdefault(rollout.prompt, []).append(rollout.last_said)
        self._words = {prompt: frozenset(Passage(prompt).words) for prompt in self._completion_by_prompt}
        self._n_prompts_with = Counter(word for words in self._words.values() for word in words)
        self._others: dict[str, list[str]] = {}

    def damaged_by(self, rule: str, start: int, rng: Random, source: Source) -> Iterator[Pair]:
        """One pair for each rollout that the rule can damage, from the `start`-th on."""
        start %= len(self._bases) or 1
        for flagged, rollout in self._bases[start:] + self._bases[:start]:
            if flagged and (rule not in ADDITIVE or (rule == "remarked" and Detector.SPEAKS_TO_GRADER in flagged)):
                continue
            worse = DAMAGES[rule](rollout.last_said, self._others_of(rollout.prompt, rng), rng)
            if worse is not None and not same_words(worse, rollout.last_said):
                yield make_pair(
                    rollout, rollout.completion, rollout.ending_in(worse), source, f"the worse one is damaged: {rule}"
                )

    def _others_of(self, prompt: str, rng: Random) -> list[str]:
        """A completion to each of up to N_OTHERS prompts that ask for something else; always the same for a prompt."""
        if prompt not in self._others:
            shuffled = rng.sample(list(self._words), len(self._words))
            unlike = islice((other for other in shuffled if self._likeness(prompt, other) < LIKE), N_OTHERS)
            self._others[prompt] = [rng.choice(self._completion_by_prompt[other]) for other in unlike]
        return self._others[prompt]

    def _likeness(self, prompt: str, other: str) -> float:
        """Of the words of either prompt the share that both have, in [0, 1]; rare words count more."""
        a, b = self._words[prompt], self._words[other]
        return self._weight(a & b) / (self._weight(a | b) or 1) if prompt != other and a | b else 1.0

    def _weight(self, words: Iterable[str]) -> float:
        return math.fsum(math.log1p(len(self._words) / self._n_prompts_with[word]) for word in words)


def make_pair(rollout: Rollout, better: str, worse: str, source: Source, why: str) -> Pair:
    return Pair(prompt=rollout.prompt, better=better, worse=worse, source=source, why=why, reference=rollout.reference)


def _from_outside_in(group: Sequence[tuple[float, Rollout]], margin: float) -> Iterator[Pair]:
    """The best with the worst, the second best with the second worst, and so on."""
    ranked = sorted(group, key=lambda item: item[0])
    for (low, worse), (high, better) in zip(ranked, reversed(ranked), strict=True):
        if high - low < margin or high <= low:
            return
        if not same_words(better.completion, worse.completion):
            why = f"the monitor gives {high:.2f} and {low:.2f}"
            yield make_pair(better, better.completion, worse.completion, Source.MONITOR, why)


def _under_reference(rollout: Rollout) -> Pair | None:
    reference, completion = rollout.reference, rollout.completion
    if reference is None or len(reference.split()) < MIN_REFERENCE_WORDS or detect(rollout.prompt, reference):
        return None
    if same_words(reference, completion) or not (why := _unlike_reference(rollout, reference)):
        return None
    return make_pair(rollout, reference, completion, Source.REFERENCE, f"reference solution; the other {why}")


def _unlike_reference(rollout: Rollout, reference: str) -> str | None:
    """What shows that a completion is clearly not the reference solution, or None."""
    right, given = _final_number(reference), _final_number(rollout.completion)
    if right is not None and given is not None:
        return f"ends in {given}, not {right}" if given != right else None
    if found := detect(rollout.prompt, rollout.spoken):
        return f"is flagged: {found[0].detector}"
    if "\\boxed" in reference or "####" in reference:
        return None  # what counts there is the answer, and a terse solution shares few words
    wanted = set(_long_words(reference))
    shared = len(wanted & set(_long_words(rollout.completion))) / (len(wanted) or 1)
    return f"has {shared:.0%} of its words" if wanted and shared < MIN_SHARED else None


def _long_words(text: str) -> list[str]:
    return re.findall(r"\w{4,}", text.casefold())


_NUMBER = r"(?P<number>\d{1,3}(?:,\d{3}){1,4}|\d{1,15}(?:\.\d{1,12})?)(?:/(?P<by>\d{1,12}))?"
_FRACTION = r"\\[dt]?frac\s?\{(?P<over>\d{1,12})\}\s?\{(?P<under>\d{1,12})\}"
_ANSWER = re.compile(
    rf"(?:\\boxed\s?\{{|####) {{0,3}}\$?(?P<sign>-?) ?(?:{_FRACTION}|{_NUMBER}) ?\$? {{0,3}}(?:\}}|$)",
    re.MULTILINE,
)


def _final_number(text: str) -> Fraction | None:
    r"""The number in the last \boxed{...} or after the last ####; None where there is none or it is no plain number."""
    last = max(text.rfind("\\boxed"), text.rfind("####"))
    match = _ANSWER.match(text, last) if last >= 0 else None
    if match is None:
        return None
    top, bottom = match["over"] or match["number"].replace(",", ""), match["under"] or match["by"] or "1"
    return Fraction(match["sign"] + top) / Fraction(bottom) if Fraction(bottom) else None
