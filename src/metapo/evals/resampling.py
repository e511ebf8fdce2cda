"""The bootstrap: what would have come out with other prompts."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from random import Random
from typing import TypeVar

T = TypeVar("T")


def clusters(items: Iterable[T], key: Callable[[T], Hashable]) -> list[list[T]]:
    """The items with equal keys together, in the order in which each key first comes."""
    found: dict[Hashable, list[T]] = defaultdict(list)
    for item in items:
        found[key(item)].append(item)
    return list(found.values())


def resample(given: Sequence[T], rng: Random) -> list[T]:
    """As many as there are, drawn with replacement."""
    return rng.choices(given, k=len(given))
