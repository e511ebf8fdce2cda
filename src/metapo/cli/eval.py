"""metapo eval"""

import click

from metapo.cli.eval_answers import ANSWERS


@click.group("eval")
def evals() -> None:
    """Measure policies, judges and rubrics, from files of JSON lines."""


for _command in ANSWERS:
    evals.add_command(_command)
