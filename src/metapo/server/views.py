"""The routes by which runs are looked at and decided on, the same in `metapo ui` and `metapo serve`."""

import asyncio
import getpass
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from importlib.metadata import version as version_of
from typing import Annotated

from fastapi import APIRouter, Body, Depends, Header, Path, Query, Request
from fastapi.responses import StreamingResponse

from metapo.api import MAX_STEP, Name
from metapo.rollout import Split
from metapo.server import looking_examples as examples
from metapo.server.events import RETRY_MS, event
from metapo.server.failures import Refused
from metapo.server.framework import ERRORS, StrictRoute
from metapo.server.options import Limits
from metapo.server.pages import Page
from metapo.viewing import acts, criteria, differences, lineage, meta_steps, one, overview, rollouts
from metapo.viewing.answers import (
    ActAnswer,
    ActRequest,
    ActsAnswer,
    AnchorsAnswer,
    AnchorsRequest,
    CriteriaAnswer,
    DiffAnswer,
    ExchangeAnswer,
    MetaStepAnswer,
    MetaStepsAnswer,
    MetricsAnswer,
    PairsAnswer,
    PinnedAnswer,
    PromptAnswer,
    RevisionShown,
    RolloutAnswer,
    RolloutsAnswer,
    RunAnswer,
    RunsAnswer,
    TreeAnswer,
)
from metapo.viewing.runs import NAME, Viewed

MAX_PAGE = 200


class Views:
    """What the routes share: the runs, the built pages, and whether people may decide here."""

    def __init__(self, runs: Sequence[Viewed], pages: Mapping[str, Page], limits: Limits, *, can_act: bool) -> None:
        self.runs = {run.name: run for run in runs}
        self.pages = pages
        self.can_act = can_act
        self.limits = limits
        self.ended = asyncio.Event()
        self.n_listeners = 0

    async def stream(self, run: Viewed, begin: str) -> AsyncIterator[bytes]:
        """The rows of a run's metrics that come after an id, each as an event, and a comment now and then. Where rows
        no longer count, an event of the kind reset says so, and those that do come from the first on."""
        self.n_listeners += 1
        generation, _, number = begin.partition(":")
        after, quiet_s = int(number or 0), 0.0
        try:
            yield f"retry: {RETRY_MS}\n\n".encode()
            while not self.ended.is_set():
                known = await asyncio.to_thread(run.figures.read)
                if generation != known.generation:
                    if generation:
                        yield _reset(known.generation)
                    generation, after = known.generation, 0
                rows = [row for row in known.rows if row[0] > after]
                for after, row in rows:
                    yield event(f"{generation}:{after}", row)
                quiet_s = 0.0 if rows else quiet_s + self.limits.poll_s
                if quiet_s >= self.limits.heartbeat_s:
                    yield b": still here\n\n"
                    quiet_s = 0.0
                await _pause(self.ended, self.limits.poll_s)
        finally:
            self.n_listeners -= 1


async def _views(request: Request) -> Views:  # not in a thread of its own, as it waits for nothing
    views: Views = request.app.state.views
    return views


Shared = Annotated[Views, Depends(_views)]


async def _run(
    views: Shared, run: Annotated[str, Path(pattern=NAME, description="A run's name, as /v1/runs tells it.")]
) -> Viewed:
    if run not in views.runs:
        raise Refused(404, "unknown_run", f"there is no run {run!r} here; these are: {', '.join(views.runs)}")
    return views.runs[run]


async def _act(views: Shared, run: Annotated[Viewed, Depends(_run)]) -> Viewed:
    if not views.can_act:
        raise Refused(403, "read_only", "this server only shows: it was started with --read-only")
    return run


Run = Annotated[Viewed, Depends(_run)]
RunToChange = Annotated[Viewed, Depends(_act)]
Step = Annotated[int, Path(ge=0, le=MAX_STEP)]
Steps = Annotated[int | None, Query(ge=0, le=MAX_STEP)]
Cluster = Annotated[Name, Query(description="Prompts that share a rubric; all those without a cluster by default.")]
Revision = Annotated[str, Query(pattern="^[0-9a-f]{4,64}$", description="A revision's id, or how it begins.")]
Cursor = Annotated[str | None, Query(max_length=500, description="Where to go on: `next` of the page before.")]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]
ID = "^[1-9][0-9]{0,9}-(train|eval)-[0-9]{1,10}-[0-9]{1,10}$"
looking = APIRouter(route_class=StrictRoute, responses=ERRORS, prefix="/v1/runs")


@looking.get("", tags=["runs"], openapi_extra=examples.of("runs"))
def runs(views: Shared) -> RunsAnswer:
    """The runs that are shown here, and how each stands."""
    return RunsAnswer(
        version=version_of("metapo"),
        runs=overview.entries(list(views.runs.values())),
        can_act=views.can_act,
        who=_who(),
    )


@looking.get("/{run}", tags=["runs"], openapi_extra=examples.of("run"))
def run(run: Run) -> RunAnswer:
    """One run: its settings, its standing, what it cost."""
    return overview.in_full(run)


@looking.get("/{run}/metrics", tags=["runs"], openapi_extra=examples.of("metrics"))
def metrics(
    run: Run,
    after: Annotated[int, Query(ge=0, le=2**53, description="`newest` of the answer before.")] = 0,
    generation: Annotated[str | None, Query(max_length=64, description="That of the answer before.")] = None,
    columns: Annotated[str | None, Query(max_length=4000, description="Names of columns, by commas.")] = None,
) -> MetricsAnswer:
    """The run's figures, column by column."""
    return overview.metrics(run, after, generation, [n for n in columns.split(",") if n] if columns else None)


@looking.get("/{run}/lineage", tags=["rubric"], openapi_extra=examples.of("tree"))
def tree(run: Run, cluster: Cluster = "") -> TreeAnswer:
    """Every revision of a cluster: what was in force, what waits, what was refused."""
    return lineage.tree(run, cluster)


@looking.get("/{run}/revisions/{revision}", tags=["rubric"], openapi_extra=examples.of("revision_shown"))
def revision(run: Run, revision: Annotated[str, Path(pattern="^[0-9a-f]{4,64}$")]) -> RevisionShown:
    """One revision in full."""
    return lineage.shown(run, revision)


@looking.get("/{run}/diff", tags=["rubric"], openapi_extra=examples.of("diff"))
def diff(run: Run, from_: Annotated[Revision, Query(alias="from")], to: Revision) -> DiffAnswer:
    """What changed from one revision to another, word by word."""
    before, later = run.store.find_revision(from_), run.store.find_revision(to)
    return differences.difference(before.id, before.rubric, later.id, later.rubric)


@looking.get("/{run}/criteria", tags=["rubric"], openapi_extra=examples.of("criteria"))
def criteria_(
    run: Run,
    cluster: Cluster = "",
    split: Split = Split.TRAIN,
    from_step: Steps = None,
    to_step: Steps = None,
    max_steps: Annotated[int, Query(ge=1, le=500)] = 40,
) -> CriteriaAnswer:
    """Each criterion's history: mean, variance, pass rate, correlation with the rest, share unscored."""
    return criteria.history(run, cluster, split, from_step or 0, to_step, max_steps)


@looking.get("/{run}/rollouts", tags=["rollouts"], openapi_extra=examples.of("rollouts"))
def find(
    run: Run,
    order: rollouts.Order = rollouts.Order.NEWEST,
    cursor: Cursor = None,
    limit: Limit = 50,
    split: Split | None = None,
    cluster: Annotated[Name | None, Query()] = None,
    from_step: Steps = None,
    to_step: Steps = None,
    min_reward: Annotated[float | None, Query(allow_inf_nan=False)] = None,
    max_reward: Annotated[float | None, Query(allow_inf_nan=False)] = None,
    revision: Annotated[str | None, Query(pattern="^[0-9a-f]{4,64}$")] = None,
    flag: Annotated[Name | None, Query(description="A detector that fired.")] = None,
    criterion: Annotated[Name | None, Query(description="A criterion that was judged.")] = None,
    points: Annotated[int | None, Query(ge=-(10**6), le=10**6, description="The level given on it.")] = None,
    has_verdict: Annotated[bool | None, Query(description="Has it a verdict on the criterion?")] = None,
    has_reward: Annotated[bool | None, Query(description="Has it a reward?")] = None,
    screened: Annotated[bool | None, Query(description="Did the task's own rule score it?")] = None,
    text: Annotated[Name | None, Query(min_length=1, description="In prompt or completion, whatever the case.")] = None,
    prompt: Annotated[str | None, Query(pattern="^[0-9a-f]{16}$", description="A prompt's id.")] = None,
) -> RolloutsAnswer:
    """Rollouts that are as asked, page by page."""
    wanted = rollouts.Wanted(
        split=split,
        cluster=cluster,
        from_step=from_step,
        to_step=to_step,
        min_reward=min_reward,
        max_reward=max_reward,
        revision=revision,
        flag=flag,
        criterion=criterion,
        points=points,
        has_verdict=has_verdict,
        has_reward=has_reward,
        screened=screened,
        text=text,
        prompt=prompt,
    )
    return rollouts.find(run, wanted, order, cursor, limit)


@looking.get("/{run}/rollouts/{rollout}", tags=["rollouts"], openapi_extra=examples.of("rollout"))
def rollout(run: Run, rollout: Annotated[str, Path(pattern=ID)]) -> RolloutAnswer:
    """One rollout in full: verdicts, reasons, evidence, opinions, calls."""
    return one.rollout(run, rollout)


@looking.get("/{run}/prompts/{prompt}", tags=["rollouts"], openapi_extra=examples.of("prompt"))
def prompt(
    run: Run, prompt: Annotated[str, Path(pattern="^[0-9a-f]{16}$")], cursor: Cursor = None, limit: Limit = 50
) -> PromptAnswer:
    """The same prompt across steps."""
    return one.prompt(run, prompt, cursor, limit)


@looking.get("/{run}/pairs", tags=["rollouts"], openapi_extra=examples.of("pairs"))
def pairs(
    run: Run,
    left: Revision,
    right: Revision,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=50)] = 10,
) -> PairsAnswer:
    """The same prompts under two revisions, side by side."""
    return one.pairs(run, left, right, cursor, limit)


@looking.get("/{run}/meta-steps", tags=["meta steps"], openapi_extra=examples.of("meta_steps"))
def meta_steps_(run: Run, cluster: Annotated[Name | None, Query()] = None) -> MetaStepsAnswer:
    """Every meta step that counts; of all clusters unless one is named."""
    return meta_steps.overview(run, cluster)


@looking.get("/{run}/meta-steps/{step}", tags=["meta steps"], openapi_extra=examples.of("meta_step"))
def meta_step(run: Run, step: Step, cluster: Cluster = "") -> MetaStepAnswer:
    """One meta step: samples, exchanges, proposals, findings."""
    return meta_steps.in_full(run, step, cluster)


@looking.get(
    "/{run}/meta-steps/{step}/exchanges/{position}", tags=["meta steps"], openapi_extra=examples.of("exchange")
)
def exchange(
    run: Run, step: Step, position: Annotated[int, Path(ge=0, le=MAX_STEP)], cluster: Cluster = ""
) -> ExchangeAnswer:
    """What the meta model was asked and answered, word for word."""
    return meta_steps.exchange(run, step, cluster, position)


@looking.get("/{run}/acts", tags=["people"], openapi_extra=examples.of("acts"))
def acts_(run: Run) -> ActsAnswer:
    """What people decided, and what waits for them."""
    return acts.record(run)


@looking.post("/{run}/acts", tags=["people"], status_code=202, openapi_extra=examples.of("act"))
def act(run: RunToChange, body: Annotated[ActRequest, Body()]) -> ActAnswer:
    """Approve, reject, edit, pin, unpin, or ask for a meta step. The run takes it at its next step's beginning."""
    return acts.decide(run, body)


@looking.get("/{run}/anchors", tags=["people"], openapi_extra=examples.of("anchors"))
def anchors(
    run: Run,
    source: Annotated[Name | None, Query(description="anchor, archive or earlier")] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> AnchorsAnswer:
    """Pairs of known order."""
    return acts.anchors(run, source, cursor, limit)


@looking.post("/{run}/anchors", tags=["people"], openapi_extra=examples.of("pin"))
def pin(run: RunToChange, body: Annotated[AnchorsRequest, Body()]) -> PinnedAnswer:
    """Pin pairs whose order somebody knows: no later revision may order them worse."""
    return acts.pin(run, body)


@looking.get(
    "/{run}/events",
    tags=["runs"],
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}, "example": examples.EVENTS}}}},
)
async def events(
    views: Shared,
    run: Run,
    after: Annotated[
        str | None,
        Query(pattern="^(now|[A-Za-z0-9-]{1,40}:[0-9]{1,15})$", description="An event's id, or now: nothing older."),
    ] = None,
    last_event_id: Annotated[str | None, Header(pattern="^[A-Za-z0-9-]{1,40}:[0-9]{1,15}$")] = None,
) -> StreamingResponse:
    """What happens in a run, as server-sent events: a row of its metrics each, of the kind train, eval, trainer, meta,
    act or bridge. An id has the generation before the row's number; an event of the kind reset says that older rows no
    longer count."""
    if views.n_listeners >= views.limits.max_listeners:
        raise Refused(503, "overloaded", f"{views.n_listeners} listeners are all that this server bears", 5)
    begin = last_event_id or after or ""
    if begin == "now":
        known = await asyncio.to_thread(run.figures.read)
        begin = f"{known.generation}:{known.newest}"
    return StreamingResponse(views.stream(run, begin), media_type="text/event-stream")


async def _pause(ended: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(ended.wait(), seconds)
    except TimeoutError:
        return


def _reset(generation: str) -> bytes:
    return f"event: reset\ndata: {json.dumps({'generation': generation})}\n\n".encode()


def _who() -> str:
    """The name to propose for the record, as the command line does."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user without a name, as in some containers
        return ""
