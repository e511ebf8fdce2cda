"""Servers killed at any moment: what they answered stands, once, and the run is the one of a server left alone."""

import asyncio
import multiprocessing
import socket
from collections import Counter
from contextlib import closing
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from random import Random
from typing import Any

import pytest
import sqlalchemy as sa

from metapo.api import AskedRollout
from metapo.asked import Asked
from metapo.client import RewardClient
from metapo.engines.connect import connect
from metapo.server.options import ServeOptions
from metapo.server.running import Served, listen, serve
from metapo.service import RewardService
from metapo.settings import Settings
from metapo.store import Store
from metapo.store import schema as t
from tests.servers import ChatServer
from tests.trainer import judge_and_meta, settings, write

N_KILLS = 50
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["metapo.server.running", "metapo.engines.connect"])


class Servers:
    """Two servers of one run, each at an address of its own, each killed and begun again as told."""

    def __init__(self, given: Settings, folder: Path, store: str | None = None) -> None:
        self._what = Served(given, folder, store)
        self._ports = [_free_port(), _free_port()]
        self._processes = [self._begin(port) for port in self._ports]
        self.n_killed = 0

    @property
    def urls(self) -> list[str]:
        return [f"http://127.0.0.1:{port}" for port in self._ports]

    def kill(self, which: int) -> None:
        process = self._processes[which]
        process.kill()
        process.join()
        self.n_killed += 1
        self._processes[which] = self._begin(self._ports[which])

    def end(self) -> None:
        for process in self._processes:
            process.kill()
            process.join()

    def _begin(self, port: int) -> ForkServerProcess:
        process = PROCESSES.Process(target=_serve, args=(self._what, port), daemon=True)
        process.start()
        return process


def _serve(what: Served, port: int) -> None:
    options = ServeOptions(port=port)
    asyncio.run(serve(what, options, listen(options.host, port), connect(what.settings), lambda _: None))


def _free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        return int(taken.getsockname()[1])


@pytest.mark.parametrize(("where", "n_kills"), [("sqlite", N_KILLS), ("postgresql", N_KILLS // 5)])
async def test_kills_lose_nothing_and_double_nothing(
    tmp_path: Path, where: str, n_kills: int, request: pytest.FixtureRequest
) -> None:
    random = Random(0)
    url = None if where == "sqlite" else request.getfixturevalue("postgres").new_schema()
    with ChatServer(judge_and_meta) as judge:
        given = settings(url=judge.url, staleness=1)
        servers = Servers(given, tmp_path / "run", url)
        answered: dict[str, float | None] = {}
        try:
            killing = asyncio.create_task(_kill(servers, random, n_kills))
            n_steps = 0
            async with RewardClient(*servers.urls, timeout_s=20, deadline_s=120) as client:
                while servers.n_killed < n_kills or n_steps < 10:
                    answered |= await _step(client, n_steps)
                    n_steps += 1
                await killing
                await client.begin_step(n_steps)
        finally:
            servers.end()
        lineage = await _undisturbed(given, tmp_path, n_steps)
    store = Store(url or tmp_path / "run" / "store.db")
    store.verify()
    assert [(step, r.rubric) for step, r in store.lineage()] == lineage
    assert len(answered) == 8 * n_steps
    assert recorded(url or store.path) == answered
    assert Counter(r.rollout.step for r in store.rollouts()) == dict.fromkeys(range(n_steps), 8)
    rows = [row for _, row in store.metrics() if row["kind"] == "train"]
    assert [(row["step"], row["n_rollouts"]) for row in rows] == [(step, 8) for step in range(n_steps)]
    begun = Counter(b.step for b in store.begun())
    assert set(begun.values()) == {1}
    assert {d.step for d in store.decisions()} >= {b.step for b in store.begun() if b.adopt_step <= n_steps}
    store.close()


async def _kill(servers: Servers, random: Random, n_kills: int) -> None:
    while servers.n_killed < n_kills:
        await asyncio.sleep(random.uniform(0, 0.4))
        await asyncio.to_thread(servers.kill, random.randrange(2))


async def _step(client: RewardClient, step: int) -> dict[str, float | None]:
    """Every completion of a step in a request of its own, all at once."""
    asks = {
        f"{step}/{i}": AskedRollout(
            prompt=r.prompt, completion=r.completion, reference=r.reference, step=step, key=f"{step}/{i}"
        )
        for i, r in enumerate(write(step))
    }
    found = await asyncio.gather(*(client.score([ask]) for ask in asks.values()))
    return {key: one.reward for key, [one] in zip(asks, found, strict=True)}


async def _undisturbed(given: Settings, folder: Path, n_steps: int) -> list[Any]:
    service = await RewardService.open(Store(folder / "whole.db"), given, connect(given))
    for step in range(n_steps):
        await service.score([Asked(r.prompt, r.completion, r.reference, step=step) for r in write(step)])
    await service.begin_step(n_steps)
    found = [(step, r.rubric) for step, r in service.store.lineage()]
    await service.aclose()
    return found


def recorded(place: Path | str | None) -> dict[str, float | None]:
    """The rewards on record, by key."""
    engine = sa.create_engine(place if isinstance(place, str) else f"sqlite:///{place}")
    joined = sa.select(t.rollout_key.c.key, t.rollout.c.value).join_from(
        t.rollout_key, t.rollout, t.rollout.c.id == t.rollout_key.c.rollout_id
    )
    with engine.connect() as db:
        found = {row.key: row.value for row in db.execute(joined)}
    engine.dispose()
    return found
