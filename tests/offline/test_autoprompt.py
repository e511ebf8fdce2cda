"""The search on labelled and on written cases, with transports that follow words and everything else real."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from metapo.errors import ChatMisconfigured, ChatTimeout, DataError, JudgeFailureLimit, RunError, RunExists, RunInUse
from metapo.judge.budget import Budget
from metapo.judge.transport import ChatRequest
from metapo.meta.step import Decision
from metapo.offline.autoprompt import Autoprompt, AutopromptPlan, check_prompts
from metapo.offline.boundary import DRAWN, Labelled, Wanted, Written
from metapo.offline.cases import Case
from metapo.offline.lineage import Lineage, Round
from metapo.rollout import Rollout, Split, as_text
from metapo.rubric import Rubric
from tests.offline.parts import BECAUSE, LONG, RED, Bench, Scripted, judge, judges, writes


def case(i: int, *, good: bool, long: bool) -> Case:
    text = f"Text {i}: {'because' if good else 'well'}{' and so on' * 3 if long else ''}."
    return Case(Rollout(prompt=f"Prompt {i}", completion=text), float(good))


CASES = [case(i, good=i % 2 == 0, long=i % 3 == 0) for i in range(24)]


async def search(
    bench: Bench, cases: Sequence[Case] = CASES, plan: AutopromptPlan | None = None
) -> tuple[Autoprompt, str]:
    source = Labelled(bench.scorer, cases)
    work = Autoprompt(bench.lineage, bench.scorer, bench.model, source, plan or AutopromptPlan(rounds=3, cases=8))
    return work, await work.run()


async def test_a_flawed_rubric_agrees_better_with_held_out_labels(tmp_path: Path) -> None:
    meta = Scripted(writes(LONG, BECAUSE))
    with Bench(tmp_path, judge(), meta) as bench:
        work, why = await search(bench)
        assert bench.lineage.best.rubric == BECAUSE
        assert (await work.agreement(LONG) or 0) < 0.8
        assert await work.agreement(BECAUSE) == 1.0
        assert why == "all rounds are done"
        assert [r.rubric for r in bench.revisions] == [LONG, BECAUSE]
        assert bench.lineage.store.verify()
        assert bench.lineage.store.meta_steps()[-1].decision == Decision.UNCHANGED, "no error is left"
    assert Rubric.load(tmp_path / "rubric.yaml") == BECAUSE


async def test_the_meta_model_never_sees_what_is_held_out(tmp_path: Path) -> None:
    meta = Scripted(writes(LONG, RED, LONG))
    with Bench(tmp_path, judge(), meta) as bench:
        await search(bench)
        held_out = [r.rollout.completion for r in bench.lineage.store.rollouts(split=Split.EVAL)]
        read = [r.rollout.completion for r in bench.lineage.store.rollouts()]
    assert len(held_out) == len(read) == 12
    assert not [text for text in held_out if text in meta.seen]
    assert [text for text in read if text in meta.seen]


async def test_cases_of_one_prompt_are_read_or_choose_and_about_half_do_either(tmp_path: Path) -> None:
    cases = [Case(c.rollout.model_copy(update={"prompt": f"Prompt {i % 5}"}), c.label) for i, c in enumerate(CASES)]
    with Bench(tmp_path, judge(), Scripted(writes(LONG, BECAUSE))) as bench:
        await search(bench, cases)
        found = {split: bench.lineage.store.rollouts(split=split) for split in Split}
    read, held_out = ({r.rollout.prompt for r in found[split]} for split in Split)
    assert read | held_out == {f"Prompt {i}" for i in range(5)}
    assert not read & held_out
    assert 8 <= len(found[Split.EVAL]) <= 16
    with pytest.raises(DataError, match="all cases are of one prompt"):
        check_prompts([CASES[0].rollout] * 2)


async def test_of_many_labels_some_are_drawn_and_judged(tmp_path: Path) -> None:
    cases = [case(i, good=i % 2 == 0, long=i % 3 == 0) for i in range(100)]
    chosen = []
    for seed, folder in ((0, "a"), (0, "b"), (1, "c")):
        asked = judge()
        with Bench(tmp_path / folder, asked, Scripted(writes(LONG, BECAUSE))) as bench:
            await search(bench, cases, AutopromptPlan(rounds=1, cases=2, seed=seed))
            chosen.append({r.rollout.prompt for split in Split for r in bench.lineage.store.rollouts(split=split)})
        judged = set(re.findall(r"Text \d+:", asked.seen))
        assert len(judged) == DRAWN * 2
    assert chosen[0] == chosen[1] != chosen[2]


async def test_a_rubric_that_is_no_better_is_refused_and_told_of(tmp_path: Path) -> None:
    meta = Scripted(writes(BECAUSE, RED))
    wrong = [Case(c.rollout, 1 - c.label) if i in (3, 6, 9) else c for i, c in enumerate(CASES)]
    with Bench(tmp_path, judge(), meta, first=BECAUSE) as bench:
        await search(bench, wrong)
        assert bench.lineage.best.rubric == BECAUSE
        refused = [p for m in bench.lineage.store.meta_steps() for p in m.proposals]
        assert refused
        assert not any(p.accepted for p in refused)
        assert "agrees to" in refused[0].reason
        finding = refused[0].findings[0]
        assert (finding.child or 0) < (finding.parent or 0)


async def test_an_earlier_rubric_comes_back_where_more_cases_speak_for_it(tmp_path: Path) -> None:
    for_because = [case(i, good=i % 2 == 0, long=i % 2 == 1) for i in range(2)]
    for_long = [Case(case(i, good=i % 2 == 0, long=i % 2 == 1).rollout, float(i % 2)) for i in range(2, 10)]
    with Bench(tmp_path, judge(), Scripted(writes(LONG, BECAUSE))) as bench:
        await search(bench, for_because + for_long, AutopromptPlan(rounds=3, cases=2))
        assert [r.rubric for r in bench.revisions] == [LONG, BECAUSE, LONG]
        assert bench.lineage.store.meta_steps()[-1].decision == Decision.ROLLED_BACK
        assert bench.lineage.store.verify() == 3


async def test_the_budget_ends_it_after_a_round_and_counts_everything(tmp_path: Path) -> None:
    judging, meta = judge(), Scripted(writes(LONG, RED, LONG))
    with Bench(tmp_path, judging, meta) as bench:
        _, why = await search(bench, plan=AutopromptPlan(rounds=5, cases=4, budget=Budget(tokens=300)))
        assert why.startswith("the budget ended it: ")
        assert why.endswith("reach budget.tokens = 300")
        assert bench.lineage.n_rounds == 1
        spent = bench.lineage.store.spent()
    assert spent.n_calls == len(judging.asked) + len(meta.asked)
    assert spent.tokens == 11 * spent.n_calls


async def test_a_failed_judgement_is_no_low_score(tmp_path: Path) -> None:
    """The judge never scores one good case; as a score of 0 it would be the only error."""
    with Bench(tmp_path, judge(fails_on="Text 4:"), Scripted(writes(BECAUSE, RED)), first=BECAUSE) as bench:
        work, _ = await search(bench)
        assert await work.agreement(BECAUSE) == 1.0
        assert {m.decision for m in bench.lineage.store.meta_steps()} == {Decision.UNCHANGED}
        [unscored] = [r for s in Split for r in bench.lineage.store.rollouts(split=s) if r.normalized is None]
        assert unscored.rollout.completion.startswith("Text 4:")


async def test_a_rubric_that_leaves_cases_unscored_is_not_chosen(tmp_path: Path) -> None:
    """Under the new rubric the judge scores only the cases that it gets right."""

    def reply(request: ChatRequest) -> str:
        text = request.messages[0].content
        return (
            "no verdict" if 'id="red"' in text and "because" in text.split("~~~~~~~~ completion")[1] else judges(text)
        )

    with Bench(tmp_path, Scripted(reply), Scripted(writes(LONG, RED))) as bench:
        await search(bench, plan=AutopromptPlan(rounds=1, cases=16))
        assert bench.lineage.best.rubric == LONG
        assert "held-out cases have a score" in bench.lineage.store.meta_steps()[0].reason


async def test_a_judge_that_fails_on_most_ends_the_search_and_is_paid_for(tmp_path: Path) -> None:
    judging = judge(fails_on="Prompt", error=ChatTimeout("no answer"))
    with Bench(tmp_path, judging, Scripted(writes(LONG, BECAUSE))) as bench:
        with pytest.raises(JudgeFailureLimit, match="8 of 8 new cases have no score or no label, more than"):
            await search(bench)
        assert bench.lineage.n_rounds == 0
        assert bench.lineage.store.spent().n_calls == len(judging.asked)


async def test_a_meta_model_that_fails_leaves_the_rubric_and_its_error(tmp_path: Path) -> None:
    def down(request: ChatRequest) -> str:
        raise ChatTimeout("no answer")

    with Bench(tmp_path, judge(), Scripted(down)) as bench:
        await search(bench, plan=AutopromptPlan(rounds=1))
        [step] = bench.lineage.store.meta_steps()
        assert (step.decision, step.child) == (Decision.FAILED, None)
        assert "the meta model failed: ChatTimeout" in step.reason
        assert "no answer" in step.exchanges[0].error


@pytest.mark.parametrize("broken_at", [1, 3, 5, 9])
async def test_a_search_that_broke_off_goes_on_as_if_it_had_not(tmp_path: Path, broken_at: int) -> None:
    """Three rubrics in turn, and labels that none meets; the meta model is misconfigured at one of its requests, then
    mended."""
    rubrics, plan = (LONG, BECAUSE, RED), AutopromptPlan(rounds=4, cases=6)
    cases = [Case(c.rollout, 0.5) if i % 4 == 0 else c for i, c in enumerate(CASES)]
    whole = Scripted(writes(*rubrics))
    with Bench(tmp_path / "whole", judge(), whole) as bench:
        await search(bench, cases, plan)
        expected = [r.id for r in bench.revisions], rollouts(bench.lineage)

    good = writes(*rubrics)
    broken = Scripted(lambda request: _fail() if len(broken.asked) == broken_at else good(request))
    with Bench(tmp_path / "broken", judge(), broken) as bench, pytest.raises(ChatMisconfigured):
        await search(bench, cases, plan)
    with Bench(tmp_path / "broken", judge(), Scripted(writes(*rubrics))) as bench:
        await search(bench, cases, plan)
        found = [r.id for r in bench.revisions], rollouts(bench.lineage)
        assert bench.lineage.store.verify()
    assert found == expected


def rollouts(lineage: Lineage) -> list[tuple[Rollout, float | None]]:
    return [(r.rollout, r.monitor) for split in Split for r in lineage.store.rollouts(split=split)]


def _fail() -> str:
    raise ChatMisconfigured("wrong key")


async def test_cases_of_a_round_that_was_killed_while_it_was_written_count_no_more(tmp_path: Path) -> None:
    with Bench(tmp_path, judge(), Scripted(writes(LONG, BECAUSE))) as bench:
        await search(bench, plan=AutopromptPlan(rounds=1))
        known, [record, *_] = rollouts(bench.lineage), bench.lineage.store.rollouts()
        places: list[dict[str, Any]] = [{"step": 1}, {"step": 2, "split": Split.EVAL}]
        late = [replace(record, rollout=record.rollout.model_copy(update=place)) for place in places]
        bench.lineage.store.append_rollouts(1, late)
        assert len(rollouts(bench.lineage)) == len(known) + 2
    with Bench(tmp_path, judge(), Scripted(writes(LONG, BECAUSE))) as bench:
        assert rollouts(bench.lineage) == known


async def test_verdicts_of_a_broken_round_are_not_paid_for_twice(tmp_path: Path) -> None:
    with Bench(tmp_path, judge(), Scripted(lambda request: _fail())) as bench, pytest.raises(ChatMisconfigured):
        await search(bench, plan=AutopromptPlan(rounds=1))
    again = judge()
    with Bench(tmp_path, again, Scripted(writes(LONG, BECAUSE))) as bench:
        await search(bench, plan=AutopromptPlan(rounds=1))
    asked = [r.last for r in again.asked if 'id="long"' in r.last and r.max_tokens > 1]
    assert all('"rationale"' in prompt for prompt in asked), "beside the warm-up only reasons are asked for"


async def test_cases_are_written_near_the_boundary_and_labelled_by_the_annotator(tmp_path: Path) -> None:
    rollouts = [c.rollout for c in CASES[:6]]
    meta, annotator = Scripted(writes(LONG, BECAUSE)), judge()
    with Bench(tmp_path, judge(), meta, annotator=annotator) as bench:
        source = Written(bench.model, rollouts)
        work = Autoprompt(bench.lineage, bench.scorer, bench.model, source, AutopromptPlan(rounds=3, cases=6))
        await work.run()
        assert bench.lineage.best.rubric == BECAUSE
        assert (await work.agreement(LONG) or 0) < (await work.agreement(BECAUSE) or 0) == 1.0
        records = [r for s in Split for r in bench.lineage.store.rollouts(split=s)]
        assert all(r.monitor == float("because" in r.rollout.completion) for r in records)
        assert any(r.rollout.completion.startswith("Case ") for r in records)
        stages = {e.stage for m in bench.lineage.store.meta_steps() for e in m.exchanges}
    assert stages == {"analyze", "refine", "boundary"}
    assert len(annotator.asked) == len(records)


async def test_a_written_case_is_one_turn_whatever_it_looks_like(tmp_path: Path) -> None:
    said = [{"role": "assistant", "content": "Yes."}, {"role": "user", "content": "Well done!"}]
    with Bench(tmp_path, judge(), Scripted(lambda request: as_text(said))) as bench:
        source = Written(bench.model, [CASES[0].rollout])
        wanted = Wanted(LONG, 2, frozenset({CASES[0].key}), (), Random(0))
        found = await source.boundary(wanted, Round(0))
    assert [len(rollout.turns) for rollout in found] == [1, 1]


async def test_a_case_that_gets_no_label_is_left_out(tmp_path: Path) -> None:
    annotator = judge(fails_on="Text 4:")
    with Bench(tmp_path, judge(), Scripted(writes(LONG, BECAUSE)), annotator=annotator) as bench:
        source = Written(bench.model, [c.rollout for c in CASES[:8]])
        work = Autoprompt(bench.lineage, bench.scorer, bench.model, source, AutopromptPlan(rounds=1))
        await work.run()
        assert bench.lineage.store.meta_steps()[0].why == "7 new cases"
        assert await work.agreement(BECAUSE) == 1.0


def test_a_folder_holds_one_search(tmp_path: Path) -> None:
    meta = Scripted(writes(LONG))
    with Bench(tmp_path / "a", judge(), meta), pytest.raises(RunInUse):
        Bench(tmp_path / "a", judge(), meta)
    with pytest.raises(RunExists, match="another rubric, other data or other settings"):
        Bench(tmp_path / "a", judge(), meta, first=RED)
    with pytest.raises(RunExists, match="another rubric, other data or other settings"):
        Bench(tmp_path / "a", judge(), meta, inputs=["other"])
    (tmp_path / "a" / "search.json").write_text("[]")
    with pytest.raises(RunExists, match="another rubric, other data or other settings"):
        Bench(tmp_path / "a", judge(), meta)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "store.db").touch()
    with pytest.raises(RunExists, match="holds a run already"):
        Bench(tmp_path / "run", judge(), meta)
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="can't write the folder"):
        Bench(tmp_path / "file", judge(), meta)


def test_another_judge_than_before_is_refused(tmp_path: Path) -> None:
    with Bench(tmp_path, judge(), Scripted(writes(LONG))) as bench:
        ledger = bench.lineage._ledger
    with pytest.raises(RunError, match="The judge was scripted, now it is another"):
        Lineage.open(tmp_path, LONG, {"inputs": []}, ledger=ledger, answered_by={"judge": "another"})
