"""What the policy was asked and what it wrote: prompt, rollout, split."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import Field

from metapo.errors import DataError
from metapo.rubric import Frozen, Text
from metapo.turns import Role, Turn, read_turns, text_of, turns_in


class Message(Frozen):
    """One message to a chat endpoint."""

    role: str
    content: Text


class Split(StrEnum):
    """Training rollouts may reach the meta model; evaluation rollouts never do."""

    TRAIN = "train"
    EVAL = "eval"


@dataclass(frozen=True)
class Prompt:
    """What the policy is asked: a text, or chat messages, with the JSON schemas of the `tools` that it may call.

    Judge and meta model see the `reference` solution, where there is one. `cluster` names the prompts that share a
    rubric with this one. The `label` is what a final metric compares with: no trainer, judge or meta model sees it.
    """

    content: str | Sequence[Mapping[str, Any]]
    reference: str | None = None
    cluster: str = ""
    label: str | None = None
    tools: Sequence[Mapping[str, Any]] = ()

    @property
    def text(self) -> str:
        """As a rollout's prompt. Tools stand in a system turn of their own before all others, as chat templates have
        it. Raises DataError for messages that can't be read."""
        if not self.tools:
            return as_text(self.content)
        asked = turns_in(self.content, Role.USER) if isinstance(self.content, str) else read_turns(self.content)
        schemas = [json.dumps(tool, ensure_ascii=False) for tool in self.tools]
        offer = "\n".join(["The tools on offer, as JSON schemas:", *schemas])
        return text_of((Turn(role=Role.SYSTEM, content=offer), *asked))


class Rollout(Frozen):
    """One prompt and one completion.

    `step` is the optimizer step that the rollout trains (0-based: the number of steps done before it);
    `position` is its place in that step's batch, counted over all ranks. Rollouts of one step with equal prompts are
    a group. `cluster` names the prompts that share a rubric with this one; "" is that of all prompts without a name.
    Prompts and completions of several turns are texts as in `metapo.turns`.
    """

    prompt: Text
    completion: Text
    step: int = Field(default=0, ge=0)
    position: int = Field(default=0, ge=0)
    split: Split = Split.TRAIN
    reference: Text | None = None
    cluster: Text = ""

    @property
    def turns(self) -> tuple[Turn, ...]:
        """Those of the completion; a text without turns is one of the assistant."""
        return turns_in(self.completion, Role.ASSISTANT)

    @property
    def spoken(self) -> str:
        """What the policy itself says in the completion: no tool's result, and no arguments of a call."""
        return "\n\n".join(t.content for t in self.turns if t.role is Role.ASSISTANT and t.content)

    @property
    def last_said(self) -> str:
        """What the policy ends with; "" where it isn't the policy that ends the completion."""
        last = self.turns[-1]
        return last.content if last.role is Role.ASSISTANT else ""

    def ending_in(self, text: str) -> str:
        """The completion with `text` in the place of what was last said."""
        *before, last = self.turns
        if last.role is not Role.ASSISTANT:
            return text_of((*before, last, Turn(role=Role.ASSISTANT, content=text)))
        return text_of((*before, last.model_copy(update={"content": text})))


def as_text(content: str | Sequence[Mapping[str, Any]]) -> str:
    """A prompt or completion as a text: chat messages as in `metapo.turns`, of a lone one its content alone.

    Raises DataError for messages that can't be read.
    """
    return content if isinstance(content, str) else text_of(read_turns(content))


def completion_text(completion: str | Sequence[Mapping[str, Any]]) -> str:
    """What a policy wrote as a rollout's completion. A text that looks like turns is shown as the one turn that it is.

    Raises DataError for messages that can't be read.
    """
    return as_text([{"role": "assistant", "content": completion}] if isinstance(completion, str) else completion)


def rollout_of(row: Mapping[str, Any], position: int = 0) -> Rollout:
    """The rollout in a row of a file: `prompt` and `completion` (or `response`), texts or lists of chat messages, and a
    `reference` where there is one. Raises DataError."""
    prompt, completion = row.get("prompt"), row.get("completion", row.get("response"))
    if not isinstance(prompt, str | list) or not isinstance(completion, str | list):
        raise DataError(
            f"expected texts 'prompt' and 'completion', or lists of messages; it has {', '.join(row) or 'nothing'}"
        )
    reference = None if row.get("reference") is None else str(row["reference"])
    return Rollout(
        prompt=as_text(prompt), completion=completion_text(completion), reference=reference, position=position
    )
