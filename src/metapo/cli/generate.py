"""metapo eval generate"""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from metapo.cli.common import FILE, SEED, NumberRange, counted
from metapo.errors import ChatDown, ChatError, DataError, SettingsError

if TYPE_CHECKING:
    from metapo.evals.generation import Asked, Generations, Load, Missed, Sampling
    from metapo.judge.endpoint import Endpoint
    from metapo.tasks.task import Task

MAX_TOKENS = 400
N_NAMED = 5
_OF_SERVERS = ("name", "api_key_env", "max_in_flight", "deadline")


@click.command()
@click.argument("model", required=False)
@click.option("--prompts", required=True, help="A .jsonl or .parquet file, or a dataset folder or hub id.")
@click.option(
    "--out", type=FILE, required=True, help="JSON lines to append completions to; goes on from what is there."
)
@click.option("--url", help="URL of an OpenAI-compatible server, in place of MODEL.")
@click.option("--model", "name", help="The model's name on that server (default).")
@click.option("--api-key-env", help="Environment variable that holds the server's key.")
@click.option("--max-in-flight", type=click.IntRange(min=1), help="Requests to the server at once (default 32).")
@click.option(
    "--deadline",
    type=NumberRange(0, min_open=True),
    help="Seconds for all tries of a request to the server (default 600).",
)
@click.option("--max-batch", type=click.IntRange(min=1), help="Prompts that MODEL completes at once (default 16).")
@click.option(
    "--temperature",
    type=NumberRange(0, 100),
    default=0.0,
    show_default=True,
    help="0 takes the most likely token each time.",
)
@click.option(
    "--max-tokens",
    type=click.IntRange(min=1),
    help=f"A longer completion is cut (default: as the task trains, or {MAX_TOKENS}).",
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Draws completions, with a temperature above 0.")
@click.option("--task", help="A task that makes prompts of the rows: a shipped one, or your own .py file.")
@click.option("--prompt-column", help="The column with the prompt (default: the task's, or prompt).")
@click.option("--reference-column", help="The column to keep as reference (default: reference, where there is one).")
@click.option("--label-column", help="The column to keep as label (default: label, where there is one).")
@click.option("--split", default="train", show_default=True, help="The split of a dataset on the hub.")
@click.option("--limit", type=click.IntRange(min=1), help="Complete so many prompts from the first on (default: all).")
def generate(
    model: str | None,
    prompts: str,
    out: Path,
    temperature: float,
    max_tokens: int | None,
    seed: int,
    task: str | None,
    prompt_column: str | None,
    reference_column: str | None,
    label_column: str | None,
    split: str,
    limit: int | None,
    **flags: Any,
) -> None:
    """Let a policy complete prompts, for the other commands to measure. MODEL is a model folder or hub id, loaded in
    this process; --url asks a server instead.

    Prompts are texts, or lists of chat messages with role and content. Where the model has a chat template, a text
    becomes a user message; where it has none, it stands as it is. Each row of OUT has id (the prompt's, or its row's
    number), prompt, completion, model, finish_reason ("length" where the completion was cut) and the prompt's
    reference and label.

    A request that fails leaves no row: it is named, and the exit code is 1. The same command asks for what is missing.
    """
    from metapo.evals.generation import Sampling, load_asked, open_generations
    from metapo.tasks.loading import find_task

    endpoint = _endpoint(model, flags)
    of = None if task is None else find_task(task)
    room = max_tokens or _room(of)
    sampling = Sampling(max_tokens=room, temperature=temperature, seed=seed if temperature else None)
    columns = {"prompt": prompt_column, "reference": reference_column, "label": label_column}
    load = _plain(split, columns) if of is None else _of_task(of, split, columns)
    asked = load_asked(prompts, load)[:limit]
    with open_generations(out) as generations:
        generations.check(sampling)
        left = generations.waiting(asked)
        missed = asyncio.run(_generate(endpoint, left, sampling, generations)) if left else []
    _show(generations, asked, out)
    if missed:
        raise ChatError(_told(missed, len(asked)))


def _endpoint(model: str | None, flags: Mapping[str, Any]) -> "Endpoint":
    """Raises SettingsError."""
    from pydantic import TypeAdapter, ValidationError

    from metapo.judge.endpoint import Endpoint
    from metapo.rubric import describe

    url = flags["url"]
    if (model is None) == (url is None):
        raise SettingsError("give either MODEL, a model folder or hub id, or --url with the URL of a server")
    of_others, others = (("max_batch",), "a model in this process") if model is None else (_OF_SERVERS, "a server")
    if misplaced := next((name for name in of_others if flags[name] is not None), None):
        option = {"name": "model"}.get(misplaced, misplaced.replace("_", "-"))
        raise SettingsError(f"--{option} is for {others}: leave it out")
    deadline = flags["deadline"] or 600.0
    server = {"url": url, "model": flags["name"] or "default", "timeout_s": deadline, "deadline_s": deadline}
    rest = {name: flags[name] for name in ("api_key_env", "max_in_flight", "max_batch") if flags[name] is not None}
    try:
        endpoint: Endpoint = TypeAdapter(Endpoint).validate_python(
            (server if model is None else {"local": model}) | rest
        )
    except ValidationError as e:
        raise SettingsError(f"an option is empty or wrong:\n{describe(e)}") from e
    return endpoint


def _room(task: "Task | None") -> int:
    """How many tokens a completion may have where no option says so."""
    engine = {} if task is None else task.settings.get("engine", {})
    tokens: int = engine.get("max_completion_tokens", MAX_TOKENS)
    return tokens


def _plain(split: str, columns: Mapping[str, str | None]) -> "Load":
    """Loads the columns of a source by the names that `columns` gives them; those that it maps to nothing keep theirs,
    and may be absent."""
    from metapo.tasks.reading import column, read_source

    names = {new: name or new for new, name in columns.items()} | {"id": "id"}
    needed = [names["prompt"], *filter(None, columns.values())]

    def load(source: str) -> list[dict[str, Any]]:
        rows = []
        for number, raw in enumerate(read_source(source, split), 1):
            try:
                for name in needed:
                    column(raw, name)
            except DataError as e:
                raise DataError(
                    f"{source}, row {number}: {e}. Name the right one with --prompt-column, --reference-column or "
                    "--label-column."
                ) from e
            rows.append({new: raw[name] for new, name in names.items() if name in raw})
        return rows

    return load


def _of_task(task: "Task", split: str, columns: Mapping[str, str | None]) -> "Load":
    """Loads a task's prompts with their references and labels."""
    from metapo.settings import DataSettings
    from metapo.tasks.loading import load_prompts

    def load(source: str) -> list[dict[str, Any]]:
        data = DataSettings(train=source, **{f"{new}_column": column for new, column in columns.items()})
        prompts = load_prompts(task, data, source, hub_split=split, labels=True)
        return [{"prompt": p.content, "reference": p.reference, "label": p.label, "tools": p.tools} for p in prompts]

    return load


async def _generate(
    endpoint: "Endpoint", left: "Sequence[Asked]", sampling: "Sampling", generations: "Generations"
) -> "list[Missed]":
    """Put what is missing on record; returns what still is. Raises ChatError where the model is not there,
    RunError where it is another one than that of the rows on record."""
    from metapo.cli.progress import counting
    from metapo.engines.connect import open_transport
    from metapo.evals.generation import Generated, Missed, generate
    from metapo.judge.endpoint import LocalSettings

    transport = open_transport(endpoint, bare=True)
    # While one batch is written, the next one waits whole.
    at_once = endpoint.at_once * (2 if isinstance(endpoint, LocalSettings) else 1)
    try:
        model = await transport.identify()
        generations.check(sampling, model)
        missed: list[Missed] = []
        with counting(len(left), "prompts", "failed") as tally:

            def note(found: Generated | Missed) -> None:
                if isinstance(found, Generated):
                    generations.append(found)
                else:
                    missed.append(found)
                    tally.n_unscored += 1
                tally.n += 1
                tally.show()

            await generate(transport, model, left, sampling, note, at_once)
        return missed
    except ChatDown as e:
        raise ChatDown(f"{e}. What was written is in {generations.path}: the same command goes on from there.") from e
    finally:
        await transport.aclose()


def _show(generations: "Generations", asked: "Sequence[Asked]", out: Path) -> None:
    rows = [generations.rows[one.id] for one in asked if one.id in generations.rows]
    n_cut = sum(row.finish_reason == "length" for row in rows)
    n_empty = sum(not row.completion.strip() for row in rows)
    click.echo(f"{counted(len(rows), 'completion')} of {counted(len(asked), 'prompt')}, {n_cut} cut, {n_empty} empty")
    if n_others := len(generations.rows) - len(rows):
        click.echo(f"{out} also holds {counted(n_others, 'completion')} of other prompts")
    click.echo(f"Written to {out}")


def _told(missed: "Sequence[Missed]", n: int) -> str:
    lines = [f"{len(missed)} of {counted(n, 'prompt')} have no completion:"]
    lines += [f"  {one.id}: {one.why}" for one in missed[:N_NAMED]]
    if rest := [one.id for one in missed[N_NAMED:]]:
        lines.append(f"  and {', '.join(rest)}")
    return "\n".join([*lines, "The same command asks for these alone."])
