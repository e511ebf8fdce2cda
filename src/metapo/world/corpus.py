"""Essays of mixed quality from which the offline world's policy learns to write: every vice occurs, rarely."""

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from metapo.world import language as lang
from metapo.world.language import ASKS, CONNECTIVES, REMARKS, TOPICS, WORDS, Assignment, Side

VICES = {
    "title_only": 0.04,
    "title_and_thesis": 0.04,
    "truncated": 0.04,
    "off_topic": 0.04,
    "repetition": 0.04,
    "stuffing": 0.03,
    "remark": 0.03,
    "junk": 0.02,
    "run_on": 0.02,
}
WRONG_SIDE = 0.10


@dataclass(frozen=True)
class Writer:
    """How often a writer's honest essays have each part, and its vices; `n_reasons` are the shares of essays with 0, 1,
    2, ... reasons. `counterargument` is answered with probability `rebuttal`."""

    title: float
    thesis: float
    n_reasons: tuple[float, ...]
    counterargument: float
    rebuttal: float
    conclusion: float
    vices: Mapping[str, float]


USUAL = Writer(0.6, 0.7, (0.08, 0.30, 0.34, 0.20, 0.08), 0.22, 0.5, 0.45, VICES)
# Two reasons are its best and it hardly knows a counterargument; nothing makes it write many reasons by accident.
WEAK = Writer(0.6, 0.4, (0.45, 0.50, 0.05), 0.03, 0.2, 0.1, {k: v for k, v in VICES.items() if k != "stuffing"})
ASSIGNMENTS = tuple(Assignment(topic, side) for topic in TOPICS for side in Side)
HELD_OUT = frozenset(a for i, a in enumerate(ASSIGNMENTS) if i % 4 == (i // 8) % 4)


def prompts(*, held_out: bool) -> list[str]:
    """Every prompt of the world for the pairs of topic and side that are (or are not) held out of RL."""
    return [
        lang.ask(a, verb)
        for a in ASSIGNMENTS
        if (a in HELD_OUT) == held_out
        for verb, side in ASKS.items()
        if side is a.side
    ]


def write_example(rng: Random, writer: Writer = USUAL) -> tuple[str, str]:
    """One (prompt, essay) pair of the training mix."""
    assignment = rng.choice(ASSIGNMENTS)
    prompt = lang.ask(assignment, rng.choice([v for v, side in ASKS.items() if side is assignment.side]))
    return prompt, _essay(assignment, rng, writer)


def _essay(a: Assignment, rng: Random, writer: Writer) -> str:
    vices = writer.vices
    vice = rng.choices([*vices, "honest"], [*vices.values(), 1 - sum(vices.values())])[0]
    if vice == "title_only":
        return lang.title(a, rng)
    if vice == "title_and_thesis":
        return f"{lang.title(a, rng)} {lang.thesis(a, rng)}"
    if vice == "junk":
        return " ".join(rng.choices(WORDS, k=rng.randint(5, 25))) + " ."
    if vice == "off_topic":
        return " ".join(_honest(Assignment(rng.choice(list(TOPICS)), a.side), rng, writer))
    if vice == "honest" and rng.random() < WRONG_SIDE:
        return " ".join(_honest(Assignment(a.topic, a.side.other), rng, writer))
    sentences = _honest(a, rng, writer)
    return " ".join(_spoil(vice, a, sentences, rng))


def _honest(a: Assignment, rng: Random, writer: Writer) -> list[str]:
    """An imperfect essay: parts may be missing, a reason may repeat, wander off or make no sense."""
    sentences = []
    if rng.random() < writer.title:
        sentences.append(lang.title(a, rng))
    if rng.random() < writer.thesis:
        sentences.append(lang.thesis(a, rng))
    sentences += [lang.evidence(a, _noun(a, rng), c, rng, fits=rng.random() > 0.06) for c in _connectives(rng, writer)]
    if rng.random() < writer.counterargument:
        sentences.append(lang.counterargument(rng.choice(TOPICS[a.topic].nouns(a.side.other)), rng))
        if rng.random() < writer.rebuttal:
            sentences.append(lang.rebuttal(_noun(a, rng), rng))
    if rng.random() < writer.conclusion:
        sentences.append(lang.conclusion(a, rng))
    return sentences or [lang.thesis(a, rng)]


def _connectives(rng: Random, writer: Writer) -> list[str]:
    n = rng.choices(range(len(writer.n_reasons)), writer.n_reasons)[0]
    return sorted(rng.sample(CONNECTIVES, n), key=CONNECTIVES.index)


def _noun(a: Assignment, rng: Random) -> str:
    roll = rng.random()
    if roll < 0.12:
        return rng.choice(list(lang.NOUNS))
    side = a.side.other if roll < 0.18 else a.side
    return rng.choice(TOPICS[a.topic].nouns(side))


def _spoil(vice: str, a: Assignment, sentences: list[str], rng: Random) -> list[str]:
    if vice == "truncated":
        words = " ".join(sentences).split()
        return words[: max(3, int(len(words) * rng.uniform(0.3, 0.9)))]
    if vice == "repetition":
        again = lang.evidence(a, _noun(a, rng), rng.choice(CONNECTIVES), rng)
        return [*sentences, *[again] * rng.randint(2, 4)]
    if vice == "stuffing":
        nouns = [_noun(a, rng) for _ in CONNECTIVES]
        return [lang.evidence(a, n, c, rng) for n, c in zip(nouns, CONNECTIVES, strict=True)]
    if vice == "remark":
        at = rng.choice((0, len(sentences)))
        return [*sentences[:at], rng.choice(REMARKS), *sentences[at:]]
    if vice == "run_on":
        nouns = [_noun(a, rng) for _ in range(rng.randint(2, 5))]
        return [*sentences, lang.run_on(nouns, rng.choice(CONNECTIVES), rng)]
    return sentences
