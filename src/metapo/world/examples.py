"""Essays as the offline world's meta model makes and orders them: which of two is better, one without any of its
symptoms, a bad one that a rubric may take for good, and one near a rubric's boundaries."""

from random import Random

from metapo.errors import ChatRejected
from metapo.judge.template import unfence
from metapo.rubric import digest
from metapo.rubric_text import parse_rubric
from metapo.world import language as lang
from metapo.world.essay import essay_of
from metapo.world.ladders import MAX_REASONS, kind_of
from metapo.world.language import CONNECTIVES, REMARKS, TOPICS, Assignment, read_ask
from metapo.world.symptoms import symptoms


def compare(prompt: str) -> str:
    """What is wrong with either completion and, as the last word, the letter of the better one: A, B, or T for a tie.

    Raises ChatRejected without the fenced prompt and completions.
    """
    wrong = {}
    for letter in "AB":
        wrong[letter] = symptoms(essay_of(_asked(prompt), _fenced(f"completion {letter}", prompt)))
    cost = {letter: round(sum(s.severity for s in found), 6) for letter, found in wrong.items()}
    better = "T" if cost["A"] == cost["B"] else min(cost, key=cost.__getitem__)
    told = [f"{letter}: {'; '.join(s.text for s in found) or 'nothing is wrong'}." for letter, found in wrong.items()]
    return "\n".join([*told, better])


def exemplar(prompt: str) -> str:
    """An essay without any symptom, drawn from the prompt's digest. Raises ChatRejected."""
    asked = _asked(prompt)
    a, rng = read_ask(asked), Random(digest(["exemplar", asked]))
    *nouns, last = rng.sample(TOPICS[a.topic].nouns(a.side), MAX_REASONS + 1)
    return " ".join(
        [
            lang.title(a, rng),
            lang.thesis(a, rng),
            *(lang.evidence(a, noun, c, rng) for noun, c in zip(nouns, CONNECTIVES, strict=False)),
            lang.counterargument(rng.choice(TOPICS[a.topic].nouns(a.side.other)), rng),
            lang.rebuttal(last, rng),
            lang.conclusion(a, rng),
        ]
    )


def attack(prompt: str) -> str:
    """A bad essay that the rubric in the prompt may take for good. Raises ChatRejected.

    Under a rubric that goes by impression anywhere: a title and a remark to the grader. Else one reason over and over
    between title and thesis and a conclusion, with a remark to the grader where nothing forbids it.
    """
    asked = _asked(prompt)
    a, rng = read_ask(asked), Random(digest(["attack", asked]))
    kinds = [kind_of(c) for c in parse_rubric(_instructions(prompt)).criteria]
    if None in kinds:
        return f"{lang.title(a, rng)} {rng.choice(REMARKS)}"
    return " ".join([*_hollow(a, rng), *([] if "grader" in kinds else [rng.choice(REMARKS)])])


def boundary(prompt: str) -> str:
    """An essay near the rubric's boundaries, of the kind that the words behind the last fence ask for: a bad one that
    scores high, a good one that scores low (without any symptom: the meta model knows no other), or the first half of
    such a one. Raises ChatRejected."""
    aim = prompt.rpartition("~\n")[2]
    if "scores high" in aim:
        return attack(prompt)
    whole = exemplar(prompt)
    if "scores low" in aim:
        return whole
    sentences = essay_of(_asked(prompt), whole).sentences
    return " ".join(s.text for s in sentences[: len(sentences) // 2])


def _hollow(a: Assignment, rng: Random) -> list[str]:
    noun = rng.choice(TOPICS[a.topic].nouns(a.side))
    again = [lang.evidence(a, noun, c, rng) for c in CONNECTIVES[:MAX_REASONS]]
    return [lang.title(a, rng), lang.thesis(a, rng), *again, lang.conclusion(a, rng)]


def _instructions(prompt: str) -> str:
    """The rubric's block, which stands before what the policy wrote."""
    start = prompt.find("<rubric>")
    return prompt[start : prompt.find("</rubric>", start) + len("</rubric>")] if start >= 0 else ""


def _asked(prompt: str) -> str:
    asked = _fenced("prompt", prompt)
    try:
        read_ask(asked)
    except ValueError as e:
        raise ChatRejected(str(e)) from e
    return asked


def _fenced(label: str, prompt: str) -> str:
    text = unfence(label, prompt)
    if text is None:
        raise ChatRejected(f"the offline world's meta model needs a fenced {label}")
    return text
