"""A real reward server on loopback, in a thread, with a judge on loopback behind it, and raw ways to ask it."""

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2

from metapo.engines.connect import connect
from metapo.judge.endpoint import EndpointSettings
from metapo.judge.judge import JudgeSettings
from metapo.reward import Screen, screen_nothing
from metapo.server.options import Limits, ServeOptions, Unscored
from metapo.server.running import Running, Served, listen, serve
from metapo.settings import MetaSchedule, Settings
from metapo.store import Counting
from tests.helpers import rubric
from tests.servers import ChatServer, verdicts

TOKEN = "a-token-that-nobody-guesses"


@dataclass(frozen=True)
class Up:
    """A server that runs; its judge is `judge`."""

    url: str
    judge: ChatServer
    stop: Any

    def get(self, path: str, **more: Any) -> httpx2.Response:
        return httpx2.get(self.url + path, timeout=30, **more)

    def post(self, path: str, body: Any, **more: Any) -> httpx2.Response:
        return httpx2.post(self.url + path, json=body, timeout=30, **more)

    def post_raw(self, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> httpx2.Response:
        headers = {"Content-Type": "application/json"} | dict(headers or {})
        return httpx2.post(self.url + path, content=body, headers=headers, timeout=30)


def settings(judge_url: str, **more: Any) -> Settings:
    endpoint = EndpointSettings(
        url=judge_url, model="judge", structured="json_schema", timeout_s=5, deadline_s=1, max_in_flight=256
    )
    fields = {"judging": JudgeSettings(warm_up=False), "meta": MetaSchedule(every=0), "max_unscored": 1.0, **more}
    return Settings(rubric=rubric(), judge=endpoint, **fields)


@contextmanager
def running(
    folder: Path,
    judge: ChatServer,
    *,
    limits: Limits | None = None,
    counting: Counting | None = None,
    told: Mapping[str, Any] | None = None,
    screen: Screen = screen_nothing,
    **options: Any,
) -> Iterator[Up]:
    """A server until the block ends; what stops it from beginning is raised here. `told` is for the settings."""
    limits = limits or Limits(grace_s=5)
    under = settings(judge.url, **(told or {}))
    with serving(Served(under, folder, counting=counting, screen=screen), limits=limits, **options) as first:
        yield Up(first.url, judge, first.stop)


@contextmanager
def serving(what: Served, **options: Any) -> Iterator[Running]:
    """A server of these settings until the block ends."""
    chosen = ServeOptions(port=0, **{"host": "127.0.0.1", **options})
    with in_a_thread(lambda ready: serve(what, chosen, listen(chosen.host, 0), connect(what.settings), ready)) as first:
        yield first


@contextmanager
def in_a_thread(begin: Callable[[Callable[[Running], None]], Coroutine[Any, Any, None]]) -> Iterator[Running]:
    """A server in a thread until the block ends; what stops it from beginning is raised here."""
    begun = threading.Event()
    found: list[Running | BaseException] = []

    def ready(server: Running) -> None:
        found.append(server)
        begun.set()

    def work() -> None:
        try:
            asyncio.run(begin(ready))
        except BaseException as e:
            found.append(e)
        finally:
            begun.set()

    thread = threading.Thread(target=work)
    thread.start()
    assert begun.wait(30)
    first = found[0]
    if isinstance(first, BaseException):
        thread.join()
        raise first
    try:
        yield first
    finally:
        if thread.is_alive():
            first.stop()
        thread.join(60)
    assert len(found) == 1, found[1]


@contextmanager
def served(folder: Path, **more: Any) -> Iterator[Up]:
    """With a judge that gives each criterion its best level, for engines too."""
    engines = {"counting": Counting(groups=2, group_size=2), "unscored": Unscored.RAISE}
    with ChatServer(verdicts()) as judge, running(folder, judge, **{**engines, **more}) as up:
        yield up


def check_error(response: httpx2.Response, status: int, code: str) -> str:
    """The one shape of every error; returns its message."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert body.keys() == {"error"}
    error = body["error"]
    assert error.keys() == {"code", "message", "retryable", "request"}
    assert error["code"] == code, error
    assert isinstance(error["message"], str)
    assert error["message"].strip()
    assert error["retryable"] == ("retry-after" in response.headers)
    assert error["request"] == response.headers.get("x-request-id", "")
    assert TOKEN not in response.text
    return error["message"]


def raw(url: str, data: bytes, *, wait_s: float = 10.0) -> bytes:
    """What comes back for bytes sent as they are, until the server hangs up or says no more."""
    at = urlsplit(url)
    received = b""
    with socket.create_connection((at.hostname, at.port), timeout=wait_s) as sock:
        sock.sendall(data)
        while True:
            try:
                part = sock.recv(65536)
            except (TimeoutError, ConnectionResetError):
                return received
            if not part:
                return received
            received += part


def as_response(received: bytes) -> httpx2.Response:
    """An HTTP answer read by hand."""
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return httpx2.Response(int(first.split()[1]), headers=headers, content=body)


def one(completion: str = "Yes: they save lives.", **more: Any) -> dict[str, Any]:
    """A request for one rollout."""
    return {"rollouts": [{"prompt": "Bike lanes?", "completion": completion, "step": 0, **more}]}


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()
