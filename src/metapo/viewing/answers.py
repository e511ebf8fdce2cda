"""What goes over the wire between those who look at runs and `metapo ui` or `metapo serve`: answers and requests.

    GET  /v1/runs                                 RunsAnswer
    GET  /v1/runs/{run}                           RunAnswer
    GET  /v1/runs/{run}/metrics                   MetricsAnswer   ?after= &generation= &columns=
    GET  /v1/runs/{run}/lineage                   TreeAnswer      ?cluster=
    GET  /v1/runs/{run}/revisions/{revision}      RevisionShown
    GET  /v1/runs/{run}/diff                      DiffAnswer      ?from= &to=
    GET  /v1/runs/{run}/criteria                  CriteriaAnswer  ?cluster= &split= &from_step= &to_step= &max_steps=
    GET  /v1/runs/{run}/rollouts                  RolloutsAnswer  filters, ?order= &cursor= &limit=
    GET  /v1/runs/{run}/rollouts/{rollout}        RolloutAnswer
    GET  /v1/runs/{run}/prompts/{prompt}          PromptAnswer    ?cursor= &limit=
    GET  /v1/runs/{run}/pairs                     PairsAnswer     ?left= &right= &cursor= &limit=
    GET  /v1/runs/{run}/meta-steps                MetaStepsAnswer ?cluster=
    GET  /v1/runs/{run}/meta-steps/{step}         MetaStepAnswer  ?cluster=
    GET  /v1/runs/{run}/meta-steps/{step}/exchanges/{position}   ExchangeAnswer  ?cluster=
    GET  /v1/runs/{run}/acts                      ActsAnswer
    POST /v1/runs/{run}/acts                      ActRequest -> ActAnswer
    GET  /v1/runs/{run}/anchors                   AnchorsAnswer   ?source= &cursor= &limit=
    POST /v1/runs/{run}/anchors                   AnchorsRequest -> PinnedAnswer
    GET  /v1/runs/{run}/events                    server-sent events, as of /v1/events

A run is named by one path segment. A revision is named by its id, or by how it begins (4 characters or more). Prompts
that share a rubric are a cluster, "" being that of all prompts without a name. Every error is an `ErrorAnswer`. What a
run lacks is null or empty, never 0. Text comes as it was written: whoever shows it has to see to markup.

Filters of rollouts: split (train, eval), cluster, from_step, to_step (both ends are in), min_reward, max_reward,
revision, flag (a detector), criterion (that was judged) with points (a level) and has_verdict (true, false),
has_reward, screened, text (in prompt or completion, whatever the case), prompt (an id). `order` is newest, oldest, best
or worst.
"""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field, model_validator

from metapo.api import MAX_PAIRS, Answer, AskedPair, Name
from metapo.rollout import Split
from metapo.rubric import Frozen, Revision, Rubric, Text
from metapo.scale import Scale
from metapo.store import ActKind

Why = Annotated[Text, Field(min_length=1, max_length=10_000)]
Who = Annotated[Name, Field(min_length=1)]


# --- runs


class Standing(StrEnum):
    """`training`: what it wrote is at most two minutes old; `finished`: the trained policy is there; `stopped`: an
    error stopped it; `quiet`: none of these, it may have been interrupted."""

    TRAINING = "training"
    FINISHED = "finished"
    STOPPED = "stopped"
    QUIET = "quiet"


class RunEntry(Answer):
    """A run in a list. `place` is its folder or its store's URL without the password. `step` is how many optimizer
    steps are done of `steps`, null where that is not known. `problem` says why it can't be read; it has no figures
    then. `written_at` is when it last wrote (UTC, ISO 8601); `reward` is that of the newest training step."""

    run: str
    place: str
    standing: Standing
    task: str = ""
    step: int = 0
    steps: int | None = None
    reward: float | None = None
    n_revisions: int = 0
    n_waiting: int = 0
    written_at: str | None = None
    problem: str = ""


class RunsAnswer(Answer):
    """The runs that this server shows. `can_act` says whether people may decide here (approve, edit, pin, ...); `who`
    is the name to propose for the record. `version` is metapo's."""

    version: str
    runs: tuple[RunEntry, ...]
    can_act: bool
    who: str = ""


class Attempt(Answer):
    """The run began (`resumed_step` 0), or went on after so many steps."""

    number: int
    resumed_step: int
    started_at: str


class SpentOn(Answer):
    """What the calls in one role (judge, monitor, gate, meta, ...) to one model took so far."""

    role: str
    model: str
    n_calls: int
    n_failed: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float
    latency_s: float


class RunAnswer(Answer):
    """One run. `settings` are those it began with, as they were resolved; `stopped` is the error that stopped it, if
    any. `clusters` are those with training rollouts, `criteria` the ids of every criterion that judged any of them,
    `flags` the detectors by which rollouts can be filtered, empty where the run kept none. `n_rollouts` is by split."""

    entry: RunEntry
    settings: dict[str, Any]
    stopped: str | None
    attempts: tuple[Attempt, ...]
    answered_by: dict[str, str]
    clusters: tuple[str, ...]
    criteria: tuple[str, ...]
    flags: tuple[str, ...]
    n_rollouts: dict[str, int]
    spent: tuple[SpentOn, ...]


# --- metrics


class MarkKind(StrEnum):
    """What a mark stands for. `onset` is where judge and monitor part, `gold_onset` where judge and gold do."""

    ADOPTED = "adopted"
    ROLLED_BACK = "rolled_back"
    PERSON = "person"
    WAITING = "waiting"
    REJECTED = "rejected"
    ONSET = "onset"
    GOLD_ONSET = "gold_onset"
    RESUMED = "resumed"


class Mark(Answer):
    """Something that happened at a step. `revision` is the one concerned, if any."""

    step: int
    kind: MarkKind
    text: str
    cluster: str = ""
    revision: str | None = None


class Series(Answer):
    """The rows of one kind, column by column: `step` and every column have the same length, oldest first; null where a
    row has no such figure."""

    kind: str
    step: tuple[int, ...]
    columns: dict[str, tuple[float | None, ...]]


class MetricsAnswer(Answer):
    """The figures of a run, of the kinds train, eval and trainer.

    Columns of train and eval: `reward` (what was trained on), `normalized` (0 to 1), `raw` (points), `monitor` and
    `gold` (0 to 1), `gap` (the judge's normalised mean minus the monitor's on the same rollouts, or else minus gold),
    `widening` (how far the gap, smoothed over 5 steps, lies above its lowest so far), `kl` (the trainer's, of the same
    step), `words` (mean length), `flagged` (share with a detector's flag), `unscored` (share without a reward),
    `saturated` (share of groups in which all rewards are equal), `uncertainty` (of a verdict, in points), `calls`,
    `tokens` and `cost_usd` (of judging, in this step). These are what is sent unless `columns` names others, by
    commas, but for those that no row has; `names` lists all by kind, so also `criterion/ID` (mean points), `flag/NAME`,
    `hack/NAME` and what the trainer tells.

    `newest` is the number of the newest row: ask with `after` it, and with this `generation`, for what is new. Where
    the generation is another, rows were superseded: all are sent, and `is_whole` is true. Marks always come whole.
    """

    generation: str
    newest: int
    is_whole: bool
    series: tuple[Series, ...]
    names: dict[str, tuple[str, ...]]
    marks: tuple[Mark, ...]


# --- lineage


class Status(StrEnum):
    """How a revision stands. `coming` was accepted, and is in force from its meta step's adopt_step on; `decided`
    waited until a person rejected or replaced it; `aside` was accepted, but another was chosen, or its parent was no
    longer in force when it came; `rolled_back` was in force until a meta step returned to its parent."""

    IN_FORCE = "in_force"
    EARLIER = "earlier"
    ROLLED_BACK = "rolled_back"
    COMING = "coming"
    WAITING = "waiting"
    REJECTED = "rejected"
    DECIDED = "decided"
    ASIDE = "aside"


class Finding(Answer):
    """One check of the gate: `parent` and `child` are shares (0 to 1) of `n_pairs` in the right order."""

    check: str
    passed: bool
    detail: str
    parent: float | None
    child: float | None
    n_pairs: int


class Node(Answer):
    """One revision in a cluster's lineage. `step` is the training step after which it was written, `in_force_from` and
    `in_force_to` (not in) the steps that it scored, null where it never did or still does; `scale` is what its values
    were brought to. `meta_step` is the step of the meta step that proposed it, null for a person's and the first;
    `why` is why that began, `verdict` what the gate said in words; `is_return` where it brings the rubric before its
    parent's back."""

    id: str
    parents: tuple[str, ...]
    status: Status
    reason: str
    proposer: str
    step: int
    in_force_from: int | None = None
    in_force_to: int | None = None
    scale: Scale | None = None
    meta_step: int | None = None
    is_return: bool = False
    why: str = ""
    verdict: str = ""
    findings: tuple[Finding, ...] = ()
    n_criteria: int
    n_words: int
    min_points: float
    max_points: float


class TreeAnswer(Answer):
    """Every revision of a cluster, parents before children: adopted, waiting, refused, rolled back."""

    cluster: str
    nodes: tuple[Node, ...]


class RevisionShown(Answer):
    """A revision in full, its rubric also as YAML, the form in which people edit it."""

    id: str
    revision: Revision
    yaml: str


class Word(Answer):
    """A run of words: `change` is "+" where only the later text has it, "-" where only the earlier one, " " in both."""

    change: str
    text: str


class FieldDiff(Answer):
    """One field of a criterion: `field` is name, weight, polarity, pinned, evidence, instruction or level; `points` are
    a level's. `change` is "+", "-", "~" (it reads otherwise) or " " (the same); the words are the whole text."""

    field: str
    points: int | None = None
    change: str
    words: tuple[Word, ...]


class CriterionDiff(Answer):
    """A criterion of either rubric; `change` is "+", "-", "~" or " "."""

    id: str
    name: str
    change: str
    fields: tuple[FieldDiff, ...]


class DiffAnswer(Answer):
    """What changed from one revision to another, word by word, criterion by criterion: those of the later rubric in its
    order, then those that were removed."""

    from_id: str
    to_id: str
    criteria: tuple[CriterionDiff, ...]


class CriterionHistory(Answer):
    """One criterion over the answer's steps, each list as long as `steps`; null where it judged nothing in a step.

    `mean` and `variance` are of the points given in a step; `passed` is the share of verdicts at its best level;
    `correlation` is Pearson's, between its points and the weighted sum of all the others' on the same rollouts, null
    where either does not vary; `unscored` is the share without a verdict.
    """

    id: str
    name: str
    min_points: int
    max_points: int
    weight: float
    pinned: bool
    n: tuple[int | None, ...]
    mean: tuple[float | None, ...]
    variance: tuple[float | None, ...]
    passed: tuple[float | None, ...]
    correlation: tuple[float | None, ...]
    unscored: tuple[float | None, ...]


class CriteriaAnswer(Answer):
    """Each criterion's history. Where a run has more steps in the range than `max_steps`, `steps` are so many of them,
    evenly spaced, of `n_steps`: narrow the range to see all. A criterion's weight and levels are those of the newest
    revision that has it."""

    cluster: str
    split: Split
    n_steps: int
    steps: tuple[int, ...]
    criteria: tuple[CriterionHistory, ...]


# --- rollouts


class RolloutEntry(Answer):
    """A rollout in a list. `prompt_id` names its prompt. `reward` is what was trained on, null where it has none;
    `normalized` and `monitor` lie between 0 and 1, `raw` is in points. `snippet` is how the completion begins, on one
    line (at most 200 characters); `screened` why the task's own rule gave the reward; `flags` are the detectors that
    fired; `n_unscored` how many criteria have no verdict."""

    id: str
    prompt_id: str
    step: int
    position: int
    split: Split
    cluster: str
    revision: str
    reward: float | None
    normalized: float | None
    raw: float | None
    monitor: float | None
    screened: str
    flags: tuple[str, ...]
    n_unscored: int
    prompt_snippet: str
    snippet: str


class RolloutsAnswer(Answer):
    """Rollouts in order. `next` is the cursor of the next page, null at the end. A page may be short of its limit, even
    empty, and have a next one: so many rollouts were looked at in vain (`n_looked_at`)."""

    rollouts: tuple[RolloutEntry, ...]
    next: str | None
    n_looked_at: int


class Span(Answer):
    """A part of the completion, in Unicode code points: `start` is in, `end` is not."""

    start: int
    end: int


class VerdictShown(Answer):
    """What the judge said of one criterion. Without a verdict `points` is null, and `missing` says why, `detail` more.
    `value` is what counts, in points; `level` describes the level that was given; `spans` are where the completion
    holds the `quote`, empty where it doesn't or none was given; `label_mass` (0 to 1) is what the probabilities of the
    levels summed up to where they were asked for."""

    criterion: str
    name: str
    weight: float
    min_points: int | None
    max_points: int | None
    points: int | None
    value: float | None
    uncertainty: float | None
    label_mass: float | None
    level: str
    rationale: str
    quote: str
    spans: tuple[Span, ...]
    missing: str | None
    detail: str


class OpinionShown(Answer):
    """What one judge said where several were asked (role panel), or one is only watched (monitor)."""

    role: str
    judge: str
    criterion: str
    points: int | None
    value: float | None
    rationale: str
    missing: str | None
    detail: str


class CallShown(Answer):
    """One request to a judge: the raw reply, or the error. Empty where it was pruned or known already."""

    number: int
    role: str
    model: str
    endpoint: str
    reply: str
    error: str
    finish_reason: str
    prompt_tokens: int | None
    completion_tokens: int | None
    cached_tokens: int | None
    cost_usd: float | None
    latency_s: float


class FlagShown(Answer):
    """A detector that fired, and what it found."""

    detector: str
    detail: str


class RolloutAnswer(Answer):
    """One rollout in full. `group` are the others of its prompt in the same step; `read_by` are the steps of the meta
    steps of its cluster that read it."""

    entry: RolloutEntry
    prompt: str
    completion: str
    reference: str | None
    verdicts: tuple[VerdictShown, ...]
    opinions: tuple[OpinionShown, ...]
    calls: tuple[CallShown, ...]
    flags: tuple[FlagShown, ...]
    group: tuple[RolloutEntry, ...]
    read_by: tuple[int, ...]
    n_reused: int
    n_left_out: int


class PromptAnswer(Answer):
    """A prompt, and its rollouts by step, oldest first."""

    prompt_id: str
    prompt: str
    reference: str | None
    rollouts: tuple[RolloutEntry, ...]
    next: str | None


class PairOfSides(Answer):
    """One prompt's newest rollouts under each of two revisions, at most 8 a side."""

    prompt_id: str
    prompt_snippet: str
    left: tuple[RolloutEntry, ...]
    right: tuple[RolloutEntry, ...]


class Bridged(Answer):
    """What the same rollouts (`n` of them) got under the revision that went and the one that came, when it came into
    force: mean and spread of their values, as the run scored the batch under both."""

    step: int
    n: int
    mean_before: float
    mean_after: float
    spread_before: float
    spread_after: float


class PairsAnswer(Answer):
    """Prompts that have rollouts under both revisions, among the newest 5000 of each. `bridge` is there where the run
    went from one to the other and scored the same rollouts under both; of these the run keeps the figures only."""

    left: str
    right: str
    pairs: tuple[PairOfSides, ...]
    bridge: Bridged | None
    next: str | None


# --- meta steps


class MetaStepEntry(Answer):
    """A meta step in a list: it began after `step` steps, and what it brought holds from `adopt_step` on. `decision` is
    null while it is under way; `reason` is told by the gate or by what failed; `cost_usd` is null where no price is
    known."""

    cluster: str
    step: int
    adopt_step: int
    why: str
    decision: str | None
    reason: str = ""
    parent: str | None = None
    child: str | None = None
    n_samples: int = 0
    n_exchanges: int = 0
    n_proposals: int = 0
    tokens: int = 0
    cost_usd: float | None = None
    seconds: float | None = None


class MetaStepsAnswer(Answer):
    """Every meta step that counts, oldest first; of one cluster, or of all."""

    meta_steps: tuple[MetaStepEntry, ...]


class SampleShown(Answer):
    """A rollout that the meta model read, why it was chosen, and what detectors flagged."""

    rollout: RolloutEntry
    why: str
    flags: tuple[str, ...]


class ExchangeEntry(Answer):
    """A request to the meta model. `stage` is its part in the step (analyze, refine, merge, ...); `sample` counts the
    step's samples from 0, null in the merge. `snippet` is how the reply begins; ask for the exchange itself to read it
    in full."""

    position: int
    stage: str
    sample: int | None
    model: str
    error: str
    snippet: str
    prompt_chars: int
    reply_chars: int
    prompt_tokens: int | None
    completion_tokens: int | None
    cost_usd: float | None
    latency_s: float


class ExchangeAnswer(Answer):
    """A request to the meta model, word for word."""

    entry: ExchangeEntry
    prompt: str
    reply: str


class ProposalShown(Answer):
    """A revision that was proposed, and what the gate made of it; `repairs` is the number of the proposal that it
    stands in for."""

    number: int
    revision: str
    accepted: bool
    reason: str
    repairs: int | None
    findings: tuple[Finding, ...]


class MetaStepAnswer(Answer):
    """A meta step from beginning to end: samples, exchanges in their order, proposals with the gate's findings.
    `evidence` counts the pairs that examined it, by source."""

    entry: MetaStepEntry
    samples: tuple[SampleShown, ...]
    exchanges: tuple[ExchangeEntry, ...]
    proposals: tuple[ProposalShown, ...]
    evidence: dict[str, int]


# --- what people do


class Outcome(Answer):
    """What came of an act in a cluster, when the run took it after `step` steps."""

    cluster: str
    step: int
    outcome: str


class ActShown(Answer):
    """What somebody decided, when (UTC) and why. `cluster` null means all; `told` says it in one line. Without outcomes
    the run has not taken it yet."""

    id: int
    kind: ActKind
    who: str
    why: str
    done_at: str
    cluster: str | None
    about: str | None
    criterion: str
    told: str
    outcomes: tuple[Outcome, ...]


class WaitingShown(Answer):
    """A revision that waits for approval: what approving it would lead to as things stand, in words."""

    cluster: str
    node: Node
    if_approved: str
    can_be_approved: bool


class ActsAnswer(Answer):
    """Every act, oldest first, and what waits for a decision."""

    acts: tuple[ActShown, ...]
    waiting: tuple[WaitingShown, ...]


class ActRequest(Frozen):
    """What somebody decides; who and why go on record.

    approve and reject: `about` is the waiting revision. edit: `rubric`, or `text` (YAML, or the form in which rubrics
    are printed), comes into force; `about` is the waiting revision that it stands in for, or the one in force that was
    edited: where another is in force by then, nothing changes. pin and unpin: `criterion`. evolve needs none of these.
    `cluster` null means all.
    """

    kind: ActKind
    who: Who
    why: Why
    cluster: Name | None = None
    about: Annotated[str, Field(pattern="^[0-9a-f]{4,64}$")] | None = None
    criterion: Name | None = None
    rubric: Rubric | None = None
    text: Annotated[Text, Field(max_length=200_000)] | None = None

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> "ActRequest":
        needed = {
            ActKind.APPROVE: {"about"},
            ActKind.REJECT: {"about"},
            ActKind.PIN: {"criterion"},
            ActKind.UNPIN: {"criterion"},
        }.get(self.kind, set())
        allowed = needed | ({"about", "rubric", "text"} if self.kind is ActKind.EDIT else set())
        given = {name for name in ("about", "criterion", "rubric", "text") if getattr(self, name) is not None}
        if missing := sorted(needed - given):
            raise ValueError(f"{self.kind.value} needs {', '.join(missing)}")
        if surplus := sorted(given - allowed):
            raise ValueError(f"{self.kind.value} takes no {', '.join(surplus)}")
        if self.kind is ActKind.EDIT and (self.rubric is None) is (self.text is None):
            raise ValueError("edit needs either rubric or text")
        return self


class ActAnswer(Answer):
    """The act's number, itself in one line, and when the run takes it."""

    act: int
    told: str
    when: str


class AnchorShown(Answer):
    """Two completions of a prompt whose order is known. `source` is anchor where a person or the settings say so,
    archive where the pair spoke for an accepted proposal, earlier where it examined others."""

    number: int
    source: str
    cluster: str
    step: int
    prompt: str
    better: str
    worse: str
    reference: str | None
    why: str
    who: str
    added_at: str


class AnchorsAnswer(Answer):
    """Pairs of known order, newest first."""

    anchors: tuple[AnchorShown, ...]
    next: str | None
    n_by_source: dict[str, int]


class AnchorsRequest(Frozen):
    """Pairs of known order: no proposal passes the gate that orders them worse than its parent. Each may give its own
    `why`."""

    who: Who
    why: Why
    pairs: tuple[AskedPair, ...] = Field(min_length=1, max_length=MAX_PAIRS)


class PinnedAnswer(Answer):
    """How many pairs were pinned, and how many of those given were known already."""

    pinned: int
    known: int
