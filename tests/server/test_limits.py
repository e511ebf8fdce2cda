"""What the server bears: size, time, number; and clients that go away."""

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from metapo.server.options import Limits
from metapo.store import Store
from tests.server.parts import Up, as_json, as_response, check_error, one, raw, running, served
from tests.servers import Answer, Ask, ChatServer, verdicts

SMALL = Limits(max_body=1000, head_s=0.3, body_s=0.3, linger_s=0.3, max_connections=20, grace_s=5)


class Gate:
    """A judge that answers when it is let."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self._answer = verdicts()

    def __call__(self, ask: Ask) -> Answer:
        if "~ completion" in ask.prompt:
            assert self.open.wait(20)
        return self._answer(ask)


def head(*lines: str) -> bytes:
    host = ("POST /v1/score HTTP/1.1", "Host: localhost", "Content-Type: application/json")
    return "\r\n".join([*host, *lines, "", ""]).encode()


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    with served(tmp_path_factory.mktemp("run") / "run", limits=SMALL) as server:
        yield server


def test_a_long_body_is_refused_by_its_length(up: Up) -> None:
    began = time.monotonic()
    received = raw(up.url, head("Content-Length: 100000"))
    message = check_error(as_response(received), 413, "too_large")
    assert "1000 bytes" in message
    assert time.monotonic() - began < 5, "nothing waits for the rest"


def test_a_long_body_in_chunks_is_refused(up: Up) -> None:
    chunk = b"200\r\n" + b" " * 0x200 + b"\r\n"
    received = raw(up.url, head("Transfer-Encoding: chunked") + chunk * 5)
    check_error(as_response(received), 413, "too_large")
    check_error(up.post_raw("/v1/score", b" " * 5000), 413, "too_large")


def test_a_length_that_is_none(up: Up) -> None:
    for length in ("-1", "1e3", "9" * 30, "5, 6"):
        response = as_response(raw(up.url, head(f"Content-Length: {length}")))
        assert response.status_code in (400, 413)
        check_error(response, response.status_code, {400: "bad_http", 413: "too_large"}[response.status_code])


def test_a_slow_head_and_a_slow_body_are_cut(up: Up) -> None:
    check_error(as_response(raw(up.url, b"POST /v1/score HTTP/1.1\r\nHost: loc")), 408, "slow")
    assert raw(up.url, b"", wait_s=5).startswith(b"HTTP/1.1 408")
    check_error(as_response(raw(up.url, head("Content-Length: 100") + b"{")), 408, "slow")


def test_a_head_that_drips_is_cut(up: Up) -> None:
    at = urlsplit(up.url)
    began = time.monotonic()
    with socket.create_connection((at.hostname, at.port), timeout=10) as sock:
        try:
            while time.monotonic() - began < 5:
                sock.sendall(b"X")
                time.sleep(0.05)
        except OSError:
            pass
    assert time.monotonic() - began < 4


def test_a_connection_that_is_reused_may_be_slow_between_requests_but_not_within(up: Up) -> None:
    at = urlsplit(up.url)
    with socket.create_connection((at.hostname, at.port), timeout=10) as sock:
        for _ in range(2):
            sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            received = b""
            while b"alive" not in received:
                received += sock.recv(65536)
            time.sleep(0.5)
        sock.sendall(b"GET /hea")
        assert b"408" in sock.recv(65536)


def test_connections_are_bounded(up: Up) -> None:
    at = urlsplit(up.url)
    many = [socket.create_connection((at.hostname, at.port), timeout=10) for _ in range(40)]
    try:
        time.sleep(0.1)
        many[-1].settimeout(5)
        assert many[-1].recv(65536).startswith(b"HTTP/1.1 503")
    finally:
        for sock in many:
            sock.close()
    time.sleep(0.5)
    assert up.get("/healthz").status_code == 200


def test_requests_under_way_are_bounded_and_health_still_answers(tmp_path: Path) -> None:
    gate = Gate()
    limits = Limits(max_in_flight=2, grace_s=5)
    with (
        ChatServer(gate) as judge,
        running(tmp_path / "run", judge, limits=limits) as up,
        ThreadPoolExecutor(2) as pool,
    ):
        first = [pool.submit(up.post, "/v1/score", one(f"waits {i}")) for i in range(2)]
        wait_for(lambda: judge.in_flight == 2)
        response = up.post("/v1/score", one("too many"))
        assert "2 requests are under way" in check_error(response, 503, "overloaded")
        assert up.get("/healthz").status_code == 200
        gate.open.set()
        assert [f.result().status_code for f in first] == [200, 200]
        assert up.post("/v1/score", one("later")).status_code == 200


def test_the_rate_is_bounded(tmp_path: Path) -> None:
    with served(tmp_path / "run", limits=Limits(rate=0.01, grace_s=5)) as up:
        assert up.get("/v1/rubric").status_code == 200
        check_error(up.get("/v1/rubric"), 429, "rate")
        assert up.get("/healthz").status_code == 200


def test_an_answer_that_nobody_waited_for_is_given_to_the_same_request(tmp_path: Path) -> None:
    """As OpenRLHF does: it gives up after a while and sends the same once more, without a key."""
    gate = Gate()
    payload = {"query": ["pa"], "prompts": ["p"], "labels": [""]}
    with served(tmp_path / "run") as up:
        up.judge.behaviour = gate
        before = up.judge.n_requests
        with pytest.raises(httpx2.ReadTimeout):
            httpx2.post(f"{up.url}/get_reward", json=payload, timeout=0.5)
        wait_for(lambda: up.judge.in_flight == 1)
        gate.open.set()
        time.sleep(0.3)
        assert up.post("/get_reward", payload).json()["rewards"] == [1.0]
        assert up.judge.n_requests == before + 1
        assert up.get("/v1/status").json()["rollouts"] == 1
        assert up.post("/get_reward", payload).json()["rewards"] == [1.0]
        assert up.get("/v1/status").json()["rollouts"] == 2, "an equal completion of the group is one of its own"


def test_an_answer_from_before_the_trainer_went_back_is_given_to_nobody(tmp_path: Path) -> None:
    """It told another server of the run."""
    gate = Gate()
    payload = {"query": ["pa"], "prompts": ["p"], "labels": [""]}
    with served(tmp_path / "run") as up, running(tmp_path / "run", up.judge) as other:
        up.judge.behaviour = gate
        with pytest.raises(httpx2.ReadTimeout):
            httpx2.post(f"{up.url}/get_reward", json=payload, timeout=0.5)
        wait_for(lambda: up.judge.in_flight == 1)
        gate.open.set()
        wait_for(lambda: up.get("/v1/status").json()["rollouts"] == 1)
        assert other.post("/v1/step", {"step": 0, "resumed": True}).status_code == 200
        assert up.post("/get_reward", payload).json()["rewards"] == [1.0]
    with closing(Store(tmp_path / "run" / "store.db")) as store:
        assert [len(store.batch(attempt, 0, None)) for attempt in (1, 2)] == [1, 1]


def test_a_body_that_is_cut_off_does_nothing(up: Up) -> None:
    at = urlsplit(up.url)
    body = as_json(one())
    before = up.judge.n_requests
    with socket.create_connection((at.hostname, at.port), timeout=10) as sock:
        sock.sendall(head(f"Content-Length: {len(body)}") + body[:-5])
    time.sleep(0.2)
    assert up.judge.n_requests == before
    assert up.get("/healthz").status_code == 200


def wait_for(condition, timeout_s: float = 10.0) -> None:  # type: ignore[no-untyped-def]
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)
