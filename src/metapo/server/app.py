"""The routes: each parses, calls the service, and shows what came of it."""

import asyncio
import time
from collections.abc import Callable
from importlib.metadata import version as version_of
from typing import Annotated

from fastapi import APIRouter, Body, Depends, FastAPI, Header, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from metapo.anchors import pair_of
from metapo.api import (
    MAX_STEP,
    Adopted,
    EvolveAnswer,
    EvolveRequest,
    FeedbackAnswer,
    FeedbackRequest,
    InForceAnswer,
    LineageAnswer,
    MetaStepEnded,
    Name,
    RevisionAnswer,
    ScoreAnswer,
    ScoreRequest,
    StatusAnswer,
    StepAnswer,
    StepFiguresAnswer,
    StepRequest,
)
from metapo.errors import DataError
from metapo.scale import Scale
from metapo.server import examples
from metapo.server.engines import (
    OpenRLHFAnswer,
    OpenRLHFRequest,
    SlimeAnswer,
    SlimeRequest,
    openrlhf_asked,
    slime_asked,
)
from metapo.server.events import Events
from metapo.server.failures import Refused
from metapo.server.figures import Figures
from metapo.server.framework import ERRORS, StrictRoute, new_app
from metapo.server.options import ServeOptions, Unscored
from metapo.server.pages import add_pages
from metapo.server.scoring import Scoring, asked_of, numbers, shown
from metapo.server.views import Views, looking
from metapo.service import RewardService
from metapo.store import Store

METRICS_TYPE = "text/plain; version=1.0.0; charset=utf-8"


class Server:
    """What the routes share: the service, its store, and what this process counts."""

    def __init__(
        self, service: RewardService, store: Store, options: ServeOptions, *, counts_steps: bool = False
    ) -> None:
        """`counts_steps`: the service counts completions where a request tells no step."""
        self.service = service
        self.store = store
        self.options = options
        self.figures = Figures()
        self.scoring = Scoring(service, store, self.figures)
        self.events = Events(service, options.limits)
        self.counts_steps = counts_steps
        self.stopping = False
        self.in_flight: Callable[[], int] = lambda: 0
        self.began = time.monotonic()

    def stop(self) -> None:
        """The server is about to end."""
        self.stopping = True

    def policy(self) -> Unscored:
        """What engines get that know no step and no null. Raises Refused where nobody said so."""
        lacks = [] if self.counts_steps else ["--groups-per-step N, as they tell no step"]
        lacks += [] if self.options.unscored else ["--unscored raise or neutral, as they know no null"]
        if lacks or self.options.unscored is None:
            raise Refused(409, "not_set_up", f"to serve OpenRLHF and slime, start with {', and '.join(lacks)}")
        return self.options.unscored


async def _server(request: Request) -> Server:
    server: Server = request.app.state.server
    return server


Shared = Annotated[Server, Depends(_server)]
Cluster = Annotated[Name, Query(description="Prompts that share a rubric; all those without a cluster by default.")]


api = APIRouter(route_class=StrictRoute, responses=ERRORS)


@api.post("/v1/score", tags=["rewards"], openapi_extra=examples.of("score"))
async def score(request: Request, server: Shared, body: Annotated[ScoreRequest, Body()]) -> ScoreAnswer:
    """Score rollouts under the rubric in force. Each is on record when the answer comes.

    A rollout that could not be judged has the reward null: leave it out of its group. Give each rollout a `key`, and a
    request whose answer was lost can be sent again without being scored again.
    """
    judged = await server.scoring.score(request, [asked_of(r) for r in body.rollouts])
    keys = [r.key for r in body.rollouts]
    return ScoreAnswer(rollouts=tuple(shown(r, key) for r, key in zip(judged.records, keys, strict=True)))


@api.post("/get_reward", tags=["engines"], openapi_extra=examples.of("get_reward"))
async def get_reward(request: Request, server: Shared, body: Annotated[OpenRLHFRequest, Body()]) -> OpenRLHFAnswer:
    """OpenRLHF's remote reward model (--reward.remote_url). Steps are counted; what a rollout without a reward gets is
    as --unscored says."""
    policy = server.policy()
    judged = await server.scoring.score(request, openrlhf_asked(body, server.options.end_marks))
    rewards = numbers(judged, policy, server.scoring)
    logs = {
        "unscored": tuple(float(record.value is None) for record in judged.records),
        "metapo_step": tuple(float(record.rollout.step) for record in judged.records),
    }
    return OpenRLHFAnswer(rewards=rewards, scores=rewards, extra_logs=logs)


@api.post("/score", tags=["engines"], openapi_extra=examples.of("slime"))
async def slime(
    request: Request, server: Shared, body: Annotated[SlimeRequest, Body()], detail: Annotated[bool, Query()] = False
) -> float | SlimeAnswer:
    """slime's remote reward model (--rm-type remote_rm): a number, or an object with detail=true."""
    policy = server.policy()
    judged = await server.scoring.score(request, [slime_asked(body)])
    [reward] = numbers(judged, policy, server.scoring)
    if not detail:
        return reward
    [record] = judged.records
    unscored = record.value is None
    return SlimeAnswer(reward=reward, unscored=unscored, step=record.rollout.step, revision=record.revision_id)


@api.get("/v1/rubric", tags=["rubric"], openapi_extra=examples.of("rubric"))
async def rubric(server: Shared, cluster: Cluster = "") -> InForceAnswer:
    """The revision in force."""
    found = server.service.in_force(cluster)
    return InForceAnswer(
        cluster=cluster, step=server.service.step, id=found.revision.id, revision=found.revision, scale=found.scale
    )


@api.get("/v1/rubric/lineage", tags=["rubric"], openapi_extra=examples.of("lineage"))
async def lineage(server: Shared, cluster: Cluster = "") -> LineageAnswer:
    """All revisions that were in force, and how meta steps ended."""
    adoptions = await asyncio.to_thread(server.store.adoptions, cluster)
    decisions = await asyncio.to_thread(server.store.decisions, cluster)
    return LineageAnswer(
        cluster=cluster,
        adoptions=tuple(
            Adopted(step=a.step, id=a.revision.id, revision=a.revision, scale=Scale(factor=a.factor, shift=a.shift))
            for a in adoptions
        ),
        meta_steps=tuple(
            MetaStepEnded(
                step=d.step, adopt_step=d.adopt_step, decision=d.decision, parent=d.parent_id, child=d.child_id
            )
            for d in decisions
        ),
    )


@api.get("/v1/rubric/{revision}", tags=["rubric"], openapi_extra=examples.of("revision"))
async def revision(
    server: Shared, revision: Annotated[str, Path(pattern="^[0-9a-f]{4,64}$", description="An id, or how it begins.")]
) -> RevisionAnswer:
    """One revision, in force or not."""
    found = await asyncio.to_thread(server.store.find_revision, revision)
    return RevisionAnswer(id=found.id, revision=found)


@api.post("/v1/step", tags=["run"], openapi_extra=examples.of("step"))
async def step(server: Shared, body: Annotated[StepRequest, Body()]) -> StepAnswer:
    """Announce how many optimizer steps are done. Trainers that tell each rollout's step need this only after going
    back to a checkpoint, with `resumed`."""
    await server.service.begin_step(body.step, resumed=body.resumed)
    return StepAnswer(step=server.service.step)


@api.get("/v1/step/{step}", tags=["run"], openapi_extra=examples.of("step_figures"))
async def step_figures(server: Shared, step: Annotated[int, Path(ge=0, le=MAX_STEP)]) -> StepFiguresAnswer:
    """What a step's training rollouts came to so far. Trainers that replace what fails ask before they go on."""
    records = await asyncio.to_thread(server.store.rollouts, from_step=step, to_step=step + 1)
    error = server.service.error
    return StepFiguresAnswer(
        step=step,
        rollouts=len(records),
        unscored=sum(record.value is None for record in records),
        max_unscored=server.service.settings.max_unscored,
        stopped=str(error) if error else None,
    )


@api.post("/v1/finish", tags=["run"], openapi_extra=examples.of("finish"))
async def finish(server: Shared) -> StepAnswer:
    """Say that training ended: the figures of the last step and of the last evaluation are noted, which otherwise the
    next step's first request does. Asked again, it notes nothing twice."""
    await server.service.finish()
    return StepAnswer(step=server.service.step)


@api.post("/v1/evolve", tags=["run"], status_code=202, openapi_extra=examples.of("evolve"))
async def evolve(server: Shared, body: Annotated[EvolveRequest, Body()]) -> EvolveAnswer:
    """Ask for a meta step at the next step's boundary, whatever the schedule says."""
    return EvolveAnswer(act=await server.service.ask_to_evolve(body.who, body.why))


@api.post("/v1/feedback", tags=["run"], openapi_extra=examples.of("feedback"))
async def feedback(server: Shared, body: Annotated[FeedbackRequest, Body()]) -> FeedbackAnswer:
    """Pin pairs whose order is known: no later revision may order them worse."""
    pairs = []
    for i, pair in enumerate(body.pairs):
        try:
            pairs.append(pair_of(pair.model_dump(), pair.better, pair.worse, f"feedback by {body.who}"))
        except DataError as e:
            raise DataError(f"pair {i}: {e}") from e
    return FeedbackAnswer(pinned=await server.service.feedback(pairs, body.who))


@api.get("/v1/status", tags=["run"], openapi_extra=examples.of("status"))
async def status(server: Shared) -> StatusAnswer:
    """How the run stands: the first thing to ask when rewards stop coming."""
    error = server.service.error
    return StatusAnswer(
        version=version_of("metapo"),
        step=server.service.step,
        stopped=str(error) if error else None,
        rollouts=server.figures.n_rollouts,
        unscored=server.figures.n_unscored,
        in_flight=server.in_flight(),
        uptime_s=time.monotonic() - server.began,
    )


@api.get(
    "/v1/events",
    tags=["run"],
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}, "example": examples.EVENTS}}}},
)
async def events(
    server: Shared,
    after: Annotated[int, Query(ge=0, description="Begin after the row of this number.")] = 0,
    last_event_id: Annotated[str | None, Header(pattern="^[0-9]{1,18}$")] = None,
) -> StreamingResponse:
    """What happens in the run, as server-sent events: a row of its metrics each, of the kind train, eval, meta, act or
    bridge. A browser's EventSource goes on by itself after a break, others give Last-Event-ID or `after`."""
    server.events.admit()
    begin = int(last_event_id) if last_event_id is not None else after
    return StreamingResponse(server.events.stream(begin), media_type="text/event-stream")


@api.get(
    "/metrics",
    tags=["run"],
    response_class=Response,
    responses={200: {"content": {METRICS_TYPE: {"schema": {"type": "string"}, "example": examples.METRICS}}}},
)
async def metrics(server: Shared) -> Response:
    """The figures of this process, for Prometheus."""
    spent = await asyncio.to_thread(server.store.spent)
    stopped = server.service.error is not None
    text = server.figures.shown(in_flight=server.in_flight(), step=server.service.step, stopped=stopped, spent=spent)
    return Response(text, media_type=METRICS_TYPE)


@api.get("/healthz", tags=["health"], openapi_extra=examples.of("healthz"))
async def healthz() -> dict[str, str]:
    """Is this process alive?"""
    return {"status": "alive"}


@api.get("/readyz", tags=["health"], openapi_extra=examples.of("readyz"))
async def readyz(server: Shared) -> dict[str, str]:
    """Does it score? It says no more than that, as it is answered without a token: ask /v1/status why not."""
    if server.stopping:
        raise Refused(503, "stopping", "the server is about to end", retry_after_s=5)
    if server.service.error is not None:
        raise Refused(503, "run_stopped", "the run was stopped; /v1/status says by what")
    return {"status": "ready"}


def make_app(server: Server, views: Views | None = None) -> FastAPI:
    """The application, without its guard; with `views` also what people look at."""
    app = new_app(
        "metapo reward server",
        "Rewards from an LLM judge under a rubric that evolves. Every error has the shape of ErrorAnswer.",
        (api,) if views is None else (api, looking),
        has_token=server.options.token is not None,
    )
    app.state.server = server
    if views is not None:
        app.state.views = views
        add_pages(app, views.pages)
    return app
