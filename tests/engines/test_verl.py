"""verl's own queue, agent loops and reward workers over metapo's parts, on a Ray cluster of this machine; only the
policy and the judge's model are scripted."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from metapo.cli import main
from metapo.errors import (
    DataError,
    JudgeFailureLimit,
    LineageError,
    RewardServerError,
    RolloutUnscored,
    RunError,
    Stopped,
)
from metapo.rollout import Rollout, Split
from metapo.run import MARKER, STORE
from metapo.server.running import Served
from metapo.store import RolloutRecord, Store
from tests.engines import verl_parts as verl
from tests.engines.verl_parts import Rolled, Training, ray
from tests.reviewer import Reviewer
from tests.server.parts import serving
from tests.servers import Answer, Ask, ChatServer, says
from tests.stages import EMPTY, SOUND, THIRD, is_stage, plays
from tests.trainer import settings, write

pytestmark = pytest.mark.filterwarnings("ignore")  # verl's and Ray's own
N_SLOTS, CHANGE = 2, 2
"""The rubric begins with one criterion and has three from step 2 on."""
VALIDATED = "Only validation asks this: "
TEXTS = [r for step in range(4) for r in write(step)]


@dataclass(frozen=True)
class Story:
    """What came of four steps, and of a validation after two; the tests go on with steps 4 to 7, each with its own."""

    training: Training
    server: ChatServer
    store: Store
    steps: list[list[Rolled]]
    validated: list[Rolled]


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    with verl.cluster():
        yield


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, cluster: None) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("verl")
    with ChatServer(plays(Reviewer(SOUND, EMPTY, THIRD))) as server:
        config = verl.config_for(folder, settings(url=server.url, every=CHANGE), f"metapo.slots={N_SLOTS}")
        with verl.queued(config):
            training = Training(config, [*TEXTS, *validation()])
            steps = [training.roll(write(step)) for step in range(CHANGE)]
            validated = training.roll(validation())
            steps += [training.roll(write(step)) for step in range(CHANGE, 4)]
            store = Store(folder / STORE)
            yield Story(training, server, store, steps, validated)
            training.close()
            store.close()


def validation() -> list[Rollout]:
    changes = {"split": Split.EVAL, "step": CHANGE}
    return [r.model_copy(update={**changes, "prompt": VALIDATED + r.prompt}) for r in write(50)]


def test_a_reward_stands_at_the_last_token_and_a_step_has_one_revision(story: Story) -> None:
    for step, rolled in enumerate(story.steps):
        assert sorted(r.completion for r in rolled) == sorted(r.completion for r in write(step))
        for one in rolled:
            assert one.metrics["revision"] == (step >= CHANGE)
            *before, last = one.token_rewards
            assert len(one.token_rewards) == len(one.completion)
            assert set(before) == {0.0}
            assert last == pytest.approx(2 / 3 if step >= CHANGE else 1.0)


def test_both_workers_score(story: Story) -> None:
    assert len(story.training.workers.reward_loop_workers) == 2
    batch = verl.batch(write(4), story.training.tokenizer)
    done = story.training.workers.compute_rm_score(batch)  # half of it by each
    assert verl.scores(done) == pytest.approx([2 / 3] * 8)
    assert set(done.non_tensor_batch["revision"]) == {1.0}


def test_validation_reaches_no_meta_model(story: Story) -> None:
    records = story.store.rollouts(split=Split.EVAL)
    assert [(r.rollout.step, r.rollout.prompt.startswith(VALIDATED)) for r in records] == [(CHANGE, True)] * 2
    assert len(story.validated) == 2
    assert {r.metrics["revision"] for r in story.validated} == {1.0}
    stages = [str(ask.body["messages"]) for ask in story.server.asks if is_stage(ask)]
    assert stages
    assert not any(VALIDATED in stage for stage in stages)


def test_metrics_keep_their_names_when_criteria_come(story: Story) -> None:
    names = ["judge_failed", "normalized", "points", "revision", "crit_0", "crit_1"]
    assert {tuple(r.metrics) for step in story.steps for r in step} == {tuple(names)}
    before, after = story.steps[0][0].metrics, story.steps[-1][0].metrics
    assert (before["crit_0"], before["crit_1"]) == (10.0, None)
    assert {after["crit_0"], after["crit_1"]} == {0.0, 10.0}
    shown = CliRunner().invoke(main, ["rubric", "slots", story.training.config.metapo.store, "--slots", str(N_SLOTS)])
    assert shown.output.splitlines() == [
        f"revision 0 from step 0  {story.store.lineage()[0][1].id[:10]}",
        "  crit_0  plain",
        f"revision 1 from step 2  {story.store.lineage()[1][1].id[:10]}",
        "  crit_0  sound",
        "  crit_1  empty",
        "  -       third",
    ]


def test_what_verl_pads_a_batch_with_is_not_judged_twice(story: Story) -> None:
    before = story.server.n_requests
    batch = verl.batch(write(5)[:3], story.training.tokenizer)
    assert len(verl.scores(story.training.workers.compute_rm_score(batch))) == 3
    written = story.store.rollouts(from_step=5, to_step=6)
    assert len(written) == 3
    assert len([ask for ask in story.server.asks[before:] if not is_stage(ask)]) == 3


@contextmanager
def holding(server: ChatServer, n_answered: int = 0) -> Iterator[None]:
    """Judgements wait until the block ends, all but the first ones."""
    inner, go_on, answered = server.behaviour, threading.Event(), threading.Semaphore(n_answered)

    def held(ask: Ask) -> Answer:
        if not is_stage(ask) and not answered.acquire(blocking=False):
            go_on.wait()
        return inner(ask)

    server.behaviour = held
    try:
        yield
    finally:
        server.behaviour = inner
        go_on.set()


def wait_until(true: Callable[[], bool], pending: Future[Any]) -> None:
    while not true():
        assert not pending.done(), pending.exception()
        time.sleep(0.05)


def test_a_killed_keeper_goes_on_and_judges_nothing_twice(story: Story) -> None:
    score, rollouts = story.training.workers.compute_rm_score, write(6)
    score(verl.batch(rollouts[:1], story.training.tokenizer))  # closes the steps before, with a meta step that judges
    before = story.server.n_requests

    def written() -> list[RolloutRecord]:
        return story.store.rollouts(from_step=6, to_step=7)

    with ThreadPoolExecutor() as pool:
        with holding(story.server, 4):
            scored = pool.submit(score, verl.batch(rollouts[1:], story.training.tokenizer))
            wait_until(lambda: len(written()) == 5, scored)
            early = written()
            verl.process_of("Keeper").kill()
        assert verl.scores(scored.result(timeout=300)) == pytest.approx([2 / 3] * 7)
    assert sorted(r.rollout.completion for r in written()) == sorted(r.completion for r in rollouts)
    judged = [ask.prompt for ask in story.server.asks[before:] if not is_stage(ask)]
    assert [sum(r.rollout.completion in prompt for prompt in judged) for r in early] == [0, 1, 1, 1, 1]
    story.store.verify()


def test_a_crashed_training_goes_on_from_its_checkpoint(story: Story) -> None:
    config = story.training.config
    folder = verl.save_checkpoint(config, 7)
    assert json.loads((folder / MARKER).read_text()) == {"step": 7, "revision": story.store.lineage()[-1][1].id}

    texts, before = write(7), story.server.n_requests
    with ThreadPoolExecutor() as pool:
        with holding(story.server):
            batch = verl.batch(texts, story.training.tokenizer)
            scored = pool.submit(story.training.workers.compute_rm_score, batch)
            wait_until(lambda: story.server.n_requests >= before + len(texts), scored)
            verl.process_of("RewardLoopWorker").kill()
        with pytest.raises(ray.exceptions.RayActorError):
            scored.result(timeout=300)
    story.training.close()

    again = Training(config, texts)
    try:
        assert len(again.roll(texts)) == len(texts)
    finally:
        again.close()
    live = story.store.rollouts(from_step=7)
    assert sorted(r.rollout.completion for r in live) == sorted(r.completion for r in texts)

    (folder / MARKER).write_text(json.dumps({"step": 7, "revision": "0" * 64}))
    other = verl.RolloutManager(config, None, None, None)
    with pytest.raises(LineageError, match=r"written under revision 0000000000.* metapo\.store"):
        other.generate_sequences(verl.prompts(texts))


@pytest.fixture
def broken(tmp_path: Path) -> Iterator[tuple[Path, ChatServer]]:
    """A judge that gives no verdict."""
    with ChatServer(says("I would rather not say.")) as server:
        yield tmp_path, server


def test_without_a_reward_a_sample_fails_or_gets_a_number(broken: tuple[Path, ChatServer]) -> None:
    folder, server = broken
    config = verl.config_for(folder, settings(url=server.url))
    with verl.kept(config) as ask, verl.reward_manager(config) as manager:
        sample, other, *_ = verl.samples(write(0), manager)
        with pytest.raises(RolloutUnscored, match=r"plain: .*set metapo.unscored to neutral"):
            verl.reward(manager, sample)
        config.metapo.unscored, config.metapo.neutral = "neutral", 0.25
        with verl.reward_manager(config) as neutral:
            done = verl.scored(neutral, other)
            verl.reward(neutral, other)  # on record already
        assert (done["reward_score"], done["reward_extra_info"]["judge_failed"]) == (0.25, 1.0)
        ask("check", 0, 20)
        with pytest.raises(JudgeFailureLimit, match="2 rollouts have no reward already, of 8"):
            ask("check", 0, 8)
        verl.process_of("Keeper").kill()
        with pytest.raises(JudgeFailureLimit, match="2 rollouts have no reward already, of 8"):
            ask("check", 0, 8)
        with pytest.raises(JudgeFailureLimit, match="2 of 2 rollouts have no reward"):
            ask("begin", 1)


def test_a_keeper_that_is_gone_is_told(broken: tuple[Path, ChatServer]) -> None:
    folder, server = broken
    config = verl.config_for(folder, settings(url=server.url), "metapo.unscored=neutral", "metapo.neutral=0.25")
    with verl.kept(config) as ask, verl.reward_manager(config) as manager:
        sample, other, *_ = verl.samples(write(0), manager)
        assert verl.reward(manager, sample) == 0.25
        verl.keeper.end(verl.VerlOptions.of(config))
        with pytest.raises(RunError, match="the keeper of the run is gone"):
            verl.reward(manager, other)
        with pytest.raises(RunError, match="the keeper of the run is gone"):
            ask("check", 0, 8)


def test_a_password_is_in_no_name_and_no_message(tmp_path: Path) -> None:
    config = verl.config_for(tmp_path, settings())
    config.metapo.store = "postgresql://ada:hunter2@localhost/runs"
    shown = r"nobody keeps the run in .*://ada:\*\*\*@localhost/runs\. Set"
    with verl.reward_manager(config) as manager, pytest.raises(RunError, match=shown) as told:
        verl.reward(manager, verl.samples(write(0), manager)[0])
    assert "hunter2" not in str(told.value)
    options = verl.VerlOptions.of(config)
    kept = verl.keeper.start(options)
    try:
        named = [actor["name"] for actor in ray.util.list_named_actors(all_namespaces=True)]
        assert any("keeper" in name for name in named), kept
        assert not any("hunter2" in name for name in named)
    finally:
        verl.keeper.end(options)


def test_a_server_may_keep_the_run(broken: tuple[Path, ChatServer]) -> None:
    folder, judge = broken
    texts = write(0)
    with serving(Served(settings(url=judge.url), folder)) as server:
        config = verl.config_for_server(folder, server.url)
        with verl.kept(config) as ask, verl.reward_manager(config) as manager:
            sample, *_ = verl.samples(texts, manager)
            with pytest.raises(RolloutUnscored, match=r"plain: .*set metapo.unscored to neutral"):
                verl.reward(manager, sample)
            ask("check", 0, 20)
            with pytest.raises(JudgeFailureLimit, match="1 rollouts have no reward already, of 8"):
                ask("check", 0, 8)
            with pytest.raises(RewardServerError, match=r"too_many_unscored.*1 of 1 rollouts have no reward"):
                verl.save_checkpoint(config, 1)
            with pytest.raises(Stopped, match="1 of 1 rollouts have no reward"):
                ask("check", 1, 8)
        marker = Path(config.trainer.default_local_dir) / "global_step_1" / MARKER
        assert json.loads(marker.read_text())["step"] == 1
        marker.write_text(json.dumps({"step": 1, "revision": "0" * 64}))
        with pytest.raises(LineageError, match=r"written under revision 0000000000.* metapo\.server"):
            verl.RolloutManager(config, None, None, None).generate_sequences(verl.prompts(write(1)))


def test_what_a_sample_lacks_is_told(tmp_path: Path) -> None:
    config = verl.config_for(tmp_path, settings())
    with verl.reward_manager(config) as manager:
        [sample, *_] = verl.samples(write(0), manager)
        with pytest.raises(RunError, match=r"nobody keeps the run in .*agent_loop_manager_class"):
            verl.reward(manager, sample)
        del sample.non_tensor_batch["metapo_split"]
        with pytest.raises(DataError, match=r"lacks the field 'metapo_split'.*agent_loop_manager_class"):
            verl.reward(manager, sample)
