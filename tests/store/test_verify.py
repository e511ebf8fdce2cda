"""Store.verify finds each kind of tampering that it claims to find."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest

from metapo.errors import LineageError
from metapo.rollout import Rollout
from metapo.store import Store
from tests.reviewer import Reviewer
from tests.trainer import EMPTY, GATED, SOUND, Trainer, settings, write


def write_more(step: int, clusters: Sequence[str]) -> list[Rollout]:
    return write(step, clusters, 32)


async def made(folder: Path) -> Path:
    """The store of a run with two clusters, each with a revision of its own that the gate accepted."""
    given = settings(every=8, staleness=0, bridge="off", **GATED)
    trainer = await Trainer(folder, given, meta=Reviewer(SOUND), clusters=("a", "b"), write=write_more).go(9)
    assert [at for at, _ in trainer.run.store.lineage("a")] == [0, 8]
    assert trainer.run.store.verify() >= 2
    await trainer.close()
    return trainer.run.store.path


def checked(path: Path) -> None:
    store = Store(path)
    try:
        store.verify()
    finally:
        store.close()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("UPDATE revision SET reason = 'better' WHERE step = 8", "was changed after it was written"),
        ("UPDATE revision SET proposer = 'ana'", "was changed after it was written"),
        ("UPDATE revision SET step = -1", "was changed after it was written"),
        ("UPDATE revision_parent SET parent_id = 'f'", "was changed after it was written"),
        ("DELETE FROM revision_parent", "was changed after it was written"),
        ("UPDATE rubric SET body = replace(body, 'worth 10', 'worth it')", "was changed after it was written"),
        ("UPDATE rubric SET body = '{}'", "was changed after it was written"),
        ("DELETE FROM rubric", "the store has no revision"),
        ("DELETE FROM revision WHERE step = 8", "adopted at step 8, is not there"),
        ("DELETE FROM adoption WHERE step = 8 AND cluster = 'a'", "which was not in force at that step"),
        ("DELETE FROM adoption WHERE step = 0", "begins with"),
        ("UPDATE adoption SET step = 7 WHERE step = 8", "which was not in force at that step"),
        (
            "INSERT INTO adoption SELECT attempt_id, cluster, 9, 0, revision_id, 1, 0 FROM adoption WHERE step = 0",
            "is no child of",
        ),
        (
            "UPDATE rollout SET revision_id = (SELECT revision_id FROM adoption WHERE step = 0) WHERE step = 8",
            "which was not in force at that step",
        ),
        ("UPDATE rollout SET cluster = '' WHERE step = 8", "which was not in force at that step"),
        ("UPDATE proposal SET accepted = 0", "was refused by the gate"),
    ],
)
async def test_a_change_of_what_was_written_shows(tmp_path: Path, change: str, message: str) -> None:
    path = await made(tmp_path)
    with sqlite3.connect(path) as db:
        assert db.execute(change).rowcount > 0
    with pytest.raises(LineageError) as caught:
        checked(path)
    assert message in str(caught.value)


async def test_the_adoption_of_a_refused_revision_shows(tmp_path: Path) -> None:
    given = settings(first=SOUND, staleness=0, bridge="off", **GATED)
    trainer = await Trainer(tmp_path, given, meta=Reviewer(EMPTY)).go(4)
    [done] = trainer.run.store.meta_steps()
    assert (done.decision, done.child is None) == ("rejected", False)
    trainer.run.store.verify()
    assert done.child is not None
    trainer.run.store.adopt(1, 4, done.child)
    with pytest.raises(LineageError, match="adopted at step 4, was refused by the gate"):
        trainer.run.store.verify()
    await trainer.close()
