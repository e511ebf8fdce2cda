"""What people decide from the command line: what is refused at once, what a run makes of it, what is on record."""

import asyncio
import getpass
import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from metapo.cli import main
from metapo.evolve import Evolution
from metapo.judge.ledger import Ledger
from metapo.judge.transport import ScriptedTransport
from metapo.meta.conversation import MetaModel
from metapo.meta.step import Reviser, Senses
from metapo.reward import Scored
from metapo.rollout import Rollout
from metapo.rubric import Revision, Rubric
from metapo.rubric_text import render_rubric
from metapo.run import STORE
from metapo.settings import Settings
from metapo.store import ActKind, AnchorRecord, FindingRecord, MetaStepRecord, ProposalRecord, RolloutRecord, Store
from tests.helpers import criterion, rubric, verdict

ONE = rubric(criterion("depth", (0, 2, 5)), criterion("talk", (-3, 0)))
TWO = rubric(criterion("depth", (0, 2, 6)), criterion("style", (0, 1)))
THREE = rubric(criterion("reasons", (0, 4)))
FIRST = Revision(rubric=ONE, reason="the settings' rubric", proposer="settings", step=0)
CHILD = Revision(rubric=TWO, parents=(FIRST.id,), reason="merged from 3 refinements", proposer="meta model", step=20)
RIVAL = Revision(rubric=THREE, parents=(FIRST.id,), reason="merged from 2 refinements", proposer="meta model", step=30)
RUN = Path("run")
WHY = ("--why", "it reads well")


def proposed(child: Revision, cluster: str = "") -> MetaStepRecord:
    """A meta step whose revision passed the gate and waits."""
    measured = FindingRecord("fresh", True, "90.0% of 40 pairs in the right order, 60.0% before", 0.6, 0.9, 40)
    proposal = ProposalRecord(child, True, "fresh: better", None, (FindingRecord("form", True, "valid"), measured))
    why = f"{child.step} steps without a meta step"
    of = child.step, child.step + 2, child.parents[0], child
    return MetaStepRecord(*of, "waiting", child.reason, why, cluster, proposals=(proposal,))


def rollout(cluster: str, position: int) -> RolloutRecord:
    outcomes = tuple(verdict(c.id, c.max_points) for c in ONE.criteria)
    return RolloutRecord(
        Rollout(prompt="p", completion="c", position=position, cluster=cluster), FIRST.id, 1.0, 1.0, 5.0, outcomes
    )


@pytest.fixture(autouse=True)
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """The store of a run that has begun, held open as by the process that trains, in the folder of the test."""
    monkeypatch.chdir(tmp_path)
    RUN.mkdir()
    store = Store(RUN / STORE)
    attempt = store.begin_attempt(resumed_step=0, now=datetime(2026, 1, 1, tzinfo=UTC))
    assert attempt == 1
    store.adopt(attempt, 0, FIRST)
    yield store
    store.close()


def call(*arguments: object) -> Result:
    result = CliRunner().invoke(main, ["rubric", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result


def output(*arguments: object) -> str:
    result = call(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def error(*arguments: object, code: int = 1) -> str:
    result = call(*arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    return result.stderr[result.stderr.index("Error: ") + len("Error: ") :].strip()


def take(store: Store, step: int, cluster: str = "") -> list[str]:
    """What a run, in which no meta step is due, makes of the acts that are open after `step` steps."""

    async def appraise(_: Rubric, rollouts: Sequence[Rollout]) -> Sequence[Scored]:
        raise AssertionError(f"nothing is to be judged, {len(rollouts)} came")

    settings = Settings.model_validate(
        {"rubric": ONE, "judge": {"url": "http://x/v1", "model": "m"}, "meta": {"every": 0, "bridge": "off"}}
    )
    reviser = Reviser(MetaModel(ScriptedTransport([]), "task", settings.meta, "meta model"))
    events: list[dict[str, Any]] = []
    evolution = Evolution(store, settings, reviser, Ledger(), events.append, cluster)
    evolution.begin(1, step)
    asyncio.run(evolution.at_boundary(step, [], [], Senses(appraise)))
    return [event["outcome"] for event in events]


def in_force(store: Store, cluster: str = "") -> Rubric:
    return store.lineage(cluster)[-1][1].rubric


# --- what waits


def test_nothing_waits_in_a_run_that_adopts_by_itself(run: Store) -> None:
    run.append_meta_step(1, replace(proposed(CHILD), decision="adopted"))
    assert output("waiting", RUN) == "nothing waits\n"


def test_what_waits_is_shown_with_reason_measurement_and_difference(run: Store) -> None:
    run.append_meta_step(1, proposed(CHILD))
    shown = output("waiting", RUN)
    assert shown == (
        f"{CHILD.short_id}  proposed after step 20 (20 steps without a meta step): merged from 3 refinements\n"
        "  form: valid\n"
        "  fresh: 90.0% of 40 pairs in the right order, 60.0% before\n"
        f"  to see it: metapo rubric diff run@{FIRST.short_id} run@{CHILD.short_id}\n"
        "1 revision waits for approval\n"
    )
    difference = shown.splitlines()[3].removeprefix("  to see it: metapo rubric ").split()
    assert "talk: removed" in output(*difference)


def test_what_waits_without_a_gate_says_so(run: Store) -> None:
    run.append_meta_step(1, replace(proposed(CHILD), proposals=(ProposalRecord(CHILD, True),)))
    assert "  there is no gate, so nothing was measured\n" in output("waiting", RUN)


def test_a_revision_whose_parent_is_gone_waits_in_vain(run: Store) -> None:
    run.append_meta_step(1, proposed(CHILD))
    run.append_meta_step(1, proposed(RIVAL))
    output("approve", RUN, CHILD.short_id, *WHY)
    assert take(run, 31) == [f"{CHILD.short_id} is in force"]
    gone = f"nothing changes: {RIVAL.short_id} was written for a parent that is no longer in force"
    assert f"  approved as things stand, {gone}\n" in output("waiting", RUN)
    assert error("approve", RUN, RIVAL.short_id, *WHY) == gone
    output("reject", RUN, RIVAL.short_id, *WHY)
    assert output("waiting", RUN) == "nothing waits\n"


# --- approve and reject


def test_an_approved_revision_comes_into_force_at_the_next_boundary(run: Store) -> None:
    run.append_meta_step(1, proposed(CHILD))
    said = output("approve", RUN, CHILD.id[:6], *WHY, "--by", "ada")
    assert said.startswith(f"act 1: approve {CHILD.short_id}, by ada. The run takes it before its next step begins; ")
    assert in_force(run) == ONE
    assert take(run, 24) == [f"{CHILD.short_id} is in force"]
    assert run.lineage() == [(0, FIRST), (24, CHILD)]
    assert run.verify() == 2


def test_a_rejected_revision_never_comes_into_force(run: Store) -> None:
    run.append_meta_step(1, proposed(CHILD))
    output("reject", RUN, CHILD.short_id, *WHY)
    assert output("waiting", RUN) == "nothing waits\n"
    assert error("approve", RUN, CHILD.short_id, *WHY).startswith("0 revisions that start with")
    assert take(run, 24) == [f"{CHILD.short_id} is rejected"]
    assert in_force(run) == ONE


@pytest.mark.parametrize("command", ["approve", "reject"])
def test_only_what_waits_can_be_decided_on(run: Store, command: str) -> None:
    asked = error(command, RUN, "abc", *WHY)
    assert asked == "0 revisions that start with 'abc' wait for approval; none does"
    run.append_meta_step(1, proposed(CHILD))
    asked = error(command, RUN, FIRST.short_id, *WHY)
    assert asked == (f"0 revisions that start with {FIRST.short_id!r} wait for approval; these wait: {CHILD.short_id}")
    assert run.acts() == []


def test_a_beginning_that_several_waiting_revisions_share_decides_nothing(run: Store) -> None:
    others = [RIVAL.model_copy(update={"step": step}) for step in range(30, 47)]  # 17 ids of hexadecimal digits
    for other in others:
        run.append_meta_step(1, proposed(other))
    digits = [other.id[0] for other in others]
    shared = next(d for d in digits if digits.count(d) > 1)
    message = error("approve", RUN, shared, *WHY)
    assert message.startswith(f"{digits.count(shared)} revisions that start with {shared!r} wait for approval; these")
    assert error("approve", RUN, "", *WHY, code=2) == "Invalid value for 'REVISION': it must say something"


def test_a_run_that_goes_on_from_before_comes_to_the_same_revision_and_it_waits_again(run: Store) -> None:
    run.append_meta_step(1, proposed(CHILD))
    output("approve", RUN, CHILD.short_id, *WHY)
    run.begin_attempt(resumed_step=10, now=datetime(2026, 1, 2, tzinfo=UTC))
    gone = f"nothing changes: {CHILD.short_id} does not wait for approval"
    run.take_act(2, 11, 1, "", gone)
    assert output("waiting", RUN) == "nothing waits\n"
    run.append_meta_step(2, proposed(CHILD))
    assert "1 revision waits for approval\n" in output("waiting", RUN)
    output("approve", RUN, CHILD.short_id, *WHY)
    assert output("waiting", RUN) == "nothing waits\n"


# --- edit


def test_an_edit_comes_into_force_without_the_gate(run: Store) -> None:
    Path("three.yaml").write_text(THREE.to_yaml())
    said = output("edit", RUN, "three.yaml", "--why", "reasons count", "--by", "ada")
    assert said.startswith(f"act 1: edit rubric {THREE.digest[:10]}, by ada. ")
    take(run, 7)
    [_, (step, revision)] = run.lineage()
    assert (step, revision.rubric, revision.parents) == (7, THREE, (FIRST.id,))
    assert (revision.reason, revision.proposer) == ("written by ada: reasons count", "ada")
    assert run.verify() == 2


def test_an_edit_of_a_waiting_revision_takes_its_place(run: Store) -> None:
    run.append_meta_step(1, proposed(CHILD))
    Path("three.txt").write_text(render_rubric(THREE))
    said = output("edit", RUN, "three.txt", "--about", CHILD.id[:8], *WHY, "--by", "ada")
    assert said.startswith(f"act 1: edit rubric {THREE.digest[:10]} in place of {CHILD.short_id}, by ada. ")
    assert output("waiting", RUN) == "nothing waits\n"
    take(run, 24)
    assert run.lineage()[-1][1].reason == f"{CHILD.short_id} edited by ada: it reads well"
    assert in_force(run) == THREE


def test_a_revision_of_the_run_can_be_put_back(run: Store) -> None:
    run.adopt(1, 10, CHILD)
    output("edit", RUN, f"{RUN}@{FIRST.short_id}", *WHY)
    take(run, 12)
    assert in_force(run) == ONE
    assert run.verify() == 3


def test_what_cannot_be_put_in_force_is_refused_at_once(run: Store) -> None:
    Path("one.yaml").write_text(ONE.to_yaml())
    assert error("edit", RUN, "one.yaml", *WHY) == "nothing changes: the rubric in force is the same"
    assert error("edit", RUN, "gone.yaml", *WHY).startswith("can't read the rubric gone.yaml")
    Path("bad.yaml").write_text("criteria: []\n")
    assert error("edit", RUN, "bad.yaml", *WHY).startswith("bad.yaml is no valid rubric:\n")
    Path("two.yaml").write_text(TWO.to_yaml())
    assert error("edit", RUN, "two.yaml", "--about", CHILD.short_id, *WHY).endswith("wait for approval; none does")
    assert run.acts() == []


def test_a_text_that_is_read_in_part_is_shown_but_not_put_in_force(run: Store) -> None:
    Path("part.txt").write_text(render_rubric(TWO).replace("- **1**: worth 1", "very good"))
    assert call("show", "part.txt").exit_code == 0
    assert error("edit", RUN, "part.txt", *WHY).startswith("part.txt, ")
    assert run.acts() == []


# --- pin and unpin


def test_a_criterion_is_pinned_and_unpinned(run: Store) -> None:
    assert output("pin", RUN, "talk", *WHY, "--by", "ada").startswith("act 1: pin talk, by ada. ")
    assert error("pin", RUN, "talk", *WHY) == "nothing changes: 'talk' is pinned already"
    assert [c.pinned for c in in_force(run).criteria] == [False, False]
    take(run, 3)
    assert [c.pinned for c in in_force(run).criteria] == [False, True]
    output("unpin", RUN, "talk", *WHY)
    take(run, 4)
    assert in_force(run) == ONE
    assert run.verify() == 3


def test_a_criterion_that_is_not_there_or_not_pinned_is_refused(run: Store) -> None:
    nothing = "nothing changes: the rubric in force has no criterion 'style'"
    assert error("pin", RUN, "style", *WHY) == nothing
    assert error("unpin", RUN, "style", *WHY) == nothing
    assert error("unpin", RUN, "talk", *WHY) == "nothing changes: 'talk' is not pinned"
    assert run.acts() == []


def test_what_is_decided_but_not_yet_taken_counts(run: Store) -> None:
    run.append_meta_step(1, proposed(CHILD))
    output("approve", RUN, CHILD.short_id, *WHY)
    output("pin", RUN, "style", *WHY)
    assert take(run, 24)[0] == f"{CHILD.short_id} is in force"
    assert [c.id for c in in_force(run).criteria if c.pinned] == ["style"]


# --- clusters


def test_a_decision_reaches_the_clusters_that_it_is_for(run: Store) -> None:
    run.append_rollouts(1, [rollout("essays", 0), rollout("poems", 1)])
    output("pin", RUN, "depth", *WHY)
    output("pin", RUN, "talk", *WHY, "--cluster", "poems")
    assert len(take(run, 5, "essays")) == 1
    assert len(take(run, 5, "poems")) == 2
    assert [c.id for c in in_force(run, "essays").criteria if c.pinned] == ["depth"]
    assert [c.id for c in in_force(run, "poems").criteria if c.pinned] == ["depth", "talk"]
    assert output("pin", RUN, "talk", *WHY).startswith("act 3: ")  # it is new to the essays
    refused = error("pin", RUN, "depth", *WHY, "--cluster", "letters")
    assert refused == "no rollout so far is of cluster 'letters'; the run has 'essays', 'poems'"


def test_a_revision_is_decided_on_in_the_cluster_where_it_waits(run: Store) -> None:
    run.append_rollouts(1, [rollout("essays", 0), rollout("poems", 1)])
    run.append_meta_step(1, proposed(CHILD, "poems"))
    assert f"{CHILD.short_id}  proposed after step 20 for cluster poems (" in output("waiting", RUN)
    assert error("approve", RUN, CHILD.short_id, *WHY, "--cluster", "essays").endswith("; none does")
    output("approve", RUN, CHILD.short_id, *WHY, "--by", "ada")
    assert take(run, 24, "essays") == []
    assert take(run, 24, "poems") == [f"{CHILD.short_id} is in force"]
    assert f"act 1: approve {CHILD.short_id} for cluster poems, by ada: it reads well" in output("acts", RUN)


def test_prompts_without_a_name_are_a_cluster_beside_the_named_ones(run: Store) -> None:
    run.append_rollouts(1, [rollout("", 0), rollout("poems", 1)])
    output("pin", RUN, "depth", *WHY, "--cluster", "")
    output("pin", RUN, "talk", *WHY)
    assert len(take(run, 5, "poems")) == 1
    assert len(take(run, 5)) == 2


def test_a_run_without_clusters_has_none_to_name() -> None:
    message = error("pin", RUN, "talk", *WHY, "--cluster", "poems")
    assert message == "no rollout so far is of cluster 'poems'; the run knows no clusters: leave the cluster out"


# --- anchors


def test_a_pair_is_pinned_with_who_and_why(run: Store) -> None:
    said = output("anchor", RUN, "--prompt", "p", "--better", "good", "--worse", "bad", "--why", "facts", "--by", "ada")
    assert said == "1 pair pinned. The next meta step that begins measures by them.\n"
    [pinned] = run.anchors()
    assert pinned == AnchorRecord("p", "good", "bad", "anchor", "facts", "ada", pinned.added_at)
    assert datetime.fromisoformat(pinned.added_at).tzinfo is not None


def test_a_file_holds_pairs_or_labelled_completions(run: Store) -> None:
    rows = [
        {"prompt": "p", "better": "good", "worse": "bad", "why": "it gives reasons", "reference": "r"},
        *({"prompt": "q", "completion": text, "score": score} for text, score in [("a", 1), ("b", 2), ("c", 2)]),
    ]
    Path("pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert output("anchor", RUN, "pairs.jsonl", "--why", "graded by hand").startswith("3 pairs pinned. ")
    assert [(a.prompt, a.better, a.worse, a.why, a.reference) for a in run.anchors()] == [
        ("p", "good", "bad", "it gives reasons", "r"),
        ("q", "b", "a", "graded by hand", None),
        ("q", "c", "a", "graded by hand", None),
    ]
    again = output("anchor", RUN, "pairs.jsonl", "--why", "once more")
    assert again.startswith("0 pairs pinned, 3 pairs were known. ")
    assert len(run.anchors()) == 3


def test_two_orders_of_the_same_completions_are_refused(run: Store) -> None:
    output("anchor", RUN, "--prompt", "p", "--better", "good", "--worse", "bad", *WHY, "--by", "ada")
    turned = error("anchor", RUN, "--prompt", "p", "--better", "bad", "--worse", "good", *WHY)
    assert turned.startswith("'bad' was pinned as the worse one of these two by ada at ")
    rows = [{"prompt": "q", "better": "a", "worse": "b"}, {"prompt": "q", "better": "b", "worse": "a"}]
    Path("pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    message = error("anchor", RUN, "pairs.jsonl", *WHY)
    assert message == "'a' stands as the better one and as the worse one of the same two"
    assert len(run.anchors()) == 1


def test_pairs_that_cannot_be_pinned_are_refused(run: Store) -> None:
    same = ("--prompt", "p", "--better", "a", "--worse", "a")
    assert error("anchor", RUN, *same, *WHY) == "both completions are the same: 'a'"
    either = "give either FILE, or --prompt, --better and --worse"
    assert error("anchor", RUN, *WHY, code=2) == either
    assert error("anchor", RUN, "--prompt", "p", "--better", "a", *WHY, code=2) == either
    assert error("anchor", RUN, "pairs.jsonl", *same, *WHY, code=2) == either
    assert error("anchor", RUN, "gone.jsonl", *WHY).startswith("can't read gone.jsonl: No such file or directory")
    Path("odd.jsonl").write_text('{"prompt": "p"}\n')
    assert error("anchor", RUN, "odd.jsonl", *WHY).startswith("odd.jsonl, row 1: expected 'prompt', 'better'")
    assert run.anchors() == []


# --- the record


def test_acts_tell_who_decided_what_why_and_what_came_of_it(run: Store) -> None:
    run.append_meta_step(1, proposed(CHILD))
    assert output("acts", RUN) == "nobody has decided anything yet\n"
    output("approve", RUN, CHILD.short_id, *WHY, "--by", "ada")
    take(run, 24)
    output("pin", RUN, "style", "--why", "style matters", "--by", "grace")
    output("anchor", RUN, "--prompt", "p", "--better", "good", "--worse", "bad", "--why", "facts", "--by", "ada")
    first, second = (act.done_at for act in run.acts())
    assert output("acts", RUN) == (
        f"{first}  act 1: approve {CHILD.short_id}, by ada: it reads well\n"
        f"  after step 24: {CHILD.short_id} is in force\n"
        f"{second}  act 2: pin style, by grace: style matters\n"
        "  not taken yet\n"
        f"{run.anchors()[0].added_at}  1 pair pinned, by ada: facts\n"
    )


def test_pairs_of_the_archive_are_nobodys_decision(run: Store) -> None:
    pair = AnchorRecord("p", "good", "bad", "archive", "monitor: 0.9 and 0.2")
    run.append_meta_step(1, replace(proposed(CHILD), evidence=(pair,)))
    assert output("acts", RUN) == "nobody has decided anything yet\n"
    output("anchor", RUN, "--prompt", "p", "--better", "good", "--worse", "bad", *WHY)
    assert [a.source for a in run.anchors()] == ["archive", "anchor"]


def test_the_login_name_decides_unless_another_is_given(run: Store) -> None:
    output("pin", RUN, "talk", *WHY)
    [act] = run.acts()
    assert (act.kind, act.criterion, act.who, act.why, act.cluster) == (
        ActKind.PIN, "talk", getpass.getuser(), "it reads well", None
    )  # fmt: skip


@pytest.mark.parametrize(
    "command",
    [("approve", "abc"), ("reject", "abc"), ("edit", "a.yaml"), ("pin", "talk"), ("unpin", "talk"), ("anchor",)],
)
def test_a_decision_needs_a_reason(run: Store, command: tuple[str, ...]) -> None:
    name, *rest = command
    assert error(name, RUN, *rest, code=2) == "Missing option '--why'."
    assert error(name, RUN, *rest, "--why", " ", code=2) == "Invalid value for '--why': it must say something"
    assert run.acts() == []


@pytest.mark.parametrize("command", [("waiting",), ("acts",), ("pin", "talk", *WHY), ("approve", "abc", *WHY)])
def test_a_folder_without_a_run_is_told(command: tuple[str, ...]) -> None:
    name, *rest = command
    assert error(name, "elsewhere", *rest).startswith("elsewhere is neither a rubric file nor a run folder")


def test_a_run_without_a_revision_takes_no_decision() -> None:
    Path("new").mkdir()
    Store(Path("new") / STORE).close()
    message = error("pin", "new", "talk", *WHY)
    assert message == "new/store.db has no revision yet: it stopped before its first step. Resume it."
    assert output("waiting", "new") == "nothing waits\n"


def test_a_decision_waits_for_the_run_that_is_writing(run: Store) -> None:
    """The run holds the write lock for a while, as in the middle of a step."""
    writer = sqlite3.connect(RUN / STORE, isolation_level=None, check_same_thread=False)
    writer.execute("BEGIN IMMEDIATE")

    async def both() -> str:
        said = asyncio.create_task(asyncio.to_thread(output, "pin", RUN, "talk", *WHY))
        await asyncio.sleep(0.3)
        assert not said.done()
        writer.execute("COMMIT")
        return await said

    assert asyncio.run(both()).startswith("act 1: ")
    writer.close()
    assert [act.criterion for act in run.acts()] == ["talk"]


def test_what_show_prints_can_be_changed_and_put_in_force(run: Store) -> None:
    Path("mine.yaml").write_text(output("show", RUN, "--format", "yaml").replace("worth 5", "worth the most"))
    output("edit", RUN, "mine.yaml", *WHY)
    take(run, 2)
    assert in_force(run).criteria[0].levels[-1].description == "worth the most"
