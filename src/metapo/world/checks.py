"""What metapo has to reach in the offline world, each held against the figures of finished runs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean

from metapo.world.flaws import Flaw
from metapo.world.tally import DIP_AFTER, Tally

REQUIRED = 0.65
GOAL = 0.75
MAX_BELOW = 0.02
MAX_DIP_RATIO = 0.5
N_SEEDS = 5

Tallies = Mapping[str, Sequence[Tally]]
"""Per arm its finished runs, by seed."""


class Met(StrEnum):
    """Does a requirement hold, as far as there are runs?"""

    MET = "met"
    NOT_MET = "not met"
    NOT_RUN = "not run"
    UNTOLD = "can't be told"


@dataclass(frozen=True)
class Check:
    """What is asked, what was found, and whether that is met."""

    asked: str
    found: str
    met: Met


def check_all(tallies: Tallies) -> list[Check]:
    """Every requirement, in order."""
    return [
        check_level(tallies, f"metapo's mean final gold is at least {REQUIRED}", REQUIRED),
        check_level(tallies, f"the goal: it is at least {GOAL}", GOAL),
        check_below(tallies),
        check_dips(tallies),
        *(check_flaw(tallies, flaw) for flaw in Flaw),
    ]


def check_level(tallies: Tallies, asked: str, level: float) -> Check:
    """metapo's mean final gold against a level."""
    finals = list(_by_seed(tallies, "metapo", _final).values())
    if not finals:
        return Check(asked, "", Met.NOT_RUN)
    return Check(asked, f"{fmean(finals):.3f}{_seeds(len(finals))}", _met(fmean(finals) >= level))


def check_below(tallies: Tallies) -> Check:
    """metapo's final gold against mpo's, seed by seed."""
    asked = f"metapo's final gold is not more than {MAX_BELOW} below mpo's on any seed"
    mine, theirs = (_by_seed(tallies, arm, _final) for arm in ("metapo", "mpo"))
    differences = {seed: mine[seed] - theirs[seed] for seed in sorted(mine.keys() & theirs.keys())}
    if not differences:
        return Check(asked, "", Met.NOT_RUN)
    worst = min(differences, key=differences.__getitem__)
    found = f"worst difference {differences[worst]:+.3f} (seed {worst}){_seeds(len(differences))}"
    return Check(asked, found, _met(differences[worst] >= -MAX_BELOW))


def check_dips(tallies: Tallies) -> Check:
    """The worst dips of the two arms with a flawed meta model: means over the seeds that both have."""
    asked = f"the worst dip in gold after step {DIP_AFTER} of flawed-gate is less than half of flawed-nogate's"
    gated, open_ = (_by_seed(tallies, arm, lambda t: t.dip) for arm in ("flawed-gate", "flawed-nogate"))
    seeds = sorted(gated.keys() & open_.keys())
    if not seeds:
        return Check(asked, "", Met.NOT_RUN)
    mine, theirs = (fmean(dips[seed] for seed in seeds) for dips in (gated, open_))
    ratio = f"ratio {mine / theirs:.2f}" if theirs else "no ratio"
    return Check(
        asked, f"{mine:.3f} against {theirs:.3f}, {ratio}{_seeds(len(seeds))}", _met(mine < MAX_DIP_RATIO * theirs)
    )


def check_flaw(tallies: Tallies, flaw: Flaw) -> Check:
    """What the gate made of one kind of flawed proposals."""
    asked = f"the gate accepts no {flaw.value} proposal"
    runs = tallies.get("flawed-gate", ())
    if not runs:
        return Check(asked, "", Met.NOT_RUN)
    proposed = [p for run in runs for p in run.flawed if p.flaw is flaw]
    accepted = sum(p.accepted for p in proposed)
    found = f"{accepted} of {len(proposed)} accepted{_seeds(len(runs))}"
    return Check(asked, found, _met(accepted == 0) if proposed else Met.UNTOLD)


def _by_seed(tallies: Tallies, arm: str, figure: Callable[[Tally], float | None]) -> dict[int, float]:
    """An arm's figure by seed, where it is known."""
    found = {tally.run.seed: figure(tally) for tally in tallies.get(arm, ())}
    return {seed: value for seed, value in found.items() if value is not None}


def _final(tally: Tally) -> float:
    final: float = tally.run.result["gold_final"]
    return final


def _seeds(n: int) -> str:
    fewer = "" if n >= N_SEEDS else f", fewer than the {N_SEEDS} asked for"
    return f"; {'one seed' if n == 1 else f'{n} seeds'}{fewer}"


def _met(holds: bool) -> Met:
    return Met.MET if holds else Met.NOT_MET
