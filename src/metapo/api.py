"""What goes over the wire between a reward server and those who ask it: requests, answers, errors.

A request with a field that the server doesn't know is refused, so that a misspelt one shows; an answer may have fields
that an older client doesn't know, and it leaves them out.
"""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from metapo.rollout import Split
from metapo.rubric import Frozen, Revision, Text
from metapo.scale import Scale

MAX_ROLLOUTS = 1024
MAX_PAIRS = 1024
MAX_STEP = 2**31 - 1


Content = Text | list[dict[str, Any]]
"""A text, or chat messages."""
Name = Annotated[str, Field(max_length=256, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""One line without control characters."""
Step = Annotated[int, Field(ge=0, le=MAX_STEP)]


class AskedRollout(Frozen):
    """One prompt and one completion to be scored. `step` is the number of optimizer steps done when the completion was
    written (0-based); without one the server counts, if it was told how many groups a step has, or takes the step that
    is open. `group` is the engine's name for the completions of one prompt, which belong to one step. A `key` makes a
    repeat safe: what was scored under it once is answered from the record."""

    prompt: Content
    completion: Content
    step: Step | None = None
    group: Name = ""
    split: Split = Split.TRAIN
    reference: Text | None = None
    cluster: Name = ""
    key: Name = ""


class ScoreRequest(Frozen):
    """Rollouts to be scored. No two may have the same key."""

    rollouts: tuple[AskedRollout, ...] = Field(min_length=1, max_length=MAX_ROLLOUTS)

    @model_validator(mode="after")
    def _keys_differ(self) -> "ScoreRequest":
        keys = [r.key for r in self.rollouts if r.key]
        if repeated := sorted({key for key in keys if keys.count(key) > 1} if len(set(keys)) < len(keys) else ()):
            raise ValueError(f"two rollouts of one request have the key {repeated[0]!r}; give each its own")
        return self


class Answer(BaseModel):
    """Base of what a server answers."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class GivenVerdict(Answer):
    """The level that the judge gave for a criterion, by its `points`; `value` is what counts in the reward, in points:
    the expected points where the judge was asked for probabilities or there is a panel."""

    criterion: str
    points: int
    value: float
    rationale: str = ""
    quote: str = ""
    uncertainty: float | None = None


class MissingVerdict(Answer):
    """A criterion without a verdict, and why."""

    criterion: str
    reason: str
    detail: str = ""


class ScoredRollout(Answer):
    """`reward` is what to train on; null where the rollout could not be judged: leave it out, as a failed judgement is
    no low score. `normalized` (0 to 1) and `raw` (points) are for people. `unscored` says why there is no reward,
    `screened` why the task's own rule gave it. `revision` is the id of the rubric's revision that scored."""

    reward: float | None
    normalized: float | None
    raw: float | None
    step: int
    split: Split
    revision: str
    key: str = ""
    verdicts: tuple[GivenVerdict, ...] = ()
    unscored: tuple[MissingVerdict, ...] = ()
    screened: str = ""


class ScoreAnswer(Answer):
    """One entry per rollout, in the request's order."""

    rollouts: tuple[ScoredRollout, ...]


class InForceAnswer(Answer):
    """The revision that scores prompts of `cluster` now, and the scale that its rewards are brought to. A cluster that
    has no prompts yet begins with the run's first revision."""

    cluster: str
    step: int
    id: str
    revision: Revision
    scale: Scale


class Adopted(Answer):
    """From `step` on, rollouts are scored under this revision."""

    step: int
    id: str
    revision: Revision
    scale: Scale


class MetaStepEnded(Answer):
    """How a meta step ended that began after `step` steps; what it brought holds from `adopt_step` on."""

    step: int
    adopt_step: int
    decision: str
    parent: str
    child: str | None


class LineageAnswer(Answer):
    """What was in force for a cluster, oldest first, and how its meta steps ended."""

    cluster: str
    adoptions: tuple[Adopted, ...]
    meta_steps: tuple[MetaStepEnded, ...]


class RevisionAnswer(Answer):
    """A revision, in force or not."""

    id: str
    revision: Revision


class StepRequest(Frozen):
    """`step` optimizer steps are done. `resumed`: the trainer went back to a checkpoint there; what was scored from
    that step on no longer counts."""

    step: Step
    resumed: bool = False


class StepAnswer(Answer):
    """The number of steps done."""

    step: int


class StepFiguresAnswer(Answer):
    """How many training rollouts of `step` are on record so far, and how many of them without a reward. The run stops
    where a step that is closed lost more than the share `max_unscored`; `stopped` is the error that stopped it."""

    step: int
    rollouts: int
    unscored: int
    max_unscored: float
    stopped: str | None


class EvolveRequest(Frozen):
    """Who wants a meta step, and why: both go on record."""

    who: Name = Field(min_length=1)
    why: Text = Field(min_length=1, max_length=10_000)


class EvolveAnswer(Answer):
    """The number of the act. The meta step begins at the next step's boundary, whatever the schedule says."""

    act: int


class AskedPair(Frozen):
    """Two completions of a prompt, of which `better` is known to be better."""

    prompt: Content
    better: Content
    worse: Content
    why: Text = ""
    reference: Text | None = None


class FeedbackRequest(Frozen):
    """Pairs of known order: no later revision may order them worse."""

    who: Name = Field(min_length=1)
    pairs: tuple[AskedPair, ...] = Field(min_length=1, max_length=MAX_PAIRS)


class FeedbackAnswer(Answer):
    """How many pairs were pinned."""

    pinned: int


class StatusAnswer(Answer):
    """How the run stands. `stopped` is the error that stopped it, if any. `rollouts` is how many this process answered
    since it began, repeats too, `unscored` how many of them without a reward."""

    version: str
    step: int
    stopped: str | None
    rollouts: int
    unscored: int
    in_flight: int
    uptime_s: float


class Failure(Answer):
    """`code` is for programs, `message` for people. `retryable`: the same request may succeed later, after the seconds
    in the header Retry-After where it is there. `request` is the request's id, also in the header X-Request-Id and in
    the server's log."""

    code: str
    message: str
    retryable: bool = False
    request: str = ""


class ErrorAnswer(Answer):
    """The shape of every error."""

    error: Failure
