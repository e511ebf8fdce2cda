"""metapo eval"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from metapo.cli.common import FILE, SEED, NumberRange, counted, read_rollouts
from metapo.cli.eval_answers import ANSWERS
from metapo.cli.generate import generate
from metapo.cli.judging import OneJudge, one_judge, one_judge_options
from metapo.errors import BudgetSpent, ChatDown, JudgeFailureLimit, SettingsError

if TYPE_CHECKING:
    from metapo.evals.asking import Question
    from metapo.evals.ratings import Estimate, Spread
    from metapo.evals.record import MatchFile
    from metapo.evals.report import Report
    from metapo.evals.schedule import Entrant, Fixture, Schedule
    from metapo.evals.tournament import Played
    from metapo.evals.winrate import Rate
    from metapo.store import Spent


@click.group("eval")
def evals() -> None:
    """Measure policies, judges and rubrics, from files of JSON lines."""


for _command in (generate, *ANSWERS):
    evals.add_command(_command)


@evals.command()
@click.argument("matches", type=FILE)
@click.option("--json", "out", type=FILE, help="Write the ratings here as JSON.")
@click.option(
    "--k",
    type=NumberRange(0, 1000, min_open=True),
    default=4.0,
    show_default=True,
    help="How far one match moves a rating at most.",
)
@click.option(
    "--start", type=NumberRange(0, 100_000), default=1000.0, show_default=True, help="Each model's first rating."
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


@evals.command()
@click.argument("files", nargs=-1, required=True, metavar="[NAME=]FILE...")
@click.option("--out", type=FILE, required=True, help="JSON lines to append each match to; goes on from what is there.")
@click.option("--json", "report_file", type=FILE, help="Write the report here as JSON.")
@click.option("--dry-run", is_flag=True, help="Tell how much would be asked; ask nothing, write nothing.")
@click.option(
    "--template",
    type=click.Choice(["general", "essay"]),
    default="general",
    show_default=True,
    help="What the judge is told to look at.",
)
@click.option(
    "--max-tokens",
    type=click.IntRange(min=1),
    default=1024,
    show_default=True,
    help="Room for a reply; more for a judge that thinks first.",
)
@click.option(
    "--prompts", "n_prompts", type=click.IntRange(min=1), help="Play on so many of the prompts (default: all)."
)
@click.option(
    "--repeats", type=click.IntRange(1, 10_000), default=5, show_default=True, help="Random orders for the Elo ratings."
)
@click.option(
    "--resamples",
    type=click.IntRange(0, 100_000),
    default=1000,
    show_default=True,
    help="Resamples for the intervals; 0 for no intervals.",
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Draws prompts, orders and resamples.")
@click.option(
    "--max-unscored",
    type=NumberRange(0, 1),
    default=0.1,
    show_default=True,
    help="The share of matches that may stay without a result.",
)
@one_judge_options
def tournament(
    files: tuple[str, ...],
    out: Path,
    report_file: Path | None,
    dry_run: bool,
    template: str,
    max_tokens: int,
    n_prompts: int | None,
    repeats: int,
    resamples: int,
    seed: int,
    max_unscored: float,
    **flags: Any,
) -> None:
    """Let models meet on the prompts that they share, before a judge that compares two completions at a time.

    Each FILE holds one model's JSON lines with prompt and completion (or response); the model is named after the file,
    or NAME. Every match is judged in both orders, and who is chosen in both has won; else it is a draw. A match whose
    judgement fails has no result: it is left out and counted, never a loss.

    After an interruption, the same command goes on where it stopped and asks nothing twice. OUT can be rated again
    with `metapo eval elo`.
    """
    from metapo.evals.asking import Question
    from metapo.evals.record import open_matches, read_played
    from metapo.evals.report import summarize
    from metapo.evals.schedule import draw_up
    from metapo.files import write_whole

    judge = one_judge(flags)
    schedule = draw_up([_entrant(file) for file in files], n_prompts, seed)
    question = Question(judge.task, template, max_tokens)
    if dry_run:
        _show_estimate(schedule, question, read_played(out))
        return
    with open_matches(out) as matches:
        matches.check(question.digest)
        spent, reached = asyncio.run(_play(judge, question, schedule.fixtures, matches))
        report = summarize([matches.played.get(f.id) for f in schedule.fixtures], repeats, resamples, seed)
    for line in _report_lines(report, schedule):
        click.echo(line)
    if n_others := len(matches.played.keys() - {f.id for f in schedule.fixtures}):
        click.echo(f"{out} also holds {counted(n_others, 'match', 'matches')} of other texts, which don't count here")
    click.echo(f"It took {spent}")
    if report_file is not None:
        write_whole(report_file, report.model_dump_json(indent=1))
        click.echo(f"Written to {report_file}")
    _raise_failure(report, reached, max_unscored)


def _entrant(file: str) -> "Entrant":
    """A model named by NAME=FILE, or after its file."""
    from metapo.evals.schedule import Entrant

    name, given, path = file.partition("=")
    if not given or Path(file).is_file():
        name, path = Path(file).stem, file
    _, rollouts = read_rollouts(Path(path))
    return Entrant(name, tuple(rollouts))


async def _play(
    judge: OneJudge, question: "Question", fixtures: "Sequence[Fixture]", matches: "MatchFile"
) -> "tuple[Spent, str]":
    """Play what has no result yet; returns what that took, and the part of the budget that is used up. Raises ChatError
    where the judge is not there, RunError where it is another one."""
    from metapo.cli.progress import counting
    from metapo.engines.connect import open_transport
    from metapo.evals.tournament import Tournament, waiting
    from metapo.judge.ledger import Ledger
    from metapo.store import Spent

    left = waiting(fixtures, matches.played)
    if not left:
        return Spent.of([]), ""
    if judge.endpoint is None:
        raise SettingsError("give a judge: --judge with a URL, --local with a model, or --settings with a file")
    ledger = Ledger()
    transport = open_transport(judge.endpoint, ledger.of("judge"))
    try:
        name = await transport.identify()
        matches.check(question.digest, name)
        with counting(len(left), "matches") as tally:

            def note(played: "Played") -> None:
                matches.append(played)
                tally.n += 1
                tally.n_unscored += played.winner is None
                tally.show()

            at_once = (judge.endpoint.at_once + 1) // 2  # a match is two requests
            playing = Tournament(transport, name, question, note, at_once, judge.budget, ledger)
            await playing.play(left, dict(matches.played))
        return playing.spent, playing.reached
    except ChatDown as e:
        raise ChatDown(f"{e}. What was judged is in {matches.path}: the same command goes on from there.") from e
    finally:
        await transport.aclose()


def _show_estimate(schedule: "Schedule", question: "Question", known: "Mapping[str, Played]") -> None:
    from metapo.evals.tournament import CHARS_PER_TOKEN, estimate

    asked = estimate(question, schedule.fixtures, known)
    click.echo(f"{_scheduled(schedule)}; {len(schedule.fixtures) - asked.n_matches} need no request")
    click.echo(
        f"{counted(asked.n_requests, 'request')}, {asked.prompt_chars} characters of prompts, about "
        f"{asked.prompt_tokens} tokens (estimated at {CHARS_PER_TOKEN} characters each), and at most "
        f"{asked.max_reply_tokens} tokens of replies"
    )


def _scheduled(schedule: "Schedule") -> str:
    unmatched = f" ({schedule.n_unmatched} times a completion has no counterpart)" if schedule.n_unmatched else ""
    return f"{counted(len(schedule.fixtures), 'match', 'matches')}{unmatched}"


def _report_lines(report: "Report", schedule: "Schedule") -> list[str]:
    """For people: what came of the matches, the judge's bias, each pair, and the ratings."""
    waiting = f", {report.n_waiting} not judged" if report.n_waiting else ""
    lines = [f"{_scheduled(schedule)}, {report.n} with a result, {report.n_unscored} without{waiting}"]
    lines += [f"  {result.value:<9} {count:>6}  {MEANING[result.value]}" for result, count in report.results.items()]
    if report.problems:
        lines.append("No clear answer: " + ", ".join(f"{n} {problem}" for problem, n in report.problems.items()))
    place = report.position
    if place.share_first is not None:
        lines.append(
            f"Of {place.n} choices {place.share_first:.1%} fell on the text shown first; {place.matches_first} matches "
            f"went to the first place in both orders, {place.matches_second} to the second"
        )
    for pair in report.pairs:
        lines.append(
            f"{pair.model_a} against {pair.model_b}: {pair.wins_a} won, {pair.draws} drawn, {pair.wins_b} lost"
        )
        lines.append(f"  win rate           {_rate(pair.win_rate)}")
        lines.append(f"  at equal length    {_rate(pair.controlled)}")
        a, b = pair.mean_chars
        lines.append(f"  mean characters    {a:.0f} and {b:.0f}; {pair.model_a} is longer in {pair.share_longer:.1%}")
    return lines + (rating_lines(None, report.elo, report.bradley_terry) if report.elo else [])


MEANING = {
    "won": "one model chosen in both orders",
    "neither": "draw: none chosen in either order",
    "leaning": "draw: one chosen in one order, none in the other",
    "place": "draw: the same place chosen in both orders",
    "equal": "draw: equal texts, not asked",
    "unscored": "left out: no clear answer in both orders",
}


def _rate(rate: "Rate | None") -> str:
    if rate is None:
        return "can't be told: the difference in length is always the same"
    interval = f" [{rate.interval.low:.1%}, {rate.interval.high:.1%}]" if rate.interval else ""
    return f"{rate.rate:.1%}{interval}"


def _raise_failure(report: "Report", reached: str, max_unscored: float) -> None:
    """Raises BudgetSpent or JudgeFailureLimit where the report is not whole."""
    if reached:
        raise BudgetSpent(
            f"{reached} is used up, and {report.n_waiting} matches are not judged. The same command goes on with them, "
            "with as much to spend again."
        )
    judged = report.n + report.n_unscored
    if report.n_unscored > max_unscored * judged:
        raise JudgeFailureLimit(
            f"{report.n_unscored} of {judged} matches have no result, more than --max-unscored {max_unscored:g} "
            "allows. Mend the judge and give the same command again: it asks again for these alone."
        )


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
        data["shuffled"] = {model: asdict(spread) for model, spread in shuffled.items()}
    if estimates is not None:
        data["bradley_terry"] = {model: asdict(estimate) for model, estimate in estimates.items()}
    return data


def _estimate(estimate: "Estimate") -> str:
    if estimate.interval is None:
        return f"{estimate.rating:.2f}"
    return f"{estimate.rating:.2f} [{estimate.interval.low:.2f}, {estimate.interval.high:.2f}]"
