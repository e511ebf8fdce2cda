"""Judge the same essays in the pattern of published code and in ours, against one server: `make bench-judge`.

    reference        per criterion two calls in a row, a sentence of rationale and then a whole number; the completion
                     stands in front of the rubric, so that only one rollout's calls share a prefix
    response first   ours, joint with rationales, but with the completion in front of the rubric
    joint            one request with a rationale for each criterion
    levels           one request without rationales
    split            one request per criterion, a letter each
    expected         the same, with the probabilities of the letters

In every pattern the same number of rollouts is under way at once, and of requests too. A model of random weights
writes on for as long as it may, so a rationale is equally long everywhere: `RATIONALE_TOKENS` by max_tokens in the
reference; in ours the schema gives its text, which the model is free to spell in longer or shorter tokens, and which is
cut where it takes as many tokens on average. Each pattern's prompts begin with a word of their own, so that none finds
another's prefix in the server's cache.

"In a row" is the longest chain of requests that waited for one another, without the one request that warms up the
server's cache for all rollouts of ours; "computed" are the prompt tokens sent less those that the server had in its
cache. "Valid" is the share of criteria that were given one of their levels.
"""

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.judge.material import TASK, rollouts, rubric
from bench.judge.model import make_model
from tests.real.servers import VLLM_CPU, VllmServer

from metapo.errors import ChatError
from metapo.judge.endpoint import EndpointSettings
from metapo.judge.judge import Judge, JudgeSettings
from metapo.judge.openai import OpenAITransport
from metapo.judge.transport import ChatReply, ChatRequest, ChoiceForm, JsonForm, Transport
from metapo.rollout import Message, Rollout
from metapo.rubric import Criterion, Rubric
from metapo.rubric_text import render_criterion, render_rubric

RATIONALE_TOKENS = 48
RATIONALE = (
    "The essay states its position near the beginning and keeps to it, but names no source for the figures. " * 5
)
REFERENCE = "reference"
OURS = {
    "response first": JudgeSettings(mode="joint", rationales="always", cache=False),
    "joint": JudgeSettings(mode="joint", rationales="always", cache=False),
    "levels": JudgeSettings(mode="joint", rationales="never", cache=False),
    "split": JudgeSettings(mode="split", rationales="never", cache=False),
    "expected": JudgeSettings(mode="expected", rationales="never", cache=False),
}
_judged: ContextVar[int] = ContextVar("_judged", default=-1)  # which rollout a request is made for


@dataclass(frozen=True)
class Result:
    """One pattern's cost for all rollouts. `valid` is the share of criteria that got one of their levels."""

    pattern: str
    n_criteria: int
    requests: int
    in_a_row: int
    sent_tokens: int
    computed_tokens: int
    generated_tokens: int
    seconds: float
    valid: float


@dataclass
class Meter:
    """A transport that notes what passes through it. Each prompt gets `salt` in front; a rationale in a JSON schema has
    to be the first `rationale_chars` characters of `RATIONALE`."""

    inner: Transport
    salt: str
    rationale_chars: int
    completion_first: bool = False
    replies: list[ChatReply] = field(default_factory=list)
    spans: dict[int, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))

    async def complete(self, request: ChatRequest) -> ChatReply:
        began = time.monotonic()
        try:
            reply = await self.inner.complete(self._changed(request))
        finally:
            self.spans[_judged.get()].append((began, time.monotonic()))
        self.replies.append(reply)
        return reply

    async def identify(self) -> str:
        return await self.inner.identify()

    async def aclose(self) -> None:
        await self.inner.aclose()

    def _changed(self, request: ChatRequest) -> ChatRequest:
        first, *others = request.messages
        text = completion_first(first.content) if self.completion_first else first.content
        messages = (Message(role=first.role, content=f"{self.salt}\n\n{text}"), *others)
        form = request.form
        if isinstance(form, JsonForm):
            form = JsonForm(spec=_with_rationale(form.spec, RATIONALE[: self.rationale_chars]))
        return request.model_copy(update={"messages": messages, "form": form})


class ReferenceJudge:
    """Two calls in a row per criterion, one criterion after the other, the completion in front of the criterion."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    async def n_valid(self, under: Rubric, rollout: Rollout) -> int:
        return sum([await self._judge(criterion, rollout) for criterion in under.criteria])

    async def _judge(self, criterion: Criterion, rollout: Rollout) -> bool:
        """Was there a verdict?"""
        points = [level.points for level in criterion.levels]
        material = f"Task: {TASK}\n\nPrompt:\n{rollout.prompt}\n\nEssay:\n{rollout.completion}"
        ask = (
            f"{material}\n\nGrade the essay under this criterion and no other.\n\n{render_criterion(criterion)}\n\n"
            "First say in one sentence which of the levels fits, and why."
        )
        messages = [Message(role="user", content=ask)]
        number = JsonForm(spec={"type": "integer", "enum": points})
        try:
            said = await self._complete(messages, max_tokens=RATIONALE_TOKENS)
            messages += [
                Message(role="assistant", content=said.text),
                Message(role="user", content=f"Now give the points, one of {points}, as a number and no other text."),
            ]
            answer = await self._complete(messages, max_tokens=4, form=number)
            return json.loads(answer.text) in points
        except (ChatError, ValueError):
            return False

    async def _complete(
        self, messages: Sequence[Message], *, max_tokens: int, form: JsonForm | None = None
    ) -> ChatReply:
        return await self.transport.complete(ChatRequest(messages=tuple(messages), max_tokens=max_tokens, form=form))


class OurJudge:
    """The library's judge."""

    def __init__(self, transport: Transport, settings: JudgeSettings) -> None:
        self.judge = Judge(transport, task=TASK, settings=settings)

    async def n_valid(self, under: Rubric, rollout: Rollout) -> int:
        assessment = await self.judge.assess(under, rollout)
        return len(assessment.outcomes) - len(assessment.unscored)


async def compare(transport: OpenAITransport, essays: Sequence[Rollout], options: argparse.Namespace) -> list[Result]:
    """Every pattern under every number of criteria, one after the other."""
    await _find_out(transport)
    chars = await rationale_chars(transport, essays[:8])
    print(f"{chars} characters of rationale are about {RATIONALE_TOKENS} tokens", file=sys.stderr)
    results = []
    for n_criteria in options.criteria:
        for pattern in (REFERENCE, *OURS):
            result = await measure(transport, pattern, rubric(n_criteria), essays, chars, options.in_flight)
            print(f"{n_criteria} criteria, {pattern}: {result.seconds:.1f} s", file=sys.stderr, flush=True)
            results.append(result)
    return results


async def measure(
    transport: Transport, pattern: str, under: Rubric, essays: Sequence[Rollout], chars: int, in_flight: int
) -> Result:
    meter = Meter(transport, f"{pattern} {random.getrandbits(64):x}", chars, pattern == "response first")
    began = time.monotonic()
    n_valid = await _assess_all(meter, pattern, under, essays, in_flight)
    seconds = time.monotonic() - began
    sent = sum(reply.prompt_tokens or 0 for reply in meter.replies)
    return Result(
        pattern=pattern,
        n_criteria=len(under.criteria),
        requests=sum(1 + len(reply.tries) for reply in meter.replies),
        in_a_row=max(map(longest_chain, meter.spans.values())),
        sent_tokens=sent,
        computed_tokens=sent - sum(reply.cached_tokens or 0 for reply in meter.replies),
        generated_tokens=sum(reply.completion_tokens or 0 for reply in meter.replies),
        seconds=seconds,
        valid=n_valid / (len(essays) * len(under.criteria)),
    )


async def _assess_all(meter: Meter, pattern: str, under: Rubric, essays: Sequence[Rollout], in_flight: int) -> int:
    """How many verdicts there were."""
    judge = ReferenceJudge(meter) if pattern == REFERENCE else OurJudge(meter, OURS[pattern])
    if isinstance(judge, OurJudge):
        await judge.judge.warm_up(under, essays[0])
    slots = asyncio.Semaphore(in_flight)

    async def one(i: int) -> int:
        async with slots:
            _judged.set(i)
            return await judge.n_valid(under, essays[i])

    return sum(await asyncio.gather(*map(one, range(len(essays)))))


def longest_chain(spans: Sequence[tuple[float, float]]) -> int:
    """The greatest number of spans of which each begins when the one before has ended."""
    n, until = 0, 0.0
    for began, ended in sorted(spans, key=lambda span: span[1]):
        if began >= until:
            n, until = n + 1, ended
    return n


async def rationale_chars(transport: Transport, essays: Sequence[Rollout]) -> int:
    """How many characters of rationale take `RATIONALE_TOKENS` tokens on average."""
    few, many = 50, 250
    results = [await measure(transport, "joint", rubric(1), essays, n, len(essays)) for n in (few, many)]
    tokens = (results[1].generated_tokens - results[0].generated_tokens) / len(essays)
    return round(RATIONALE_TOKENS * (many - few) / tokens)


async def _find_out(transport: OpenAITransport) -> None:
    """All that the transport asks a server once, before anything is measured."""
    await transport.identify()
    for form in (JsonForm(spec={"type": "integer"}), ChoiceForm(options=("A",))):
        await transport.capabilities.fields(form, 2)


def completion_first(prompt: str) -> str:
    """A judge's prompt with its material in front of the instructions and the rubric."""
    head, fence, rest = prompt.partition("\n~~~~~~~~")
    material, end, ask = (fence + rest).rpartition("~~~~~~~~\n")
    return f"{material.lstrip()}{end}\n{head}\n{ask}"


def _with_rationale(spec: Any, text: str) -> Any:
    """A JSON schema in which each rationale is this text."""
    if not isinstance(spec, dict):
        return spec
    fixed = {"type": "string", "enum": [text]}
    return {name: fixed if name == "rationale" else _with_rationale(value, text) for name, value in spec.items()}


def table(results: Sequence[Result]) -> str:
    """Markdown; the last but one column compares with the reference under as many criteria."""
    reference_s = {result.n_criteria: result.seconds for result in results if result.pattern == REFERENCE}
    rows = [
        "| criteria | pattern | requests | in a row | sent, k | computed, k | generated, k | s | of ref | valid |",
        "|--:|:--|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for r in results:
        tokens = " | ".join(f"{n / 1000:.1f}" for n in (r.sent_tokens, r.computed_tokens, r.generated_tokens))
        rows.append(
            f"| {r.n_criteria} | {r.pattern} | {r.requests} | {r.in_a_row} | {tokens} | {r.seconds:.1f} | "
            f"{r.seconds / reference_s[r.n_criteria]:.0%} | {r.valid:.1%} |"
        )
    return "\n".join(rows)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--essays", type=int, default=64)
    parser.add_argument("--criteria", type=int, nargs="+", default=[1, 5, 10])
    parser.add_argument("--in-flight", type=int, default=64, help="rollouts, and requests, under way at once")
    parser.add_argument("--url", help="a server that runs already, up to /v1, instead of vLLM's CPU build")
    parser.add_argument("--model", default="judge", help="the model's name there")
    parser.add_argument("--hidden", type=int, default=512, help="width of the model on vLLM, a multiple of 64")
    parser.add_argument("--out", type=Path, help="also write the results as JSON")
    return parser.parse_args(arguments)


def main() -> int:
    options = parse()
    if not options.url and (missing := VllmServer.missing()):
        print(f"left out: {missing}")
        return 0
    essays = rollouts()
    with ExitStack() as stack:
        url = options.url
        if not url:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            texts = [render_rubric(rubric(10)), *(f"{e.prompt}\n{e.completion}" for e in essays)]
            make_model(folder, texts, hidden=options.hidden)
            url = stack.enter_context(VllmServer(folder, max_num_seqs=options.in_flight)).url
        results = asyncio.run(_run(url, essays[: options.essays], options))
    print(table(results))
    if options.out:
        server = options.url or f"vllm-cpu {VLLM_CPU}, hidden {options.hidden}"
        about = {"server": server, "cores": os.cpu_count(), "essays": options.essays}
        rows = [asdict(result) for result in results]
        options.out.write_text(json.dumps(about | {"in_flight": options.in_flight, "results": rows}, indent=1) + "\n")
    return 0


async def _run(url: str, essays: Sequence[Rollout], options: argparse.Namespace) -> list[Result]:
    settings = EndpointSettings(
        url=url, model=options.model, max_in_flight=options.in_flight, timeout_s=1200, deadline_s=2400
    )
    transport = OpenAITransport(settings)
    try:
        return await compare(transport, essays, options)
    finally:
        await transport.aclose()


if __name__ == "__main__":
    sys.exit(main())
