"""What the servers' applications share: how JSON is read, how errors look, how an application is made."""

from collections.abc import Callable, Coroutine, Sequence
from importlib.metadata import version as version_of
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException

from metapo.api import ErrorAnswer
from metapo.errors import MetapoError
from metapo.server.failures import Refused, internal, refused
from metapo.server.reading import read_json

_BEARER = HTTPBearer(auto_error=False, description="The server's token. The guard checks it; this describes it.")
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


class _Read(Request):
    """A request whose JSON has been read."""

    value: Any = None

    async def json(self) -> Any:
        return self.value


class StrictRoute(APIRoute):
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


def new_app(title: str, description: str, routers: Sequence[APIRouter], *, has_token: bool) -> FastAPI:
    """An application of these routes, without its guard."""
    app = FastAPI(
        title=title,
        version=version_of("metapo"),
        description=description,
        docs_url=None,
        redoc_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.router.redirect_slashes = False
    for router in routers:
        app.include_router(router, dependencies=[Depends(_BEARER)] if has_token else [])
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
