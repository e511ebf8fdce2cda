"""Reports from made-up matches, counted by hand."""

import pytest

from metapo.evals.report import summarize
from metapo.evals.tournament import Asked, Played, Result

WINNERS = {"AB": "x", "BA": "y", "AA": "draw", "BB": "draw", "TT": "draw", "AT": "draw"}
RESULTS = {"AB": Result.WON, "BA": Result.WON, "AA": Result.PLACE, "BB": Result.PLACE, "TT": Result.NEITHER}


def played(number: int, choices: str, a: str = "x", b: str = "y", chars: tuple[int, int] = (10, 10)) -> Played:
    """A match by the letters of its two orders; "-" is no clear answer."""
    winner = {"x": a, "y": b}.get(WINNERS.get(choices, ""), WINNERS.get(choices))
    orders = tuple(
        Asked.model_validate({"first": first, "choice": None if c == "-" else c, "problem": "cut" if c == "-" else ""})
        for first, c in zip((a, b), choices, strict=True)
    )
    return Played(
        id=str(number),
        prompt=f"p{number}",
        model_a=a,
        model_b=b,
        winner=winner,
        result=RESULTS.get(choices, Result.LEANING) if winner else Result.UNSCORED,
        completion_a="a" * chars[0],
        completion_b="b" * chars[1],
        judge="judge",
        question="q",
        orders=orders,
    )


def test_counts() -> None:
    matches = [played(i, c) for i, c in enumerate(["AB", "AB", "BA", "AA", "AA", "BB", "TT", "AT", "A-", "--"])]
    report = summarize([*matches, None], resamples=50)
    assert (report.n_scheduled, report.n, report.n_unscored, report.n_waiting) == (11, 8, 2, 1)
    assert report.results == {
        Result.WON: 3,
        Result.PLACE: 3,
        Result.UNSCORED: 2,
        Result.NEITHER: 1,
        Result.LEANING: 1,
    }
    assert report.problems == {"cut": 3}
    [pair] = report.pairs
    assert (pair.wins_a, pair.draws, pair.wins_b, pair.n) == (2, 5, 1, 8)
    assert pair.win_rate.rate == pytest.approx((2 + 2.5) / 8), "what failed counts nowhere"
    place = report.position
    assert (place.n_first, place.n) == (2 + 1 + 2 * 2 + 1 + 1, 6 + 6 + 1 + 1)
    assert place.share_first == pytest.approx(9 / 14)
    assert (place.matches_first, place.matches_second) == (2, 1)


def test_ratings_are_over_matches_with_a_result() -> None:
    clear = [played(i, "AB") for i in range(6)]
    one, other = (summarize(m, resamples=20, seed=2) for m in (clear, [*clear, played(9, "B-"), None]))
    assert one.elo == other.elo
    assert one.bradley_terry == other.bradley_terry
    assert one.elo["x"].mean > 1000 > one.elo["y"].mean


def test_length_is_told_beside_the_win_rate() -> None:
    longer_wins = [
        played(i, "AB" if i % 3 else "BA", chars=(300 + i, 100) if i % 3 else (100, 300 + i)) for i in range(30)
    ]
    [pair] = summarize(longer_wins, resamples=0).pairs
    assert pair.win_rate.rate == pytest.approx(2 / 3)
    assert pair.controlled is not None
    assert 0.5 < pair.controlled.rate < 0.6
    assert pair.share_longer == pytest.approx(2 / 3)
    [pair] = summarize([played(i, "AB", chars=(12, 10)) for i in range(3)], resamples=0).pairs
    assert pair.controlled is None


def test_pairs_stand_apart() -> None:
    matches = [played(0, "AB"), played(1, "AB", "x", "z"), played(2, "BA"), played(3, "AB", "y", "z")]
    report = summarize(matches, resamples=0)
    assert [(p.model_a, p.model_b, p.n) for p in report.pairs] == [("x", "y", 2), ("x", "z", 1), ("y", "z", 1)]
    assert report.bradley_terry is not None
    assert report.bradley_terry["z"].interval is None


def test_nothing_judged_is_a_report_too() -> None:
    report = summarize([None, played(1, "--")])
    assert (report.n, report.n_unscored, report.n_waiting) == (0, 1, 1)
    assert report.pairs == ()
    assert report.elo == {}
    assert report.bradley_terry is None
    assert report.position.share_first is None


def test_a_report_survives_json() -> None:
    report = summarize([played(0, "AB"), played(1, "AA", chars=(5, 7))], resamples=10)
    assert type(report).model_validate_json(report.model_dump_json()) == report
