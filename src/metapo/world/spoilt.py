"""Which proposals of a meta step are flawed, and what became of them: told from what the store keeps."""

from collections.abc import Sequence
from dataclasses import dataclass

from metapo.meta.conversation import Stage
from metapo.meta.hygiene import tidy
from metapo.meta.propose import read
from metapo.rubric import Criterion, Revision, Rubric
from metapo.rubric_text import render_rubric
from metapo.store import ExchangeRecord, MetaStepRecord
from metapo.world.flaws import Flaw, begins_rubric, flaw_of, is_padded
from metapo.world.meta import merge, repair
from metapo.world.presets import WorldSettings

REWRITES = {Stage.MERGE.value: merge, Stage.REPAIR.value: repair}


@dataclass(frozen=True)
class FlawedProposal:
    """A proposal with a flaw, of the meta step that began after `step` steps: was it accepted, and was it adopted?"""

    step: int
    flaw: Flaw
    accepted: bool
    adopted: bool
    n_criteria: int
    n_parent: int


def flawed_proposals(record: MetaStepRecord, parent: Revision, settings: WorldSettings) -> list[FlawedProposal]:
    """The flawed proposals of a meta step under a flawed meta model, in order.

    A flaw that takes nothing from the rubric in use and adds nothing to it is none: half of a new rubric that has no
    fewer criteria than its parent, padding that was taken out again.
    """
    flaws: dict[str, Flaw | None] = {}
    for conversation in _conversations(record.exchanges):
        if criteria := _written(conversation):
            limits = settings.meta
            rubric, _ = tidy(parent.rubric, criteria, limits.max_criteria, limits.max_words, limits.hygiene)
            flaws.setdefault(rubric.digest, _flaw(conversation[0], criteria, settings))
    found, flaw = [], None
    for proposal in record.proposals:
        rubric = proposal.revision.rubric
        flaw = flaws.get(rubric.digest, flaw)  # one without criteria of no use stands behind the one that has them
        if flaw is None or not _does_harm(flaw, rubric, parent.rubric):
            continue
        adopted = record.decision == "adopted" and proposal.revision == record.child
        sizes = len(rubric.criteria), len(parent.rubric.criteria)
        found.append(FlawedProposal(record.step, flaw, proposal.accepted, adopted, *sizes))
    return found


def _does_harm(flaw: Flaw, rubric: Rubric, parent: Rubric) -> bool:
    match flaw:
        case Flaw.PADDED:
            return is_padded(rubric)
        case Flaw.DROPPED:
            return len(rubric.criteria) < len(parent.criteria)
        case _:
            return True


def _conversations(exchanges: Sequence[ExchangeRecord]) -> list[list[ExchangeRecord]]:
    """The exchanges of each merge and repair; they come one after the other."""
    found: list[list[ExchangeRecord]] = []
    for exchange in exchanges:
        if exchange.stage in REWRITES:
            if begins_rubric(exchange.prompt):
                found.append([])
            found[-1].append(exchange)
    return found


def _written(conversation: Sequence[ExchangeRecord]) -> tuple[Criterion, ...]:
    return read("\n".join(["<rubric>", *(e.reply for e in conversation[1:]), "</rubric>"])).criteria


def _flaw(first: ExchangeRecord, written: tuple[Criterion, ...], settings: WorldSettings) -> Flaw | None:
    honest = REWRITES[first.stage](first.prompt)
    if read(render_rubric(Rubric(criteria=honest))).criteria == written:
        return None
    return flaw_of(first.prompt, flaw=settings.flaw, seed=settings.seed)
