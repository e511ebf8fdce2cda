"""A real chat server on loopback whose behaviour is a function: one request in, one answer out.

`with ChatServer(in_turn(status(503), verdicts())) as server:` serves at `server.url` until the block ends.
"""

import json
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True)
class Ask:
    """One request as it came; `number` counts from 1."""

    number: int
    body: Mapping[str, Any]
    headers: Mapping[str, str]

    @property
    def prompt(self) -> str:
        """The text of the newest message."""
        return str(self.body["messages"][-1]["content"])


@dataclass(frozen=True)
class Answer:
    """What goes back. `cut` closes the connection halfway through the body; `hang` sends nothing until the server
    stops; `drip_s` waits that long between single bytes of the body."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    content_encoding: str = "identity"
    location: str = ""
    retry_after: str = ""
    cut: bool = False
    hang: bool = False
    drip_s: float = 0.0


Behaviour = Callable[[Ask], Answer]


def completion(text: str | None, *, finish_reason: str = "stop", usage: bool = True) -> dict[str, Any]:
    """The body of a chat completion; usage counts words in `text` against a prompt of 7 tokens."""
    body: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "served-model",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish_reason},
        ],
    }
    if usage:
        n_words = len((text or "").split())
        body["usage"] = {"prompt_tokens": 7, "completion_tokens": n_words, "total_tokens": 7 + n_words}
    return body


def sends(payload: Any) -> Behaviour:
    """Answers 200 with any JSON."""
    body = json.dumps(payload).encode()
    return lambda ask: Answer(body=body)


def says(text: str | None, *, finish_reason: str = "stop", usage: bool = True) -> Behaviour:
    """Answers with a chat completion that holds `text`."""
    return sends(completion(text, finish_reason=finish_reason, usage=usage))


def status(code: int, message: str = "scripted failure") -> Behaviour:
    """Answers with an HTTP status and an error in the usual shape."""
    return lambda ask: Answer(status=code, body=json.dumps({"error": {"message": message}}).encode())


def html() -> Behaviour:
    """Answers 200 with a web page, as a proxy or a wrong path does."""
    return lambda ask: Answer(body=b"<html><body>Welcome to nginx!</body></html>", content_type="text/html")


def hangs() -> Behaviour:
    """Takes the request and never answers."""
    return lambda ask: Answer(hang=True)


def drips(text: str, every_s: float) -> Behaviour:
    """Sends a good answer one byte at a time."""
    return lambda ask: Answer(body=json.dumps(completion(text)).encode(), drip_s=every_s)


def cuts(text: str = "half of this never arrives") -> Behaviour:
    """Closes the connection in the middle of the body."""
    return lambda ask: Answer(body=json.dumps(completion(text)).encode(), cut=True)


def verdicts(choose: Callable[[list[int]], int] = max) -> Behaviour:
    """Judges: reads the criteria, their points and their keys from the prompt and gives each the level that `choose`
    picks, with a rationale where one is asked for. Asked for anything else, it says yes."""

    def behave(ask: Ask) -> Answer:
        points, keys = offered(ask.prompt), keys_by_criterion(ask.prompt)
        with_reasons = '"rationale"' in _instructions(ask.prompt)
        entries = {
            keys[name]: {"rationale": "scripted", "points": choose(on_offer)} if with_reasons else choose(on_offer)
            for name, on_offer in points.items()
            if name in keys
        }
        return says(json.dumps(entries) if entries else "yes")(ask)

    return behave


def in_turn(*behaviours: Behaviour) -> Behaviour:
    """The first behaviour for the first request, and so on; the last one stays."""
    return lambda ask: behaviours[min(ask.number, len(behaviours)) - 1](ask)


def offered(prompt: str) -> dict[str, list[int]]:
    """The points on offer by criterion id in a judge's prompt; what stands in fences doesn't count."""
    items = re.findall(r'^<item id="([^"]+)"[^>]*>$(.*?)^</item>$', _instructions(prompt), re.MULTILINE | re.DOTALL)
    return {name: [int(p) for p in re.findall(r"^- \*\*(-?\d+)\*\*: ", text, re.MULTILINE)] for name, text in items}


def keys_by_criterion(prompt: str) -> dict[str, str]:
    """The key of each criterion id in a judge's prompt."""
    after_the_rubric = _instructions(prompt).rpartition("</rubric>")[2]
    return {name: key for key, name in re.findall(r'"([a-z]+)" for ([a-z0-9_-]+)', after_the_rubric)}


def _instructions(prompt: str) -> str:
    """What stands before the first fence."""
    return re.split(r"^~{8,}", prompt, maxsplit=1, flags=re.MULTILINE)[0]


class ChatServer:
    """Serves `behaviour` at `url` while the context is open.

    `asks` keeps the requests in order of arrival, `most_in_flight` how many were under way at once; `asked` is set
    from the first request on.
    """

    def __init__(self, behaviour: Behaviour, models: Sequence[Mapping[str, Any]] | None = None) -> None:
        """`models` is what the server lists at /v1/models; without it there is no such path."""
        self.behaviour = behaviour
        self.models = models
        self.asks: list[Ask] = []
        self.most_in_flight = 0
        self.asked = threading.Event()
        self.stopping = threading.Event()
        self._in_flight = 0
        # Guards asks, most_in_flight and _in_flight: each connection has its own thread.
        self._lock = threading.Lock()
        self._http = _Listener(("127.0.0.1", 0), type("Handler", (_Handler,), {"chat": self}))
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    @property
    def n_requests(self) -> int:
        return len(self.asks)

    @property
    def in_flight(self) -> int:
        return self._in_flight

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stopping.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def answer(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> Answer:
        with self._lock:
            ask = Ask(len(self.asks) + 1, body, headers)
            self.asks.append(ask)
            self._in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self._in_flight)
        self.asked.set()
        # The count goes down before the first byte goes out, as the client may ask again once it has the last.
        try:
            answer = self.behaviour(ask)
            if answer.hang:
                self.stopping.wait()
            return answer
        finally:
            with self._lock:
                self._in_flight -= 1


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a client that cancels is none
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    chat: ChatServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/v1/models" and self.chat.models is not None:
            self._send(sends({"object": "list", "data": list(self.chat.models)})(Ask(0, {}, {})))
        else:
            self._send(status(404, f"no such path: {self.path}")(Ask(0, {}, {})))

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        raw = self.rfile.read(length)
        if len(raw) < length:  # the client cancelled while it sent
            self.close_connection = True
            return
        if self.path != "/v1/chat/completions":
            self._send(status(404, f"no such path: {self.path}")(Ask(0, {}, {})))
            return
        body = json.loads(raw)
        if wrong := _wrong(body):
            self._send(status(400, wrong)(Ask(0, body, {})))
            return
        self._send(self.chat.answer(body, dict(self.headers)))

    def _send(self, answer: Answer) -> None:
        if answer.hang:
            self.close_connection = True
            return
        try:
            self._write(answer)
        except (BrokenPipeError, ConnectionResetError):  # the client gave up, as some tests ask it to
            self.close_connection = True

    def _write(self, answer: Answer) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Encoding", answer.content_encoding)
        self.send_header("Content-Length", str(len(answer.body)))
        if answer.location:
            self.send_header("Location", answer.location)
        if answer.retry_after:
            self.send_header("Retry-After", answer.retry_after)
        self.end_headers()
        if answer.cut:
            self.wfile.write(answer.body[: len(answer.body) // 2])
            self.close_connection = True
        elif answer.drip_s:
            for byte in answer.body:
                self.wfile.write(bytes([byte]))
                time.sleep(answer.drip_s)
        else:
            self.wfile.write(answer.body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def _wrong(body: Any) -> str:
    """Why a request is no chat request, as a strict server would say; empty when it is one."""
    if not isinstance(body, dict) or not isinstance(body.get("model"), str):
        return "'model' must be a text"
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        return "'messages' must be a list that is not empty"
    if any(set(m) != {"role", "content"} or not isinstance(m["content"], str) for m in messages):
        return "each message needs a role and a content"
    return ""


@contextmanager
def refused_url() -> Iterator[str]:
    """A URL whose port is taken but not listened on, so connections are refused."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
