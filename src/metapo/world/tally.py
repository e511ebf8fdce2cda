"""The figures of one finished run that its result does not hold: onset, dips, what meta steps brought and cost."""

from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import accumulate
from statistics import fmean

from metapo.meta.onset import Watched, onset
from metapo.meta.step import Decision
from metapo.run import STORE
from metapo.store import Spent, Store
from metapo.world.presets import MetaKind
from metapo.world.runs import ArmRun
from metapo.world.spoilt import FlawedProposal, flawed_proposals

DIP_SMOOTH = 5
DIP_AFTER = 40


@dataclass(frozen=True)
class Tally:
    """What meta steps did: how many ended, brought a revision or went back; proposals that the gate saw and refused.
    `asked` are the requests to the meta model, `examined` the gate's to the judge; times are in seconds."""

    run: ArmRun
    onset: int | None
    dip: float | None
    n_meta_steps: int
    n_adopted: int
    n_rolled_back: int
    n_proposals: int
    n_refused: int
    flawed: tuple[FlawedProposal, ...]
    asked: Spent
    examined: Spent
    meta_s: float
    waited_s: float
    training_s: float

    @property
    def waited_share(self) -> float:
        """The share of the wall time, training and waiting, that was waited; 0 to 1."""
        wall_s = self.training_s + self.waited_s
        return self.waited_s / wall_s if wall_s else 0.0


def tally(run: ArmRun) -> Tally:
    """Read what the folder of a finished run tells. Raises StoreError."""
    decisions = Counter(row["decision"] for row in run.meta_steps)
    with closing(Store(run.folder / STORE)) as store:
        records = store.meta_steps()
        asked, examined = store.spent(roles=("meta",)), store.spent(roles=("gate",))
        flawed: list[FlawedProposal] = []
        if run.settings.meta_model is MetaKind.FLAWED:
            for record in records:
                flawed += flawed_proposals(record, store.revision(record.parent_id), run.settings)
    proposals = [proposal for record in records for proposal in record.proposals]
    return Tally(
        run=run,
        onset=onset([Watched(r["step"], r["normalized"], r["gold"]) for r in run.steps if "normalized" in r]),
        dip=worst_dip([(row["step"], row["gold"]) for row in run.steps]),
        n_meta_steps=len(run.meta_steps),
        n_adopted=decisions[Decision.ADOPTED.value],
        n_rolled_back=decisions[Decision.ROLLED_BACK.value],
        n_proposals=len(proposals),
        n_refused=sum(not proposal.accepted for proposal in proposals),
        flawed=tuple(flawed),
        asked=asked,
        examined=examined,
        meta_s=sum(row["seconds"] for row in run.meta_steps),
        waited_s=sum(row["waited"] for row in run.meta_steps),
        training_s=run.result["seconds"],
    )


def worst_dip(gold: Sequence[tuple[int, float]]) -> float | None:
    """By how much gold, smoothed over DIP_SMOOTH steps, lay below its highest value so far, at worst, over the steps
    after DIP_AFTER; 0 or more, None where a run has none of those. `gold` holds (step, value), steps rising from 0."""
    values = [value for _, value in gold]
    means = [fmean(values[i - DIP_SMOOTH : i]) for i in range(DIP_SMOOTH, len(values) + 1)]
    drops = [high - mean for mean, high in zip(means, accumulate(means, max), strict=True)]
    late = [drop for (step, _), drop in zip(gold[DIP_SMOOTH - 1 :], drops, strict=True) if step > DIP_AFTER]
    return max(late) if late else None
