"""What a tournament came to."""

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from statistics import fmean

from pydantic import Field

from metapo.evals.matches import Match
from metapo.evals.ratings import REPEATS, RESAMPLES, Estimate, Spread, rate, shuffled_elo
from metapo.evals.tournament import Played, Result
from metapo.evals.winrate import Rate, Sample, length_controlled, win_rate
from metapo.rubric import Frozen


class PairReport(Frozen):
    """Two models against each other. Rates are the first one's, `controlled` at equal length (None where that can't be
    told); `share_longer` says in which share of the matches its text had more characters, `mean_chars` how many each
    wrote."""

    model_a: str
    model_b: str
    n: int
    wins_a: int
    wins_b: int
    draws: int
    win_rate: Rate
    controlled: Rate | None
    mean_chars: tuple[float, float]
    share_longer: float


class PositionReport(Frozen):
    """Whether the judge favours a place: of its `n` answers that chose a text, in how many that was the first one, and
    in how many matches it chose the same place in both orders."""

    n: int
    n_first: int
    matches_first: int
    matches_second: int

    @property
    def share_first(self) -> float | None:
        """0.5 for a judge without a bias; None where nothing was chosen."""
        return self.n_first / self.n if self.n else None


class Report(Frozen):
    """`n` matches of `n_scheduled` have a result; `results` counts how each came about, `problems` why orders have no
    clear answer. Ratings are over the matches with a result: Elo over shuffled orders, and Bradley-Terry (None where
    some models never met)."""

    n_scheduled: int
    n: int
    results: dict[Result, int]
    problems: dict[str, int]
    position: PositionReport
    pairs: tuple[PairReport, ...] = ()
    elo: dict[str, Spread] = Field(default={})
    bradley_terry: dict[str, Estimate] | None = None

    @property
    def n_unscored(self) -> int:
        """Matches that were judged and have no result."""
        return self.results.get(Result.UNSCORED, 0)

    @property
    def n_waiting(self) -> int:
        """Matches that nobody judged yet."""
        return self.n_scheduled - self.n - self.n_unscored


def summarize(
    played: Sequence[Played | None], repeats: int = REPEATS, resamples: int = RESAMPLES, seed: int = 0
) -> Report:
    """The report on the matches of a schedule, in its order, None for those not judged yet. A match without a result
    counts nowhere but among `results`: it is no loss."""
    judged = [match for match in played if match is not None]
    decided = [match for match in judged if match.winner is not None]
    matches = [Match(m.model_a, m.model_b, _points(m), m.prompt) for m in decided]
    return Report(
        n_scheduled=len(played),
        n=len(decided),
        results=dict(Counter(match.result for match in judged).most_common()),
        problems=dict(Counter(a.problem for m in judged for a in m.orders if a.problem).most_common()),
        position=_position(judged),
        pairs=_pairs(decided, resamples, seed),
        elo=shuffled_elo(matches, repeats, seed) if matches else {},
        bradley_terry=rate(matches, resamples, seed) if matches else None,
    )


def _points(match: Played) -> float:
    return 0.5 if match.winner == "draw" else float(match.winner == match.model_a)


def _position(judged: Sequence[Played]) -> PositionReport:
    chosen = [asked.chosen for match in judged for asked in match.orders if asked.chosen]
    by_place = Counter(match.orders[0].chosen for match in judged if match.result is Result.PLACE)
    return PositionReport(
        n=len(chosen),
        n_first=chosen.count("first"),
        matches_first=by_place["first"],
        matches_second=by_place["second"],
    )


def _pairs(decided: Sequence[Played], resamples: int, seed: int) -> tuple[PairReport, ...]:
    def names(match: Played) -> tuple[str, str]:
        return match.model_a, match.model_b

    in_pairs = groupby(sorted(decided, key=names), key=names)
    return tuple(_pair(a, b, list(matches), resamples, seed) for (a, b), matches in in_pairs)


def _pair(a: str, b: str, matches: Sequence[Played], resamples: int, seed: int) -> PairReport:
    samples = [Sample(_points(m), len(m.completion_a) - len(m.completion_b), m.prompt) for m in matches]
    return PairReport(
        model_a=a,
        model_b=b,
        n=len(matches),
        wins_a=sum(m.winner == a for m in matches),
        wins_b=sum(m.winner == b for m in matches),
        draws=sum(m.winner == "draw" for m in matches),
        win_rate=win_rate(samples, resamples, seed),
        controlled=length_controlled(samples, resamples, seed),
        mean_chars=(fmean(len(m.completion_a) for m in matches), fmean(len(m.completion_b) for m in matches)),
        share_longer=fmean(s.lead_chars > 0 for s in samples),
    )
