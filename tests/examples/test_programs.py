"""The programs in examples/, as they stand there, with a tiny model and a judge on loopback."""

import asyncio
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from metapo.cli import main
from metapo.rollout import Rollout
from metapo.rubric import Revision, Rubric
from metapo.server.running import Served
from metapo.settings import Settings, TrainSettings
from metapo.store import Store
from metapo.tasks.loading import find_task
from tests.engines.parts import needs_ppo
from tests.examples.parts import EXAMPLES, JUDGE, POLICY, copied, replace_in, run
from tests.helpers import criterion, rubric
from tests.offline.parts import BECAUSE, LONG
from tests.offline.test_cli import plays
from tests.server.parts import serving
from tests.servers import Answer, Ask, ChatServer, verdicts
from tests.test_cli_people import FIRST, proposed

SMALL = "use_cpu=True, bf16=False, max_steps=2, max_completion_length=8, report_to=[], save_steps=1"
ENGINE = "micro_batch_size: 4, batch_size: 8, max_completion_tokens: 8, device: cpu"


def test_each_program_is_short_and_stands_in_the_table() -> None:
    table = (EXAMPLES / "README.md").read_text()
    for path in [*EXAMPLES.glob("*.py"), *EXAMPLES.glob("*/*.sh")]:
        assert f"]({path.relative_to(EXAMPLES)})" in table, path
        assert len(path.read_text().splitlines()) <= 60, path


def test_the_page_on_trl_shows_the_same_program() -> None:
    program = (EXAMPLES / "grpo.py").read_text().partition('"""\n\n')[2]
    assert f"```python\n{program}```" in (EXAMPLES.parent / "docs" / "trl.md").read_text()


def test_the_settings_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(EXAMPLES)
    for name in ("essay_ppo.yaml", "headlines.yaml"):
        TrainSettings.load(name)
    for name in ("serve.yaml", "verl/settings.yaml"):
        Settings.load(name)


def test_quickstart_prints_verdicts_and_a_reward(tmp_path: Path) -> None:
    place = copied(tmp_path)
    scripted = run(place, "quickstart.py")
    assert scripted.splitlines()[0] == "position: 4, argues for the lanes in every sentence"
    assert float(scripted.split("reward: ")[1]) == pytest.approx(4 / 9)
    with ChatServer(verdicts()) as judge:
        assert run(place, "quickstart.py", judge.url, "any").splitlines()[-1] == "reward: 1.0"


def test_grpo_trains_under_the_rubric_and_its_run_can_be_read(tmp_path: Path, tiny_model: Path) -> None:
    place = copied(tmp_path)
    with ChatServer(verdicts()) as judge:
        replace_in(place / "grpo.py", **{JUDGE: judge.url, POLICY: str(tiny_model), "beta=0.02": f"beta=0.02, {SMALL}"})
        run(place, "grpo.py")
    assert steps_of(place / "runs" / "grpo") == {0: 8, 1: 8}
    told = run(place, "read_a_run.py", "runs/grpo")
    assert re.search(r"^mean +1\.0 +0\.0", told, re.MULTILINE)
    assert "settings" in told.split("the lineage:")[1].split("why there was")[0]
    assert "served-model" in told


@needs_ppo
def test_ppo_trains_with_a_value_head(tmp_path: Path, tiny_model: Path) -> None:
    place = copied(tmp_path)
    with ChatServer(verdicts()) as judge:
        small = {"steps: 400, micro_batch_size: 16": f"steps: 2, {ENGINE}", ", lora: {rank: 64, alpha: 128}": ""}
        replace_in(place / "essay_ppo.yaml", **{JUDGE: judge.url, POLICY: str(tiny_model), **small})
        run(place, "ppo.py")
    assert steps_of(place / "runs" / "ppo") == {0: 8, 1: 8}


def test_own_task_trains_and_measures(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = copied(tmp_path)
    monkeypatch.chdir(place)
    with ChatServer(verdicts()) as judge:
        small = {"steps: 200, batch_size: 32, num_generations: 8, max_completion_tokens: 40": f"steps: 1, {ENGINE}"}
        replace_in(place / "headlines.yaml", **{JUDGE: judge.url, POLICY: str(tiny_model), **small})
        trained = CliRunner().invoke(main, ["train", "headlines.yaml", "--out", "runs/headlines"])
    assert trained.exit_code == 0, trained.output
    assert '"names it": 0.0' in (place / "runs" / "headlines" / "metrics.jsonl").read_text()


def test_own_task_scores_what_is_too_long_without_the_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(EXAMPLES)
    screen = find_task("own_task.py").screen(TrainSettings.load("headlines.yaml"))
    screened = asyncio.run(screen(Rollout(prompt="p", completion="word " * 11)))
    assert screened is not None
    assert (screened.why, screened.normalized, screened.raw) == ("too many words", 0.0, -5)
    assert asyncio.run(screen(Rollout(prompt="p", completion="A bridge closes"))) is None


def test_own_gate_decides_on_what_waits(tmp_path: Path) -> None:
    place = copied(tmp_path)
    store = Store(place / "store.db")
    store.adopt(store.begin_attempt(resumed_step=0, now=datetime.now(UTC)), 0, FIRST)
    bare = Revision(rubric=rubric(criterion("depth", (0, 5))), parents=(FIRST.id,), reason="", proposer="m", step=10)
    kept = Revision(
        rubric=rubric(criterion("depth", (0, 5)), criterion("talk", (-3, 0))),
        parents=(FIRST.id,),
        reason="m",
        proposer="m",
        step=20,
    )
    for child in (bare, kept):
        store.append_meta_step(1, proposed(child))
    told = run(place, "own_gate.py", ".")
    assert told.splitlines() == [
        f"{bare.short_id}: reject, it no longer deducts for talk",
        f"{kept.short_id}: approve, nothing speaks against it",
    ]
    assert [(act.kind, act.about) for act in store.acts()] == [("reject", bare.id), ("approve", kept.id)]
    store.close()


def test_http_client_learns_what_the_judge_rewards(tmp_path: Path) -> None:
    place = copied(tmp_path)

    def likes_reasons(ask: Ask) -> Answer:
        return verdicts(max if "so build them" in ask.prompt else min)(ask)

    with ChatServer(likes_reasons) as judge:
        replace_in(place / "serve.yaml", **{JUDGE: judge.url})
        with serving(Served(Settings.load(place / "serve.yaml"), place / "runs")) as server:
            told = run(place, "http_client.py", server.url)
    assert told.splitlines()[-1] == "it prefers: Bike lanes save lives, so build them."
    assert set(steps_of(place / "runs")) == set(range(20))


def test_refine_finds_a_rubric_that_agrees_better(tmp_path: Path) -> None:
    place = copied(tmp_path)
    (place / "rubric.yaml").write_text(LONG.to_yaml())
    with ChatServer(plays) as server:
        replace_in(place / "serve.yaml", **{JUDGE: server.url})
        told = run(place, "refine.py")
    before, after = map(int, re.findall(r"(\d+)%", told))
    assert before < after
    assert Rubric.load(place / "runs" / "refined" / "rubric.yaml") == BECAUSE


def steps_of(run: Path) -> dict[int, int]:
    """How many training rollouts of each step are on record."""
    store = Store(run / "store.db")
    counted: dict[int, int] = {}
    for record in store.rollouts():
        counted[record.rollout.step] = counted.get(record.rollout.step, 0) + 1
    store.close()
    return counted
