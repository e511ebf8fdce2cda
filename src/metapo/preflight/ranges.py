"""Figures that are known as from-to, and what requests come to in such figures."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from math import ceil
from operator import add


@dataclass(frozen=True)
class Range:
    """From `low` to `high`, both 0 or more; equal where a figure is known exactly."""

    low: float
    high: float

    def __add__(self, other: "Range") -> "Range":
        return Range(self.low + other.low, self.high + other.high)

    def __mul__(self, other: "Range") -> "Range":
        return Range(self.low * other.low, self.high * other.high)

    def __truediv__(self, other: "Range") -> "Range":
        return Range(self.low / other.high, self.high / other.low)

    def holds(self, figure: float) -> bool:
        return self.low <= figure <= self.high

    @property
    def whole(self) -> "Range":
        """Both ends rounded up, as there are no parts of a call."""
        return Range(ceil(self.low - 1e-9), ceil(self.high - 1e-9))


def exactly(figure: float) -> Range:
    return Range(figure, figure)


NOTHING = exactly(0)


@dataclass(frozen=True)
class Load:
    """Requests, and the tokens of all of them together."""

    calls: Range = NOTHING
    prompt_tokens: Range = NOTHING
    reply_tokens: Range = NOTHING

    def __add__(self, other: "Load") -> "Load":
        return Load(
            self.calls + other.calls, self.prompt_tokens + other.prompt_tokens, self.reply_tokens + other.reply_tokens
        )

    def times(self, n: Range) -> "Load":
        return Load(self.calls * n, self.prompt_tokens * n, self.reply_tokens * n)

    @property
    def tokens(self) -> Range:
        return self.prompt_tokens + self.reply_tokens


def call(prompt_tokens: Range, reply_tokens: Range) -> Load:
    """One request."""
    return Load(exactly(1), prompt_tokens, reply_tokens)


def total(loads: Iterable[Load]) -> Load:
    return reduce(add, loads, Load())
