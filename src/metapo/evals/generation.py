"""Completions of a policy for many prompts: each is on record as soon as it is written."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from pydantic import Field, FiniteFloat

from metapo.aio import each
from metapo.errors import ChatDown, ChatError, ChatMisconfigured, DataError, RunError
from metapo.evals.appending import drop_torn_line, only_writer, read_own
from metapo.files import append_row
from metapo.judge.parse import REFUSALS
from metapo.judge.transport import ChatReply, ChatRequest, Transport
from metapo.rollout import Message, as_text
from metapo.rubric import Frozen, Text, digest
from metapo.tasks.generic import is_prompt

Label = Text | bool | int | FiniteFloat
Load = Callable[[str], Sequence[Mapping[str, Any]]]
"""From a source to rows with `prompt` (text or chat messages) and, where there are any, `id`, `reference`, `label`,
`tools`."""


class Asked(Frozen):
    """A prompt to complete, and what its row has to keep."""

    id: Text
    messages: tuple[Message, ...]
    reference: Text | None = None
    label: Label | None = None

    @property
    def prompt(self) -> str:
        return as_text([message.model_dump() for message in self.messages])


class Sampling(Frozen):
    """How completions are drawn: at most `max_tokens` tokens, at a temperature of 0 always the most likely one. The
    `seed` gives each row one of its own; None at a temperature of 0, where it has no say."""

    max_tokens: int = Field(ge=1)
    temperature: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    seed: int | None = None


class Generated(Frozen):
    """A completion as it stands in the file. `model` says who wrote it (`Transport.identify`), `finish_reason` why it
    ends: "stop", "length" where it was cut at `max_tokens` or at the end of the context, or what the server says."""

    id: Text
    prompt: Text
    completion: Text
    model: Text
    finish_reason: Text
    reference: Text | None = None
    label: Label | None = None
    sampling: Sampling


@dataclass(frozen=True)
class Missed:
    """A prompt that got no completion, and why."""

    id: str
    why: str


def load_asked(source: str, load: Load) -> list[Asked]:
    """The prompts of a source. A row without an id is named by its number, from 1. Raises DataError that names the
    row."""
    asked: dict[str, Asked] = {}
    for number, row in enumerate(load(source), 1):
        where = f"{source}, row {number}"
        one = _asked(where, number, row)
        if one.id in asked:
            raise DataError(f"{where}: id {one.id!r} came before. Give each row an id of its own, or none.")
        asked[one.id] = one
    if not asked:
        raise DataError(f"{source} holds no rows; at least one prompt is needed")
    return list(asked.values())


def _asked(where: str, number: int, row: Mapping[str, Any]) -> Asked:
    prompt, reference, label = row.get("prompt"), row.get("reference"), row.get("label")
    name = number if row.get("id") is None else row["id"]
    if not is_prompt(prompt):
        raise DataError(
            f"{where}: the prompt must be a text that isn't empty, or a list of chat messages with role and content; "
            f"got {str(prompt)[:80]!r}"
        )
    if _has_tools(row):
        raise DataError(
            f"{where}: the prompt has tools or calls of tools, and completions are asked for by texts alone. "
            "`metapo train` measures such prompts by data.eval."
        )
    if isinstance(name, bool) or not isinstance(name, str | int) or not str(name).strip():
        raise DataError(f"{where}: 'id' must be a text or a whole number; got {name!r:.80}")
    if not isinstance(label, str | int | float | None) or (isinstance(label, float) and not isfinite(label)):
        raise DataError(f"{where}: 'label' must be a text, a number, true or false, or null; got {label!r:.80}")
    text = None if reference is None else str(reference)
    return Asked(id=str(name), messages=_messages(prompt), reference=text, label=label)


def _has_tools(row: Mapping[str, Any]) -> bool:
    """Is there more to the prompt than what is said?"""
    prompt = row["prompt"]
    return bool(row.get("tools")) or (not isinstance(prompt, str) and any(m.get("tool_calls") for m in prompt))


def _messages(prompt: Any) -> tuple[Message, ...]:
    if isinstance(prompt, str):
        return (Message(role="user", content=prompt),)
    return tuple(Message(role=str(turn["role"]), content=turn["content"]) for turn in prompt)


# --- the record


@dataclass
class Generations:
    """The completions on record, by id."""

    path: Path
    rows: dict[str, Generated]

    def append(self, row: Generated) -> None:
        """Put a completion on record. Raises RunError."""
        append_row(self.path, row.model_dump(mode="json", exclude_none=True))
        self.rows[row.id] = row

    def check(self, sampling: Sampling, model: str | None = None) -> None:
        """Raises RunError where completions on record were drawn otherwise, or by another model."""
        advice = "Such completions don't compare: give the same as before, or write to another file with --out."
        for row in self.rows.values():
            if row.sampling != sampling:
                raise RunError(
                    f"{self.path} holds completions with {_told(row.sampling)}; this is {_told(sampling)}. {advice}"
                )
            if model is not None and row.model != model:
                raise RunError(f"{self.path} holds completions of {row.model}; this is {model}. {advice}")

    def waiting(self, asked: Sequence[Asked]) -> list[Asked]:
        """The prompts without a completion on record. Raises RunError where a row on record has the id of another
        prompt, or another reference or label."""
        for one in asked:
            row = self.rows.get(one.id)
            if row and (row.prompt, row.reference, row.label) != (one.prompt, one.reference, one.label):
                raise RunError(
                    f"{self.path} holds a completion with the id {one.id!r} for another prompt, reference or label. "
                    "Give the prompts as before, or write to another file with --out."
                )
        return [one for one in asked if one.id not in self.rows]


@contextmanager
def open_generations(path: Path) -> Iterator[Generations]:
    """The file, ready for more, and nobody else's meanwhile. Raises RunInUse, RunError, DataError."""
    with only_writer(path):
        rows = read_own(path, Generated, "a completion that `metapo eval generate` wrote")
        drop_torn_line(path)
        yield Generations(path, {row.id: row for row in rows})


def _told(sampling: Sampling) -> str:
    seed = "" if sampling.seed is None else f", seed {sampling.seed}"
    return f"temperature {sampling.temperature:g}, at most {sampling.max_tokens} tokens{seed}"


# --- asking


async def generate(
    transport: Transport,
    model: str,
    asked: Sequence[Asked],
    sampling: Sampling,
    note: Callable[[Generated | Missed], None],
    at_once: int,
) -> None:
    """Complete the prompts, the longest first, at most `at_once` at a time; `note` gets what came of each.

    Raises ChatMisconfigured, and ChatDown where the model answers nobody any more.
    """

    async def complete(one: Asked) -> None:
        try:
            reply = await transport.complete(_request(one, sampling))
        except (ChatMisconfigured, ChatDown):
            raise
        except ChatError as e:
            note(Missed(one.id, f"{type(e).__name__}: {e}"))
            return
        if reply.finish_reason in REFUSALS:
            note(Missed(one.id, f"the server withheld it ({reply.finish_reason})"))
        else:
            note(_generated(one, reply, model, sampling))

    # A batch takes as long as its longest prompt and reply: prompts of one length belong together.
    await each(complete, sorted(asked, key=lambda one: -len(one.prompt)), at_once)


def _request(one: Asked, sampling: Sampling) -> ChatRequest:
    seed = None if sampling.seed is None else int(digest([sampling.seed, one.id])[:7], 16)
    return ChatRequest(
        messages=one.messages, max_tokens=sampling.max_tokens, temperature=sampling.temperature, seed=seed
    )


def _generated(one: Asked, reply: ChatReply, model: str, sampling: Sampling) -> Generated:
    return Generated(
        id=one.id,
        prompt=one.prompt,
        completion=reply.text,
        model=model,
        finish_reason=reply.finish_reason,
        reference=one.reference,
        label=one.label,
        sampling=sampling,
    )
