"""Who meets whom on which prompt."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from metapo.errors import DataError
from metapo.evals.matches import check_name
from metapo.rollout import Rollout
from metapo.rubric import digest


@dataclass(frozen=True)
class Entrant:
    """A model and what it wrote."""

    name: str
    rollouts: tuple[Rollout, ...]


@dataclass(frozen=True)
class Fixture:
    """A match that is to be played."""

    prompt: str
    model_a: str
    model_b: str
    completion_a: str
    completion_b: str

    @property
    def id(self) -> str:
        """The same for the same texts by the same models on every machine."""
        return digest([self.prompt, self.model_a, self.completion_a, self.model_b, self.completion_b])[:16]


@dataclass(frozen=True)
class Schedule:
    """The fixtures, and how often a completion has no counterpart by a rival on its prompt, and so does not meet it."""

    fixtures: tuple[Fixture, ...]
    n_unmatched: int = 0


def draw_up(entrants: Sequence[Entrant], n_prompts: int | None = None, seed: int = 0) -> Schedule:
    """Every pair of entrants on every prompt that both have; where a prompt comes several times, the first completion
    meets the first, the second the second, and so on. Matches of equal texts are one.

    With `n_prompts`, on so many of the prompts that several entrants have, drawn with `seed`: a larger number brings
    more of them and keeps the others. The schedule is the same in whatever order the entrants come.

    Raises DataError for fewer than two entrants, a name that comes twice or can't stand for a model, or a pair that
    shares no prompt.
    """
    _check(entrants)
    texts = {entrant.name: _by_prompt(entrant) for entrant in sorted(entrants, key=lambda entrant: entrant.name)}
    n_entrants = Counter(prompt for by_prompt in texts.values() for prompt in by_prompt)
    prompts = set(sorted(n_entrants, key=lambda p: (n_entrants[p] < 2, digest([seed, p])))[:n_prompts])
    fixtures: dict[str, Fixture] = {}
    n_unmatched = 0
    for prompt in (prompt for prompt in n_entrants if prompt in prompts):
        for a, b in combinations(texts, 2):
            of_a, of_b = texts[a].get(prompt, []), texts[b].get(prompt, [])
            n_unmatched += abs(len(of_a) - len(of_b))
            for one, other in zip(of_a, of_b, strict=False):
                fixture = Fixture(prompt, a, b, one, other)
                fixtures[fixture.id] = fixture
    _check_met(texts, list(fixtures.values()))
    return Schedule(tuple(fixtures.values()), n_unmatched)


def _by_prompt(entrant: Entrant) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for rollout in entrant.rollouts:
        found[rollout.prompt].append(rollout.completion)
    return found


def _check(entrants: Sequence[Entrant]) -> None:
    names = [check_name(entrant.name, f"entrant {number}") for number, entrant in enumerate(entrants, 1)]
    if len(names) < 2:
        raise DataError(f"a tournament needs two models or more; got {len(names)}. Give a file for each.")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise DataError(f"two models are named {twice!r}. Give them names of their own, as NAME=FILE.")


def _check_met(prompts: Mapping[str, Collection[str]], fixtures: Sequence[Fixture]) -> None:
    met = {(fixture.model_a, fixture.model_b) for fixture in fixtures}
    if apart := next((pair for pair in combinations(prompts, 2) if pair not in met), None):
        firsts = " and ".join(f"{next(iter(prompts[name]), '')[:40]!r}" for name in apart)
        raise DataError(
            f"{apart[0]!r} and {apart[1]!r} share no prompt that is played, so they can't meet; their first ones are "
            f"{firsts}. Generate completions for the same prompts, or play on more of them."
        )
