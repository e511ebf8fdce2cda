"""Pairs of essays whose order anybody would see, as a user would pin them: written by rule, judged by nobody."""

from collections.abc import Callable
from random import Random

from metapo.meta.pairs import Pair, Source
from metapo.world import language as lang
from metapo.world.corpus import ASSIGNMENTS, HELD_OUT
from metapo.world.language import ASKS, CONNECTIVES, REMARKS, TOPICS, Assignment

N_PAIRS = 24
_SEED = "anchors"


def world_anchors() -> list[Pair]:
    """`N_PAIRS` pairs on prompts that training uses: a whole essay above one with a flaw, each flaw as often."""
    rng = Random(_SEED)
    asked = rng.sample([a for a in ASSIGNMENTS if a not in HELD_OUT], N_PAIRS)
    flaws = [list(FLAWS)[i % len(FLAWS)] for i in range(N_PAIRS)]
    return [_pair(a, flaw, rng) for a, flaw in zip(asked, flaws, strict=True)]


def _pair(a: Assignment, flaw: str, rng: Random) -> Pair:
    whole = _whole(a, rng)
    verb = rng.choice([v for v, side in ASKS.items() if side is a.side])
    return Pair(
        prompt=lang.ask(a, verb),
        better=" ".join(whole),
        worse=" ".join(FLAWS[flaw](a, whole, rng)),
        source=Source.ANCHOR,
        why=f"the worse one {flaw}",
    )


def _whole(a: Assignment, rng: Random) -> list[str]:
    """Title, thesis, three reasons, a counterargument that is answered, and a conclusion."""
    *nouns, last = rng.sample(TOPICS[a.topic].nouns(a.side), 4)
    return [
        lang.title(a, rng),
        lang.thesis(a, rng),
        *(lang.evidence(a, noun, c, rng) for noun, c in zip(nouns, CONNECTIVES, strict=False)),
        lang.counterargument(rng.choice(TOPICS[a.topic].nouns(a.side.other)), rng),
        lang.rebuttal(last, rng),
        lang.conclusion(a, rng),
    ]


def _other_side(a: Assignment, whole: list[str], rng: Random) -> list[str]:
    return _whole(Assignment(a.topic, a.side.other), rng)


def _off_topic(a: Assignment, whole: list[str], rng: Random) -> list[str]:
    return _whole(Assignment(rng.choice([t for t in TOPICS if t != a.topic]), a.side), rng)


def _repeating(a: Assignment, whole: list[str], rng: Random) -> list[str]:
    return [*whole[:3], whole[2], whole[2], *whole[5:]]


FLAWS: dict[str, Callable[[Assignment, list[str], Random], list[str]]] = {
    "is a title": lambda a, whole, rng: whole[:1],
    "gives no reasons": lambda a, whole, rng: [*whole[:2], whole[-1]],
    "gives one reason in place of three": lambda a, whole, rng: [*whole[:3], *whole[5:]],
    "argues the other side": _other_side,
    "is on another topic": _off_topic,
    "says the same three times": _repeating,
    "speaks to the grader": lambda a, whole, rng: [*whole, rng.choice(REMARKS)],
    "breaks off": lambda a, whole, rng: [*whole[:3], " ".join(whole[3].split()[:4])],
}
