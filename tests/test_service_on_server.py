"""Two services on one PostgreSQL server keep one run, as a single one in a file would."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from metapo.asked import Asked
from metapo.engines.connect import connect
from metapo.service import RewardService
from metapo.store import Store
from tests.postgres import Server
from tests.reviewer import Reviewer
from tests.trainer import SOUND, Marker, settings, write

N_STEPS = 6


@asynccontextmanager
async def service(place: Path | str) -> AsyncIterator[RewardService]:
    given = settings(staleness=1)
    connections = connect(given, judge=Marker(), meta=Reviewer(SOUND))
    opened = await RewardService.open(Store(place), given, connections)
    try:
        yield opened
    finally:
        await opened.aclose()


async def trained(*services: RewardService) -> list[list[float | None]]:
    """The rewards of each step, whose batches the services share."""
    rewards = []
    for step in range(N_STEPS):
        asked = [Asked(r.prompt, r.completion, r.reference, step=step, key=f"{step}/{r.position}") for r in write(step)]
        parts = [asked[i :: len(services)] for i in range(len(services))]
        scored = [await one.score(part) for one, part in zip(services, parts, strict=True)]
        rewards.append([scored[i % len(services)][i // len(services)].value for i in range(len(asked))])
    return rewards


async def test_two_services_score_as_one_does_and_do_each_meta_step_once(postgres: Server, tmp_path: Path) -> None:
    async with service(tmp_path / "store.db") as alone:
        expected = await trained(alone)
        lineage = [(step, revision.id) for step, revision in alone.store.lineage()]
    async with AsyncExitStack() as stack:
        url = postgres.new_schema()
        both = [await stack.enter_async_context(service(url)) for _ in range(2)]
        assert await trained(*both) == expected
        store = both[0].store
        assert [(step, revision.id) for step, revision in store.lineage()] == lineage
        assert len(store.meta_steps()) == len(lineage) - 1 == 1
        assert len(store.rollouts()) == store.spent(("judge",)).n_calls == 8 * N_STEPS
        assert store.verify() == 2
        for one in [*both, *both]:  # each has seen but a part of the last step
            await one.finish()
        rows = [row for _, row in store.metrics() if row["kind"] == "train"]
        assert [(row["step"], row["n_rollouts"]) for row in rows] == [(step, 8) for step in range(N_STEPS)]
