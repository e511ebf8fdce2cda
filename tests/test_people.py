"""What people decide on a rubric: taken at the next boundary, once, with who, when, why and what came of it."""

from dataclasses import replace
from pathlib import Path

import pytest

from metapo.people import rule
from metapo.rubric import Revision, Rubric
from metapo.store import ActKind, ActRecord
from tests.helpers import criterion, rubric
from tests.reviewer import Reviewer
from tests.trainer import PLAIN, Trainer, settings

STYLE = criterion("style", (0, 1))
WRITTEN = rubric(criterion("written", (0, 7)))
FIRST = Revision(rubric=rubric(PLAIN), reason="start", proposer="settings", step=0)
CHILD = Revision(rubric=rubric(STYLE), parents=(FIRST.id,), reason="merged", proposer="meta model", step=4)
STALE = Revision(rubric=rubric(STYLE), parents=("f" * 64,), reason="merged", proposer="meta model", step=2)


def act(kind: ActKind, about: Revision | None = None, *, name: str = "", text: Rubric | None = None) -> ActRecord:
    about_id = about.id if about else None
    return ActRecord(kind, "ana", "it reads well", "2026-01-01T00:00:00", about=about_id, criterion=name, rubric=text)


@pytest.mark.parametrize(
    ("done", "outcome"),
    [
        (act(ActKind.APPROVE, CHILD), f"{CHILD.short_id} is in force"),
        (act(ActKind.APPROVE, FIRST), f"nothing changes: {FIRST.short_id} does not wait for approval"),
        (act(ActKind.APPROVE), "nothing changes: nothing does not wait for approval"),
        (
            act(ActKind.APPROVE, STALE),
            f"nothing changes: {STALE.short_id} was written for a parent that is no longer in force",
        ),
        (act(ActKind.REJECT, CHILD), f"{CHILD.short_id} is rejected"),
        (act(ActKind.REJECT, FIRST), f"nothing changes: {FIRST.short_id} does not wait for approval"),
        (act(ActKind.EDIT), "nothing changes: the rubric in force is the same"),
        (act(ActKind.EDIT, text=FIRST.rubric), "nothing changes: the rubric in force is the same"),
        (
            act(ActKind.EDIT, STALE, text=WRITTEN),
            f"nothing changes: {STALE.short_id} was written for a parent that is no longer in force",
        ),
        (act(ActKind.PIN, name="elsewhere"), "nothing changes: the rubric in force has no criterion 'elsewhere'"),
        (act(ActKind.UNPIN, name="plain"), "nothing changes: 'plain' is not pinned"),
    ],
)
def test_an_act_leads_to_what_it_can(done: ActRecord, outcome: str) -> None:
    ruling = rule(done, FIRST, [STALE, CHILD], 6)
    assert ruling.outcome == outcome
    assert ruling.child == (CHILD if done == act(ActKind.APPROVE, CHILD) else None)


@pytest.mark.parametrize(
    ("done", "parents", "reason", "text"),
    [
        (act(ActKind.EDIT, text=WRITTEN), (FIRST.id,), "written by ana: it reads well", WRITTEN),
        (act(ActKind.EDIT, FIRST, text=WRITTEN), (FIRST.id,), "written by ana: it reads well", WRITTEN),
        (
            act(ActKind.EDIT, CHILD, text=WRITTEN),
            (FIRST.id, CHILD.id),
            f"{CHILD.short_id} edited by ana: it reads well",
            WRITTEN,
        ),
        (
            act(ActKind.PIN, name="plain"),
            (FIRST.id,),
            "pin plain by ana: it reads well",
            rubric(PLAIN.model_copy(update={"pinned": True})),
        ),
        (replace(act(ActKind.EDIT, text=WRITTEN), why=""), (FIRST.id,), "written by ana", WRITTEN),
    ],
)
def test_what_a_person_writes_is_a_child_of_the_revision_in_force(
    done: ActRecord, parents: tuple[str, ...], reason: str, text: Rubric
) -> None:
    child = rule(done, FIRST, [STALE, CHILD], 6).child
    assert child == Revision(rubric=text, parents=parents, reason=reason, proposer="ana", step=6)


def test_an_edit_of_what_is_no_longer_there_changes_nothing() -> None:
    ruling = rule(act(ActKind.EDIT, CHILD, text=WRITTEN), FIRST, [], 6)
    assert ruling == (f"nothing changes: {CHILD.short_id} is not in force and does not wait for approval", None)


# --- in a run


def decide(trainer: Trainer, done: ActRecord) -> int:
    return trainer.run.store.append_act(done)


MANUAL = settings(staleness=1, approve="manual")


async def waiting_run(folder: Path) -> tuple[Trainer, Revision]:
    """A run after 5 steps, and the revision that waits in it."""
    trainer = await Trainer(folder, MANUAL, meta=Reviewer(STYLE)).go(5)
    [done] = trainer.run.store.meta_steps()
    assert (done.decision, [at for at, _ in trainer.lineage]) == ("waiting", [0])
    assert done.child is not None
    return trainer, done.child


async def test_a_revision_waits_until_a_person_approves_it(tmp_path: Path) -> None:
    trainer, child = await waiting_run(tmp_path)
    await trainer.go(1)
    assert [at for at, _ in trainer.lineage] == [0], "nobody has decided yet"
    number = decide(trainer, act(ActKind.APPROVE, child))
    await trainer.go(2)
    assert trainer.run.store.lineage()[1:] == [(7, child)]
    assert trainer.run.store.outcomes_of_acts() == [(number, "", 7, f"{child.short_id} is in force")]
    assert trainer.run.store.acts() == [replace(act(ActKind.APPROVE, child), id=number)]
    [row] = trainer.rows("act")
    assert (row["step"], row["act"], row["who"]) == (7, "approve", "ana")
    await trainer.close()


async def test_what_was_rejected_no_longer_waits(tmp_path: Path) -> None:
    trainer, child = await waiting_run(tmp_path)
    for kind in (ActKind.REJECT, ActKind.APPROVE):
        decide(trainer, act(kind, child))
    await trainer.go(1)
    assert [at for at, _ in trainer.lineage] == [0]
    outcomes = [outcome for *_, outcome in trainer.run.store.outcomes_of_acts()]
    assert outcomes == [
        f"{child.short_id} is rejected",
        f"nothing changes: {child.short_id} does not wait for approval",
    ]
    await trainer.close()


async def test_a_waiting_revision_may_be_edited_before_it_is_adopted(tmp_path: Path) -> None:
    trainer, child = await waiting_run(tmp_path)
    decide(trainer, act(ActKind.EDIT, child, text=WRITTEN))
    decide(trainer, act(ActKind.APPROVE, child))
    await trainer.go(1)
    [_, (step, revision)] = trainer.run.store.lineage()
    assert (step, revision.rubric, revision.proposer, revision.parents[1]) == (6, WRITTEN, "ana", child.id)
    assert trainer.run.store.verify() == 3
    await trainer.close()


async def test_what_people_change_meanwhile_leaves_a_meta_step_aside(tmp_path: Path) -> None:
    trainer = await Trainer(tmp_path, settings(staleness=2), meta=Reviewer(STYLE)).go(5)
    decide(trainer, act(ActKind.EDIT, text=WRITTEN))
    await trainer.go(1)
    assert [(at, r.proposer) for at, r in trainer.run.store.lineage()] == [(0, "settings"), (6, "ana")]
    [row] = trainer.rows("meta")
    assert "is no longer in force" in row["reason"]
    await trainer.go(4)
    assert [at for at, _ in trainer.lineage] == [0, 6, 10], "the next one starts from what people wrote"
    await trainer.close()


async def test_acts_are_taken_again_after_the_same_step(tmp_path: Path) -> None:
    trainer, _ = await waiting_run(tmp_path)
    decide(trainer, act(ActKind.PIN, name="plain"))
    await trainer.go(1)
    decide(trainer, act(ActKind.EDIT, text=WRITTEN))
    await trainer.go(3)
    lineage, outcomes, rows = trainer.lineage, trainer.run.store.outcomes_of_acts(), trainer.rows("act")
    assert [at for at, _ in lineage] == [0, 6, 7]
    await trainer.close()
    for resumed_step in (5, 2, 6, 7):
        again = await Trainer(tmp_path, MANUAL, meta=Reviewer(STYLE), resumed_step=resumed_step).go(9 - resumed_step)
        assert (again.lineage, again.run.store.outcomes_of_acts(), again.rows("act")) == (lineage, outcomes, rows)
        await again.close()


async def test_an_act_for_all_clusters_is_taken_in_each(tmp_path: Path) -> None:
    trainer = await Trainer(tmp_path, settings(every=0), meta=Reviewer(STYLE), clusters=("a", "b")).go(1)
    decide(trainer, act(ActKind.PIN, name="plain"))
    decide(trainer, replace(act(ActKind.EDIT, text=WRITTEN), cluster="b"))
    await trainer.go(2)
    taken = [(number, cluster, step) for number, cluster, step, _ in trainer.run.store.outcomes_of_acts()]
    assert taken == [(1, "a", 2), (1, "b", 2), (2, "b", 2)]
    assert [len(trainer.run.store.lineage(c)) for c in ("", "a", "b")] == [1, 2, 3]
    trainer.run.store.verify()
    await trainer.close()
