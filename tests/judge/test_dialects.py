"""The README's judges, each against a server of its dialect, in every mode; and what `judge check` says of it."""

from typing import Any

import pytest
import yaml

from metapo.judge.check import Finding, Mark, check
from metapo.judge.endpoint import EndpointSettings, LocalSettings
from metapo.judge.judge import Judge, JudgeSettings
from metapo.judge.openai import OpenAITransport
from metapo.rollout import Rollout
from metapo.rubric import Verdict
from metapo.settings import Settings
from tests.dialects import DIALECTS, KEY, Dialect
from tests.docs.test_docs import ROOT, blocks
from tests.helpers import criterion, rubric
from tests.servers import ChatServer, html, says, status

[README] = [b for b in blocks((ROOT / "README.md").read_text()) if b.note == "judges"]
JUDGES = yaml.safe_load(README.text)
RUBRIC = rubric(criterion("depth", (0, 2, 5)), criterion("style", (0, 1)), criterion("flattery", (-4, 0)))
ROLLOUT = Rollout(prompt="Write about tea.", completion="Tea is fine.")
each_dialect = pytest.mark.parametrize("name", DIALECTS)


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_API_KEY", KEY)


def endpoint(name: str, server: ChatServer) -> EndpointSettings:
    """The judge as the README writes it, at the server's address."""
    return EndpointSettings.model_validate({**JUDGES[name], "url": server.url})


def test_every_judge_of_the_readme_is_one() -> None:
    found = {name: Settings(rubric=RUBRIC, judge=judge).judge for name, judge in JUDGES.items()}
    assert DIALECTS.keys() == {name for name, judge in found.items() if isinstance(judge, EndpointSettings)}
    assert [judge.local for judge in found.values() if isinstance(judge, LocalSettings)] == ["models/judge"]


@each_dialect
@pytest.mark.parametrize(
    "settings",
    [
        {"rationales": "never"},
        {"rationales": "always"},
        {"mode": "split"},
        {"mode": "expected"},
        {"mode": "expected", "min_label_mass": 0.9},
    ],
    ids=str,
)
async def test_a_judge_in_every_mode(name: str, settings: dict[str, Any]) -> None:
    with DIALECTS[name].serve(JUDGES[name]["model"]) as server:
        transport = OpenAITransport(endpoint(name, server))
        judge = Judge(transport, task="Write.", settings=JudgeSettings(**settings))
        assessment = await judge.assess(RUBRIC, ROLLOUT)
        await transport.aclose()
    outcomes = [o for o in assessment.outcomes if isinstance(o, Verdict)]
    assert [o.points for o in outcomes] == [5, 1, 0]
    has_mean = settings.get("mode") == "expected" and DIALECTS[name].logprobs
    # llama.cpp reports what the model would have said without a grammar, where the letters have 60 % of the mass
    has_mean &= DIALECTS[name].masked or settings.get("min_label_mass") is None
    assert [o.expected for o in outcomes] == (pytest.approx([4.6, 0.9, -0.4]) if has_mean else [None] * 3)
    assert [c.error for c in assessment.calls] == [""] * len(assessment.calls)
    assert all(bool(o.rationale) == (settings.get("rationales") == "always") for o in outcomes)


async def findings(server: ChatServer, name: str) -> dict[str, Finding]:
    transport = OpenAITransport(endpoint(name, server))
    found = {f.name: f async for f in check(transport)}
    await transport.aclose()
    return found


def is_fine(dialect: Dialect) -> dict[str, bool]:
    return {"json schema": dialect.schema, "log-probabilities": dialect.logprobs, "prefix caching": dialect.cached}


@each_dialect
async def test_check_finds_out_what_a_server_can(name: str) -> None:
    dialect = DIALECTS[name]
    with dialect.serve(JUDGES[name]["model"]) as server:
        found = await findings(server, name)
    assert {n: found[n].mark is Mark.GOOD for n in is_fine(dialect)} == is_fine(dialect)
    entry = dict(dialect.entry)
    said = "the model was trained on 8192 tokens" if "meta" in entry else "the server does not say"
    length = entry.get("max_model_len")
    assert found["context"].text.startswith(f"{length} tokens" if length else said)
    assert found["speed"].text.startswith("16 rollouts at once: ")
    # this judge gives the top level to a wrong answer too
    assert (found["judging"].mark, found["verdict"].mark) == (Mark.BAD, Mark.BAD)
    assert "a wrong one 2: no judge of use" in found["judging"].text
    assert found["verdict"].text == "not fit to judge: judging"


async def test_check_of_a_server_that_judges_well() -> None:
    vllm = DIALECTS["vllm"].serve(JUDGES["vllm"]["model"])
    plain = vllm.behaviour
    vllm.behaviour = lambda ask: says('{"a": 0}')(ask) if "trains" in ask.prompt else plain(ask)
    vllm.behaviour = _keeping_the_model(vllm.behaviour, JUDGES["vllm"]["model"])
    with vllm as server:
        found = await findings(server, "vllm")
    assert {f.mark for f in found.values()} == {Mark.GOOD}, found
    assert found["verdict"].text == "fit to judge"


def _keeping_the_model(behaviour: Any, model: str) -> Any:
    def behave(ask: Any) -> Any:
        answer = behaviour(ask)
        return type(answer)(body=answer.body.replace(b"served-model", model.encode()))

    return behave


@pytest.mark.parametrize(
    ("server", "says_what"),
    [
        (ChatServer(status(401, "no key")), "answered 401"),
        (ChatServer(html()), "no chat completion"),
        (ChatServer(says("I can't judge that.")), "a trial had no verdict"),
    ],
    ids=["refused", "no API", "no JSON"],
)
async def test_check_of_a_server_that_is_not_fit(server: ChatServer, says_what: str) -> None:
    with server:
        transport = OpenAITransport(EndpointSettings(url=server.url, model="m", deadline_s=0.3))
        found = [f async for f in check(transport)]
        await transport.aclose()
    assert found[-1].mark is Mark.BAD
    assert any(says_what in f.text for f in found if f.mark is Mark.BAD)
