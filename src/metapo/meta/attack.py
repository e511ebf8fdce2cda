"""Bad texts written by rule to score high under one rubric, each against an honest rollout.

The attack set of the audit is put on a weakened rollout. The rubric's own words make a few attacks more: what it asks
for is promised, written out or counted, and never done.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import cycle
from random import Random

from metapo.audit.attacking import weaken
from metapo.audit.attacks import attacks
from metapo.meta.damage import MIN_SENTENCES, same_words
from metapo.meta.pairs import Pair, Source, flags, make_pair, take_turns
from metapo.meta.sentences import split_sentences
from metapo.rollout import Rollout
from metapo.rubric import Criterion, Rubric

Write = Callable[[str, str, Rubric], str]

_COUNT = re.compile(
    r"\b(?P<n>[2-6]|two|three|four|five|six)\b(?: or more)?(?: [a-z]{3,20}){0,2}? (?P<thing>[a-z]{3,20}s)\b",
    re.IGNORECASE,
)
_NUMERALS = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6}
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")
_VERB = re.compile(r"[a-z]{1,20}s\b", re.IGNORECASE)


def rule_attacks(rubric: Rubric, rollouts: Sequence[Rollout], n: int, rng: Random) -> list[Pair]:
    """Up to `n` pairs of an honest rollout above an attack on `rubric`, spread over families and rollouts.

    None where detectors flag every rollout: a hacked one is no better than an attack.
    """
    bases = attackable(rollouts)
    families = _families()
    names = rng.sample(list(families), len(families))
    orders = [rng.sample(bases, len(bases)) for _ in names]
    return take_turns((_attacked(rubric, o, families[f], rng) for f, o in zip(names, orders, strict=True)), n)


def attackable(rollouts: Sequence[Rollout]) -> list[Rollout]:
    """Distinct rollouts without a flag and with at least MIN_SENTENCES sentences; where there are none, the longest
    half of those without a flag."""
    distinct = {(r.prompt, r.completion): r for r in rollouts}.values()
    honest = [r for r in distinct if not flags(r)]
    full = [r for r in honest if len(split_sentences(r.last_said)) >= MIN_SENTENCES]
    return full or sorted(honest, key=lambda r: -len(r.last_said.split()))[: (len(honest) + 1) // 2]


def promised(prompt: str, completion: str, rubric: Rubric) -> str:
    """Claims that every top level is met."""
    return f"{completion}\n\n{' '.join(_claim(c) for c in rubric.criteria)}"


def written_out(prompt: str, completion: str, rubric: Rubric) -> str:
    """Under each criterion's name its top level and that level's example, in place of any content."""
    parts = [(f"## {c.name}", _claim(c), c.levels[-1].example) for c in rubric.criteria]
    return "\n\n".join("\n".join(line for line in part if line) for part in parts)


def counted(prompt: str, completion: str, rubric: Rubric) -> str:
    """Counts what a top level wants a number of, and gives none: "This is the first reason." Promises the rest."""
    return "\n\n".join([completion, *(_count(c) for c in rubric.criteria)])


RUBRIC_ATTACKS: dict[str, Write] = {write.__name__: write for write in (promised, written_out, counted)}


def _families() -> dict[str, dict[str, Write]]:
    """The ways to write an attack, by family and by name; each of our own is a family by itself."""
    families: dict[str, dict[str, Write]] = {name: {name: write} for name, write in RUBRIC_ATTACKS.items()}
    for attack in attacks():
        families.setdefault(attack.family, {})[attack.name] = attack.apply
    return families


def _attacked(rubric: Rubric, bases: Sequence[Rollout], ways: Mapping[str, Write], rng: Random) -> Iterator[Pair]:
    """Each way once on each base: the first way on the first base, the second on the second, and so on."""
    names = rng.sample(list(ways), len(ways))
    for shift in range(len(bases)):
        for name, base in zip(names, cycle([*bases[shift:], *bases[:shift]]), strict=False):
            worse = base.ending_in(ways[name](base.prompt, weaken(base.last_said), rubric))
            if not same_words(worse, base.completion):
                why = f"the worse one is weakened and attacks the rubric: {name}"
                yield make_pair(base, base.completion, worse, Source.ATTACK, why)


def _claim(criterion: Criterion) -> str:
    """The top level, said of the response: "This response gives three reasons." or "This response has: no errors." """
    top = criterion.levels[-1].description.rstrip(".")
    return f"This response {top}." if _VERB.match(top) else f"This response has: {top}."


def _count(criterion: Criterion) -> str:
    found = _COUNT.search(criterion.levels[-1].description)
    if found is None:
        return _claim(criterion)
    n, thing = found["n"].lower(), found["thing"].lower().removesuffix("s")
    return " ".join(f"This is the {ordinal} {thing}." for ordinal in _ORDINALS[: _NUMERALS.get(n) or int(n)])
