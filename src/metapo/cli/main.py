"""The root command, and how errors look."""

from typing import Any

import click

from metapo.cli.audit import audit
from metapo.cli.card import card
from metapo.cli.data import data
from metapo.cli.doctor import doctor
from metapo.cli.estimate import estimate
from metapo.cli.evals import evals
from metapo.cli.evolution import evolution
from metapo.cli.init import init
from metapo.cli.judge import judge
from metapo.cli.offline import autoprompt, optimize
from metapo.cli.people import PEOPLE
from metapo.cli.report import report
from metapo.cli.rubric import rubric
from metapo.cli.score import score
from metapo.cli.serve import serve
from metapo.cli.slots import slots
from metapo.cli.storing import export, prune
from metapo.cli.track import track
from metapo.cli.train import train
from metapo.cli.ui import ui
from metapo.cli.world import world
from metapo.errors import MetapoError


class _Group(click.Group):
    """Shows our own errors as one message, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except MetapoError as e:
            raise click.ClickException(str(e)) from e


@click.group(cls=_Group)
@click.version_option(package_name="metapo")
def main() -> None:
    """Train language models on an LLM judge whose rubric evolves (Meta Policy Optimization)."""


_COMMANDS = (
    init,
    doctor,
    estimate,
    train,
    serve,
    ui,
    report,
    track,
    card,
    data,
    score,
    judge,
    audit,
    evals,
    rubric,
    autoprompt,
    optimize,
    world,
    export,
    prune,
)
for _command in _COMMANDS:
    main.add_command(_command)
for _command in (*PEOPLE, evolution, slots):
    rubric.add_command(_command)
