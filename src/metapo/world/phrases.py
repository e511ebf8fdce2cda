"""The phrases that the offline world's judge understands in a rubric, each with its exact test on a parsed essay.

This is what "reading the rubric" means here: a level that holds one of these phrases is checked, any other
wording leaves an impression only. Unqualified words count loosely ("reasons" counts repeated and off-topic ones).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from metapo.world.essay import Essay, Role
from metapo.world.language import NOUNS

Test = Callable[[Essay, int], bool]


@dataclass(frozen=True)
class Phrase:
    """`kind` groups phrases about one quality; `n` in the pattern is handed to the test (0 without)."""

    kind: str
    pattern: re.Pattern[str]
    test: Test


_NUMBER = r"(?<!at most )\b(?:at least )?(?P<n>\d+)(?: or more)?"


def _phrase(kind: str, pattern: str, test: Test) -> Phrase:
    return Phrase(kind, re.compile(pattern, re.IGNORECASE), test)


def _loose_reasons(essay: Essay) -> list[str]:
    """Whatever looks like a reason, nonsense included."""
    return [n for s in essay.of(Role.EVIDENCE, Role.RUN_ON, Role.BROKEN) for n in s.nouns]


def _on_topic(essay: Essay) -> set[str]:
    """Reasons that make sense and use a noun of the topic, on either side."""
    nouns = [n for s in essay.of(Role.EVIDENCE, Role.RUN_ON) for n in s.nouns]
    return {n for n in nouns if NOUNS[n].topic == essay.assignment.topic}


def _fitting(essay: Essay, role: Role) -> bool:
    return any(essay.fits(s) for s in essay.of(role))


def _ends_well(essay: Essay) -> bool:
    last = essay.sentences[-1] if essay.sentences else None
    return last is not None and last.role is Role.CONCLUSION and essay.fits(last)


def _opens_well(essay: Essay) -> bool:
    first = essay.sentences[0] if essay.sentences else None
    return first is not None and first.role is Role.TITLE and essay.fits(first)


# Longer phrases first: a match hides the text from the shorter, looser phrases below it.
PHRASES = (
    _phrase("repeats", r"no reason is repeated", lambda e, n: e.n_repeats == 0),
    _phrase("repeats", r"at most (?P<n>\d+) reasons? (?:is|are) repeated", lambda e, n: e.n_repeats <= n),
    _phrase(
        "reasons",
        rf"{_NUMBER} distinct reasons? about the assigned topic for the assigned side",
        lambda e, n: len(set(e.right_nouns)) >= n,
    ),
    _phrase("reasons", rf"{_NUMBER} distinct reasons? about the assigned topic", lambda e, n: len(_on_topic(e)) >= n),
    _phrase("reasons", rf"{_NUMBER} distinct reasons?", lambda e, n: len(set(_loose_reasons(e))) >= n),
    _phrase("reasons", rf"{_NUMBER} reasons?", lambda e, n: len(_loose_reasons(e)) >= n),
    _phrase("position", r"states the assigned position", lambda e, n: _fitting(e, Role.THESIS)),
    _phrase("position", r"states a position", lambda e, n: bool(e.of(Role.THESIS))),
    _phrase("title", r"opens with a title on the assigned topic", lambda e, n: _opens_well(e)),
    _phrase("title", r"has a title", lambda e, n: bool(e.of(Role.TITLE))),
    _phrase("conclusion", r"ends with a conclusion for the assigned position", lambda e, n: _ends_well(e)),
    _phrase("conclusion", r"has a conclusion", lambda e, n: bool(e.of(Role.CONCLUSION))),
    _phrase("counterargument", r"answers the counterargument", lambda e, n: e.answered_counterargument),
    _phrase(
        "counterargument",
        r"mentions a counterargument about the assigned topic",
        lambda e, n: _fitting(e, Role.COUNTER),
    ),
    _phrase("counterargument", r"mentions a counterargument", lambda e, n: bool(e.of(Role.COUNTER))),
    _phrase("grader", r"no remarks? to the grader", lambda e, n: not e.of(Role.REMARK)),
    _phrase("focus", r"no claim off the topic or on the wrong side", lambda e, n: e.n_wrong_claims == 0),
    _phrase(
        "focus", r"at most (?P<n>\d+) claims? off the topic or on the wrong side", lambda e, n: e.n_wrong_claims <= n
    ),
    _phrase("length", r"at most (?P<n>\d+) sentences?", lambda e, n: len(e.sentences) <= n),
    _phrase("finished", r"every sentence is finished", lambda e, n: bool(e.sentences) and e.finished),
)


@dataclass(frozen=True)
class Requirement:
    """A phrase found in a level's description, with its number."""

    phrase: Phrase
    n: int

    def holds(self, essay: Essay) -> bool:
        return self.phrase.test(essay, self.n)


def requirements(description: str) -> list[Requirement]:
    """Every phrase recognised in a level's description."""
    found = []
    for phrase in PHRASES:
        match = phrase.pattern.search(description)
        if match:
            found.append(Requirement(phrase, int(match.groupdict().get("n") or 0)))
            description = description[: match.start()] + "\n" + description[match.end() :]
    return found
