"""The description of the server says what it does: its examples work, and whatever is sent is answered as described."""

from collections.abc import Iterator

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy
from pydantic import TypeAdapter
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from metapo import api
from metapo.server import engines, examples
from metapo.server.options import Limits
from tests.server.parts import Up, check_error, served

CHECKS = [not_a_server_error, content_type_conformance, response_schema_conformance, status_code_conformance]
SHAPES = {
    "score": api.ScoreAnswer,
    "get_reward": engines.OpenRLHFAnswer,
    "slime": float,
    "rubric": api.InForceAnswer,
    "lineage": api.LineageAnswer,
    "revision": api.RevisionAnswer,
    "step": api.StepAnswer,
    "step_figures": api.StepFiguresAnswer,
    "finish": api.StepAnswer,
    "evolve": api.EvolveAnswer,
    "feedback": api.FeedbackAnswer,
    "status": api.StatusAnswer,
}
PATHS = {
    "score": "/v1/score",
    "get_reward": "/get_reward",
    "slime": "/score",
    "step": "/v1/step",
    "evolve": "/v1/evolve",
    "feedback": "/v1/feedback",
}
ENDLESS = "/v1/events"
LOOKING = "^/v1/runs"  # tests/server/test_looking_described.py sends to these


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    limits = Limits(max_body=2**20, grace_s=2)
    with served(tmp_path_factory.mktemp("run") / "run", limits=limits) as server:
        yield server


@pytest.mark.parametrize("name", PATHS)
def test_each_example_of_a_request_is_answered_as_its_example(up: Up, name: str) -> None:
    answer = up.post(PATHS[name], examples.REQUESTS[name])
    assert answer.is_success, answer.text
    if isinstance(examples.ANSWERS[name], dict):
        assert answer.json().keys() == examples.ANSWERS[name].keys()


@pytest.mark.parametrize("name", SHAPES)
def test_each_example_of_an_answer_has_its_shape(name: str) -> None:
    example = examples.ANSWERS[name]
    known = TypeAdapter(SHAPES[name]).validate_python(example)
    assert TypeAdapter(SHAPES[name]).dump_python(known, mode="json") == example


def test_every_route_has_an_example_and_tells_of_errors(up: Up) -> None:
    found = up.get("/openapi.json").json()
    for path, methods in found["paths"].items():
        for method, operation in methods.items():
            where = f"{method} {path}"
            good = next(r for status, r in operation["responses"].items() if status.startswith("2"))
            assert any("example" in content for content in good["content"].values()), where
            if "requestBody" in operation:
                assert "example" in operation["requestBody"]["content"]["application/json"], where
            errors = [r for status, r in operation["responses"].items() if not status.startswith("2")]
            shapes = {r["content"]["application/json"]["schema"]["$ref"] for r in errors}
            assert shapes == {"#/components/schemas/ErrorAnswer"}, where
            assert operation["description"], where


@pytest.mark.parametrize("mode", GenerationMode)
def test_whatever_is_sent_is_answered_as_described(up: Up, mode: GenerationMode) -> None:
    """Requests that fit the description, and requests that don't."""
    described = schemathesis.openapi.from_dict(up.get("/openapi.json").json()).exclude(path=ENDLESS)
    described = described.exclude(path_regex=LOOKING)
    operations = [found.ok() for found in described.get_all_operations()]
    assert len(operations) >= 12
    for operation in operations:
        if mode is GenerationMode.POSITIVE or operation.body or operation.query:
            fuzz(operation.as_strategy(generation_mode=mode), up.url)


def fuzz(cases: SearchStrategy[Case], url: str, max_examples: int = 12) -> None:
    @settings(max_examples=max_examples, suppress_health_check=list(HealthCheck), database=None)
    @given(cases)
    def send(case: Case) -> None:
        response = case.call(base_url=url)
        case.validate_response(response, checks=CHECKS)
        if response.status_code >= 400:
            told = httpx2.Response(
                response.status_code,
                headers=[(name, value) for name, values in response.headers.items() for value in values],
                content=response.content,
            )
            check_error(told, response.status_code, told.json()["error"]["code"])

    send()
