"""Write docs/cli.md: what `metapo --help` and every subcommand's --help print in a terminal of 80 columns.

Run `.venv/bin/python docs/write_cli.py` after a change to the command line; a test compares.
"""

from collections.abc import Iterator
from pathlib import Path

import click
from click.testing import CliRunner

PAGE = Path(__file__).with_name("cli.md")
HEAD = """\
# Command line

Each command as its own `--help` tells it. This page is made by `docs/write_cli.py`; edit the help texts instead.
"""


def main() -> None:
    from metapo.cli import main as metapo

    PAGE.write_text(page(metapo))
    print(f"wrote {PAGE.name}")


def page(root: click.Command) -> str:
    return "\n".join([HEAD, *(section(root, names) for names, _ in commands(root))])


def section(root: click.Command, names: tuple[str, ...]) -> str:
    run = CliRunner().invoke(
        root, [*names, "--help"], prog_name="metapo", env={"COLUMNS": "80"}, catch_exceptions=False
    )
    if run.exit_code != 0:
        raise RuntimeError(f"`metapo {' '.join(names)} --help` failed: {run.output}")
    title = " ".join(["metapo", *names])
    body = "\n".join(line.rstrip() for line in run.output.splitlines())
    return f"## {title}\n\n```text\n{body}\n```\n"


def commands(root: click.Command) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Each command that --help shows, parents first, by the words that come after `metapo`."""
    yield from _below((), root, click.Context(root, info_name="metapo"))


def _below(
    names: tuple[str, ...], command: click.Command, context: click.Context
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield names, command
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None and not child.hidden:
                yield from _below((*names, name), child, click.Context(child, info_name=name, parent=context))


if __name__ == "__main__":
    main()
