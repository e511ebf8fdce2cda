"""Read a judge's reply. Narrowly: only a criterion's own levels count, and what isn't clear has no verdict."""

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from metapo.judge.evidence import holds_quote
from metapo.judge.question import Question, Style, letters
from metapo.judge.transport import ChatReply, Token
from metapo.rubric import Criterion, Outcome, Reason, Unscored, Verdict

# In front only, as a rationale may quote such tags. Some chat templates open the block in the prompt.
Choice = Literal["A", "B", "T"]
_CHOICES: dict[str, Choice] = {"A": "A", "B": "B", "T": "T"}
_EDGE = r"[\s*_`'\"()\[\].]*"
_CHOICE = re.compile(rf"{_EDGE}(?:(?:final\s+)?(?:answer|verdict|choice){_EDGE}:)?{_EDGE}([ABT]){_EDGE}", re.IGNORECASE)
_THINKING = re.compile(r"\A\s*(?:<think>(?:.*?</think>|.*\Z)|(?!\s*(?:```\w*\s*)?\{).*?</think>)", re.DOTALL)
_CODE_FENCE = re.compile(r"```\w*\s*\n(.*?)(?:\n?```|\Z)", re.DOTALL)
_LOOP = re.compile(r"\s{100,}\Z")
_EDGES = " \t\r\n\"'`*.:()[]"
REFUSALS = ("content_filter", "refusal")


@dataclass(frozen=True)
class Reading:
    """One outcome per key of a question. `is_cut` says that the reply ended too early; `is_loop` that it ended in white
    space, as happens where a server's grammar allows any amount of it; `is_refused` that the model would not answer."""

    outcomes: Mapping[str, Outcome]
    is_cut: bool = False
    is_loop: bool = False
    is_refused: bool = False


def parse_reply(question: Question, reply: ChatReply, completion: str, min_label_mass: float | None = None) -> Reading:
    """What a reply says on each key that was asked for. Never raises.

    `completion` is what quotes are looked up in. With `min_label_mass` (0 to 1) letters are read from their
    probabilities, as long as these sum up to so much before they are scaled to 1.
    """
    if reply.finish_reason in REFUSALS:
        detail = f"the server's finish_reason is {reply.finish_reason!r}"
        return replace(_all(question, Reason.REFUSED, detail, reply.text), is_refused=True)
    if not reply.text.strip() and reply.reasoning:
        # some servers put the whole answer where the reasoning belongs; it counts where all of it is an answer
        answer = reply.model_copy(update={"text": reply.reasoning, "tokens": ()})  # the tokens are those of the text
        reading = _parse_text(question, answer, completion, min_label_mass)
        if all(isinstance(o, Verdict) for o in reading.outcomes.values()):
            return reading
    return _parse_text(question, reply, completion, min_label_mass)


def without_reasoning(text: str) -> str:
    """A reply without the block of reasoning that it begins with."""
    return _THINKING.sub("", text).strip()


def last_choice(text: str) -> Choice | None:
    """The letter on the last line of a reply that compares two completions, without its reasoning: A, B, or T for
    neither. None where anything else stands there: "certainly not B" is no choice."""
    lines = text.splitlines()
    match = _CHOICE.fullmatch(lines[-1].strip()) if lines else None
    return _CHOICES[match[1].upper()] if match else None


def _parse_text(question: Question, reply: ChatReply, completion: str, min_label_mass: float | None) -> Reading:
    is_cut = reply.finish_reason == "length"
    text = without_reasoning(reply.text)
    if not text:
        reason = Reason.TRUNCATED if is_cut else Reason.EMPTY
        return _all(question, reason, "the reply holds no text after its reasoning", reply.text, is_cut=is_cut)
    if question.style is Style.LETTER:
        return _parse_letter(question, reply, text, min_label_mass)
    return _parse_object(question, reply, text, completion)


def _parse_object(question: Question, reply: ChatReply, text: str, completion: str) -> Reading:
    is_cut = reply.finish_reason == "length"
    try:
        found, is_closed = _members(*_object_in(text), is_cut=is_cut)
    except ValueError as e:
        reason = Reason.TRUNCATED if is_cut else Reason.UNPARSABLE
        return _all(question, reason, f"expected one JSON object: {e}", reply.text, is_cut=is_cut)
    missing = Reason.MISSING if is_closed else Reason.TRUNCATED if is_cut else Reason.UNPARSABLE
    outcomes: dict[str, Outcome] = {}
    for key, criterion in question.criteria.items():
        names = {key, criterion.id} - (question.sheet.keys.keys() - {key})  # an id may look like another's key
        values = [value for name, value in found if name in names]
        if not values:
            outcomes[key] = _unscored(criterion, missing, f"the reply has no entry {key!r}", reply.text)
        elif len(values) > 1:
            outcomes[key] = _unscored(criterion, Reason.DUPLICATE, f"{len(values)} entries for one key", reply.text)
        else:
            outcomes[key] = _outcome(criterion, values[0], completion, reply.text)
    return Reading(outcomes, is_cut=is_cut and not is_closed, is_loop=is_cut and bool(_LOOP.search(reply.text)))


def _outcome(criterion: Criterion, value: Any, completion: str, raw: str) -> Outcome:
    entry = value if isinstance(value, dict) else {"points": value}
    points = entry.get("points")
    if isinstance(points, float) and points.is_integer():
        points = int(points)
    if isinstance(points, bool) or not isinstance(points, int) or criterion.level(points) is None:
        offered = ", ".join(str(level.points) for level in criterion.levels)
        return _unscored(criterion, Reason.OFF_MENU, f"points {points!r:.100}; the levels offer {offered}", raw)
    quote = str(entry.get("quote") or "")
    if criterion.evidence and points != criterion.absent_points and not holds_quote(completion, quote):
        detail = f"{points} points for a quote that the completion does not hold: {quote!r:.200}"
        return _unscored(criterion, Reason.NO_EVIDENCE, detail, raw)
    rationale = str(entry.get("rationale") or "")
    return Verdict(criterion_id=criterion.id, points=points, rationale=rationale, quote=quote)


def _parse_letter(question: Question, reply: ChatReply, text: str, min_label_mass: float | None) -> Reading:
    key = question.keys[0]
    criterion = question.criteria[key]
    points_by_letter = dict(zip(letters(criterion), (level.points for level in criterion.levels), strict=True))
    letter = text.strip(_EDGES)
    if letter not in points_by_letter:
        offered = ", ".join(points_by_letter)
        is_cut = reply.finish_reason == "length"
        unscored = _unscored(criterion, Reason.OFF_MENU, f"{text!r:.100}; the letters are {offered}", reply.text)
        return Reading({key: unscored}, is_cut=is_cut)
    verdict = Verdict(criterion_id=criterion.id, points=points_by_letter[letter])
    if min_label_mass is not None:
        masses = _masses(letter, reply.tokens, points_by_letter)
        total = math.fsum(masses.values())
        total = total if total > 0 else 0.0  # NaN, too
        verdict = verdict.model_copy(update={"label_mass": min(total, 1.0)})
        if total >= max(min_label_mass, 1e-9):
            shares = {points_by_letter[x]: mass / total for x, mass in masses.items()}
            verdict = verdict.model_copy(update=_expectation(criterion, shares))
    return Reading({key: verdict})


def _expectation(criterion: Criterion, shares: Mapping[int, float]) -> dict[str, float]:
    """Mean and standard deviation of the points, whose probabilities sum up to 1."""
    mean = math.fsum(points * p for points, p in shares.items())
    spread = math.sqrt(math.fsum(p * (points - mean) ** 2 for points, p in shares.items()))
    return {"expected": min(max(mean, criterion.min_points), criterion.max_points), "uncertainty": spread}


def _masses(chosen: str, tokens: tuple[Token, ...], known: Iterable[str]) -> dict[str, float]:
    """The probability of each letter at the token that answers `chosen`; all 0 where it can't be told."""
    masses = dict.fromkeys(known, 0.0)
    at = next((token for token in reversed(tokens) if token.text.strip(_EDGES) == chosen and token.top), None)
    for text, logprob in at.top if at else ():
        if (letter := text.strip(_EDGES)) in masses:
            masses[letter] += math.exp(min(logprob, 0.0))
    return masses


def _object_in(text: str) -> tuple[str, bool]:
    """From the brace that opens the reply's one object, and whether words stand in front of it.

    Raises ValueError for none or several: a judge that quotes a verdict out of a completion does not give it.
    """
    outside = ""
    if fenced := _CODE_FENCE.search(text):
        outside, text = text[: fenced.start()] + text[fenced.end() :], fenced[1]
    start = text.find("{")
    if start < 0:
        raise ValueError("there is none")
    if "{" in outside:
        raise ValueError("there are several")
    return text[start:], bool(text[:start].strip())


def _members(text: str, has_words_before: bool, *, is_cut: bool) -> tuple[list[tuple[str, Any]], bool]:
    """The complete members of the object that `text` begins with, and whether the object was closed.

    Raises ValueError where it isn't clear that the object is the answer: another one follows, words stand on both sides
    of it, or the reply was cut after it.
    """
    decoder = json.JSONDecoder(object_pairs_hook=_unique)
    members: list[tuple[str, Any]] = []
    at = _skip(text, 1)
    while text[at : at + 1] != "}":
        try:
            name, at = decoder.raw_decode(text, at)
            at = _skip(text, at)
            if text[at : at + 1] != ":" or not isinstance(name, str):
                return members, False
            value, at = decoder.raw_decode(text, _skip(text, at + 1))
        except (ValueError, RecursionError):
            return members, False
        at = _skip(text, at)
        if text[at : at + 1] in (",", "}") or isinstance(value, dict):  # a bare number at the end may lack digits
            members.append((name, value))
        if text[at : at + 1] == ",":
            at = _skip(text, at + 1)
        elif text[at : at + 1] != "}":
            return members, False
    rest = text[at + 1 :].strip()
    if "{" in rest:
        raise ValueError("there are several")
    if rest and (has_words_before or is_cut):
        raise ValueError("it stands in the middle of other words")
    return members, True


def _skip(text: str, at: int) -> int:
    """The next position that holds no white space."""
    while text[at : at + 1].isspace():
        at += 1
    return at


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object inside the reply. One that gives a key twice, such as two "points", has no clear meaning."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"an object gives a key twice: {[key for key, _ in pairs]}")
    return found


def _all(question: Question, reason: Reason, detail: str, raw: str, *, is_cut: bool = False) -> Reading:
    outcomes = {key: _unscored(c, reason, detail, raw) for key, c in question.criteria.items()}
    return Reading(outcomes, is_cut=is_cut, is_loop=is_cut and bool(_LOOP.search(raw)))


def _unscored(criterion: Criterion, reason: Reason, detail: str, raw: str) -> Unscored:
    return Unscored(criterion_id=criterion.id, reason=reason, detail=detail[:500], raw=raw)
