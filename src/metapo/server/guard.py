"""What every request passes before a route sees it: host and origin, token, rate, number under way, size, time.

The guard also answers what no route did, counts, and gives each request an id.
"""

import asyncio
import base64
import hmac
import logging
import re
import time
from collections.abc import Collection, Iterable, Mapping
from typing import Any
from uuid import uuid4

from aiolimiter import AsyncLimiter
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from metapo.errors import MetapoError
from metapo.server.failures import Refused, internal, refused
from metapo.server.figures import Figures
from metapo.server.options import Limits, ServeOptions

OPEN = ("/healthz", "/readyz")
"""Paths that need no token and are answered however busy the server is."""
_AUTHORITY = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^:\[\]/@]*))(?::(\d+))?", re.IGNORECASE)
log = logging.getLogger(__name__)


class Guard:
    """Wraps the application. `in_flight` is how many requests are under way, health checks left out."""

    def __init__(self, app: ASGIApp, options: ServeOptions, figures: Figures, pages: Collection[str] = ()) -> None:
        """`pages` are the paths of built files: they say nothing of a run, so they need no token, and a link on another
        site may lead to them."""
        self.in_flight = 0
        self._pages = pages
        self._app = app
        self._limits = options.limits
        self._hosts = options.hosts
        self._token = options.token
        rate = options.limits.rate
        self._rate = AsyncLimiter(max(1.0, rate), max(1.0, 1 / rate)) if rate else None
        self._figures = figures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        answer = _Answer(send, _request_id(scope))
        scope["state"] = {**scope.get("state", {}), "request": answer.request}
        began = time.monotonic()
        try:
            await self._admit(scope, receive, answer)
        except (Refused, MetapoError) as e:
            await answer.refuse(e if isinstance(e, Refused) else refused(e))
        except asyncio.CancelledError:  # the time for what is under way is over
            await answer.refuse(Refused(503, "stopping", "the server ended before the judge answered; ask again", 5))
        except Exception:
            log.exception("request %s: %s %s failed", answer.request, scope["method"], scope["path"])
            await answer.refuse(internal(answer.request))
        finally:
            route = getattr(scope.get("route"), "path", "none")
            code = answer.code or scope["state"].get("code", "")
            self._figures.answered(route, answer.status, code, time.monotonic() - began)

    async def _admit(self, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        is_page = scope["path"] in self._pages and scope["method"] == "GET"
        self._check_host(headers)
        if not (is_page and headers.get("sec-fetch-mode") == "navigate"):
            _check_origin(headers)
        if scope["path"] in OPEN:
            await self._app(scope, receive, answer.send)
            return
        if not is_page:
            self._check_token(headers)
        if self._rate is not None:
            if not self._rate.has_capacity():
                raise Refused(429, "rate", "more requests per second came than --rate allows", retry_after_s=1)
            await self._rate.acquire()
        if self.in_flight >= self._limits.max_in_flight:
            raise Refused(
                503, "overloaded", f"{self.in_flight} requests are under way, as many as --max-in-flight allows", 1
            )
        self.in_flight += 1
        try:
            body = await read_body(headers, receive, self._limits)
            await self._app(scope, _replay(body, receive), answer.send)
        finally:
            self.in_flight -= 1

    def _check_host(self, headers: Mapping[str, str]) -> None:
        """On loopback a page in a browser of this machine could ask, under a name that it made lead here."""
        host = headers.get("host", "")
        if self._hosts is not None and _name(host) not in self._hosts:
            raise Refused(
                421, "wrong_host", f"this server isn't {host[:80]!r}. Ask for localhost, or name it by --allow-host"
            )

    def _check_token(self, headers: Mapping[str, str]) -> None:
        if self._token is None:
            return
        given = _credentials(headers.get("authorization", ""))
        if given is None:
            raise Refused(401, "no_token", "give the server's token in the header 'Authorization: Bearer TOKEN'")
        if not hmac.compare_digest(given.encode(), self._token.encode()):
            raise Refused(401, "wrong_token", "this isn't the server's token")


def _check_origin(headers: Mapping[str, str]) -> None:
    """A page of another site that a browser of this machine shows could ask in its user's name."""
    origin = headers.get("origin")
    is_foreign = origin is not None and origin.rpartition("//")[2] != headers.get("host", "")
    if is_foreign or headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        raise Refused(403, "wrong_origin", "a page of another site asks; only programs and own pages may")


class _Answer:
    """What goes back, with the request's id; whether an answer began, and how it ended."""

    def __init__(self, send: Send, request: str) -> None:
        self.request = request
        self.status = 0
        self.code = ""
        self._send = send

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            given = list(message.get("headers", ()))
            named = {name.lower() for name, _ in given}
            more = [(name, value) for name, value in _fields(self._always()) if name not in named]
            message = {**message, "headers": [*given, *more]}
        await self._send(message)

    async def refuse(self, refusal: Refused) -> None:
        """Answer with an error, if no answer has begun."""
        self.code = refusal.code
        if self.status:
            return
        body = refusal.body(self.request)
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **refusal.headers()}
        start = {"type": "http.response.start", "status": refusal.status, "headers": _fields(headers)}
        await self.send(start)
        await self._send({"type": "http.response.body", "body": body})

    def _always(self) -> dict[str, str]:
        return {"X-Request-Id": self.request, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}


async def read_body(headers: Mapping[str, str], receive: Receive, limits: Limits) -> bytes:
    """The whole body, in time and within the limit. Raises Refused."""
    too_large = Refused(
        413, "too_large", f"the body is longer than {limits.max_body} bytes. Send fewer rollouts at a time."
    )
    told = headers.get("content-length", "0")
    if not told.isdecimal() or int(told[:20]) > limits.max_body:
        raise too_large
    parts: list[bytes] = []
    n_bytes, more = 0, True
    try:
        async with asyncio.timeout(limits.body_s):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Refused(400, "cut", "the connection ended before the body did")
                parts.append(message.get("body", b""))
                n_bytes += len(parts[-1])
                if n_bytes > limits.max_body:
                    raise too_large
                more = message.get("more_body", False)
    except TimeoutError:
        raise Refused(408, "slow", f"the body took more than {limits.body_s:g} s to come") from None
    return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body once more, then whatever comes."""
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return waiting.pop() if waiting else await receive()

    return replayed


def _request_id(scope: Scope) -> str:
    """The id that the client gave, if it can stand in a log; else a new one."""
    given: Any = next((v.decode("latin-1") for n, v in scope["headers"] if n == b"x-request-id"), "")
    return given if re.fullmatch(r"[A-Za-z0-9._-]{1,64}", given) else uuid4().hex[:16]


def _name(host: str) -> str | None:
    """The name in a Host header, without its port."""
    found = _AUTHORITY.fullmatch(host)
    return (found[1] or found[2] or "").lower() if found else None


def _credentials(authorization: str) -> str | None:
    """The token in the header: a bearer's, or the password of a URL such as http://metapo:TOKEN@host."""
    kind, _, value = authorization.partition(" ")
    if kind.lower() == "bearer":
        return value.strip()
    if kind.lower() == "basic":
        try:
            return base64.b64decode(value.strip(), validate=True).decode("latin-1").partition(":")[2]
        except ValueError:  # no base64, or no ASCII
            return ""
    return None


def _fields(headers: Mapping[str, str]) -> Iterable[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
