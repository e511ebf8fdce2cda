"""The routes: each parses, calls the service, and shows what came of it."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from importlib.metadata import version as version_of
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, FastAPI, Header, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import StreamingResponse
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException

from metapo.anchors import pair_of
from metapo.api import (
    MAX_STEP,
    Adopted,
    ErrorAnswer,
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
from metapo.errors import DataError, MetapoError
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
from metapo.server.failures import Refused, internal, refused
from metapo.server.figures import Figures
from metapo.server.options import ServeOptions, Unscored
from metapo.server.reading import read_json
from metapo.server.scoring import Scoring, asked_of, numbers, shown
from metapo.service import RewardService
from metapo.store import Store

_BEARER = HTTPBearer(auto_error=False, description="The server's token. The guard checks it; this describes it.")
METRICS_TYPE = "text/plain; version=1.0.0; charset=utf-8"
_MEANINGS: dict[int | str, str] = {
    400: "No JSON, or JSON that two readers could read differently.",
    401: "The token is missing or wrong.",
    404: "There is no such thing.",
    409: "The run was stopped, or what is asked for can't be done in its state.",
    413: "The body is too long.",
    415: "The body is not declared as application/json.",
    422: "A field is missing, unknown or wrong.",
    429: "More requests per second than are allowed. Retry-After says when to come again.",
    "4XX": "The request is refused.",
    "5XX": "The server, the store or the judge failed. With Retry-After, the same request may succeed later.",
}
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorAnswer, "description": text} for status, text in _MEANINGS.items()
}


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


class _Read(Request):
    """A request whose JSON has been read."""

    value: Any = None

    async def json(self) -> Any:
        return self.value


class _StrictRoute(APIRoute):
    """Reads JSON by `read_json`, and only where the body is declared as such."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def strict(request: Request) -> Response:
            read = _Read(request.scope, request.receive)
            if self.body_field is not None:
                kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
                if kind != "application/json":
                    raise Refused(415, "not_json", f"give Content-Type: application/json; got {kind[:80]!r}")
                read.value = read_json(await read.body())
            return await handle(read)

        return strict


api = APIRouter(route_class=_StrictRoute, responses=ERRORS)


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


def make_app(server: Server) -> FastAPI:
    """The application, without its guard."""
    app = FastAPI(
        title="metapo reward server",
        version=version_of("metapo"),
        description="Rewards from an LLM judge under a rubric that evolves. Every error has the shape of ErrorAnswer.",
        docs_url=None,
        redoc_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.router.redirect_slashes = False
    app.state.server = server
    app.include_router(api, dependencies=[Depends(_BEARER)] if server.options.token else [])
    for kind in (Refused, MetapoError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, _told)
    return app


async def _told(request: Request, error: Exception) -> Response:
    """The answer to a request that met an error. One that nobody foresaw is logged by the guard."""
    refusal = _refusal(request, error)
    request.state.code = refusal.code
    body = refusal.body(request.state.request)
    return Response(body, refusal.status, refusal.headers(), media_type="application/json")


def _refusal(request: Request, error: Exception) -> Refused:
    match error:
        case Refused():
            return error
        case MetapoError():
            return refused(error)
        case RequestValidationError():
            return _invalid(error)
        case HTTPException():
            return _http(request, error)
    return internal(request.state.request)


def _invalid(error: RequestValidationError) -> Refused:
    lines = [_line(part) for part in error.errors()]
    more = f"\n  and {len(lines) - 10} more" if len(lines) > 10 else ""
    return Refused(422, "invalid", "the request is wrong in these fields:\n" + "\n".join(lines[:10]) + more)


def _line(part: dict[str, Any]) -> str:
    where = ".".join(str(p) for p in part["loc"] if p != "body") or "(top)"
    got = "" if part["type"] == "missing" else f"; got {_kind(part.get('input'))}"
    return f"  {where}: {part['msg'].removeprefix('Value error, ')}{got}"


def _kind(value: Any) -> str:
    """What came, without a word of what somebody wrote."""
    match value:
        case str():
            return f"a text of {len(value)} characters"
        case list() | tuple():
            return f"a list of {len(value)}"
        case dict():
            return "an object"
    return repr(value)[:40]


def _http(request: Request, error: HTTPException) -> Refused:
    """Starlette's own errors: no such path, or not by this method."""
    path = request.url.path[:80]
    if error.status_code == 404:
        return Refused(404, "no_such_path", f"there is no {path!r}; /openapi.json lists what there is")
    if error.status_code == 405:
        allow = (error.headers or {}).get("Allow", "")
        return Refused(405, "wrong_method", f"{path!r} takes {allow}, not {request.method[:20]}", allow=allow)
    return Refused(error.status_code, "refused", str(error.detail))
