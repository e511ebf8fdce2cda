"""Everything that a run needs, looked at before it begins."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from metapo.errors import MetapoError
from metapo.preflight import data, machine, models
from metapo.preflight.found import Found
from metapo.rollout import Prompt
from metapo.settings import Settings, TrainSettings
from metapo.tasks.loading import find_task, load_prompts


async def examine(
    settings: Settings | None, *, out: Path | None = None, store: str | None = None, ask: bool = True
) -> AsyncIterator[Found]:
    """One finding after the other: the machine, the rubric, the data, the models. Without `settings` the machine alone;
    without `ask` no model is asked. `out` is the run's folder, `store` the URL of its store."""
    for found in machine.packages(settings):
        yield found
    yield machine.clock()
    if settings is None:
        return
    for found in machine.places(settings, out, store):
        yield found
    for found in data.rubrics(settings):
        yield found
    if isinstance(settings, TrainSettings):
        for found in (*machine.devices(settings), *data.prompts(settings)):
            yield found
    if ask:
        async for found in models.models(settings, _prompts(settings)):
            yield found


def _prompts(settings: Settings) -> Sequence[Prompt]:
    """Those that the judge will be shown; none where they can't be read, which is told with the data."""
    if not isinstance(settings, TrainSettings):
        return ()
    source = settings.data
    try:
        return load_prompts(find_task(settings.task), source, source.train, hub_split=source.hub_split, labels=False)
    except MetapoError:
        return ()
