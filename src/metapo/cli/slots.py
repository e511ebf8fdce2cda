"""metapo rubric slots"""

from itertools import groupby
from pathlib import Path

import click

from metapo.errors import StoreError


@click.command()
@click.argument("store")
@click.option(
    "--slots", "n_slots", type=click.IntRange(0), default=12, show_default=True, help="How many slots verl was given."
)
def slots(store: str, n_slots: int) -> None:
    """Tell which criterion each of verl's metrics crit_0, crit_1, ... stands for, revision by revision. STORE is what
    metapo.store named."""
    from metapo.engines.verl.slots import slots as slots_of
    from metapo.store import Store

    if "://" not in store and not Path(store).is_file():
        raise StoreError(f"there is no store {store}. Give the file or the URL that metapo.store named.")
    opened = Store(store if "://" in store else Path(store))
    try:
        found = slots_of(opened, n_slots)
    finally:
        opened.close()
    for _, group in groupby(found, key=lambda slot: (slot.cluster, slot.revision)):
        first, *others = group
        cluster = f" of cluster {first.cluster!r}" if first.cluster else ""
        click.echo(f"revision {first.revision}{cluster} from step {first.step}  {first.revision_id[:10]}")
        for slot in (first, *others):
            click.echo(f"  {slot.name or '-':<7} {slot.criterion}")
