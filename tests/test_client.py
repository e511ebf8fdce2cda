"""Asking a reward server from Python: retries that score nothing twice, and what is told when it can't be asked."""

import asyncio
from collections.abc import Iterator
from contextlib import aclosing, closing
from pathlib import Path

import pytest

from metapo.api import AskedPair, AskedRollout, StepAnswer
from metapo.client import RewardClient, Rewards
from metapo.errors import DataError, RewardServerError, SettingsError
from metapo.server.options import Limits
from metapo.store import Counting, Store
from tests.server.parts import TOKEN, Up, one, raw, running, served
from tests.server.relay import Relay
from tests.servers import Answer, Ask, ChatServer, refused_url, says, verdicts

ROLLOUT = AskedRollout(prompt="Bike lanes?", completion="Yes.", step=0)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with served(tmp_path_factory.mktemp("run") / "run", limits=Limits(poll_s=0.02, grace_s=5)) as server:
        yield server


async def test_every_route_has_its_method(up: Up) -> None:
    async with RewardClient(up.url) as client:
        rollouts = [AskedRollout(prompt="p", completion=f"answer {i}", step=0) for i in range(70)]
        scored = await client.score(rollouts)
        assert [s.reward for s in scored] == [1.0] * 70
        assert len({s.key for s in scored}) == 70
        in_force = await client.rubric()
        assert in_force.revision.id == in_force.id == scored[0].revision
        assert [a.id for a in (await client.lineage()).adoptions] == [in_force.id]
        assert (await client.revision(in_force.id[:8])).revision == in_force.revision
        assert await client.evolve("ada", "why not") >= 1
        assert await client.feedback([AskedPair(prompt="p", better="good", worse="bad")], "ada") == 1
        assert await client.begin_step(1) == 1
        assert await client.finish() == 1
        assert (await client.status()).rollouts >= 70
        async with aclosing(client.events()) as events:
            number, row = await anext(events)
        assert (number, row["kind"], row["step"]) == (1, "train", 0)


async def test_a_lost_answer_is_not_scored_again(tmp_path: Path) -> None:
    """The connection breaks after the server has the request, twice; the third try gets the answer."""
    with served(tmp_path / "run") as up:  # of its own: a meta step that another test began asks the judge, too
        before = up.judge.n_requests
        with Relay(up.url, cuts=2) as relay:
            async with RewardClient(relay.url) as client:
                [scored] = await client.score([ROLLOUT])
        assert up.judge.n_requests == before + 1
    assert scored.reward == 1.0
    assert relay.n_connections == 3


async def test_a_lost_answer_to_what_counts_twice_is_told(tmp_path: Path) -> None:
    with served(tmp_path / "run") as up:
        for asked in ("evolve", "feedback"):
            with Relay(up.url, cuts=1) as relay:
                async with RewardClient(relay.url) as client:
                    with pytest.raises(RewardServerError, match=f"/v1/{asked} may be on record") as told:
                        await by_name(client, asked)
            assert (told.value.code, told.value.retryable, relay.n_connections) == ("unsure", False, 1)
        with closing(Store(tmp_path / "run" / "store.db")) as store:
            assert len(store.acts()) == 1
            assert len(store.anchors()) == 1


async def test_what_counts_twice_is_sent_again_where_no_server_took_it_up(tmp_path: Path) -> None:
    with served(tmp_path / "run", limits=Limits(rate=5, grace_s=5)) as up, refused_url() as gone:
        async with RewardClient(gone.removesuffix("/v1"), up.url) as client:
            assert [await by_name(client, "evolve") for _ in range(6)] == [1, 2, 3, 4, 5, 6]
            assert await by_name(client, "feedback") == 1


async def by_name(client: RewardClient, asked: str) -> int:
    if asked == "evolve":
        return await client.evolve("ada", "too long")
    return await client.feedback([AskedPair(prompt="p", better="good", worse="bad")], "ada")


async def test_the_next_server_is_asked_where_one_is_away(up: Up) -> None:
    with refused_url() as gone:
        async with RewardClient(gone.removesuffix("/v1"), up.url) as client:
            assert (await client.score([ROLLOUT]))[0].reward == 1.0


async def test_what_the_server_refuses_is_told_once(up: Up) -> None:
    async with RewardClient(up.url) as client:
        with pytest.raises(RewardServerError, match="404 unknown_revision") as told:
            await client.revision("0123abcd")
    assert (told.value.code, told.value.status, told.value.retryable) == ("unknown_revision", 404, False)
    assert told.value.request


async def test_a_server_that_stays_away_is_told(up: Up) -> None:
    with refused_url() as gone:
        async with RewardClient(gone.removesuffix("/v1"), deadline_s=0.5) as client:
            with pytest.raises(RewardServerError, match="Does metapo serve run there") as told:
                await client.status()
    assert told.value.retryable


async def test_something_else_at_the_url_is_told(up: Up) -> None:
    async with RewardClient(up.judge.url.removesuffix("/v1"), deadline_s=0.5) as client:
        with pytest.raises(RewardServerError, match="answered 404") as told:
            await client.status()
    assert told.value.code == "foreign"


async def test_the_token_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REWARD_TOKEN", TOKEN)
    with served(tmp_path / "run", token=TOKEN) as up:
        async with RewardClient(up.url, token_env="REWARD_TOKEN") as client:
            assert (await client.score([ROLLOUT]))[0].reward == 1.0
        async with RewardClient(up.url) as client:
            with pytest.raises(RewardServerError, match="401 no_token"):
                await client.status()


@pytest.mark.parametrize("url", ["localhost:8000", "http://", "ftp://x", "http://me:secret@host", "http://host?a=b"])
def test_a_url_that_is_none(url: str) -> None:
    with pytest.raises(SettingsError, match="http://localhost:8000") as told:
        RewardClient(url)
    assert "secret" not in str(told.value)


def test_no_url_and_no_token() -> None:
    with pytest.raises(SettingsError, match="give a reward server's URL"):
        RewardClient()
    with pytest.raises(SettingsError, match="holds no token"):
        RewardClient("http://localhost:8000", token_env="NOWHERE_SET")


def test_a_reward_function_for_any_engine(up: Up) -> None:
    rewards = Rewards(up.url)
    try:
        assert rewards(["p", "p"], ["a", "b"], step=1, references=["r", None], clusters=["", "poems"]) == [1.0, 1.0]
        [scored] = rewards.scored(["p"], [[{"role": "assistant", "content": "c"}]], step=1, split="eval")
        assert scored.split == "eval"
        assert rewards.begin_step(2) == 2
        with pytest.raises(DataError, match="one entry per completion, 2"):
            rewards(["p"], ["a", "b"])
        with pytest.raises(DataError, match="can't be sent"):
            rewards(["p"], [7])
    finally:
        rewards.close()


def half(ask: Ask) -> Answer:
    """Can't judge what says no."""
    said = ask.prompt.partition("~ completion")[2]
    return (says("what?") if "no" in said else verdicts())(ask)


def test_what_a_reward_function_gives_for_what_is_unscored(tmp_path: Path) -> None:
    with ChatServer(half) as judge, running(tmp_path / "run", judge, counting=Counting(1, 8)) as up:
        found = {}
        for policy in ("none", "neutral", "raise"):
            rewards = Rewards(up.url, unscored=policy)  # type: ignore[arg-type]
            try:
                found[policy] = rewards(["p"] * 2, ["yes", "no"])
            except RewardServerError as e:
                found[policy] = e.code
            finally:
                rewards.close()
    assert found == {"none": [1.0, None], "neutral": [1.0, 1.0], "raise": "unscored"}


def test_answers_of_a_newer_server_are_read() -> None:
    assert StepAnswer.model_validate_json('{"step": 3, "new": 1}').step == 3


@pytest.mark.parametrize("within", [b"content-type", b"id: 2"])
async def test_events_go_on_after_a_break(tmp_path: Path, within: bytes) -> None:
    """In the answer's head, and in the second event."""
    with served(tmp_path / "run") as up:
        for step in range(4):
            up.post("/v1/score", one(step=step))
        answer = raw(up.url, b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n", wait_s=0.5)
        assert within in answer
        with Relay(up.url, cuts=1, after_bytes=answer.index(within) + 3) as relay:
            async with RewardClient(relay.url) as client, aclosing(client.events()) as events, asyncio.timeout(20):
                assert [(await anext(events))[0] for _ in range(3)] == [1, 2, 3]
        assert relay.n_connections == 2
