"""PPO: it learns, a failed judgement is never a low score, and a run that stopped goes on as if it had not."""

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, pvariance
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from metapo.engines.ppo import STATE
from metapo.engines.ppo_judge import explained, fit
from metapo.engines.trl import train
from metapo.errors import ChatTimeout, JudgeFailureLimit, MissingExtra, ModelError, RunError, SettingsError
from metapo.files import read_rows
from metapo.reward import Scored, Screened
from metapo.rollout import Prompt, Rollout
from metapo.run import METRICS
from metapo.settings import LoraSettings, PPOSettings
from metapo.store import Store
from metapo.world import corpus
from metapo.world.judge import WorldJudge
from metapo.world.meta import WorldMeta
from metapo.world.policy import build_tokenizer, write_policy
from metapo.world.presets import WorldSettings
from tests.engines.parts import small_world
from tests.engines.test_resume import story
from tests.engines.test_trl import Unreliable, rows, run


@pytest.fixture(scope="session")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("policy")
    write_policy(folder)
    return folder


def small_ppo(*, unscored: str = "neutral", max_unscored: float = 0.1, **engine: Any) -> WorldSettings:
    """Three steps of 16 completions, without a penalty, so that what the trainer reports is what was judged."""
    ppo = engine.pop("ppo", PPOSettings(epochs=2, missing_eos_penalty=0.0))
    settings = small_world(**{"steps": 3, "algorithm": "ppo", "ppo": ppo, "unscored": unscored, **engine})
    return settings.model_copy(update={"max_unscored": max_unscored})


def of_kind(folder: Path, kind: str) -> list[dict[str, Any]]:
    return [row for row in read_rows(folder / METRICS) if row["kind"] == kind]


async def likes_commas(rollout: Rollout) -> Screened:
    """A rule instead of the judge: the share of commas."""
    words = rollout.completion.split()
    share = words.count(",") / max(1, len(words))
    return Screened("rule", share, share)


def test_the_reward_rises(tmp_path: Path, policy: Path) -> None:
    ppo = PPOSettings(missing_eos_penalty=0.0)
    engine = {
        "max_completion_tokens": 8,
        "learning_rate": 3e-3,
        "warmup": 0.0,
        "schedule": "constant",
        "save_every": 99,
    }
    settings = small_ppo(steps=20, batch_size=32, ppo=ppo, kl=0.0, **engine)
    parts = {"tokenizer": build_tokenizer(), "judge": WorldJudge(seed=1), "meta": WorldMeta()}
    train(settings, tmp_path / "run", rows(), model=str(policy), screen=likes_commas, **parts)
    rewards = [row["reward"] for row in of_kind(tmp_path / "run", "train")]
    assert fmean(rewards[:3]) < 0.1
    assert fmean(rewards[-3:]) > 0.5
    value = of_kind(tmp_path / "run", "trainer")
    assert abs(value[-1]["value/bias"]) < abs(value[0]["value/bias"])


def test_prompts_of_any_length_are_judged_with_their_own_completions(tmp_path: Path, policy: Path) -> None:
    """In parts, as the device holds them, with groups, references and clusters of their own."""
    long = corpus.prompts(held_out=False)[0]
    short = " ".join(long.split()[:3])
    prompts = [Prompt(short, "r1", "a"), Prompt(long, "r2", "b")]
    settings = small_ppo(steps=1, micro_batch_size=4, num_generations=4)
    parts = {"tokenizer": build_tokenizer(), "judge": WorldJudge(seed=1), "meta": WorldMeta()}
    train(settings, tmp_path / "run", prompts, model=str(policy), screen=likes_commas, **parts)
    store = Store(tmp_path / "run" / "store.db")
    rollouts = [r.rollout for r in sorted(store.rollouts(), key=lambda r: r.rollout.position)]
    store.close()
    assert [r.position for r in rollouts] == list(range(16))
    assert {(r.prompt, r.reference, r.cluster) for r in rollouts} == {(short, "r1", "a"), (long, "r2", "b")}
    assert all(len({r.prompt for r in rollouts[i : i + 4]}) == 1 for i in range(0, 16, 4)), "four of each prompt"
    assert all(r.completion and r.prompt not in r.completion for r in rollouts)


@pytest.mark.parametrize(("mini_batches", "micro", "n_updates"), [(1, None, 2), (1, 4, 2), (2, None, 4), (2, 4, 4)])
def test_each_mini_batch_is_one_update(
    tmp_path: Path, policy: Path, mini_batches: int, micro: int | None, n_updates: int
) -> None:
    ppo = PPOSettings(epochs=2, mini_batches=mini_batches)
    settings = small_ppo(steps=1, max_completion_tokens=4, micro_batch_size=micro, ppo=ppo)
    run(settings, tmp_path / "run", policy).close()
    state = torch.load(tmp_path / "run" / "checkpoints" / "checkpoint-1" / STATE, weights_only=True)
    assert {int(of["step"]) for of in state["optimizer"]["state"].values()} == {n_updates}
    [row] = of_kind(tmp_path / "run", "trainer")
    assert row["val/ratio"] == pytest.approx(1, abs=0.05), "no share of the statistics is left empty"


# --- what has no reward


def test_an_unscored_completion_gets_the_mean_of_the_others(tmp_path: Path, policy: Path) -> None:
    settings = small_ppo(max_unscored=0.5)
    store = run(settings, tmp_path / "run", policy, Unreliable(5, ChatTimeout("60 s")))
    assert [r.value for r in store.rollouts()].count(None) == 48 // 5, "on record it has none"
    store.close()
    judged, trained = of_kind(tmp_path / "run", "train"), of_kind(tmp_path / "run", "trainer")
    assert [row["neutral"] for row in trained] == [row["unscored"] for row in judged]
    means = [row["reward"] for row in judged]
    assert [row["objective/scores"] for row in trained] == pytest.approx(means), "so the mean stays what it was"


@pytest.mark.parametrize(
    ("judge", "unscored", "message"),
    [
        (
            Unreliable(16, ChatTimeout("60 s"), healthy=32),
            "raise",
            "1 of 16 rollouts have no reward, more than engine.unscored: raise",
        ),
        (
            Unreliable(2, ChatTimeout("60 s"), healthy=32),
            "neutral",
            "of 16 rollouts have no reward, more than max_unscored = 0.1",
        ),
    ],
)
def test_a_step_that_ends_the_run_is_not_trained_on(
    tmp_path: Path, policy: Path, judge: Unreliable, unscored: str, message: str
) -> None:
    settings = small_ppo(steps=4, unscored=unscored, save_every=99)
    run(settings, tmp_path / "whole", policy).close()
    with pytest.raises(JudgeFailureLimit, match=f"{message}.*60 s") as stopped:
        run(settings, tmp_path / "broken", policy, judge)
    n_done = len(of_kind(tmp_path / "broken", "trainer"))
    assert str(stopped.value).startswith(f"step {n_done}: "), "steps count from 0"
    assert (tmp_path / "broken" / "checkpoints" / f"checkpoint-{n_done}" / "metapo.json").exists()
    run(settings, tmp_path / "broken", policy, resume=True).close()
    assert trained(tmp_path / "broken") == trained(tmp_path / "whole")
    assert lineage(tmp_path / "broken") == lineage(tmp_path / "whole")


def trained(folder: Path) -> list[tuple[float, ...]]:
    names = ("step", "loss", "kl", "objective/scores", "value/bias", "learning_rate")
    return [tuple(row[name] for name in names) for row in of_kind(folder, "trainer")]


def lineage(folder: Path) -> list[Any]:
    store = Store(folder / "store.db")
    store.verify()
    found = store.lineage()
    store.close()
    return found


# --- resume


class PowerCut(Exception):
    """No error of ours: nothing is saved for it."""


def test_an_interrupted_run_equals_one_left_alone(tmp_path: Path, tiny_model: Path) -> None:
    """With an adapter on policy and value model, evaluation in between, and an interruption between checkpoints."""
    settings = small_ppo(steps=6, eval_every=3, max_completion_tokens=12)
    settings = settings.model_copy(
        update={"policy": settings.policy.model_copy(update={"lora": LoraSettings(rank=2, alpha=4, dropout=0.1)})}
    )

    def cut(scored: Sequence[Scored]) -> dict[str, float]:
        if scored[0].rollout.step == 4:
            raise PowerCut
        return {}

    def go(folder: Path, **more: Any) -> None:
        parts = {"judge": WorldJudge(seed=1), "meta": WorldMeta(), **more}
        train(settings, folder, rows(), rows(held_out=True)[:3], model=str(tiny_model), **parts)

    go(tmp_path / "whole")
    with pytest.raises(PowerCut):
        go(tmp_path / "broken", observe=cut)
    of_another = tmp_path / "broken" / "checkpoints" / "checkpoint-4" / "rank-1.pt"
    of_another.touch()
    with pytest.raises(RunError, match=r"was written by 2 processes.* not 1"):
        go(tmp_path / "broken", resume=True)
    of_another.unlink()
    go(tmp_path / "broken", resume=True)
    assert story(tmp_path / "broken") == story(tmp_path / "whole")
    assert trained(tmp_path / "broken") == trained(tmp_path / "whole")
    kept = sorted(path.name for path in (tmp_path / "whole" / "checkpoints").iterdir())
    assert kept == ["checkpoint-4", "checkpoint-6"]
    saved = torch.load(tmp_path / "whole" / "checkpoints" / "checkpoint-6" / STATE, weights_only=True)["weights"]
    assert all("lora_" in name or name == "value_model.score.weight" for name in saved), "only what was trained"
    assert (tmp_path / "whole" / "policy" / "adapter_model.safetensors").exists()


# --- what is refused


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        ({"batch_size": 12}, r"batch_size 12 must be a multiple of engine\.num_generations 8"),
        ({"micro_batch_size": 5}, r"16 must be a multiple of .* 1 ranks x micro_batch_size 5"),
        ({"ppo": PPOSettings(mini_batches=3)}, r"mini_batches 3 must divide the 16 completions"),
        (
            {"micro_batch_size": 3, "batch_size": 24, "ppo": PPOSettings(mini_batches=5)},
            r"mini_batches 5 must divide",
        ),
        ({"ppo": PPOSettings(mini_batches=4, whiten_rewards=True)}, r"needs 8 completions or more .* it has 4"),
    ],
)
def test_batches_that_can_not_be_split_are_told_before_anything_is_written(
    tmp_path: Path, policy: Path, engine: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        run(small_ppo(**engine), tmp_path / "run", policy)
    assert not (tmp_path / "run").exists()


def test_a_tokenizer_that_pads_with_its_end_token_is_refused(tmp_path: Path, policy: Path) -> None:
    tokenizer = build_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    with pytest.raises(ModelError, match=r"pads with its end token '<eos>'.*one there that has a pad token"):
        train(small_ppo(), tmp_path / "run", rows(), model=str(policy), tokenizer=tokenizer, judge=WorldJudge(seed=1))
    assert not (tmp_path / "run").exists()


def test_a_newer_trl_is_told_before_anything_is_written(
    tmp_path: Path, policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "trl.experimental.ppo", None)  # as from TRL 1.13 on
    monkeypatch.delitem(sys.modules, "metapo.engines.ppo")
    with pytest.raises(MissingExtra, match=r"TRL has up to version 1\.12 only.*pip install 'metapo\[ppo\]'"):
        run(small_ppo(), tmp_path / "run", policy)
    assert not (tmp_path / "run").exists()


# --- what the values are worth


@given(st.data())
def test_explained_variance_counts_each_written_token(data: st.DataObject) -> None:
    lengths = data.draw(st.lists(st.integers(1, 4), min_size=2, max_size=5))
    numbers = st.floats(-5, 5, width=32)
    scores = [data.draw(numbers) for _ in lengths]
    values = [[data.draw(numbers) for _ in range(4)] for _ in lengths]
    written = torch.tensor([[t < n for t in range(4)] for n in lengths])
    fits = [fit(torch.tensor(values[i:j]), torch.tensor(scores[i:j]), written[i:j]) for i, j in ((0, 1), (1, None))]
    found = explained(fits)
    pairs = [(values[i][t], scores[i]) for i, n in enumerate(lengths) for t in range(n)]
    errors = [v - s for v, s in pairs]
    of_score = pvariance(s for _, s in pairs)
    assert found["value/bias"] == pytest.approx(fmean(errors), abs=1e-4)
    assert found["value/score_sd"] == pytest.approx(math.sqrt(of_score), abs=5e-3)
    if of_score > 0.01:
        assert found["value/explained"] == pytest.approx(1 - pvariance(errors) / of_score, rel=1e-2, abs=1e-2)


def test_equal_scores_leave_nothing_to_explain() -> None:
    one = fit(torch.ones(2, 3), torch.ones(2), torch.ones(2, 3).bool())
    assert explained([one]) == {"value/bias": 0.0, "value/score_sd": 0.0}
