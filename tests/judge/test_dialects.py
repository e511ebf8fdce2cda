"""The README's judges, each against a server of its dialect, in every mode; and what `judge check` says of it."""

from dataclasses import replace
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
from tests.servers import Behaviour, ChatServer, completion, hangs, html, says, sends, status

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


async def long_prompts(server: ChatServer, **settings: Any) -> Finding:
    with server:
        transport = OpenAITransport(EndpointSettings(url=server.url, model="m", **settings))
        found = {f.name: f async for f in check(transport)}
        await transport.aclose()
    return found["long prompts"]


@pytest.mark.parametrize("name", ["vllm", "ollama"])
async def test_check_of_a_server_that_cuts_long_prompts_silently(name: str) -> None:
    """Ollama keeps the end of what exceeds num_ctx."""
    found = await long_prompts(replace(DIALECTS[name], reads_chars=4 * 4096).serve("m"))
    assert found.mark is Mark.BAD
    assert "4096 tokens of 40" in found.text
    assert "num_ctx" in found.text


def asked_for_the_ferry(behaviour: Behaviour) -> ChatServer:
    """A vLLM that behaves so when it is asked for the name of the ferry, after a long prompt."""
    server = DIALECTS["vllm"].serve("m")
    plain = server.behaviour
    server.behaviour = lambda ask: (behaviour if "the name of the ferry?" in ask.prompt else plain)(ask)
    return server


@pytest.mark.parametrize(
    ("text", "usage", "mark"),
    [
        ("Juniper", {"prompt_tokens": 9000}, Mark.GOOD),
        ('"Juniper"', {}, Mark.GOOD),
        ("<think>Almond? No.</think>It is called Juniper.", {"prompt_tokens": 0}, Mark.GOOD),
        ("Juniper or Walnut", {"prompt_tokens": 9000}, Mark.ADVICE),
        ("Walnut", {"prompt_tokens": 8192}, Mark.ADVICE),
        ("", {"prompt_tokens": 9000}, Mark.ADVICE),
        ("Walnut", {}, Mark.BAD),
        ("Juniper", {"prompt_tokens": 4096}, Mark.BAD),  # a guess among ten names
    ],
)
async def test_check_of_what_is_said_about_a_long_prompt(text: str, usage: dict[str, int], mark: Mark) -> None:
    reply = completion(text) | {"model": "m", "usage": {"completion_tokens": 1, **usage}}
    assert (await long_prompts(asked_for_the_ferry(sends(reply)))).mark is mark


@pytest.mark.parametrize(("length", "least"), [(4096, 10_600), (1_000_000, 39_900), (400, 0)])
async def test_a_long_prompt_fits_into_the_context_that_is_reported(length: int, least: int) -> None:
    server = replace(DIALECTS["vllm"], entry=(("max_model_len", length),)).serve("m")
    assert (await long_prompts(server)).mark is Mark.GOOD
    [prompt] = [ask.prompt for ask in server.asks if "the name of the ferry?" in ask.prompt]
    assert least <= len(prompt) <= min(max(300, 3 * length), 40_500)


@pytest.mark.parametrize(
    ("behaviour", "says_what"),
    [
        (status(400, "This model's maximum context length is 4096 tokens."), "don't fit into the context"),
        (hangs(), "no answer to 40"),
    ],
    ids=["too long", "too slow"],
)
async def test_a_long_prompt_that_is_not_answered_is_no_fault(behaviour: Behaviour, says_what: str) -> None:
    found = await long_prompts(asked_for_the_ferry(behaviour), timeout_s=4, deadline_s=4)
    assert found.mark is Mark.ADVICE
    assert says_what in found.text


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
