"""What the server refuses, always in one shape: bad requests, strangers, pages of other sites."""

import base64
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from metapo import errors
from metapo.errors import MetapoError
from metapo.reward import Screened
from metapo.rollout import Rollout
from metapo.server.failures import CODES, refused
from tests.server.parts import TOKEN, Up, as_json, as_response, check_error, one, raw, running, served
from tests.servers import ChatServer, verdicts

SCORE = "/v1/score"


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with served(tmp_path_factory.mktemp("run") / "run") as server:
        yield server


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A server that asks for a token."""
    with served(tmp_path_factory.mktemp("run") / "run", token=TOKEN) as server:
        yield server


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b'{"rollouts": [}', "line 1, column 15"),
        (b"\xff\xfe", "not UTF-8"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b'{"step": NaN}', "NaN is no JSON number"),
        (b'{"step": -Infinity}', "-Infinity"),
        (b'{"step": 1e999}', "beyond what a float"),
        (b'{"step": ' + b"9" * 5000 + b"}", "a number that can't be read"),
        (b'{"step": 1, "step": 2}', "'step' twice"),
        (b"[" * 100 + b"]" * 100, "nested deeper"),
        (b'{"a":' * 30_000 + b"1" + b"}" * 30_000, "nested deeper"),
        (b'{"a": 1}garbage', "not JSON"),
        (b"\x00", "not JSON"),
    ],
)
def test_hostile_json(up: Up, body: bytes, said: str) -> None:
    assert said in check_error(up.post_raw("/v1/step", body), 400, "bad_json")


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/v1/step", "text", "(top)"),
        ("/v1/step", {"step": -1}, "step: "),
        ("/v1/step", {"step": 2**31}, "step: "),
        ("/v1/step", {"step": 10**400}, "step: "),
        ("/v1/step", {"step": 1.5}, "step: "),
        ("/v1/step", {"stepp": 1}, "stepp: Extra inputs"),
        (SCORE, {"rollouts": []}, "rollouts: "),
        (SCORE, {"rollouts": [{"prompt": "p", "completion": 3, "step": 0}]}, "rollouts.0.completion"),
        (SCORE, one(split="test"), "rollouts.0.split"),
        (SCORE, one(key="a\x00b"), "rollouts.0.key"),
        (SCORE, one(key="k" * 300), "rollouts.0.key"),
        (SCORE, one(cluster="a\nb"), "rollouts.0.cluster"),
        (SCORE, {"rollouts": [*one(key="k")["rollouts"], *one("b", key="k")["rollouts"]]}, "have the key 'k'"),
        (SCORE, {"rollouts": one()["rollouts"] * 1025}, "at most 1024"),
        ("/v1/evolve", {"who": "", "why": "x"}, "who: "),
        ("/v1/feedback", {"who": "me", "pairs": []}, "pairs: "),
        ("/get_reward", {"query": [], "prompts": [], "labels": []}, "query: "),
        ("/score", {"prompt": "p"}, "response: "),
    ],
)
def test_wrong_fields_are_named(up: Up, path: str, body: object, said: str) -> None:
    assert said in check_error(up.post_raw(path, as_json(body)), 422, "invalid")


def test_a_lone_surrogate_in_a_name_is_refused(up: Up) -> None:
    body = b'{"rollouts": [{"prompt": "p", "completion": "c", "step": 0, "key": "\\ud800"}]}'
    assert "key" in check_error(up.post_raw(SCORE, body), 422, "invalid")


@pytest.mark.parametrize(
    ("path", "body", "came"),
    [
        ("/v1/step", {"step": "secret" * 1000}, "a text of 6000 characters"),
        (SCORE, {"rollouts": [{"prompt": ["secret"], "completion": "c"}]}, "a text of 6 characters"),
        (SCORE, {"rollouts": [{"prompt": "p", "completion": {"said": "secret"}}]}, "got an object"),
        (SCORE, one(clusters=["secret"]), "a list of 1"),
        (SCORE, one(step=-1.5), "got -1.5"),
        ("/get_reward", {"query": "secret", "prompts": ["p"], "labels": [""]}, "a text of 6 characters"),
    ],
)
def test_what_came_is_described_and_not_told_back(up: Up, path: str, body: object, came: str) -> None:
    message = check_error(up.post_raw(path, as_json(body)), 422, "invalid")
    assert came in message
    assert "secret" not in message
    assert len(message) < 400


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_only_declared_json_is_read(up: Up, kind: str) -> None:
    check_error(up.post_raw(SCORE, as_json(one()), {"Content-Type": kind}), 415, "not_json")


def test_paths_and_methods(up: Up) -> None:
    check_error(up.get("/v2/score"), 404, "no_such_path")
    check_error(up.get("/v1/score/"), 404, "no_such_path")
    response = up.get(SCORE)
    check_error(response, 405, "wrong_method")
    assert response.headers["allow"] == "POST"
    check_error(up.post("/v1/status", {}), 405, "wrong_method")


def test_bytes_that_are_no_http(up: Up) -> None:
    check_error(as_response(raw(up.url, b"hello there\r\n\r\n")), 400, "bad_http")


# --- who may ask


@pytest.mark.parametrize("path", ["/v1/rubric", "/v1/events", "/metrics", "/v1/status", "/openapi.json", "/nowhere"])
def test_without_the_token_nothing_is_told(closed: Up, path: str) -> None:
    response = closed.get(path)
    check_error(response, 401, "no_token")
    assert response.headers["www-authenticate"].startswith("Bearer")


def test_a_stranger_is_refused_before_the_body_is_read(closed: Up) -> None:
    check_error(closed.post_raw(SCORE, b"{" * 1000), 401, "no_token")


@pytest.mark.parametrize(
    "given", ["Bearer wrong", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer", "Basic !", "Basic ü", "Bearer ü"]
)
def test_a_wrong_token(closed: Up, given: str) -> None:
    response = closed.get("/v1/rubric", headers={"Authorization": given.encode("latin-1")})
    check_error(response, 401, "wrong_token")


def test_the_token_opens(closed: Up) -> None:
    assert closed.get("/v1/rubric", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
    described = closed.get("/openapi.json", headers={"Authorization": f"bearer {TOKEN}"}).json()
    assert described["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"


def test_the_token_in_a_url_opens_for_engines_that_send_no_header(closed: Up) -> None:
    """aiohttp, which OpenRLHF and slime use, makes this header of http://metapo:TOKEN@host."""
    basic = base64.b64encode(f"metapo:{TOKEN}".encode()).decode()
    assert closed.get("/v1/rubric", headers={"Authorization": f"Basic {basic}"}).status_code == 200


def test_health_needs_no_token_and_says_little(closed: Up) -> None:
    assert closed.get("/healthz").json() == {"status": "alive"}
    assert closed.get("/readyz").json() == {"status": "ready"}


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost@evil.example", "", "[::2]", "localhost:80:80"]
)
def test_on_loopback_another_name_is_refused(up: Up, host: str) -> None:
    """DNS rebinding: a page of evil.example, whose name now leads to this machine."""
    received = raw(up.url, f"GET /v1/rubric HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    check_error(as_response(received), 421, "wrong_host")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9", "127.0.0.1:1234", "[::1]:80"])
def test_on_loopback_its_own_names_are_let_in(up: Up, host: str) -> None:
    received = raw(up.url, f"GET /v1/rubric HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    assert as_response(received).status_code == 200


def test_another_name_can_be_allowed(tmp_path: Path) -> None:
    with served(tmp_path / "run", names=("rewards.internal",)) as up:
        assert up.get("/v1/rubric", headers={"Host": "rewards.internal"}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_pages_of_other_sites_are_refused(up: Up, headers: dict[str, str]) -> None:
    check_error(up.get("/v1/rubric", headers=headers), 403, "wrong_origin")


def test_a_page_of_its_own_is_let_in(up: Up) -> None:
    headers = {"Origin": up.url, "Sec-Fetch-Site": "same-origin"}
    assert up.get("/v1/rubric", headers=headers).status_code == 200


# --- errors of ours, and none of ours


async def broken_screen(rollout: Rollout) -> Screened | None:
    raise ValueError(f"a task's own code fails on {rollout.completion}")


def test_what_nobody_foresaw_is_logged_and_not_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.ERROR, "metapo"),
        ChatServer(verdicts()) as judge,
        running(tmp_path / "run", judge, screen=broken_screen) as up,
    ):
        message = check_error(up.post(SCORE, one("secret words")), 500, "internal")
        assert "secret words" not in message
        assert up.get("/v1/rubric").status_code == 200
    [record] = [r for r in caplog.records if r.name == "metapo.server.guard"]
    assert record.getMessage().split()[1].rstrip(":") in message


def test_every_error_of_ours_has_a_code() -> None:
    kinds = [k for k in vars(errors).values() if isinstance(k, type) and issubclass(k, MetapoError)]
    for kind in kinds:
        error = kind.__new__(kind)
        told = refused(error)
        nearest = next(k for k in kind.__mro__ if k in CODES)
        assert (told.status, told.code) == CODES[nearest][:2]
        assert 400 <= told.status < 600
        if kind.retryable:
            assert told.retryable, f"{kind.__name__} may pass, and its answer doesn't say so"
