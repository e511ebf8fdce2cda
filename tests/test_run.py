"""A run in its folder: one revision a step, evaluation apart, failures that stop, and going on after a crash."""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from metapo.course import Boundary
from metapo.errors import (
    BudgetSpent,
    ChatError,
    ChatMisconfigured,
    ChatTimeout,
    JudgeFailureLimit,
    LineageError,
    RunError,
    RunExists,
)
from metapo.judge.endpoint import EndpointSettings, Price
from metapo.judge.judge import Assessment, Call, Opinion
from metapo.judge.ledger import Ledger, Note
from metapo.judge.transport import ChatReply, ChatRequest, Try
from metapo.meta.step import Senses
from metapo.reward import Monitored, Scored, normalized, observe_nothing
from metapo.rollout import Rollout, Split
from metapo.rubric import Outcome, Reason, Rubric, Unscored
from metapo.run import CHECKPOINTS, METRICS, SETTINGS, Run
from metapo.settings import BudgetSettings, MetaSchedule, Settings
from metapo.store import CallRecord, Spent
from tests.helpers import criterion, rubric, verdict
from tests.reviewer import Reply, Reviewer, unasked

SETTINGS_OF_RUN = Settings(
    rubric=rubric(criterion("depth")),
    judge=EndpointSettings(url="http://127.0.0.1:9/v1", model="scripted"),
    meta=MetaSchedule(method="mpo", every=2, samples=3),
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


SENSES = Senses(unasked)


async def end_step(run: Run, *args: Any, senses: Senses = SENSES, **options: Any) -> Boundary:
    return await run.end_step(*args, senses=senses, **options)


def rows(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]


async def test_the_meta_step_runs_when_due_and_its_revision_holds_from_the_next_step(tmp_path: Path) -> None:
    run = create(tmp_path)
    first = run.begin(0)[""].revision
    for step in range(5):
        boundary = await end_step(run, step + 1, scored(run, step))
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
    run = create(
        tmp_path, reviewer, SETTINGS_OF_RUN.model_copy(update={"meta": MetaSchedule(method="mpo", every=2, samples=50)})
    )
    run.begin(0)
    for step in range(4):
        await end_step(run, step + 1, scored(run, step) + scored(run, step, split=Split.EVAL))
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


async def test_rollouts_without_a_reward_are_never_shown(tmp_path: Path) -> None:
    reviewer = Reviewer(STYLE)
    run = create(tmp_path, reviewer)
    run.begin(0)
    await end_step(run, 2, scored(run, 1, failed=1))
    seen = [r.last for r in reviewer.asked("analysis")]
    assert [any(f"train 1 {i}" in text for text in seen) for i in range(4)] == [False, True, True, True]
    run.close()


async def test_too_many_failures_end_the_run_and_are_not_low_scores(tmp_path: Path) -> None:
    run = create(tmp_path)
    run.begin(0)
    boundary = await end_step(run, 1, scored(run, 0, failed=1))
    assert boundary.error is None, "a quarter is allowed"
    boundary = await end_step(run, 2, scored(run, 1, failed=2))
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
    boundary = await end_step(run, 2, scored(run, 0))
    assert isinstance(boundary.error, ChatMisconfigured)
    run.close()


async def test_a_failing_meta_model_keeps_the_rubric_and_the_run_goes_on(tmp_path: Path) -> None:
    run = create(tmp_path, Reviewer(STYLE, analysis=ChatTimeout("60 s")))
    first = run.begin(0)[""].revision
    boundary = await end_step(run, 2, scored(run, 0))
    assert (boundary.revision, boundary.error) == (first, None)
    assert [m.decision for m in run.store.meta_steps()] == ["failed"]
    run.close()


async def test_no_meta_steps_with_every_zero(tmp_path: Path) -> None:
    run = create(tmp_path, settings=SETTINGS_OF_RUN.model_copy(update={"meta": MetaSchedule(every=0)}))
    run.begin(0)
    for step in range(4):
        await end_step(run, step + 1, scored(run, step))
    assert run.store.meta_steps() == []
    run.close()


async def test_a_resumed_run_equals_one_that_was_never_interrupted(tmp_path: Path) -> None:
    async def go(run: Run, start: int, stop: int) -> None:
        for step in range(start, stop):
            await end_step(run, step + 1, scored(run, step))
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
        return [{k: v for k, v in row.items() if k not in ("seconds", "waited")} for row in rows(folder)]

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
    await end_step(run, 1, scored(run, 0))
    run.checkpoint(2, tmp_path / CHECKPOINTS / "checkpoint-2")
    assert run.latest_checkpoint() == (2, tmp_path / CHECKPOINTS / "checkpoint-2")
    foreign = json.dumps({"step": 4, "revision": "f" * 64})
    (tmp_path / CHECKPOINTS / "checkpoint-4" / "metapo.json").write_text(foreign)
    with pytest.raises(LineageError, match=r"checkpoint-4 was written under revision ffffffffff, which the store"):
        run.latest_checkpoint()
    run.close()


@pytest.mark.parametrize("metric", ["fails", "is cut off"])
async def test_an_evaluation_counts_once_its_figures_are_on_record(tmp_path: Path, metric: str) -> None:
    def fails(evaluated: Sequence[Scored]) -> dict[str, float]:
        raise RunError("the metric has failed")

    observe = fails if metric == "fails" else observe_nothing
    run = Run.create(tmp_path, SETTINGS_OF_RUN, Reviewer(STYLE), observe=observe)
    run.begin(2)
    if metric == "fails":
        with pytest.raises(RunError, match="the metric has failed"):
            run.record_eval(scored(run, 2, split=Split.EVAL))
    else:
        run.record_eval(scored(run, 2, split=Split.EVAL))
        (tmp_path / METRICS).write_text("")
    run.close()
    again = Run.resume(tmp_path, SETTINGS_OF_RUN, Reviewer(STYLE))
    again.begin(2)
    assert len(again.store.rollouts(split=Split.EVAL)) == 4
    assert not again.is_evaluated(2)
    again.record_eval(scored(again, 2, failed=4, split=Split.EVAL))
    assert not again.is_evaluated(2), "not by an evaluation without any reward"
    again.begin(2)
    again.record_eval(scored(again, 2, split=Split.EVAL))
    assert again.is_evaluated(2)
    again.close()
    last = Run.resume(tmp_path, SETTINGS_OF_RUN, Reviewer(STYLE))
    last.begin(2)
    assert last.is_evaluated(2)
    assert not last.is_evaluated(3)
    last.close()


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
    with pytest.raises(RunError, match=r"can't write the run folder .*file/run: Not a directory"):
        create(tmp_path / "file" / "run")


# --- the budget

PAID = Call(ChatReply(text="{}", prompt_tokens=90, completion_tokens=10, cost_usd=0.25))


def with_calls(batch: list[Scored], *calls: Call) -> list[Scored]:
    """The first rollout of a batch took these calls."""
    first = replace(batch[0], assessment=replace(batch[0].assessment, calls=calls))
    return [first, *batch[1:]]


def limited(**budget: Any) -> Settings:
    judge = SETTINGS_OF_RUN.judge.model_copy(update={"price": Price(prompt=1, completion=1)})
    return SETTINGS_OF_RUN.model_copy(update={"judge": judge, "budget": BudgetSettings(**budget)})


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ({"tokens": 200}, "spent 200 tokens and 0.50 USD in 2 calls, which reaches budget.tokens = 200"),
        ({"usd": 0.5}, "spent 200 tokens and 0.50 USD in 2 calls, which reaches budget.usd = 0.5"),
        ({"tokens": 10**6, "usd": 0.4}, "reaches budget.usd = 0.4"),
    ],
)
async def test_a_spent_budget_ends_the_run_and_it_may_go_on_with_more(
    tmp_path: Path, budget: dict[str, Any], message: str
) -> None:
    run = create(tmp_path, settings=limited(**budget))
    run.begin(0)
    assert (await end_step(run, 1, with_calls(scored(run, 0), PAID))).error is None
    boundary = await end_step(run, 2, with_calls(scored(run, 1), PAID))
    assert isinstance(boundary.error, BudgetSpent)
    assert message in str(boundary.error)
    assert f"raise it in {tmp_path / SETTINGS} and then: metapo train --resume {tmp_path}" in str(boundary.error)
    assert len(run.store.rollouts()) == 8, "the step counts"
    assert run.store.meta_steps() == [], "no meta step that nobody can pay"
    run.close()

    again = Run.resume(tmp_path, limited(**budget), Reviewer(STYLE))
    with pytest.raises(BudgetSpent, match="step 2"):
        again.begin(2)
    assert len(again.store.rollouts()) == 8
    again.close()
    more = limited(tokens=10**6, usd=100)
    text = (tmp_path / SETTINGS).read_text()
    (tmp_path / SETTINGS).write_text(text.replace("\nbudget:", "\n# more from here on\nbudget:"))
    resumed = Run.resume(tmp_path, more, Reviewer(STYLE))
    resumed.begin(2)
    resumed.close()
    assert (tmp_path / SETTINGS).read_text() == more.to_yaml()


async def test_monitor_and_meta_model_count_too_and_a_failure_is_told_first(tmp_path: Path) -> None:
    merged = ChatReply(text="I need 1 criteria.", prompt_tokens=900, completion_tokens=100, cost_usd=1.0)
    run = create(tmp_path, Reviewer(STYLE, merge_count=merged), limited(tokens=1100))
    run.begin(0)
    batch = scored(run, 0)
    watched = Monitored("big", Assessment(batch[0].assessment.outcomes, (PAID,)), batch[0].reward)
    boundary = await end_step(run, 2, [replace(batch[0], monitored=watched), *batch[1:]])
    assert boundary.error is None, "a step is paid to its end"
    assert [m.decision for m in run.store.meta_steps()] == ["adopted"]
    assert run.store.spent().tokens == 1100
    boundary = await end_step(run, 3, scored(run, 2, failed=4))
    assert isinstance(boundary.error, JudgeFailureLimit)
    assert isinstance((await end_step(run, 4, scored(run, 3))).error, BudgetSpent)
    run.close()


async def test_without_a_budget_nothing_ends_the_run(tmp_path: Path) -> None:
    run = create(tmp_path)
    run.begin(0)
    dear = Call(ChatReply(text="{}", prompt_tokens=10**12, cost_usd=1e9))
    assert (await end_step(run, 1, with_calls(scored(run, 0), dear))).error is None
    run.close()


# --- reasons for the meta step


async def test_the_meta_step_reads_reasons_that_are_asked_for_then(tmp_path: Path) -> None:
    reviewer = Reviewer(STYLE)
    run = create(tmp_path, reviewer)
    run.begin(0)
    asked: list[Scored] = []

    async def explain(of: Rubric, sample: Scored) -> Scored:
        asked.append(sample)
        outcomes = tuple(v.model_copy(update={"rationale": "so deep"}) for v in sample.assessment.outcomes)
        reply = ChatReply(text="with reasons", model="m", prompt_tokens=90, completion_tokens=10, cost_usd=0.5)
        return replace(sample, assessment=replace(sample.assessment, outcomes=outcomes, calls=(Call(reply),)))

    await end_step(run, 1, scored(run, 0), senses=Senses(unasked, explain))
    assert asked == [], "no meta step was due"
    await end_step(run, 2, scored(run, 1), senses=Senses(unasked, explain))
    [done] = run.store.meta_steps()
    assert [s.rollout for s in asked] == [s.rollout for s in done.samples], "only those that are read"
    assert len(asked) == 3
    assert all("- depth: 5. so deep" in request.last for request in reviewer.asked("analysis"))
    explained = [e for e in done.exchanges if e.stage == "explain"]
    assert [(e.sample, e.prompt, e.reply, e.model, e.cost_usd) for e in explained] == [
        (i, "", "with reasons", "m", 0.5) for i in range(3)
    ]
    assert run.store.spent() == Spent(len(done.exchanges), 300, 1.5)
    run.close()


async def test_a_judge_with_a_wrong_key_ends_the_run_while_it_explains(tmp_path: Path) -> None:
    run = create(tmp_path)
    first = run.begin(0)[""].revision

    async def explain(of: Rubric, sample: Scored) -> Scored:
        raise ChatMisconfigured("401")

    boundary = await end_step(run, 2, scored(run, 0), senses=Senses(unasked, explain))
    assert isinstance(boundary.error, ChatMisconfigured)
    assert boundary.revision == first
    run.close()


# --- what is written


async def test_an_error_of_a_rank_ends_the_step_before_its_meta_step(tmp_path: Path) -> None:
    run = create(tmp_path)
    run.begin(0)
    error = ChatMisconfigured("401")
    assert (await end_step(run, 2, scored(run, 0), error)).error is error
    assert run.store.meta_steps() == []
    assert len(run.store.rollouts()) == 4
    run.close()


async def test_panel_and_monitor_are_on_record(tmp_path: Path) -> None:
    run = create(tmp_path)
    run.begin(0)
    [given] = scored(run, 0, n=1)
    failed = (Unscored(criterion_id="depth", reason=Reason.TIMEOUT, detail="60 s"),)
    opinions = (Opinion("a", given.assessment.outcomes), Opinion("b", failed))
    assessment = replace(given.assessment, opinions=opinions, calls=(PAID,), n_reused=1, n_left_out=9)
    watched = Monitored(
        "big", Assessment((verdict("depth", 2),), (PAID,)), normalized(run.revision.rubric, [verdict("depth", 2)])
    )
    await end_step(run, 1, [replace(given, assessment=assessment, monitored=watched)])
    [record] = run.store.rollouts()
    assert (record.n_reused, record.n_left_out, record.monitor) == (1, 9, 0.4)
    assert [c["role"] for c in run.store.calls()] == ["judge", "monitor"]
    with sqlite3.connect(run.store.path) as db:
        rows = db.execute("SELECT role, judge, points, reason FROM opinion ORDER BY role DESC, judge").fetchall()
    assert rows == [("panel", "a", 5, None), ("panel", "b", None, "timeout"), ("monitor", "big", 2, None)]
    run.close()


TRIES = (
    Try(endpoint="u", error="reset", latency_s=2.0, model="m"),
    Try(endpoint="v", error="503", latency_s=1.0, model="m"),
)
TRIED = [
    CallRecord("", "reset", model="m", role="judge", endpoint="u", latency_s=2.0),
    CallRecord("", "503", model="m", role="judge", endpoint="v", latency_s=1.0),
]
REPLY = ChatReply(
    text="raw", model="m", finish_reason="length", prompt_tokens=9, cached_tokens=8, completion_tokens=7, cost_usd=0.5,
    latency_s=0.25, endpoint="w",
)  # fmt: skip
REPLIED = CallRecord("raw", "", "m", "length", 9, 7, 0.25, "judge", "w", 8, 0.5)


async def test_calls_that_belong_to_no_rollout_are_on_record_and_count(tmp_path: Path) -> None:
    ledger, said = Ledger(), ChatReply(text="yes", model="m", prompt_tokens=60)
    run = Run.create(tmp_path, limited(tokens=200), Reviewer(STYLE), ledger=ledger)
    ledger.of("judge")(said)
    run.begin(0)
    assert (await end_step(run, 1, scored(run, 0))).error is None
    ledger.of("monitor")(TRIES[0])
    run.record_eval([], [CallRecord("from another rank", prompt_tokens=80)])
    boundary = await end_step(run, 2, scored(run, 1), others=[CallRecord("", "503", role="meta")])
    assert boundary.error is None
    ledger.of("meta")(said.model_copy())
    run.close()
    again = Run.resume(tmp_path, limited(tokens=200), Reviewer(STYLE), ledger=ledger)
    ledger.of("judge")(said.model_copy())
    with pytest.raises(BudgetSpent, match="spent 200 tokens"):
        again.begin(2)
    again.close()
    with sqlite3.connect(run.store.path) as db:
        rows = db.execute("SELECT attempt_id, step, role, error, prompt_tokens FROM other_call ORDER BY number")
        assert rows.fetchall() == [
            (1, 1, "judge", "", 60),
            (1, 1, "judge", "", 80),
            (1, 1, "monitor", "reset", None),
            (1, 2, "meta", "503", None),
            (1, 2, "meta", "", 60),
            (None, 0, "judge", "", 60),
        ]


class Noting(Reviewer):
    """Notes its requests as a client does."""

    def __init__(self, note: Note, **replies: Reply) -> None:
        super().__init__(STYLE, **replies)
        self._note = note

    async def complete(self, request: ChatRequest) -> ChatReply:
        try:
            reply = await super().complete(request)
        except ChatError as e:
            for tried in e.tries:
                self._note(tried)
            raise
        for sent in (*reply.tries, reply):
            self._note(sent)
        return reply


async def test_the_tries_of_a_meta_step_are_on_record_once(tmp_path: Path) -> None:
    """An exchange stands for its reply or its last try; the tries before are calls of their own."""
    ledger, late = Ledger(), ChatTimeout("60 s")
    late.tries = TRIES
    reviewer = Noting(ledger.of("judge"), merge_count=ChatReply(text="none", model="m", tries=TRIES))
    run = Run.create(tmp_path, SETTINGS_OF_RUN, reviewer, ledger=ledger)
    run.begin(0)
    await end_step(run, 2, scored(run, 0))
    [merge] = [e for e in run.store.meta_steps()[0].exchanges if e.stage == "merge"]
    assert (merge.reply, merge.model) == ("none", "m")
    reviewer.replies["analysis"] = late
    await end_step(run, 4, scored(run, 3, n=1))
    [analysis] = run.store.meta_steps()[1].exchanges
    assert (analysis.error, analysis.model, analysis.latency_s) == ("ChatTimeout: 60 s", "m", 1.0)
    tried = [replace(record, role="meta") for record in TRIED]
    assert run.store.other_calls() == [*tried, tried[0]]
    assert ledger.take() == []
    run.close()


async def test_a_meta_step_that_is_ended_leaves_its_calls_on_record(tmp_path: Path) -> None:
    ledger, wrong = Ledger(), ChatMisconfigured("401")
    wrong.tries = TRIES[:1]
    ledger.of("meta")(TRIES[0])
    run = Run.create(tmp_path, SETTINGS_OF_RUN, Reviewer(STYLE, analysis=wrong), ledger=ledger)
    run.begin(0)
    assert (await end_step(run, 2, scored(run, 0))).error is wrong
    assert run.store.other_calls() == [replace(TRIED[0], role="meta")]
    run.close()


# --- who answers


def test_another_model_is_told_when_a_run_goes_on(tmp_path: Path) -> None:
    def resume(**answered_by: str) -> None:
        run = Run.resume(tmp_path, SETTINGS_OF_RUN, Reviewer(), answered_by=answered_by)
        run.begin(0)
        run.close()

    Run.create(tmp_path, SETTINGS_OF_RUN, Reviewer(), answered_by={"judge": "a", "meta": "b"}).close()
    resume(judge="c", meta="b")  # nothing was judged before
    resume()
    resume(judge="c", monitor="d")
    message = (
        r"The judge was c, now it is a\. The monitor was d, now it is e\. .* serve the one that the run began with"
    )
    with pytest.raises(RunError, match=message):
        resume(judge="a", meta="b", monitor="e")
    resume(judge="c", monitor="d")


async def test_metrics_hold_the_share_of_completions_that_detectors_flag(tmp_path: Path) -> None:
    run = create(tmp_path)
    run.begin(0)
    batch = scored(run, 0)
    essay = batch[0].rollout.model_copy(update={"prompt": "write an essay about wind farms", "completion": "Jobs."})
    await end_step(run, 1, [replace(batch[0], rollout=essay), *batch[1:]])
    assert rows(tmp_path)[-1]["flag/too_short"] == 0.25
    run.close()
