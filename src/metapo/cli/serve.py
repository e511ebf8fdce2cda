"""metapo serve"""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from metapo.cli.common import FILE, FOLDER, NumberRange, scoring_settings, task_of, train_settings

if TYPE_CHECKING:
    from metapo.reward import Screen
    from metapo.settings import Settings

F = TypeVar("F", bound=Callable[..., object])


def at_address(port: int) -> Callable[[F], F]:
    """The options that tell where a server listens, and who may ask it."""
    options = (
        click.option(
            "--host", default="127.0.0.1", show_default=True, help="Address to listen at; all others need a token."
        ),
        click.option(
            "--port",
            type=click.IntRange(0, 65535),
            default=port,
            show_default=True,
            help="Port to listen at; 0 takes a free one.",
        ),
        click.option("--token-env", help="Environment variable with the token that requests must give."),
        click.option("--token-file", type=FILE, help="File with that token, and nothing else."),
        click.option(
            "--allow-host", multiple=True, help="Another name for this machine that requests may use; repeatable."
        ),
    )

    def put(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return put


@click.command()
@click.argument("settings", type=FILE)
@click.option(
    "--out", type=FOLDER, required=True, help="Folder of the run; a server that begins again goes on with it."
)
@click.option("--store", help="URL of a PostgreSQL database to use in place of a file in --out.")
@at_address(port=8000)
@click.option(
    "--groups-per-step",
    type=click.IntRange(1),
    help="Prompts of a step, to count steps for engines that tell none (OpenRLHF, slime).",
)
@click.option(
    "--group-size",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Completions per prompt, where steps are counted.",
)
@click.option(
    "--unscored",
    type=click.Choice(["raise", "neutral"]),
    help="What OpenRLHF and slime get for a rollout without a reward: an error, or the mean of its step so far.",
)
@click.option(
    "--end-mark", multiple=True, help="Text to cut off the end of OpenRLHF's completions, such as <|im_end|>."
)
@click.option(
    "--max-body", type=click.IntRange(1), default=16, show_default=True, help="MiB that one request may have."
)
@click.option(
    "--max-in-flight", type=click.IntRange(1), default=4096, show_default=True, help="Requests that may be under way."
)
@click.option("--rate", type=NumberRange(0, min_open=True), help="Requests per second that are let in (default: any).")
@click.option(
    "--grace",
    type=NumberRange(1),
    default=60.0,
    show_default=True,
    help="Seconds that a server which is told to stop gives to what is under way.",
)
def serve(
    settings: Path,
    out: Path,
    store: str | None,
    host: str,
    port: int,
    token_env: str | None,
    token_file: Path | None,
    allow_host: tuple[str, ...],
    groups_per_step: int | None,
    group_size: int,
    unscored: str | None,
    end_mark: tuple[str, ...],
    max_body: int,
    max_in_flight: int,
    rate: float | None,
    grace: float,
) -> None:
    """Serve rewards over HTTP, under the rubric in the YAML file SETTINGS, which evolves as they say.

    Several servers may share one run: the same --out on one machine, the same --store on several. SIGTERM lets what is
    under way finish; a second one ends the server at once.
    """
    from metapo.server.options import Limits, ServeOptions, Unscored, check_exposed, read_token

    check_exposed(host, has_token=token_env is not None or token_file is not None)
    token = read_token(token_env, token_file)
    if groups_per_step is None and group_size != 1:
        raise click.UsageError("--group-size belongs to --groups-per-step")
    load_extra()
    from metapo.engines.connect import connect
    from metapo.server import running
    from metapo.store import Counting

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s  %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("metapo").setLevel(logging.INFO)
    options = ServeOptions(
        host=host,
        port=port,
        token=token,
        names=allow_host,
        unscored=Unscored(unscored) if unscored else None,
        end_marks=end_mark,
        limits=Limits(max_body=max_body * 2**20, max_in_flight=max_in_flight, rate=rate, grace_s=grace),
    )
    counting = None
    if groups_per_step is not None:
        counting = Counting(groups=groups_per_step, group_size=group_size)
    scoring, screen = _scoring(settings)
    served = running.Served(scoring, out, store, counting, screen)
    taken = running.listen(host, port)

    def ready(server: running.Running) -> None:
        click.echo(f"metapo serves {server.url}")

    asyncio.run(running.serve(served, options, taken, connect(served.settings), ready))
    click.echo("Stopped. The same command goes on with the run.")


def _scoring(path: Path) -> "tuple[Settings, Screen]":
    """What a settings file says about scoring; with a task's own rule where it names a task, and then all that training
    needs. Raises SettingsError."""
    from metapo.reward import screen_nothing
    from metapo.tasks.loading import find_task

    if task_of(path) == "generic":
        return scoring_settings(path), screen_nothing
    settings = train_settings(path)
    return settings, find_task(settings.task).screen(settings)


def load_extra() -> None:
    """Raises MissingExtra where a server can't run."""
    from metapo.errors import MissingExtra

    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as e:
        raise MissingExtra("server", "serving rewards") from e
