"""What a run's keeper and a reward server have in common: where the run stands, and when it can't go on."""

from collections.abc import Sequence
from typing import NamedTuple

from metapo.errors import JudgeFailureLimit, LineageError


class Standing(NamedTuple):
    """How many steps are over, and the id of the revision in force for prompts of no cluster."""

    step: int
    revision_id: str


def revision_number(adopted_at: Sequence[int], step: int) -> int:
    """How many revisions were in force for a cluster before the one that scores a step, from the steps at which each
    was adopted. What is adopted later changes nothing about a step that has begun."""
    return max(0, sum(at <= step for at in adopted_at) - 1)


def check_lineage(chain: Sequence[tuple[int, str]], step: int, revision_id: str) -> None:
    """Raises LineageError unless a checkpoint after `step` steps may name this revision; the chain holds the step and
    the id of each that was in force."""
    if revision_id not in [adopted for at, adopted in chain if at <= step]:
        raise LineageError(
            f"the checkpoint after {step} steps was written under revision {revision_id[:10]}, which the run did not "
            "have by then. Give metapo.store, or metapo.server, as it was when the checkpoint was written."
        )


def check_lost(step: int, n_unscored: int, n_rollouts: int, max_unscored: float) -> None:
    """Raises JudgeFailureLimit where a step of `n_rollouts` has lost more than the share `max_unscored` already: a
    trainer that replaces what fails would never come to the step's end."""
    allowed = max_unscored * n_rollouts
    if n_unscored > allowed:
        raise JudgeFailureLimit(
            f"in step {step} {n_unscored} rollouts have no reward already, of {n_rollouts} that it trains on; "
            f"max_unscored {max_unscored} allows {int(allowed)}. The store's verdicts say why. Mend the judge, then "
            "resume."
        )
