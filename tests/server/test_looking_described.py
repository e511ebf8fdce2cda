"""The description of the routes of `metapo ui` says what they do: examples hold, and answers are as described."""

from collections.abc import Iterator

import pytest
import schemathesis
from bench.ui.made import make
from pydantic import TypeAdapter
from schemathesis import GenerationMode

from metapo.server import looking_examples as examples
from metapo.viewing import answers
from tests.server.looking import Shown, shown
from tests.server.test_openapi import fuzz

SHAPES = {
    "runs": answers.RunsAnswer,
    "run": answers.RunAnswer,
    "metrics": answers.MetricsAnswer,
    "tree": answers.TreeAnswer,
    "revision_shown": answers.RevisionShown,
    "diff": answers.DiffAnswer,
    "criteria": answers.CriteriaAnswer,
    "rollouts": answers.RolloutsAnswer,
    "rollout": answers.RolloutAnswer,
    "prompt": answers.PromptAnswer,
    "pairs": answers.PairsAnswer,
    "meta_steps": answers.MetaStepsAnswer,
    "meta_step": answers.MetaStepAnswer,
    "exchange": answers.ExchangeAnswer,
    "acts": answers.ActsAnswer,
    "act": answers.ActAnswer,
    "anchors": answers.AnchorsAnswer,
    "pin": answers.PinnedAnswer,
}
REQUESTS = {"act": answers.ActRequest, "pin": answers.AnchorsRequest}


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    with shown(make(tmp_path_factory.mktemp("made") / "essay", 320, n_meta_steps=2)) as server:
        yield server


@pytest.mark.parametrize("name", examples.ANSWERS)
def test_each_example_of_an_answer_has_its_shape(name: str) -> None:
    shape = TypeAdapter(SHAPES[name])
    assert shape.dump_python(shape.validate_python(examples.ANSWERS[name]), mode="json") == examples.ANSWERS[name]


@pytest.mark.parametrize("name", examples.REQUESTS)
def test_each_example_of_a_request_can_be_sent(name: str) -> None:
    TypeAdapter(REQUESTS[name]).validate_python(examples.REQUESTS[name])


def test_every_route_is_told_in_the_head_of_the_answers(up: Shown) -> None:
    lines = [line.split() for line in (answers.__doc__ or "").splitlines()]
    told = {words[1] for words in lines if words[:1] in (["GET"], ["POST"])}
    assert set(up.get("/openapi.json").json()["paths"]) == told


def test_every_route_has_an_example_and_tells_of_errors(up: Shown) -> None:
    for path, methods in up.get("/openapi.json").json()["paths"].items():
        for operation in methods.values():
            good = next(r for status, r in operation["responses"].items() if status.startswith("2"))
            assert any("example" in content for content in good["content"].values()), path
            errors = [r for status, r in operation["responses"].items() if not status.startswith("2")]
            shapes = {r["content"]["application/json"]["schema"]["$ref"] for r in errors}
            assert shapes == {"#/components/schemas/ErrorAnswer"}, path
            assert operation["description"], path


@pytest.mark.parametrize("mode", GenerationMode)
def test_whatever_is_sent_is_answered_as_described(up: Shown, mode: GenerationMode) -> None:
    description = up.get("/openapi.json").json()
    for methods in description["paths"].values():
        for operation in methods.values():  # a run that is there is worth more than names that are none
            for parameter in operation.get("parameters", ()):
                if parameter["name"] == "run":
                    parameter["schema"] = {"type": "string", "enum": ["essay"]}
    described = schemathesis.openapi.from_dict(description).exclude(path_regex="events$")
    operations = [found.ok() for found in described.get_all_operations()]
    assert len(operations) == 18
    for operation in operations:
        if mode is GenerationMode.POSITIVE or operation.body or operation.query:
            fuzz(operation.as_strategy(generation_mode=mode), up.url, max_examples=6)
