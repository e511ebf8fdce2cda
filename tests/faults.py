"""What can go wrong between a judge and its server: one table, run for real by tests/judge/test_faults.py and by
docs/write_faults.py, which makes docs/faults.md of it.

The server is a judge that reads its verdicts off the completion, so that every reward can be checked against what was
said: of "depth 2, style 1" it says {"a": 2, "b": 1}.
"""

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

from metapo.errors import ChatMisconfigured
from metapo.judge.endpoint import EndpointSettings
from metapo.judge.judge import JudgeSettings
from metapo.judge.ledger import Ledger
from metapo.judge.openai import OpenAITransport
from metapo.judge.transport import Try
from metapo.reward import Scored
from metapo.rollout import Rollout
from metapo.rubric import Criterion, Level, Outcome, Revision, Rubric, Verdict
from metapo.scorer import Connections, Scorer
from metapo.settings import Settings
from tests.servers import Answer, Ask, Behaviour, completion, html, in_turn, refused_url, says, sends, status

# --- a judge that can be checked


def _criterion(criterion_id: str, *points: int) -> Criterion:
    levels = tuple(Level(points=p, description=f"worth {p}") for p in points)
    return Criterion(id=criterion_id, name=criterion_id.title(), levels=levels)


RUBRIC = Rubric(criteria=(_criterion("depth", 0, 2, 5), _criterion("style", 0, 1)))
REVISION = Revision(rubric=RUBRIC, step=0, proposer="test", reason="written by hand")
PLAIN = JudgeSettings()


def rollout(number: int, depth: int, style: int, n_more: int = 0) -> Rollout:
    """A rollout that deserves these points, with `n_more` words behind those that say so."""
    text = f"Essay {number} has depth {depth}, style {style}." + n_more * " and"
    return Rollout(prompt="Write.", completion=text, position=number)


def deserved(text: str) -> dict[str, int]:
    """The points by criterion that a completion, or a prompt that shows one, says it deserves."""
    depth, style = re.findall(r"depth (\d+), style (\d+)", text)[-1]
    return {"depth": int(depth), "style": int(style)}


def verdict(ask: Ask) -> dict[str, int]:
    """By key, what is right to say to a request for JSON: all that it asks for."""
    keys = dict(re.findall(r'"(\w+)" for (\w+)', ask.prompt))
    only = re.search(r"Give these keys and no others: (.*)\.$", ask.prompt)
    points = deserved(ask.prompt)
    return {key: points[name] for key, name in keys.items() if only is None or f'"{key}"' in only[1]}


def letter(ask: Ask) -> str:
    """What is right to say to a request for one letter."""
    found = re.search(r"Judge this criterion now: (\w+)\. Its levels, from worst to best: (.*)\. Answer", ask.prompt)
    assert found is not None, ask.prompt[-300:]
    levels = {int(points): name for name, points in re.findall(r"(\w+) = (-?\d+) points", found[2])}
    return levels[deserved(ask.prompt)[found[1]]]


def judges(ask: Ask) -> Answer:
    """A judge that is never wrong, and answers the client's questions about itself like any others."""
    if "Essay" not in ask.prompt:
        return says("tea")(ask)
    return says(letter(ask) if "Judge this criterion now" in ask.prompt else json.dumps(verdict(ask)))(ask)


# --- a server that can fail


@dataclass(frozen=True)
class Failure(Answer):
    """`reset` drops the connection before a byte goes out. `restart_s` kills the server, which is back after so many
    seconds on the same port."""

    reset: bool = False
    restart_s: float = 0.0


class LoopServer:
    """Serves `behaviour` at `url` in the running event loop, fast enough for many thousand requests.

    `n_dropped` counts the connections that the client closed while it was owed an answer.
    """

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.n_requests = 0
        self.n_dropped = 0
        self.in_flight = 0
        self.most_in_flight = 0
        self._port = 0
        self._open: set[asyncio.StreamWriter] = set()
        self._restarting: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._restarting is not None:
            await self._restarting
        self.kill()
        await asyncio.sleep(0)

    async def start(self) -> None:
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", self._port, backlog=512)
        self._port = self._listener.sockets[0].getsockname()[1]

    def kill(self) -> None:
        """Stop listening, and drop every connection."""
        self._listener.close()
        for writer in self._open:
            writer.transport.abort()

    async def _restart(self, after_s: float) -> None:
        self.kill()
        await asyncio.sleep(after_s)
        await self.start()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                while await self._exchange(reader, writer):
                    pass
        finally:
            self._open.discard(writer)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its answer; False when the connection is to be closed."""
        if (first := await reader.readexactly(1)) != b"P":  # no POST: somebody speaks TLS
            return False
        head = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        length = re.search(r"(?im)^content-length: (\d+)", head)
        body = json.loads(await reader.readexactly(int(length[1]) if length else 0))
        self.n_requests += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            answer = self.behaviour(Ask(self.n_requests, body, {}))
            if answer.hang:
                await reader.read(1)  # nothing more comes, but for the end of the connection
                self.n_dropped += 1
                return False
        finally:
            self.in_flight -= 1
        if isinstance(answer, Failure) and answer.restart_s:
            self._restarting = asyncio.create_task(self._restart(answer.restart_s))
            return False
        if isinstance(answer, Failure) and answer.reset:
            writer.transport.abort()
            return False
        await _write(writer, answer)
        return not answer.cut


async def _write(writer: asyncio.StreamWriter, answer: Answer) -> None:
    head = {
        "Content-Type": answer.content_type,
        "Content-Encoding": answer.content_encoding,
        "Content-Length": str(len(answer.body)),
        "Location": answer.location,
        "Retry-After": answer.retry_after,
    }
    lines = [f"HTTP/1.1 {answer.status} -", *(f"{name}: {value}" for name, value in head.items() if value), "", ""]
    writer.write("\r\n".join(lines).encode())
    if answer.cut:
        writer.write(answer.body[: len(answer.body) // 2])
    elif answer.drip_s:
        for byte in answer.body:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(answer.drip_s)
    else:
        writer.write(answer.body)
    await writer.drain()


# --- behaviours


def fails(**how: Any) -> Behaviour:
    return lambda ask: Failure(**how)


def half(ask: Ask) -> Answer:
    return replace(judges(ask), cut=True)


def drips(ask: Ask) -> Answer:
    return replace(judges(ask), drip_s=0.05)


def busy(code: int, retry_after: str = "") -> Behaviour:
    return lambda ask: replace(status(code, "too many requests")(ask), retry_after=retry_after)


def body(code: int, payload: Any) -> Behaviour:
    return lambda ask: replace(sends(payload)(ask), status=code)


def message(finish_reason: str = "stop", **fields: Any) -> Behaviour:
    """A chat completion whose message holds these fields."""
    payload = completion("", finish_reason=finish_reason)
    payload["choices"][0]["message"] |= fields
    return sends(payload)


def tells(text: str) -> Behaviour:
    """Says a text in which <a> and <b> stand for the points that are deserved."""

    def behave(ask: Ask) -> Answer:
        points = deserved(ask.prompt)
        return says(text.replace("<a>", str(points["depth"])).replace("<b>", str(points["style"])))(ask)

    return behave


def answers_aside(ask: Ask) -> Answer:
    """The whole answer in the field for the reasoning."""
    return message(content=None, reasoning_content=json.dumps(verdict(ask)))(ask)


def other_model(ask: Ask) -> Answer:
    answer = judges(ask)
    return replace(answer, body=answer.body.replace(b"served-model", b"other-model"))


def longer_than(n_chars: int, payload: Any, code: int = 400) -> Behaviour:
    """Refuses prompts of more characters, as a server with a short context does."""
    return lambda ask: (body(code, payload) if len(ask.prompt) > n_chars else judges)(ask)


def knows_schema(ask: Ask) -> Answer:
    """Honours response_format, as shown by the one question that has an odd answer."""
    return says('{"q": 7}')(ask) if "Essay" not in ask.prompt else judges(ask)


def loops(ask: Ask) -> Answer:
    """White space without end where a grammar allows it: only without a form there is an answer."""
    return (says('{"a"' + 400 * "\n", finish_reason="length") if "response_format" in ask.body else judges)(ask)


def refuses_forms(failure: Behaviour, *kinds: str) -> Behaviour:
    """Fails each request that has a response_format of these kinds."""

    def behave(ask: Ask) -> Answer:
        kind = ask.body.get("response_format", {}).get("type")
        if kind in kinds:
            return failure(ask)
        return says('{"q": 7}')(ask) if "Essay" not in ask.prompt else judges(ask)

    return behave


VLLM_TOO_LONG = {
    "error": {
        "message": "This model's maximum context length is 4096 tokens. However, your request has 5120 input tokens. "
        "Please reduce the length of the input messages.",
        "type": "BadRequestError",
        "param": None,
        "code": 400,
    }
}
LLAMA_TOO_LONG = {
    "error": {
        "code": 400,
        "message": "the request exceeds the available context size, try increasing it",
        "type": "exceed_context_size_error",
        "n_prompt_tokens": 5120,
        "n_ctx": 4096,
    }
}

# --- the table


@dataclass(frozen=True)
class Seen:
    """What came of one rollout. `outcomes`: "verdict" or the reason, per criterion, or "stop" for the whole run.

    `n_requests` is what reached the server, None where that depends on the deadline alone. `calls` says what the judge
    has in its records of them, `tries` which errors came before; each once where their number depends on the clock.
    """

    outcomes: tuple[str, ...]
    n_requests: int | None
    calls: tuple[str, ...] = ("reply",)
    tries: tuple[str, ...] = ()

    def untimed(self, expected: "Seen") -> "Seen":
        """Without the numbers that depend on the clock."""
        n_requests = None if expected.n_requests is None else self.n_requests
        return replace(self, n_requests=n_requests, tries=tuple(dict.fromkeys(self.tries)))


SCORED = ("verdict", "verdict")
QUICK = {"deadline_s": 0.5}


@dataclass(frozen=True)
class Fault:
    """`does` is for people: what the judge does about it. `address` is the one to ask."""

    name: str
    does: str
    behaviour: Behaviour
    expected: Seen
    endpoint: Mapping[str, Any] = field(default_factory=dict)
    judging: JudgeSettings = PLAIN
    n_more: int = 0
    address: Literal["server", "refused", "https"] = "server"

    @property
    def is_timed(self) -> bool:
        """Does the number of tries depend on the clock?"""
        return self.expected.n_requests is None or "restarts" in self.name


def passing(name: str, failure: Behaviour, error: str, does: str = "sends it again", **endpoint: Any) -> Fault:
    """A request fails once on its way."""
    return Fault(name, does, in_turn(failure, judges), Seen(SCORED, 2, tries=(error,)), endpoint)


def lasting(name: str, failure: Behaviour, reason: str, error: str, **endpoint: Any) -> Fault:
    """Every request fails, until the deadline."""
    seen = Seen((reason, reason), None, (error,), (error,))
    return Fault(name, "sends it again until the deadline", failure, seen, {**QUICK, **endpoint})


def repaired(name: str, reply: Behaviour, does: str = "asks once more", **more: Any) -> Fault:
    """A reply is no clear verdict, the next one is."""
    return Fault(name, does, in_turn(reply, judges), Seen(SCORED, 2, ("reply", "reply")), **more)


def hopeless(name: str, reply: Behaviour, *outcomes: str, n: int = 2, does: str = "asks once more") -> Fault:
    """A reply is no clear verdict, and none of those that follow is."""
    return Fault(name, does, reply, Seen(outcomes, n, n * ("reply",)))


def fatal(name: str, answer: Behaviour) -> Fault:
    """No request would ever fare better."""
    seen = Seen(("stop",), 1, ("ChatMisconfigured",), ("ChatMisconfigured",))
    return Fault(name, "stops the run", answer, seen)


def unasked(name: str, answer: Behaviour, reason: str, error: str, **more: Any) -> Fault:
    """This request would not fare better if it were sent again."""
    return Fault(name, "gives up", answer, Seen((reason, reason), 1, (error,), (error,)), **more)


def _cut(ask: Ask) -> Answer:
    text = json.dumps(dict.fromkeys(verdict(ask), 0))
    whole = json.dumps(verdict(ask))
    return says(whole[: len(text) - 3], finish_reason="length")(ask)


FAULTS: dict[str, tuple[Fault, ...]] = {
    "On the way": (
        replace(lasting("nobody listens", judges, "unreachable", "ChatUnreachable"), address="refused"),
        replace(lasting("the server speaks no TLS", judges, "unreachable", "ChatUnreachable"), address="https"),
        passing("connection reset before the answer", fails(reset=True), "ChatUnreachable"),
        passing("connection reset in the middle of the answer", half, "ChatUnreachable"),
        passing("no answer, once", fails(hang=True), "ChatTimeout", timeout_s=1.0),
        lasting("no answer, ever", fails(hang=True), "timeout", "ChatTimeout", timeout_s=0.3),
        passing("an answer that drips byte by byte", drips, "ChatTimeout", timeout_s=1.0),
        Fault(
            "the server restarts",
            "sends it again until the server is back",
            in_turn(fails(restart_s=0.3), judges),
            Seen(SCORED, 2, tries=("ChatUnreachable",)),
        ),
    ),
    "Answers with an error": (
        passing("429 without Retry-After", busy(429), "ChatOverloaded", "sends it again after a random pause"),
        passing("429 with Retry-After", busy(429, "0.2"), "ChatOverloaded", "sends it again when told to"),
        unasked("429 with a Retry-After beyond the deadline", busy(429, "121"), "overloaded", "ChatOverloaded"),
        passing("408", status(408), "ChatTimeout"),
        passing("500, once", status(500), "ChatBadResponse"),
        Fault(
            "500, always",
            "sends it again, four times in all",
            status(500),
            Seen(2 * ("bad_response",), 4, ("ChatBadResponse",), 4 * ("ChatBadResponse",)),
        ),
        passing("502 with a web page", lambda ask: replace(html()(ask), status=502), "ChatOverloaded"),
        passing("503 with Retry-After", busy(503, "0.2"), "ChatOverloaded", "sends it again when told to"),
        lasting("503, always", status(503), "overloaded", "ChatOverloaded"),
        unasked("400", status(400, "no such sampling parameter"), "rejected", "ChatRejected"),
        unasked("422", status(422), "rejected", "ChatRejected"),
        fatal("401", status(401)),
        fatal("403", status(403)),
        fatal("404", status(404)),
        fatal("a redirect", lambda ask: Answer(status=307, location="/elsewhere")),
        Fault(
            "too long for the context, as vLLM says it",
            "asks for a shorter reply, then shows half as much of the completion",
            longer_than(2600, VLLM_TOO_LONG),
            Seen(SCORED, 3, (*2 * ("ChatTooLong",), "reply"), 2 * ("ChatTooLong",)),
            n_more=400,
        ),
        Fault(
            "too long for the context, as llama-server says it",
            "asks for a shorter reply, then shows half as much of the completion",
            longer_than(2600, LLAMA_TOO_LONG),
            Seen(SCORED, 3, (*2 * ("ChatTooLong",), "reply"), 2 * ("ChatTooLong",)),
            n_more=400,
        ),
        Fault(
            "too long, however little is shown",
            "asks for a shorter reply, then shows half as much of the completion, four times",
            body(400, VLLM_TOO_LONG),
            Seen(2 * ("too_long",), 6, 6 * ("ChatTooLong",), 6 * ("ChatTooLong",)),
            n_more=2000,
        ),
    ),
    "Answers that are no reply": (
        passing("a web page", html(), "ChatBadResponse"),
        passing("an empty body", lambda ask: Answer(), "ChatBadResponse"),
        passing('200 with {"error": ...}', sends({"error": {"message": "no"}}), "ChatBadResponse"),
        passing("no choices", sends({"choices": []}), "ChatBadResponse"),
        passing(
            "a body that is not in its encoding",
            lambda ask: Answer(body=b"not gzip", content_encoding="gzip"),
            "ChatBadResponse",
        ),
        Fault(
            "another model answers than before",
            "stops the run",
            in_turn(says(""), other_model),
            Seen(("stop",), 2, ("ChatMisconfigured",)),
        ),
    ),
    "Replies that are no verdict": (
        repaired("an empty reply, once", says("")),
        hopeless("an empty reply, always", says(None), "empty", "empty"),
        hopeless("a refusal", message(refusal="I can't."), "refused", "refused", n=1, does="gives up"),
        hopeless(
            "the content filter", message("content_filter", content="I"), "refused", "refused", n=1, does="gives up"
        ),
        repaired("cut short, once", _cut, "keeps what is whole, and asks for the rest with more room"),
        Fault(
            "cut short, always",
            "keeps what is whole, and asks for the rest with more room",
            in_turn(_cut, says('{"b": ', finish_reason="length")),
            Seen(("verdict", "truncated"), 2, ("reply", "reply")),
        ),
        repaired(
            "white space without end under a schema",
            loops,
            "asks once more without the schema",
            endpoint={"structured": "json_schema"},
        ),
        repaired("prose, once", says("It is good.")),
        hopeless("prose, always", says("It is good."), "unparsable", "unparsable"),
        repaired("two JSON objects", says('{"a": 5, "b": 0} or {"a": 0, "b": 0}')),
        hopeless("another shape, always", says('{"verdicts": [{"points": 5}]}'), "missing", "missing"),
        repaired("a key that nobody asked for in place of one", tells('{"a": <a>, "c": <b>}')),
        hopeless("the same key twice, always", tells('{"a": <a>, "b": 1, "b": 0}'), "verdict", "duplicate"),
        hopeless("points off the scale, always", tells('{"a": <a>, "b": 7}'), "verdict", "off_menu"),
        repaired("points as a text, 4/5", tells('{"a": "4/5", "b": <b>}')),
        repaired("points as a boolean", tells('{"a": <a>, "b": true}')),
        hopeless("points as 2.0", tells('{"a": <a>.0, "b": <b>}'), "verdict", "verdict", n=1, does="takes them"),
        hopeless(
            "a code fence, and prose around it",
            tells('Here you are:\n```json\n{"a": <a>, "b": <b>}\n```\nBest wishes.'),
            *SCORED,
            n=1,
            does="reads what is in the fence",
        ),
        hopeless(
            "a block of reasoning with other points in it",
            tells('<think>{"a": 0, "b": 0} is too harsh</think>{"a": <a>, "b": <b>}'),
            *SCORED,
            n=1,
            does="skips the reasoning",
        ),
        repaired(
            "a block of reasoning that never ends",
            says("<think>On the one hand", finish_reason="length"),
            "asks once more with more room",
        ),
        hopeless(
            "the whole answer in the field for the reasoning",
            answers_aside,
            *SCORED,
            n=1,
            does="takes it",
        ),
        hopeless(
            "reasoning in its own field and no answer, always",
            message(content=None, reasoning_content="On the one hand"),
            "empty",
            "empty",
        ),
    ),
    "Servers that can less": (
        Fault(
            "the schema is ignored with a 200",
            "finds out with two requests, and checks replies itself",
            judges,
            Seen(SCORED, 3),
            {"structured": "auto"},
        ),
        Fault(
            "400 for every response_format",
            "finds out with two requests, and does without",
            refuses_forms(status(400, "unknown field"), "json_schema", "json_object"),
            Seen(SCORED, 3),
            {"structured": "auto"},
        ),
        Fault(
            "500 for a JSON schema",
            "finds out with six requests, and asks for JSON without a schema",
            refuses_forms(status(500), "json_schema"),
            Seen(SCORED, 7),
            {"structured": "auto"},
        ),
        Fault(
            "no log-probabilities",
            "finds out with one request, and takes the level that is named",
            judges,
            Seen(SCORED, 3, ("reply", "reply")),
            judging=JudgeSettings(mode="expected"),
        ),
    ),
}
ALL = [fault for section in FAULTS.values() for fault in section]


# --- running it


async def measure(fault: Fault) -> Seen:
    """One rollout judged while the fault is there."""
    async with LoopServer(fault.behaviour) as server:
        with refused_url() as nobody:
            url = {"refused": nobody, "https": server.url.replace("http:", "https:")}.get(fault.address, server.url)
            try:
                rollouts = [rollout(1, 2, 1, fault.n_more)]
                [scored] = await score(rollouts, url, judging=fault.judging, **fault.endpoint)
            except ChatMisconfigured as e:
                return Seen(("stop",), server.n_requests, (type(e).__name__,), _names(e.tries))
    seen = seen_of(scored, server.n_requests)
    return seen.untimed(fault.expected) if fault.is_timed else seen


def seen_of(scored: Scored, n_requests: int) -> Seen:
    """What came of a rollout for which so many requests reached the server."""
    calls = scored.assessment.calls
    return Seen(
        tuple(_said(scored.rollout, o) for o in scored.assessment.outcomes),
        n_requests,
        tuple("reply" if call.reply else call.error.split(":")[0] for call in calls),
        _names([t for call in calls for t in call.tries]),
    )


async def score(
    rollouts: Sequence[Rollout], url: str, *, judging: JudgeSettings, ledger: Ledger | None = None, **endpoint: Any
) -> list[Scored]:
    """What the real scorer makes of them, over real HTTP."""
    settings = EndpointSettings.model_validate(
        {"url": url, "model": "m", "structured": "none", "timeout_s": 10.0, "deadline_s": 20.0, **endpoint}
    )
    ledger = ledger or Ledger()
    transport = OpenAITransport(settings, ledger.of("judge"))
    try:
        connections = Connections(judge=transport, meta=transport, ledger=ledger)
        return await Scorer(Settings(rubric=RUBRIC, judge=settings, judging=judging), connections, REVISION).score(
            rollouts
        )
    finally:
        await transport.aclose()


def _said(of: Rollout, outcome: Outcome) -> str:
    """The reason, or "verdict" where it is the one that the completion deserves."""
    if not isinstance(outcome, Verdict):
        return outcome.reason.value
    is_right = outcome.points == deserved(of.completion)[outcome.criterion_id]
    return "verdict" if is_right else f"wrong: {outcome.points} points"


def _names(tries: Sequence[Try]) -> tuple[str, ...]:
    return tuple(t.error.split(":")[0] for t in tries)
