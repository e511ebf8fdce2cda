"""No sequence of proposals, people, crashes and resumes breaks a lineage, or adopts what the gate refused."""

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

from metapo.judge.transport import ChatRequest
from metapo.meta.step import Decision
from metapo.people import waiting
from metapo.rollout import Rollout
from metapo.rubric import Criterion, digest
from metapo.rubric_text import render_criterion
from metapo.run import Run
from metapo.settings import Settings
from metapo.store import ActKind, ActRecord, Store
from tests.helpers import criterion, rubric
from tests.postgres import Server
from tests.reviewer import Reviewer
from tests.trainer import EMPTY, GATED, PLAIN, SOUND, Trainer, anchor, settings, write

N_MOVES = 20
PROPOSALS: list[tuple[Criterion, ...]] = [
    (SOUND,),
    (EMPTY,),
    (SOUND, criterion("plain", (0, 5, 10))),
    (EMPTY, criterion("plain", (0, 5, 10))),
    (SOUND, criterion("empty-too", (0, 3))),
    (criterion("sound-again", (0, 1)),),
    (),
]


def proposer(seed: int) -> Reviewer:
    """What is proposed follows from what was asked, so that a resumed run hears the same again."""

    def chosen(request: ChatRequest) -> tuple[Criterion, ...]:
        return Random(digest([seed, request.messages[0].content])).choice(PROPOSALS)

    def count(request: ChatRequest) -> str:
        return str(len(chosen(request)))

    def merged(request: ChatRequest) -> str:
        number = int(request.last.partition(", criterion ")[2].split()[0])
        return render_criterion(chosen(request)[number - 1])

    return Reviewer(PLAIN, merge_count=count, merge=merged)


def write_more(step: int, clusters: Sequence[str]) -> list[Rollout]:
    return write(step, clusters, 32)


def setting(rng: Random) -> Settings:
    every = rng.choice((2, 3))
    gate = {**GATED["gate"], "attack": rng.random() < 0.5}
    gated = {**GATED, "gate": gate, "exam": {**GATED["exam"], "written_attacks": 0}}
    return settings(
        every=every,
        staleness=rng.randrange(every),
        approve=rng.choice(("auto", "auto", "manual")),
        bridge=rng.choice(("off", "log", "calibrate")),
        rollback=rng.random() < 0.7,
        **gated,
    )


def decide(run: Run, rng: Random) -> None:
    """Some person decides something, sensible or not."""
    cluster = rng.choice(("", *run.store.clusters()))
    known = [m.child for m in run.store.meta_steps(cluster) if m.child] + [run.revision]
    candidates = [m.child for m in waiting(run.store.meta_steps(cluster)) if m.child] or known
    kind = rng.choice(list(ActKind))
    about = rng.choice(rng.choice((known, candidates))).id
    text = rubric(*rng.choice(PROPOSALS[:-1])) if kind is ActKind.EDIT else None
    about_id = None if kind in (ActKind.PIN, ActKind.UNPIN) or rng.random() < 0.2 else about
    name = rng.choice(("plain", "sound", "empty"))
    everywhere = None if rng.random() < 0.3 else cluster
    act = ActRecord(
        kind, "ana", "a reason", "2026-01-01", about=about_id, criterion=name, rubric=text, cluster=everywhere
    )
    run.store.append_act(act)


def holds(run: Run) -> None:
    """The chains hold, and whatever came into force was accepted, approved, written by a person, or in force before."""
    run.store.verify()
    for cluster in ("", *run.store.clusters()):
        holds_in(run, cluster)


def holds_in(run: Run, cluster: str) -> None:
    brought = {m.child.id: m for c in {"", cluster} for m in run.store.meta_steps(c) if m.child}
    approved = {a.about for a in run.store.acts() if a.kind is ActKind.APPROVE}
    gate = run.settings.meta.gate
    checks = {"form", "fresh", "anchors", *(["attack"] if gate and gate.attack else [])}
    chain = [revision for _, revision in run.store.lineage(cluster)]
    for i, revision in enumerate(chain[1:], 1):
        if revision.proposer == "ana":
            continue
        done = brought[revision.id]
        if done.decision == Decision.ROLLED_BACK:
            assert revision.rubric in [r.rubric for r in chain[:i]]
            continue
        [proposal] = [p for p in done.proposals if p.revision == revision]
        assert proposal.accepted
        assert all(finding.passed for finding in proposal.findings)
        assert {f.gate_check for f in proposal.findings} == checks
        assert done.decision == Decision.ADOPTED or revision.id in approved


async def walk(folder: Path, seed: int) -> None:
    rng = Random(seed)
    given, clusters = setting(rng), rng.choice((("",), ("a", "b")))
    trainer = Trainer(folder / "0", given, meta=proposer(seed), anchors=[anchor()], clusters=clusters, write=write_more)
    for move in range(1, N_MOVES + 1):
        match rng.choice(("steps", "steps", "steps", "decide", "decide", "kill", "close")):
            case "steps":
                await trainer.go(rng.randint(1, 4))
            case "decide":
                decide(trainer.run, rng)
            case "kill":
                for _ in range(rng.randrange(30)):  # somewhere in a meta step
                    await asyncio.sleep(0)
                place, step = await trainer.killed(folder / str(move)), max(0, trainer.done - rng.randint(0, 5))
                trainer = Trainer(
                    place, given, meta=proposer(seed), resumed_step=step, clusters=clusters, write=write_more
                )
            case "close":
                await trainer.close()
                place, step = trainer.run.folder, max(0, trainer.done - rng.randint(0, 5))
                trainer = Trainer(
                    place, given, meta=proposer(seed), resumed_step=step, clusters=clusters, write=write_more
                )
        holds(trainer.run)
    await trainer.close()


@pytest.mark.parametrize("seed", range(8))
def test_no_sequence_of_events_breaks_a_lineage_or_adopts_what_the_gate_refused(seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(walk(Path(folder), seed))


@pytest.mark.parametrize("seed", range(2))
def test_nor_does_one_on_a_server(seed: int, postgres: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A run that goes on in another folder goes on with the same store: a server is not killed with the run."""
    url = postgres.new_schema()
    monkeypatch.setattr("metapo.run.Store", lambda _: Store(url))
    asyncio.run(walk(tmp_path, seed))
