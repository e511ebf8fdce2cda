"""TRL: rewards reach the trainer as they are, failures as None, evaluation apart, and a stopped run can go on."""

import asyncio
import shutil
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from trl import GRPOConfig, GRPOTrainer

from metapo.card import Origin, origin_of, render_card
from metapo.cli.common import train_settings
from metapo.engines.prompts import dataset
from metapo.engines.trl import EvolvingReward, _config, _save_policy, train
from metapo.errors import (
    ChatMisconfigured,
    ChatTimeout,
    ChatUnreachable,
    JudgeFailureLimit,
    MetapoError,
    RunError,
    SettingsError,
)
from metapo.files import read_rows
from metapo.judge.endpoint import EndpointSettings
from metapo.judge.transport import ChatReply, ChatRequest
from metapo.rollout import Prompt, Split
from metapo.rubric import Revision
from metapo.run import METRICS
from metapo.scorer import ByCluster, Connections, InForce, Scorer
from metapo.settings import TrainSettings
from metapo.shipped import shipped_preset, shipped_presets
from metapo.store import Store
from metapo.world import corpus
from metapo.world.judge import WorldJudge
from metapo.world.meta import WorldMeta
from metapo.world.policy import build_tokenizer, write_policy
from metapo.world.presets import WorldSettings, preset_rubric
from tests.engines.parts import needs_ppo, small_world
from tests.servers import Answer, Ask, ChatServer, refused_url, status, verdicts


class Unreliable(WorldJudge):
    """The world's judge behind a connection that fails on every n-th judgement, after the first `healthy` ones."""

    def __init__(self, every: int, error: MetapoError, healthy: int = 0) -> None:
        super().__init__(seed=1)
        self.every, self.error, self.healthy, self.n = every, error, healthy, 0

    async def complete(self, request: ChatRequest) -> ChatReply:
        if "<rubric>" in request.last and request.max_tokens > 1:  # a warm-up is no judgement
            self.n += 1
            if self.n > self.healthy and self.n % self.every == 0:
                raise self.error
        return await super().complete(request)


@pytest.fixture(scope="session")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("policy")
    write_policy(folder)
    return folder


def rows(*, held_out: bool = False) -> list[Prompt]:
    return [Prompt(p) for p in corpus.prompts(held_out=held_out)]


def run(
    settings: TrainSettings,
    folder: Path,
    policy: Path,
    judge: WorldJudge | None = None,
    *,
    train_rows: Sequence[Prompt] = (),
    eval_rows: Sequence[Prompt] = (),
    resume: bool = False,
) -> Store:
    """Train and return the store, also where training raises."""
    judge = judge or WorldJudge(seed=1)
    train(
        settings,
        folder,
        train_rows or rows(),
        eval_rows,
        resume=resume,
        model=str(policy),
        tokenizer=build_tokenizer(),
        judge=judge,
        meta=WorldMeta(),
    )
    return Store(folder / "store.db")


@pytest.mark.parametrize("algorithm", ["grpo", "rloo", pytest.param("ppo", marks=needs_ppo)])
def test_training_runs_evaluates_apart_and_writes_the_policy(tmp_path: Path, policy: Path, algorithm: str) -> None:
    settings = small_world(steps=5, algorithm=algorithm, eval_every=3, max_prompt_tokens=30)
    train_rows = [*rows(), Prompt(" ".join(["too"] * 30 + ["long"]))]
    store = run(settings, tmp_path / "run", policy, train_rows=train_rows, eval_rows=rows(held_out=True)[:2])
    train_rollouts, evaluated = store.rollouts(), store.rollouts(split=Split.EVAL)
    assert [len([r for r in train_rollouts if r.rollout.step == s]) for s in range(5)] == [16] * 5
    assert [r.rollout.step for r in evaluated] == [3] * 2 + [5] * 2, "every three steps and once at the end"
    assert {r.rollout.prompt for r in evaluated} == set(corpus.prompts(held_out=True)[:2])
    for step in store.meta_steps():
        assert {s.rollout.split for s in step.samples} == {Split.TRAIN}
        assert all(step.step - 3 <= s.rollout.step < step.step for s in step.samples)
        shown = "".join(e.prompt for e in step.exchanges)
        assert not any(r.rollout.prompt in shown for r in evaluated)
    by_step: dict[int, set[str]] = {}
    for r in train_rollouts:
        by_step.setdefault(r.rollout.step, set()).add(r.revision_id)
    assert all(len(revisions) == 1 for revisions in by_step.values()), "one revision scores a whole step"
    assert len(set.union(*by_step.values())) > 1, "and it changes between steps"
    assert store.verify() >= 2
    assert (tmp_path / "run" / "policy" / "model.safetensors").exists()
    origin = Origin.model_validate_json((tmp_path / "run" / "policy" / "metapo.json").read_text())
    assert (origin.n_train, origin.n_eval) == (len(rows()), 2), "those that fit"
    written = (tmp_path / "run" / "policy" / "README.md").read_text()
    assert written == render_card(tmp_path / "run", settings), "also from the folder alone"
    assert f"| all | {store.spent()} |" in written, "every call was on record when it was written"
    store.close()


@pytest.mark.parametrize(
    ("schedule", "warmup", "shares"),
    [
        ("constant", 0.0, [1, 1, 1, 1]),
        ("constant", 0.5, [0, 0.5, 1, 1]),
        ("linear", 0.5, [0, 0.5, 1, 0.5]),
        ("cosine", 0.25, [0, 1, 0.75, 0.25]),
    ],
)
def test_the_learning_rate_warms_up_and_follows_its_schedule(
    tmp_path: Path, policy: Path, schedule: str, warmup: float, shares: list[float]
) -> None:
    settings = small_world(steps=4, schedule=schedule, warmup=warmup)
    run(settings, tmp_path / "run", policy).close()
    rates = [row["learning_rate"] for row in read_rows(tmp_path / "run" / METRICS) if row["kind"] == "trainer"]
    assert rates == pytest.approx([share * settings.engine.learning_rate for share in shares])


def test_a_failed_judgement_is_none_and_training_goes_on(tmp_path: Path, policy: Path) -> None:
    settings = small_world(steps=3).model_copy(update={"max_unscored": 0.5})
    store = run(settings, tmp_path / "run", policy, Unreliable(5, ChatTimeout("60 s")))
    records = store.rollouts()
    assert [r.value for r in records].count(None) == 48 // 5
    connections = Connections(judge=WorldJudge(seed=1), meta=WorldMeta())
    healthy = Scorer(settings, connections, store.lineage()[0][1])
    expected = asyncio.run(healthy.score([r.rollout for r in records]))
    assert all(r.value in (None, e.reward.value) for r, e in zip(records, expected, strict=True)), (
        "a failure changes no other score"
    )
    assert [c["error"] for c in store.calls() if c["error"]] == ["ChatTimeout: 60 s"] * (48 // 5)
    store.close()


def test_too_many_failures_stop_the_run_with_a_checkpoint_and_it_can_go_on(tmp_path: Path, policy: Path) -> None:
    settings, folder = small_world(steps=6), tmp_path / "run"
    with pytest.raises(JudgeFailureLimit, match=r"step 4: 16 of 16 rollouts have no reward.*unreachable: refused"):
        run(settings, folder, policy, Unreliable(1, ChatUnreachable("refused"), healthy=48))
    assert (folder / "checkpoints" / "checkpoint-4" / "metapo.json").exists()
    store = run(settings, folder, policy, resume=True)
    assert {r.rollout.step for r in store.rollouts()} == set(range(6))
    assert [r.rollout.step for r in store.rollouts() if r.value is None] == [3] * 16, "the lost step stays on record"
    store.verify()
    store.close()


def test_a_run_does_not_go_on_with_another_task(tmp_path: Path, policy: Path) -> None:
    own, folder = tmp_path / "own.py", tmp_path / "run"
    own.write_text("TASK = 1\n")
    fields = small_world(steps=4).model_dump(include=set(TrainSettings.model_fields))
    settings = TrainSettings.model_validate(fields | {"task": str(own)})
    with pytest.raises(JudgeFailureLimit):
        run(settings, folder, policy, Unreliable(1, ChatTimeout("60 s"), healthy=40))
    own.write_text("TASK = 2\n")
    with pytest.raises(RunError, match=r"own\.py has changed since the run began with what is in .*task\.py"):
        run(settings, folder, policy, resume=True)
    own.write_text("TASK = 1\n")
    run(settings, folder, policy, resume=True).close()
    assert (folder / "policy").exists()


def test_a_withdrawn_key_stops_the_run_with_a_checkpoint(tmp_path: Path, policy: Path) -> None:
    judge = Unreliable(1, ChatMisconfigured("401: check api_key_env"), healthy=16)
    with pytest.raises(ChatMisconfigured, match="401: check api_key_env"):
        run(small_world(steps=6), tmp_path / "run", policy, judge)
    assert (tmp_path / "run" / "checkpoints" / "checkpoint-2" / "metapo.json").exists()


def test_an_unreachable_judge_is_told_before_anything_is_written(tmp_path: Path, tiny_model: Path) -> None:
    with refused_url() as url:
        endpoint = EndpointSettings(url=url, model="m", deadline_s=0.5)
        settings = small_world().model_copy(update={"judge": endpoint})
        with pytest.raises(ChatUnreachable, match=r"can't be reached.*Is the server running"):
            train(settings, tmp_path / "run", rows(), model=str(tiny_model))
    assert not (tmp_path / "run").exists()


def over_http(server: ChatServer, **engine: Any) -> WorldSettings:
    """A judge that is the meta model too; one request at a time, so that none is cancelled on its way."""
    endpoint = EndpointSettings(url=server.url, model="m", max_in_flight=1)
    return small_world(steps=3, **engine).model_copy(update={"judge": endpoint})


def test_each_http_request_of_a_run_is_on_record_once(tmp_path: Path, policy: Path) -> None:
    def behave(ask: Ask) -> Answer:
        return (status(503) if ask.number % 20 == 0 else verdicts())(ask)

    with ChatServer(behave) as server:
        evaluation = rows(held_out=True)[:2]
        settings = over_http(server, eval_every=2)
        train(settings, tmp_path / "run", rows(), evaluation, model=str(policy), tokenizer=build_tokenizer())
        store = Store(tmp_path / "run" / "store.db")
        assert store.spent().n_calls == server.n_requests > 50
    assert store.answered_by().keys() == {"judge", "meta"}
    assert [call.prompt_tokens for call in store.other_calls()[:3]] == [7, 7, 7], "who answers, and what it can"
    with sqlite3.connect(store.path) as db:
        models = db.execute("SELECT DISTINCT role, model FROM spending").fetchall()
    assert {model for _, model in models} == {"m", "served-model"}, "asked for, and answered"
    store.close()


def test_the_calls_of_a_run_that_is_ended_are_on_record(tmp_path: Path, policy: Path) -> None:
    def behave(ask: Ask) -> Answer:
        return (status(401) if ask.number >= 30 else verdicts())(ask)

    with ChatServer(behave) as server:
        with pytest.raises(ChatMisconfigured, match="401"):
            train(over_http(server), tmp_path / "run", rows(), model=str(policy), tokenizer=build_tokenizer())
        store = Store(tmp_path / "run" / "store.db")
        n_calls, n_cancelled = store.spent().n_calls, sum(c.error == "cancelled" for c in store.other_calls())
        assert n_calls - n_cancelled == 30
        assert 30 <= server.n_requests <= n_calls, "the next in turn may be cancelled before or after it is sent"
    store.close()


def test_a_run_does_not_go_on_under_another_model(tmp_path: Path, policy: Path) -> None:
    folder = tmp_path / "run"
    with ChatServer(verdicts()) as server:
        settings = over_http(server)
        train(settings, folder, rows(), model=str(policy), tokenizer=build_tokenizer())
        shutil.rmtree(folder / "policy")

        def other(ask: Ask) -> Answer:
            answer = verdicts()(ask)
            return replace(answer, body=answer.body.replace(b"served-model", b"other-model"))

        server.behaviour = other
        with pytest.raises(
            RunError, match=r"The judge was m at .* \(served as served-model, .* now it is .*other-model"
        ):
            train(settings, folder, rows(), resume=True, model=str(policy), tokenizer=build_tokenizer())
        server.behaviour = verdicts()
        train(settings, folder, rows(), resume=True, model=str(policy), tokenizer=build_tokenizer())
        store = Store(folder / "store.db")
        assert store.spent().n_calls == server.n_requests, "those that were refused too"
    store.close()


def test_the_trainers_log_has_the_same_names_whichever_clusters_a_batch_holds(tmp_path: Path) -> None:
    """Criteria are named where all clusters have the same ones. The rubric of `law` has more of them than the run's."""
    reward = EvolvingReward.open(tmp_path, small_world(steps=2), judge=WorldJudge(seed=1), meta=WorldMeta())
    first = reward.scorer.in_force[""]
    law = Revision(rubric=preset_rubric("oracle"), reason="r", proposer="p", step=1)
    trainer_state = SimpleNamespace(global_step=0)

    def logged(*clusters: str) -> dict[str, float]:
        seen: dict[str, float] = {}
        texts = {"prompts": corpus.prompts(held_out=False)[:2], "completions": ["An essay.", "Another."]}
        reward(**texts, cluster=list(clusters), trainer_state=trainer_state, log_metric=seen.__setitem__)
        return seen

    criteria = [f"criterion/{c.id}" for c in first.revision.rubric.criteria]
    figures = ["judge/unscored", "judge/normalized", "judge/raw", "rubric/criteria", "rubric/words"]
    assert list(logged("", "")) == [*figures, *criteria]
    reward.scorer.in_force = ByCluster(first, {"": first, "law": InForce(law)})
    for clusters in (("", "law"), ("law", ""), ("law", "law"), ("", "")):
        seen = logged(*clusters)
        assert list(seen) == figures
        assert 0 <= seen["judge/normalized"] <= 1
    reward.close()


def test_a_batch_that_can_not_be_split_into_groups_is_told(tmp_path: Path, policy: Path) -> None:
    with pytest.raises(SettingsError, match=r"batch_size 12 must be a multiple of engine\.num_generations 8"):
        run(small_world(batch_size=12), tmp_path / "run", policy)
    assert not (tmp_path / "run").exists()


def test_a_trainers_argument_that_can_not_be_is_told_before_the_run_begins(tmp_path: Path, policy: Path) -> None:
    with pytest.raises(SettingsError, match=r"engine\.trainer\.use_vlm: "):
        run(small_world(trainer={"use_vlm": True}), tmp_path / "run", policy)
    assert not (tmp_path / "run").exists()


def test_a_policy_without_weights_is_told(tmp_path: Path) -> None:
    """Under FSDP TRL writes none where they are not gathered, and says nothing."""
    accelerator = SimpleNamespace(is_main_process=True)
    trainer = SimpleNamespace(accelerator=accelerator, save_model=lambda folder: None)
    settings = small_world()
    with pytest.raises(RunError, match=r"wrote no weights for .*policy; .* FULL_STATE_DICT, .* resume the run"):
        _save_policy(trainer, tmp_path / "policy", origin_of(settings, 1, 0))
    assert not (tmp_path / "policy").exists()


@pytest.mark.parametrize("eval_every", [0, 50])
@pytest.mark.parametrize("name", [name for name in shipped_presets() if not name.startswith("paper/")])
def test_a_trainer_takes_each_shipped_preset(tmp_path: Path, name: str, eval_every: int) -> None:
    settings = train_settings(None, shipped_preset(name)[1])
    engine = settings.engine.model_copy(update={"eval_every": eval_every})
    config = _config(settings.model_copy(update={"engine": engine}), tmp_path)
    assert config.num_generations == engine.num_generations
    assert config.num_generations_eval == 1


@needs_ppo
@pytest.mark.parametrize("name", [name for name in shipped_presets() if name.startswith("paper/")])
def test_ppo_takes_each_preset_of_the_paper(tmp_path: Path, name: str) -> None:
    settings = train_settings(None, shipped_preset(name)[1])
    config = _config(settings, tmp_path)
    assert (config.num_ppo_epochs, config.num_sample_generations) == (settings.engine.ppo.epochs, 0)


def test_an_evaluation_before_training_is_scored_but_not_recorded(tmp_path: Path, policy: Path) -> None:
    """The trainer can't say which step a resumed run stands at before it trains."""
    settings, folder = small_world(steps=2), tmp_path / "run"
    reward = EvolvingReward.open(folder, settings, judge=WorldJudge(seed=1), meta=WorldMeta())
    data = dataset(rows()[:2], build_tokenizer())
    config = GRPOConfig(
        output_dir=str(folder / "checkpoints"),
        use_cpu=True,
        bf16=False,
        max_steps=2,
        per_device_train_batch_size=8,
        max_completion_length=8,
        report_to=[],
        save_strategy="no",
    )
    trainer = GRPOTrainer(
        model=str(policy),
        args=config,
        processing_class=build_tokenizer(),
        train_dataset=data,
        eval_dataset=data,
        reward_funcs=reward,
        callbacks=[reward.callback],
    )
    assert 0 <= trainer.evaluate()["eval_reward"] <= 1
    trainer.train()
    trainer.evaluate()
    reward.close()
    store = Store(folder / "store.db")
    assert len(store.rollouts()) == 16
    assert {r.rollout.step for r in store.rollouts(split=Split.EVAL)} == {2}
    assert {c.model for c in store.other_calls()} == {"world-judge"}, "its calls are on record"
    store.close()
