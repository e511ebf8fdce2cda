"""metapo ui"""

import asyncio
import logging
import sys
import webbrowser
from pathlib import Path

import click

from metapo.cli.common import PLACE
from metapo.cli.serve import at_address, load_extra


@click.command()
@click.argument("runs", metavar="RUN...", type=PLACE, nargs=-1, required=True)
@at_address(port=8765)
@click.option("--read-only", is_flag=True, help="Nobody may approve, edit, pin or label here.")
@click.option("--open/--no-open", "opens", default=False, show_default=True, help="Open a browser.")
def ui(
    runs: tuple[Path | str, ...],
    host: str,
    port: int,
    token_env: str | None,
    token_file: Path | None,
    allow_host: tuple[str, ...],
    read_only: bool,
    opens: bool,
) -> None:
    """Show runs in a browser: rewards, rubrics, rollouts and meta steps, while they train and afterwards; and let
    people decide on a rubric.

    RUN is the folder of a run, a folder that holds runs, or the URL of a store. What is shown is a JSON API, too:
    GET /openapi.json describes it.
    """
    from metapo.server.options import ServeOptions, check_exposed, read_token

    check_exposed(host, token_env is not None or token_file is not None, "read the runs and decide on their rubrics")
    token = read_token(token_env, token_file)
    load_extra()
    from metapo.server import running
    from metapo.server.looking import look
    from metapo.viewing.runs import open_runs

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s  %(message)s", datefmt="%H:%M:%S")
    options = ServeOptions(host=host, port=port, token=token, names=allow_host)
    taken = running.listen(host, port)

    def ready(server: running.Running) -> None:
        # the part behind # stays in the browser; a log is no place for a token
        secret = f"/#token={token}" if token is not None and sys.stdout.isatty() else ""
        click.echo(f"metapo shows {len(found)} {'run' if len(found) == 1 else 'runs'} at {server.url}{secret}")
        if opens:
            webbrowser.open(server.url + secret)

    try:
        found = open_runs(runs)
    except BaseException:
        taken.close()
        raise
    asyncio.run(look(found, options, taken, ready, can_act=not read_only))
