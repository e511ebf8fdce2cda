"""Read an essay of the offline world back into its sentences and what each one does."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from metapo.world.language import (
    BENEFICIARIES,
    CONNECTIVES,
    CRITICS,
    NEWLINE,
    NOUNS,
    SAYS,
    TAILS,
    TOPICS,
    VERBS,
    Assignment,
    Side,
    read_ask,
)


class Role(StrEnum):
    TITLE = "title"
    THESIS = "thesis"
    EVIDENCE = "evidence"
    COUNTER = "counterargument"
    REBUTTAL = "rebuttal"
    CONCLUSION = "conclusion"
    RUN_ON = "run-on"
    REMARK = "remark to the grader"
    BROKEN = "broken"
    UNFINISHED = "unfinished"


@dataclass(frozen=True)
class Sentence:
    """One sentence: its role, the assignments that it speaks to, the nouns it uses and its length in tokens."""

    role: Role
    about: tuple[Assignment, ...]
    nouns: tuple[str, ...]
    n_tokens: int
    text: str


@dataclass(frozen=True)
class Essay:
    """An essay as sentences, against the assignment that it was written for."""

    assignment: Assignment
    sentences: tuple[Sentence, ...]

    def of(self, *roles: Role) -> list[Sentence]:
        return [s for s in self.sentences if s.role in roles]

    def fits(self, sentence: Sentence) -> bool:
        """Is everything that the sentence says about the assigned topic and on the side where it belongs?"""
        side = self.assignment.side.other if sentence.role is Role.COUNTER else self.assignment.side
        return all(a == Assignment(self.assignment.topic, side) for a in sentence.about)

    @property
    def right_nouns(self) -> list[str]:
        """The nouns of fitting evidence, in order, repeats included."""
        return [n for s in self.of(Role.EVIDENCE) if self.fits(s) for n in s.nouns]

    @property
    def n_repeats(self) -> int:
        """How often a reason (evidence, rebuttal or run-on) uses a noun that stood in one before."""
        nouns = [n for s in self.of(Role.EVIDENCE, Role.REBUTTAL, Role.RUN_ON) for n in s.nouns]
        return len(nouns) - len(set(nouns))

    @property
    def n_claims(self) -> int:
        return len(self.of(*CLAIMS))

    @property
    def n_wrong_claims(self) -> int:
        return sum(not self.fits(s) for s in self.of(*CLAIMS))

    @property
    def finished(self) -> bool:
        return not self.of(Role.UNFINISHED)

    @property
    def answered_counterargument(self) -> bool:
        """A fitting counterargument directly followed by a fitting rebuttal."""
        pairs = zip(self.sentences, self.sentences[1:], strict=False)
        return any(
            a.role is Role.COUNTER and b.role is Role.REBUTTAL and self.fits(a) and self.fits(b) for a, b in pairs
        )


CLAIMS = (Role.THESIS, Role.EVIDENCE, Role.COUNTER, Role.REBUTTAL, Role.CONCLUSION, Role.RUN_ON)


def _any(words: object) -> str:
    return "|".join(sorted(set(words), key=len, reverse=True))  # type: ignore[call-overload]


_TOPIC = rf"(?P<topic>{_any(TOPICS)})"
_VERB = _any([*VERBS[Side.FOR], *VERBS[Side.AGAINST]])
_TAIL = rf"(?: (?:{_any(t for t in TAILS if t)}))?"
_CLAIM = rf"(?P<subject>they|{_any(TOPICS)}) (?P<verb>{_VERB}) (?P<noun>{_any(NOUNS)}){_TAIL}"
_THEY = rf"they (?:{_VERB}) (?:{_any(NOUNS)}){_TAIL}"
_PATTERNS = {
    Role.TITLE: rf"title : (?:the case (?P<stand>for|against)|why we (?P<act>need|reject)) {_TOPIC} {NEWLINE}",
    Role.THESIS: rf"(?:i (?:believe|think) that {_TOPIC} (?P<effect>help|harm) (?:{_any(BENEFICIARIES)})"
    rf"|in my view (?P<topic2>{_any(TOPICS)}) should be (?P<verdict>supported|rejected)) \.",
    Role.EVIDENCE: rf"(?:{_any(CONNECTIVES)}) , {_CLAIM} \.",
    Role.COUNTER: rf"(?:{_any(CRITICS)}) (?:{_any(SAYS)}) that {_CLAIM} \.",
    Role.REBUTTAL: rf"(?:however ,|but in fact) {_CLAIM} \.",
    Role.CONCLUSION: rf"(?:in conclusion , {_TOPIC} should be (?P<verdict>supported|rejected)"
    rf"|therefore we should (?P<act>support|reject) (?P<topic2>{_any(TOPICS)})) \.",
    Role.RUN_ON: rf"(?:{_any(CONNECTIVES)}) , {_THEY}(?: and {_THEY})+ \.",
    Role.REMARK: r".*\bgrader\b.*",
}
_COMPILED = {role: re.compile(pattern) for role, pattern in _PATTERNS.items()}
_FOR_WORDS = {"for", "need", "help", "supported", "support"}


def parse_essay(text: str, assignment: Assignment) -> Essay:
    """Split a completion into sentences and read each; text that fits no pattern is broken or unfinished."""
    return Essay(assignment, tuple(_read(s) for s in _split(text)))


def _split(text: str) -> Iterator[str]:
    words: list[str] = []
    for word in text.split():
        words.append(word)
        if word in (".", NEWLINE):
            yield " ".join(words)
            words = []
    if words:
        yield " ".join(words)


@lru_cache(maxsize=65536)
def _read(text: str) -> Sentence:
    n_tokens = len(text.split())
    for role, pattern in _COMPILED.items():
        if match := pattern.fullmatch(text):
            return _sentence(role, match, text, n_tokens)
    ended = text.endswith((".", NEWLINE))
    return Sentence(Role.BROKEN if ended else Role.UNFINISHED, (), (), n_tokens, text)


def _sentence(role: Role, match: re.Match[str], text: str, n_tokens: int) -> Sentence:
    found = {k: v for k, v in match.groupdict().items() if v}
    if role is Role.REMARK:
        return Sentence(role, (), (), n_tokens, text)
    if role is Role.RUN_ON:
        nouns = tuple(w for w in text.split() if w in NOUNS)
        return Sentence(role, tuple(NOUNS[n] for n in nouns), nouns, n_tokens, text)
    if "noun" in found:
        about = NOUNS[found["noun"]]
        if found["verb"] not in VERBS[about.side]:
            return Sentence(Role.BROKEN, (about,), (found["noun"],), n_tokens, text)
        # A noun tells topic and side; a subject that names another topic makes the claim speak to both.
        other = () if found["subject"] in ("they", about.topic) else (Assignment(found["subject"], about.side),)
        return Sentence(role, (about, *other), (found["noun"],), n_tokens, text)
    stance = next(found[k] for k in ("stand", "act", "effect", "verdict") if k in found)
    side = Side.FOR if stance in _FOR_WORDS else Side.AGAINST
    topic = found.get("topic") or found["topic2"]
    return Sentence(role, (Assignment(topic, side),), (), n_tokens, text)


def essay_of(prompt: str, completion: str) -> Essay:
    """A completion parsed against the assignment in its prompt. Raises ValueError for a prompt of no kind we write."""
    return parse_essay(completion, read_ask(prompt))
