"""metapo card"""

from pathlib import Path

import click

from metapo.cli.common import FOLDER, train_settings


@click.command()
@click.argument("run", type=FOLDER)
def card(run: Path) -> None:
    """Write the model card of the policy that RUN ended with anew, from what the run has on record. Training writes it
    at its end."""
    from metapo.card import policy_of, write_card
    from metapo.run import SETTINGS

    policy_of(run)
    click.echo(f"Card: {write_card(run, train_settings(run / SETTINGS))}")
