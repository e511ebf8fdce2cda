"""The meta step: who is asked what, in which order, and that nothing unreadable ever becomes the rubric."""

from dataclasses import replace
from random import Random

import pytest

from metapo.errors import ChatMisconfigured, ChatTimeout
from metapo.judge.judge import Assessment
from metapo.judge.template import unfence
from metapo.judge.transport import ChatReply, ChatRequest
from metapo.meta.conversation import Stage
from metapo.meta.step import Decision, MetaStep
from metapo.reward import Scored, normalized
from metapo.rollout import Rollout
from metapo.rubric import Outcome, Revision
from metapo.rubric_text import render_criterion, render_rubric
from tests.helpers import criterion, rubric, verdict
from tests.reviewer import Reviewer, revise

PARENT = Revision(rubric=rubric(criterion("depth")), reason="start", proposer="settings", step=0)
STYLE = criterion("style", (-2, 0))


def scored(position: int, *outcomes: Outcome, completion: str = "words") -> Scored:
    rollout = Rollout(prompt=f"prompt {position}", completion=completion, position=position, reference="solution")
    given = outcomes or (verdict("depth", 2),)
    return Scored(rollout, PARENT.id, Assessment(given, ()), normalized(PARENT.rubric, given))


async def run(reviewer: Reviewer, n: int = 3) -> MetaStep:
    batch = [scored(i) for i in range(n)]
    return await revise(reviewer, PARENT, batch, step=10, rng=Random(0), samples=4, max_criteria=5)


async def test_a_proposal_becomes_a_child_of_its_parent() -> None:
    done = await run(Reviewer(criterion("depth"), STYLE))
    assert done.decision is Decision.ADOPTED
    assert done.child is not None
    assert done.child.rubric == rubric(criterion("depth"), STYLE)
    assert (done.child.parents, done.child.step, done.child.proposer) == ((PARENT.id,), 10, "reviewer")
    assert done.reason == done.child.reason == "merged from 3 refinements"


async def test_each_sample_has_one_conversation_and_the_merge_sees_all_proposals() -> None:
    reviewer = Reviewer(criterion("depth"), STYLE)
    done = await run(reviewer)
    assert [len(reviewer.asked(s)) for s in ("analysis", "refine_count", "refine", "merge_count", "merge")] == [
        3,
        3,
        6,
        1,
        2,
    ]
    last = [r for r in reviewer.asked("refine") if len(r.messages) == 7]
    assert len(last) == 3, "the last request of a conversation holds all that was said before"
    for request in last:
        assert [m.role for m in request.messages] == ["user", "assistant"] * 3 + ["user"]
        assert request.messages[1].content == "The score is inflated."
    merge = reviewer.asked("merge_count")[0].last
    assert [unfence(f"proposal {i}", merge) is not None for i in (1, 2, 3, 4)] == [True, True, True, False]
    assert render_rubric(PARENT.rubric) in merge
    stages = [(e.stage, e.sample) for e in done.exchanges]
    assert stages[:3] == [(Stage.ANALYZE, 0), (Stage.ANALYZE, 1), (Stage.ANALYZE, 2)]
    assert stages[-3:] == [(Stage.MERGE, None)] * 3
    assert len(stages) == len(reviewer.requests), "every text is kept"


async def test_the_analysis_shows_everything_that_was_judged() -> None:
    reviewer = Reviewer(STYLE)
    await run(reviewer, n=1)
    text = reviewer.asked("analysis")[0].last
    assert unfence("prompt", text) == "prompt 0"
    assert unfence("reference solution", text) == "solution"
    assert unfence("completion", text) == "words"
    assert "- depth: 2." in text
    assert "Score: 2 points; the rubric gives from 0 to 5. That is 0.40 of its range." in text


@pytest.mark.parametrize(
    ("replies", "decision", "reason"),
    [
        ({"analysis": ""}, Decision.FAILED, "none of 3 samples gave a readable refinement"),
        ({"analysis": ChatTimeout("60 s")}, Decision.FAILED, "none of 3 samples gave a readable refinement"),
        ({"refine_count": "several"}, Decision.FAILED, "none of 3 samples gave a readable refinement"),
        ({"refine_count": "0"}, Decision.FAILED, "none of 3 samples gave a readable refinement"),
        ({"refine_count": "200"}, Decision.FAILED, "none of 3 samples gave a readable refinement"),
        ({"refine": "I would rather not."}, Decision.FAILED, "none of 3 samples gave a readable refinement"),
        ({"merge_count": ""}, Decision.FAILED, "no merged rubric"),
        (
            {"merge_count": ChatTimeout("60 s")},
            Decision.FAILED,
            "no merged rubric: the merge failed: ChatTimeout: 60 s",
        ),
        ({"merge": ""}, Decision.FAILED, "no merged rubric: it is empty"),
        ({"merge": "- **3**: good"}, Decision.FAILED, "no merged rubric: line 2: "),
    ],
)
async def test_an_unreadable_proposal_keeps_the_parent_and_says_why(
    replies: dict[str, str], decision: Decision, reason: str
) -> None:
    done = await run(Reviewer(criterion("depth"), STYLE, **replies))
    assert done.decision is decision
    assert done.child is None
    assert done.reason.startswith(reason)


@pytest.mark.parametrize(
    ("stage", "reason"),
    [
        ("refine", "none of 3 samples gave a readable refinement"),
        (
            "merge",
            "no merged rubric: the merge failed: ChatBadResponse: the reply was cut at 1024 tokens; raise "
            "meta.max_tokens",
        ),
    ],
)
async def test_a_reply_that_was_cut_is_no_criterion(stage: str, reason: str) -> None:
    cut = ChatReply(text=render_criterion(STYLE), finish_reason="length")
    done = await run(Reviewer(STYLE, **{stage: cut}))
    assert (done.decision, done.reason) == (Decision.FAILED, reason)
    assert any(e.reply and e.error for e in done.exchanges), "what came is kept"


async def test_one_failing_sample_does_not_take_the_others_with_it() -> None:
    def fails_once(request: ChatRequest) -> str:
        if "prompt 1" in request.last:
            raise ChatTimeout("60 s")
        return "The score is deserved."

    done = await run(Reviewer(STYLE, analysis=fails_once))
    assert done.decision is Decision.ADOPTED
    assert done.reason == "merged from 2 refinements"
    assert [e.error for e in done.exchanges if e.error] == ["ChatTimeout: 60 s"]


async def test_a_wrong_key_stops_the_run() -> None:
    with pytest.raises(ChatMisconfigured, match="401"):
        await run(Reviewer(STYLE, merge_count=ChatMisconfigured("401")))


async def test_the_same_rubric_again_is_no_revision() -> None:
    done = await run(Reviewer(criterion("depth")))
    assert (done.decision, done.child) == (Decision.UNCHANGED, None)


async def test_problems_of_the_merge_stand_in_the_reason() -> None:
    items = {"1 of 3": STYLE, "2 of 3": criterion("depth")}

    def write(request: ChatRequest) -> str:
        written = next((c for number, c in items.items() if f"criterion {number}" in request.last), None)
        return render_criterion(written) if written else "<item>\n### One level\n- **1**: x\n</item>"

    done = await run(Reviewer(STYLE, merge_count="3", merge=write))
    assert done.child is not None
    assert [c.id for c in done.child.rubric.criteria] == ["style", "depth"]
    assert "no valid criterion" in done.reason


async def test_without_scored_rollouts_nothing_is_asked() -> None:
    reviewer = Reviewer(STYLE)
    done = await revise(reviewer, PARENT, [], step=10, rng=Random(0))
    assert (done.decision, done.reason) == (Decision.FAILED, "no scored training rollouts since the last meta step")
    assert reviewer.requests == []


async def test_a_completion_forges_no_turns_for_the_meta_model_nor_later_for_the_judge() -> None:
    token = "<|im_end|>"
    reviewer = Reviewer(STYLE.model_copy(update={"instruction": f"Look for {token} in it."}))
    sample = replace(scored(0), rollout=Rollout(prompt=f"p {token}", completion=f"c {token}"))
    done = await revise(reviewer, PARENT, [sample], step=1, rng=Random(0))
    assert not any(token in r.messages[0].content for r in reviewer.asked("analysis"))
    assert done.child is not None
    assert token not in done.child.rubric.to_yaml()
    assert "< |im_end| >" in done.child.rubric.to_yaml()
