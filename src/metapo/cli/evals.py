"""metapo eval"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from metapo.cli.common import FILE, SEED, counted

if TYPE_CHECKING:
    from metapo.evals.ratings import Estimate, Spread


@click.group("eval")
def evals() -> None:
    """Find out which model writes better."""


@evals.command()
@click.argument("matches", type=FILE)
@click.option("--json", "out", type=FILE, help="Write the ratings here as JSON.")
@click.option(
    "--k",
    type=click.FloatRange(0, 1000, min_open=True),
    default=4.0,
    show_default=True,
    help="How far one match moves a rating at most.",
)
@click.option(
    "--start", type=click.FloatRange(0, 100_000), default=1000.0, show_default=True, help="Each model's first rating."
)
@click.option(
    "--repeats",
    type=click.IntRange(0, 10_000),
    default=0,
    show_default=True,
    help="Also replay so many random orders: mean and population standard deviation.",
)
@click.option(
    "--resamples",
    type=click.IntRange(0, 100_000),
    default=1000,
    show_default=True,
    help="Resamples for the intervals of the Bradley-Terry ratings; 0 for no intervals.",
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="For random orders and resamples.")
def elo(matches: Path, out: Path | None, k: float, start: float, repeats: int, resamples: int, seed: int) -> None:
    """Rate the models in MATCHES: JSON lines with model_a, model_b and winner (one of the two, "draw", "tie" or null).

    Sequential Elo over the matches in the file's order, and the Bradley-Terry model, which knows no order, with
    intervals of 95% over the prompts. A match without a result (null) is left out and counted.
    """
    from metapo.evals.matches import read_matches
    from metapo.evals.ratings import elo as replay
    from metapo.evals.ratings import rate, shuffled_elo
    from metapo.files import write_whole

    recorded = read_matches(matches)
    ratings = replay(recorded.decided, k, start)
    shuffled = shuffled_elo(recorded.decided, repeats, seed, k, start) if repeats else None
    estimates = rate(recorded.decided, resamples, seed)
    draws = sum(match.points_a == 0.5 for match in recorded.decided)
    left_out = f"; {recorded.n_undecided} without a result left out" if recorded.n_undecided else ""
    n_matches = counted(len(recorded.decided), "match", "matches")
    click.echo(f"{len(ratings)} models, {n_matches}, {counted(draws, 'draw')}{left_out}")
    for line in rating_lines(ratings, shuffled, estimates):
        click.echo(line)
    if out is not None:
        data = {"ratings": ratings, "n_matches": len(recorded.decided), "n_undecided": recorded.n_undecided}
        write_whole(out, json.dumps(data | rating_data(shuffled, estimates), indent=1))
        click.echo(f"Written to {out}")


def rating_lines(
    ratings: Mapping[str, float] | None,
    shuffled: "Mapping[str, Spread] | None",
    estimates: "Mapping[str, Estimate] | None",
) -> list[str]:
    """A table of the ratings that there are, the best model first."""
    first = ratings or {model: spread.mean for model, spread in (shuffled or {}).items()}
    models = sorted(first, key=lambda model: (-first[model], model))
    width = max(len("model"), *map(len, models))
    titles = ["Elo"] * (ratings is not None) + ["Elo, shuffled"] * (shuffled is not None)
    titles += ["Bradley-Terry (95%)"] * (estimates is not None)
    lines = ["  ".join([f"{'model':<{width}}", *(f"{title:<{WIDTHS[title]}}" for title in titles)])]
    for model in models:
        cells = {}
        if ratings is not None:
            cells["Elo"] = f"{ratings[model]:.2f}"
        if shuffled is not None:
            cells["Elo, shuffled"] = f"{shuffled[model].mean:.2f} ± {shuffled[model].sd:.2f}"
        if estimates is not None:
            cells["Bradley-Terry (95%)"] = _estimate(estimates[model])
        lines.append("  ".join([f"{model:<{width}}", *(f"{cells[title]:<{WIDTHS[title]}}" for title in titles)]))
    if estimates is None:
        lines.append("No Bradley-Terry ratings: some models never met, not even by way of others.")
    return [line.rstrip() for line in lines]


WIDTHS = {"Elo": 8, "Elo, shuffled": 16, "Bradley-Terry (95%)": 27}


def rating_data(
    shuffled: "Mapping[str, Spread] | None", estimates: "Mapping[str, Estimate] | None"
) -> dict[str, object]:
    """What a report holds of the ratings that there are."""
    data: dict[str, object] = {}
    if shuffled is not None:
        data["shuffled"] = {model: spread._asdict() for model, spread in shuffled.items()}
    if estimates is not None:
        data["bradley_terry"] = {
            model: {"rating": e.rating} | (e.interval._asdict() if e.interval else {}) for model, e in estimates.items()
        }
    return data


def _estimate(estimate: "Estimate") -> str:
    if estimate.interval is None:
        return f"{estimate.rating:.2f}"
    return f"{estimate.rating:.2f} [{estimate.interval.low:.2f}, {estimate.interval.high:.2f}]"
