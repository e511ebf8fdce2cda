"""A run in its folder: one revision a step, evaluation apart, failures that stop, and going on after a crash."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from metapo.errors import ChatMisconfigured, ChatTimeout, JudgeFailureLimit, LineageError, RunError, RunExists
from metapo.judge.endpoint import EndpointSettings
from metapo.judge.judge import Assessment
from metapo.judge.transport import ScriptedTransport
from metapo.reward import Scored, normalized
from metapo.rollout import Rollout, Split
from metapo.rubric import Outcome, Reason, Revision, Unscored
from metapo.run import CHECKPOINTS, METRICS, SETTINGS, Run, Scorer, summarize
from metapo.settings import MetaSchedule, Settings
from tests.helpers import criterion, rubric, verdict
from tests.reviewer import Reviewer

SETTINGS_OF_RUN = Settings(
    rubric=rubric(criterion("depth")),
    judge=EndpointSettings(url="http://127.0.0.1:9/v1", model="scripted"),
    meta=MetaSchedule(every=2, samples=3),
    max_unscored=0.25,
)
STYLE = criterion("style", (0, 1))


def create(folder: Path, reviewer: Reviewer | None = None, settings: Settings = SETTINGS_OF_RUN) -> Run:
    return Run.create(folder, settings, reviewer or Reviewer(STYLE))


def scored(run: Run, step: int, n: int = 4, *, failed: int = 0, split: Split = Split.TRAIN) -> list[Scored]:
    """A batch under the revision in force; the first `failed` have no verdict."""
    batch = []
    for i in range(n):
        outcomes: tuple[Outcome, ...] = tuple(verdict(c.id, c.max_points) for c in run.revision.rubric.criteria)
        if i < failed:
            outcomes = tuple(
                Unscored(criterion_id=o.criterion_id, reason=Reason.TIMEOUT, detail="60 s") for o in outcomes
            )
        rollout = Rollout(prompt="p", completion=f"{split} {step} {i}", step=step, position=i, split=split)
        reward = normalized(run.revision.rubric, outcomes)
        batch.append(Scored(rollout, run.revision.id, Assessment(outcomes, ()), reward))
    return batch


def rows(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]


async def test_the_meta_step_runs_when_due_and_its_revision_holds_from_the_next_step(tmp_path: Path) -> None:
    run = create(tmp_path)
    first = run.begin(0)
    for step in range(5):
        boundary = await run.end_step(step + 1, scored(run, step))
        assert boundary.error is None
    lineage = run.store.lineage()
    assert [at for at, _ in lineage] == [0, 2]
    assert lineage[0][1] == first
    assert lineage[1][1].rubric == rubric(STYLE)
    assert boundary.revision == run.revision == lineage[1][1]
    assert [m.decision for m in run.store.meta_steps()] == ["adopted", "unchanged"]
    by_step = {r.rollout.step: r.revision_id for r in run.store.rollouts()}
    assert [by_step[s] == first.id for s in range(5)] == [True, True, False, False, False]
    assert run.store.verify() == 2
    run.close()


async def test_the_meta_model_reads_training_rollouts_since_the_last_meta_step_only(tmp_path: Path) -> None:
    reviewer = Reviewer(STYLE)
    run = create(tmp_path, reviewer, SETTINGS_OF_RUN.model_copy(update={"meta": MetaSchedule(every=2, samples=50)}))
    run.begin(0)
    for step in range(4):
        await run.end_step(step + 1, scored(run, step) + scored(run, step, split=Split.EVAL))
        run.record_eval(scored(run, step + 10, split=Split.EVAL))
    seen = [r.last for r in reviewer.asked("analysis")]
    assert len(seen) == 16
    assert not any("eval" in text for text in seen)
    assert (
        all(f"train {s} " in text for text, s in zip(seen, [0] * 4 + [1] * 4 + [2] * 4 + [3] * 4, strict=True)) is False
    )
    assert sum("train 0 " in t or "train 1 " in t for t in seen[:8]) == 8
    assert sum("train 2 " in t or "train 3 " in t for t in seen[8:]) == 8
    run.close()


async def test_too_many_failures_end_the_run_and_are_not_low_scores(tmp_path: Path) -> None:
    run = create(tmp_path)
    run.begin(0)
    boundary = await run.end_step(1, scored(run, 0, failed=1))
    assert boundary.error is None, "a quarter is allowed"
    boundary = await run.end_step(2, scored(run, 1, failed=2))
    assert isinstance(boundary.error, JudgeFailureLimit)
    message = str(boundary.error)
    assert "step 2: 2 of 4 rollouts have no reward, more than max_unscored = 0.25" in message
    assert "timeout: 60 s" in message
    assert f"metapo train --resume {tmp_path}" in message
    assert run.store.meta_steps() == [], "no meta step on a broken step"
    assert [r.value for r in run.store.rollouts(from_step=1)] == [None, None, 1.0, 1.0]
    train = [row for row in rows(tmp_path) if row["kind"] == "train"]
    assert [(row["unscored"], row["reward"]) for row in train] == [(0.25, 1.0), (0.5, 1.0)]
    run.close()


async def test_a_meta_model_with_a_wrong_key_ends_the_run(tmp_path: Path) -> None:
    run = create(tmp_path, Reviewer(STYLE, analysis=ChatMisconfigured("401: check the key")))
    run.begin(0)
    boundary = await run.end_step(2, scored(run, 0))
    assert isinstance(boundary.error, ChatMisconfigured)
    run.close()


async def test_a_failing_meta_model_keeps_the_rubric_and_the_run_goes_on(tmp_path: Path) -> None:
    run = create(tmp_path, Reviewer(STYLE, analysis=ChatTimeout("60 s")))
    first = run.begin(0)
    boundary = await run.end_step(2, scored(run, 0))
    assert (boundary.revision, boundary.error) == (first, None)
    assert [m.decision for m in run.store.meta_steps()] == ["failed"]
    run.close()


async def test_no_meta_steps_with_every_zero(tmp_path: Path) -> None:
    run = create(tmp_path, settings=SETTINGS_OF_RUN.model_copy(update={"meta": MetaSchedule(every=0)}))
    run.begin(0)
    for step in range(4):
        await run.end_step(step + 1, scored(run, step))
    assert run.store.meta_steps() == []
    run.close()


async def test_a_resumed_run_equals_one_that_was_never_interrupted(tmp_path: Path) -> None:
    async def go(run: Run, start: int, stop: int) -> None:
        for step in range(start, stop):
            await run.end_step(step + 1, scored(run, step))
            if step + 1 == 3:
                folder = run.folder / CHECKPOINTS / "checkpoint-3"
                folder.mkdir(parents=True, exist_ok=True)
                run.checkpoint(3, folder)

    whole = create(tmp_path / "whole")
    whole.begin(0)
    await go(whole, 0, 7)

    broken = create(tmp_path / "broken")
    broken.begin(0)
    await go(broken, 0, 6)
    broken.close()
    with (tmp_path / "broken" / METRICS).open("a") as metrics:
        metrics.write('{"kind": "train", "st')
    again = Run.resume(tmp_path / "broken", SETTINGS_OF_RUN, Reviewer(STYLE))
    latest = again.latest_checkpoint()
    assert latest == (3, tmp_path / "broken" / CHECKPOINTS / "checkpoint-3")
    again.begin(3)
    await go(again, 3, 7)

    def story(run: Run) -> list[object]:
        meta = [(m.step, m.decision, m.child, m.samples) for m in run.store.meta_steps()]
        return [run.store.lineage(), run.store.rollouts(), meta]

    assert story(again) == story(whole)

    def without_clock(folder: Path) -> list[dict[str, object]]:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in rows(folder)]

    assert without_clock(tmp_path / "broken") == without_clock(tmp_path / "whole")
    assert again.store.verify() == whole.store.verify()
    again.close()
    whole.close()


async def test_an_unfinished_checkpoint_is_passed_over_and_a_foreign_one_refused(tmp_path: Path) -> None:
    run = create(tmp_path)
    run.begin(0)
    assert run.latest_checkpoint() is None
    for step in (2, 4):
        (tmp_path / CHECKPOINTS / f"checkpoint-{step}").mkdir(parents=True)
    await run.end_step(1, scored(run, 0))
    run.checkpoint(2, tmp_path / CHECKPOINTS / "checkpoint-2")
    assert run.latest_checkpoint() == (2, tmp_path / CHECKPOINTS / "checkpoint-2")
    foreign = json.dumps({"step": 4, "revision": "f" * 64})
    (tmp_path / CHECKPOINTS / "checkpoint-4" / "metapo.json").write_text(foreign)
    with pytest.raises(LineageError, match=r"checkpoint-4 was written under revision ffffffffff, which the store"):
        run.latest_checkpoint()
    run.close()


def test_a_folder_holds_one_run(tmp_path: Path) -> None:
    create(tmp_path).close()
    with pytest.raises(RunExists, match=r"holds a run already. Resume it with --resume"):
        create(tmp_path)
    with pytest.raises(RunError, match="holds no run to resume"):
        Run.resume(tmp_path / "elsewhere", SETTINGS_OF_RUN, Reviewer())
    changed = SETTINGS_OF_RUN.model_copy(update={"seed": 5})
    with pytest.raises(RunError, match="A run keeps its settings"):
        Run.resume(tmp_path, changed, Reviewer())
    assert Settings.from_yaml((tmp_path / SETTINGS).read_text()) == SETTINGS_OF_RUN


def test_another_process_can_not_use_the_folder_and_may_once_it_is_closed(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; sys.path.insert(0, '.'); from tests.test_run import SETTINGS_OF_RUN, Reviewer, Run; "
        f"Run.resume(pathlib.Path({str(tmp_path)!r}), SETTINGS_OF_RUN, Reviewer()).close()"
    )

    def other() -> subprocess.CompletedProcess[str]:
        root = Path(__file__).parent.parent
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=False)

    run = create(tmp_path)
    blocked = other()
    run.close()
    assert "RunInUse: another process is using the run folder" in blocked.stderr
    assert other().returncode == 0


def test_a_folder_that_can_not_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"can't make the run folder .*file/run: Not a directory"):
        create(tmp_path / "file" / "run")


async def test_the_scorer_keeps_order_and_uses_the_revision_in_force() -> None:
    def reply(points: int) -> str:
        return json.dumps({"verdicts": [{"criterion": "depth", "points": points}]})

    first = Revision(rubric=SETTINGS_OF_RUN.rubric, reason="r", proposer="p", step=0)
    transport = ScriptedTransport([reply(5), reply(0), ChatTimeout("60 s")])
    scorer = Scorer(SETTINGS_OF_RUN, transport, first)
    got = await scorer.score([Rollout(prompt="p", completion=str(i)) for i in range(3)])
    assert [(s.rollout.completion, s.reward.value) for s in got] == [("0", 1.0), ("1", 0.0), ("2", None)]
    assert {s.revision_id for s in got} == {first.id}
    none = scorer.unscored([g.rollout for g in got], ChatMisconfigured("401"))
    assert [s.reward.value for s in none] == [None] * 3


def test_summaries_leave_out_what_was_not_scored(tmp_path: Path) -> None:
    run = create(tmp_path)
    figures = summarize(scored(run, 0, failed=1))
    assert figures == {
        "n_rollouts": 4,
        "unscored": 0.25,
        "words": 3.0,
        "reward": 1.0,
        "normalized": 1.0,
        "raw": 5.0,
        "criterion/depth": 5.0,
    }
    assert "reward" not in summarize(scored(run, 0, n=2, failed=2))
    run.close()
