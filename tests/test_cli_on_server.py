"""What people ask and decide about a run whose store is on a PostgreSQL server: RUN is its URL."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from metapo.asked import Asked
from metapo.cli import main
from metapo.client import Rewards
from metapo.engines.connect import connect
from metapo.server.running import Served
from metapo.service import RewardService
from metapo.store import Store
from tests.helpers import rubric
from tests.postgres import PASSWORD, Server
from tests.server.parts import serving
from tests.servers import ChatServer
from tests.trainer import SOUND, judge_and_meta, settings, write

WHY = ("--why", "it reads well", "--by", "ada")


@pytest.fixture
def judge() -> Iterator[ChatServer]:
    with ChatServer(judge_and_meta) as server:
        yield server


@pytest.fixture
def run(postgres: Server, judge: ChatServer) -> str:
    """The URL of a run of two steps, in which a revision waits for approval."""
    url, given = postgres.new_schema(), settings(url=judge.url, every=1, approve="manual")

    async def go() -> None:
        service = await RewardService.open(Store(url), given, connect(given))
        for step in range(2):
            await service.score([Asked(r.prompt, r.completion, r.reference, step=step) for r in write(step)])
        await service.begin_step(2)
        await service.aclose()

    asyncio.run(go())
    return url


def call(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(main, ["rubric", *map(str, arguments)])
    assert result.exit_code == code, result.output
    assert PASSWORD not in result.output
    assert "p%40ss" not in result.output
    return result.output


def test_a_revision_that_waits_is_seen_approved_and_built_on(run: str) -> None:
    [told, *_] = call("waiting", run).splitlines()
    child = told.split()[0]
    assert "worth 10" in call("diff", run, f"{run}@{child}")
    assert "sound" in call("show", f"{run}@{child}")
    assert f"approve {child}, by ada" in call("approve", run, child, *WHY)
    call("pin", run, "sound", *WHY)
    call("anchor", run, "--prompt", "p", "--better", "good", "--worse", "bad", *WHY)
    acts = call("acts", run)
    assert "act 1" in acts
    assert "1 pair pinned, by ada" in acts
    assert "the chain holds" in call("log", run)


def test_a_server_takes_what_was_decided(run: str, judge: ChatServer, tmp_path: Path) -> None:
    given = settings(url=judge.url, every=1, approve="manual")
    (tmp_path / "sound.yaml").write_text(rubric(SOUND).to_yaml())
    with serving(Served(given, tmp_path / "run", run)) as server:
        call("edit", run, tmp_path / "sound.yaml", *WHY)
        rewards = Rewards(server.url)
        assert rewards.begin_step(3) == 3
        rewards.close()
    assert "after step 3: " in call("acts", run)
    assert call("show", run).startswith("<rubric>")
    assert "sound" in call("show", run)
    assert PASSWORD not in (tmp_path / "run" / "settings.yaml").read_text()
    told = call("log", tmp_path / "run", code=1)
    assert "Where the run was served with --store, give that URL in place of the folder" in told


def test_its_evolution_is_measured(run: str, tmp_path: Path) -> None:
    told = call("evolution", run, "--out", tmp_path / "out", "--n", 4)
    assert "Written to" in told
    page = (tmp_path / "out" / "evolution.html").read_text()
    assert "***@127.0.0.1" in page
    assert "p%40ss" not in page


def test_a_store_that_was_never_served_knows_no_settings(postgres: Server, tmp_path: Path) -> None:
    url = postgres.new_schema()
    assert "has no revision yet" in call("show", url, code=1)
    assert "has no revision yet" in call("evolution", url, "--out", tmp_path / "out", code=1)
