"""GEPA's own engine on pairs, with transports that follow words and everything else real."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metapo.bridge import Bridge
from metapo.errors import ChatMisconfigured, ChatTimeout, DataError, JudgeFailureLimit, MissingExtra, RunExists
from metapo.judge.budget import Budget
from metapo.judge.transport import ChatRequest
from metapo.meta.pairs import Pair, Source
from metapo.meta.step import Decision
from metapo.offline.optimize import Optimized, Optimizer, OptimizerPlan, split_pairs
from metapo.rubric import Rubric
from tests.offline.parts import BECAUSE, LONG, RED, Bench, Scripted, judge, judges, writes


def pair(i: int, *, long: bool, prompt: str = "") -> Pair:
    """The worse completion is long in every second pair."""
    worse = f"Worse {i}: well{' and so on' * 3 if long else ''}."
    better = f"Better {i}: because."
    return Pair(prompt=prompt or f"Prompt {i}", better=better, worse=worse, source=Source.ANCHOR, why="a test says so")


PAIRS = [pair(i, long=i % 2 == 0) for i in range(12)]


@contextmanager
def benches(folder: Path, judging: Any, meta: Any, **how: Any) -> Iterator[tuple[Bench, Bridge]]:
    bridge = Bridge()
    try:
        with Bench(folder, judging, meta, resumes=False, **how) as bench:
            yield bench, bridge
    finally:
        bridge.close()


def search(bench: Bench, bridge: Bridge, pairs: Sequence[Pair] = PAIRS, **plan: Any) -> Optimized:
    chosen = OptimizerPlan(**{"rounds": 4, **plan})
    return Optimizer(bench.lineage, bench.scorer, bench.model, chosen, bridge.run).optimize(pairs)


def test_a_flawed_rubric_orders_held_out_pairs_better(tmp_path: Path) -> None:
    judging, meta = judge(), Scripted(writes(LONG, BECAUSE))
    with benches(tmp_path, judging, meta) as (bench, bridge):
        ended = search(bench, bridge)
        assert bench.lineage.best.rubric == BECAUSE
        assert bench.lineage.store.verify() == 2
        steps = bench.lineage.store.meta_steps()
        spent = bench.lineage.store.spent()
        unclaimed = bench.lineage._ledger.take()
    assert ended.before < 0.5 < ended.after == 1.0
    assert (ended.n, ended.n_left_out, ended.why) == (6, 0, "all rounds are done")
    assert [s.decision for s in steps].count(Decision.ADOPTED) == 1
    assert steps[-1].reason == "every pair that was read is in the right order"
    assert spent.n_calls == len(judging.asked) + len(meta.asked)
    assert unclaimed == []
    assert Rubric.load(tmp_path / "rubric.yaml") == BECAUSE


def test_the_meta_model_reads_misordered_pairs_with_reasons_and_none_that_is_held_out(tmp_path: Path) -> None:
    meta = Scripted(writes(LONG, RED, LONG))
    with benches(tmp_path, judge(), meta) as (bench, bridge):
        search(bench, bridge)
    _, held_out = split_pairs(PAIRS, Random("0/split"))
    assert not [p for p in held_out if p.better in meta.seen or p.worse in meta.seen]
    assert "rule a" in meta.seen
    assert "~ why A is better\na test says so\n" in meta.seen
    assert "is known to be better than completion B. The judge gives A 0.00 and B 1.00 of 1." in meta.seen


def test_a_rubric_that_is_no_better_is_kept_out_with_the_reason(tmp_path: Path) -> None:
    with benches(tmp_path, judge(), Scripted(writes(LONG, RED, LONG))) as (bench, bridge):
        ended = search(bench, bridge, [pair(i, long=False) for i in range(8)], rounds=2)
        assert bench.lineage.best.rubric == LONG
        assert ended.after == ended.before == 0.5
        reasons = [p.reason for m in bench.lineage.store.meta_steps() for p in m.proposals]
        assert reasons
        assert all("pairs that it was written from in the right order" in reason for reason in reasons)


@pytest.mark.parametrize("reply", ["no rubric at all", "0"])
def test_an_unreadable_proposal_leaves_the_parent(tmp_path: Path, reply: str) -> None:
    with benches(tmp_path, judge(), Scripted(lambda request: reply)) as (bench, bridge):
        ended = search(bench, bridge, rounds=2)
        steps = bench.lineage.store.meta_steps()
        assert bench.lineage.best.rubric == LONG
    assert ended.after == ended.before
    assert any("no readable rubric" in step.reason and step.decision == Decision.FAILED for step in steps)
    assert not any(step.proposals for step in steps)


def test_a_pair_without_verdicts_is_left_out_and_told_of(tmp_path: Path) -> None:
    judging = judge(fails_on="Better 3:")
    with benches(tmp_path, judging, Scripted(writes(LONG, BECAUSE))) as (bench, bridge):
        ended = search(bench, bridge)
    assert (ended.n_left_out, ended.after) == (1, 1.0)
    n_asked = sum("Better 3:" in r.messages[0].content and r.max_tokens > 1 for r in judging.asked)
    assert n_asked == 6, "two requests for a clear verdict, three times"


def test_many_pairs_without_verdicts_end_it(tmp_path: Path) -> None:
    judging = judge(fails_on="Better", error=ChatTimeout("no answer"))
    with benches(tmp_path, judging, Scripted(writes(LONG, BECAUSE))) as (bench, bridge):
        with pytest.raises(JudgeFailureLimit, match="12 of 12 pairs have no verdicts under the first rubric"):
            search(bench, bridge)
        assert bench.lineage.store.spent().n_calls == len(judging.asked)


def test_a_rubric_under_which_pairs_get_no_verdict_is_given_up(tmp_path: Path) -> None:
    """Where a failure counted as 0, the wrong order of a worse completion would look right."""

    def reply(request: ChatRequest) -> str:
        text = request.messages[0].content
        return "no verdict" if 'id="because"' in text and "~~ completion\nWorse" in text else judges(text)

    with benches(tmp_path, Scripted(reply), Scripted(writes(LONG, BECAUSE))) as (bench, bridge):
        ended = search(bench, bridge, rounds=3)
        steps = bench.lineage.store.meta_steps()
        assert bench.lineage.best.rubric == LONG
    assert ended.after == ended.before
    assert any("pairs have no verdicts in 3 tries" in step.reason for step in steps)


def test_the_budget_ends_it(tmp_path: Path) -> None:
    with benches(tmp_path, judge(), Scripted(writes(LONG, RED, LONG))) as (bench, bridge):
        ended = search(bench, bridge, rounds=50, budget=Budget(usd=0.03))
        n_rounds = bench.lineage.n_rounds
    assert n_rounds < 50
    assert ended.why.startswith("the budget ended it: ")
    assert ended.why.endswith("reach budget.usd = 0.03")


@pytest.mark.parametrize("error", [ChatMisconfigured("wrong key"), ValueError("a bug")])
def test_what_no_round_would_escape_ends_it_with_the_calls_on_record(tmp_path: Path, error: Exception) -> None:
    def fail(request: ChatRequest) -> str:
        raise error

    judging, meta = judge(), Scripted(fail)
    with benches(tmp_path, judging, meta) as (bench, bridge):
        with pytest.raises(type(error), match=str(error)):
            search(bench, bridge)
        assert len(meta.asked) == 1
        assert bench.lineage.store.spent(("judge",)).n_calls == len(judging.asked)
        assert bench.lineage.n_rounds == 0


def test_a_judge_that_becomes_misconfigured_ends_it(tmp_path: Path) -> None:
    def reply(request: ChatRequest) -> str:
        if 'id="because"' in request.last:
            raise ChatMisconfigured("wrong key")
        return judges(request.last)

    parts = benches(tmp_path, Scripted(reply), Scripted(writes(LONG, BECAUSE)))
    with parts as (bench, bridge), pytest.raises(ChatMisconfigured, match="wrong key"):
        search(bench, bridge)


def test_a_search_that_has_begun_is_not_begun_again(tmp_path: Path) -> None:
    with benches(tmp_path, judge(), Scripted(writes(LONG, BECAUSE))) as (bench, bridge):
        search(bench, bridge, rounds=1)
    with pytest.raises(RunExists, match=r"give .* as the rubric, and another folder"):
        Bench(tmp_path, judge(), Scripted(writes(LONG)), resumes=False)


def test_without_the_extra_the_command_to_install_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gepa", None)
    parts = benches(tmp_path, judge(), Scripted(writes(LONG)))
    with parts as (bench, bridge), pytest.raises(MissingExtra, match=r"pip install 'metapo\[optimize\]'"):
        search(bench, bridge)


def test_pairs_of_one_prompt_are_refused() -> None:
    with pytest.raises(DataError, match="all pairs are of one prompt"):
        split_pairs([pair(i, long=True, prompt="p") for i in range(3)], Random(0))


@given(st.lists(st.integers(0, 6), min_size=2).filter(lambda drawn: len(set(drawn)) > 1), st.integers(0, 9))
def test_a_split_keeps_prompts_together_and_loses_nothing(prompts: list[int], seed: int) -> None:
    pairs = [pair(i, long=True, prompt=f"p{p}") for i, p in enumerate(prompts)]
    read, held_out = split_pairs(pairs, Random(seed))
    assert read
    assert held_out
    assert sorted(p.key for p in [*read, *held_out]) == sorted(p.key for p in pairs)
    assert not {p.prompt for p in read} & {p.prompt for p in held_out}
