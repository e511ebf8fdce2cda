"""One stream of rollouts through each way to ask for rewards: the same rewards, the same lineage."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from metapo.asked import Asked
from metapo.client import Rewards as Client
from metapo.engines.connect import connect
from metapo.engines.trl import EvolvingReward
from metapo.rollout import Rollout, Split
from metapo.run import STORE
from metapo.server.running import Served
from metapo.service import RewardService
from metapo.settings import Settings
from metapo.store import Store
from tests.reviewer import Reviewer
from tests.server.parts import TOKEN, serving
from tests.servers import ChatServer
from tests.stages import EMPTY, SOUND, plays
from tests.trainer import settings, write

N_STEPS, EVALUATED = 6, 3
Rewards = list[list[float | None]]


def stream() -> list[list[Rollout]]:
    """Two groups of four a step, and an evaluation after three steps."""
    steps = [write(step) for step in range(N_STEPS)]
    evaluation = [r.model_copy(update={"split": Split.EVAL, "step": EVALUATED}) for r in write(100)]
    return [*steps[:EVALUATED], evaluation, *steps[EVALUATED:]]


def asked(rollout: Rollout) -> Asked:
    return Asked(
        prompt=rollout.prompt,
        completion=rollout.completion,
        reference=rollout.reference,
        step=rollout.step,
        group=f"{rollout.split}/{rollout.step}/{rollout.prompt}",
        split=rollout.split,
    )


def by_service(folder: Path, given: Settings) -> Rewards:
    async def go() -> Rewards:
        service = await RewardService.open(Store(folder / STORE), given, connect(given))
        scored = [await service.score([asked(r) for r in batch]) for batch in stream()]
        await service.begin_step(N_STEPS)
        await service.aclose()
        return [[record.value for record in records] for records in scored]

    return asyncio.run(go())


def by_trl(folder: Path, given: Settings) -> Rewards:
    reward, policy, rewards = EvolvingReward.open(folder, given), SimpleNamespace(training=True), []
    reward.begin(0, policy)
    for batch in stream():
        policy.training = batch[0].split is Split.TRAIN
        rewards.append(
            reward(
                [r.prompt for r in batch],
                [r.completion for r in batch],
                reference=[r.reference for r in batch],
                trainer_state=SimpleNamespace(global_step=batch[0].step),
            )
        )
        if policy.training:
            assert reward.end_step(batch[0].step + 1) is None
        else:
            assert reward.end_evaluation() is None
    reward.close()
    return rewards


def by_verl(folder: Path, given: Settings) -> Rewards:
    from tests.engines import verl_parts as verl

    config = verl.config_for(folder, given)
    with verl.cluster(), verl.kept(config) as ask, verl.reward_manager(config) as manager:
        rewards = [[verl.reward(manager, sample) for sample in verl.samples(batch, manager)] for batch in stream()]
        ask("begin", N_STEPS)
        return rewards


def by_verl_and_server(folder: Path, given: Settings) -> Rewards:
    from tests.engines import verl_parts as verl

    token = "metapo.token_env=METAPO_TEST_TOKEN"
    with (
        pytest.MonkeyPatch.context() as patch,
        serving(Served(given, folder), token=TOKEN) as server,
    ):
        patch.setenv("METAPO_TEST_TOKEN", TOKEN)
        config = verl.config_for_server(folder, server.url, token)
        with verl.cluster(), verl.kept(config) as ask, verl.reward_manager(config) as manager:
            rewards = [[verl.reward(manager, sample) for sample in verl.samples(batch, manager)] for batch in stream()]
            ask("begin", N_STEPS)
            return rewards


def by_http(folder: Path, given: Settings) -> Rewards:
    with serving(Served(given, folder)) as server:
        rewards = Client(server.url)
        scored = [
            rewards(
                [r.prompt for r in batch],
                [r.completion for r in batch],
                references=[r.reference for r in batch],
                step=batch[0].step,
                split=batch[0].split,
            )
            for batch in stream()
        ]
        rewards.begin_step(N_STEPS)
        rewards.finish()
        rewards.close()
        return scored


WAYS: dict[str, Callable[[Path, Settings], Rewards]] = {
    "trl": by_trl,
    "verl": by_verl,
    "verl by server": by_verl_and_server,
    "http": by_http,
}


@pytest.fixture(scope="module")
def given() -> Iterator[Settings]:
    with ChatServer(plays(Reviewer(SOUND, EMPTY))) as server:
        yield settings(url=server.url, every=2, staleness=1)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, given: Settings) -> tuple[Rewards, list[tuple[int, str]]]:
    folder = tmp_path_factory.mktemp("service")
    return by_service(folder, given), lineage(folder)


@pytest.mark.filterwarnings("ignore")  # verl's and Ray's own
@pytest.mark.parametrize("way", WAYS)
def test_rewards_and_lineage_are_the_services(
    tmp_path: Path, given: Settings, told: tuple[Rewards, list[tuple[int, str]]], way: str
) -> None:
    rewards, chain = told
    assert WAYS[way](tmp_path, given) == rewards
    assert lineage(tmp_path) == chain


def test_the_stream_shows_a_change_of_rubric(told: tuple[Rewards, list[tuple[int, str]]]) -> None:
    rewards, chain = told
    assert [step for step, _ in chain] == [0, 3], "the criteria stay as they are from the first meta step on"
    assert rewards[2] == [1.0] * 8
    assert rewards[EVALUATED] == rewards[-1] == [0.5] * 8


def lineage(folder: Path) -> list[tuple[int, str]]:
    store = Store(folder / STORE)
    try:
        store.verify()
        return [(step, revision.id) for step, revision in store.lineage()]
    finally:
        store.close()
