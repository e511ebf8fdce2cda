"""What the policy was asked and what it wrote: prompt, rollout, split."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import Field

from metapo.rubric import Frozen, Text


class Message(Frozen):
    """One turn of a chat."""

    role: str
    content: Text


class Split(StrEnum):
    """Training rollouts may reach the meta model; evaluation rollouts never do."""

    TRAIN = "train"
    EVAL = "eval"


@dataclass(frozen=True)
class Prompt:
    """What the policy is asked: a text, or chat messages with role and content.

    Judge and meta model see the `reference` solution, where there is one. `cluster` names the prompts that share a
    rubric with this one. The `label` is what a final metric compares with: no trainer, judge or meta model sees it.
    """

    content: str | Sequence[Mapping[str, Any]]
    reference: str | None = None
    cluster: str = ""
    label: str | None = None

    @property
    def text(self) -> str:
        """As a rollout's prompt."""
        return as_text(self.content)


class Rollout(Frozen):
    """One prompt and one completion.

    `step` is the optimizer step that the rollout trains (0-based: the number of steps done before it);
    `position` is its place in that step's batch, counted over all ranks. Rollouts of one step with equal prompts are
    a group. `cluster` names the prompts that share a rubric with this one; "" is that of all prompts without a name.
    """

    prompt: Text
    completion: Text
    step: int = Field(default=0, ge=0)
    position: int = Field(default=0, ge=0)
    split: Split = Split.TRAIN
    reference: Text | None = None
    cluster: Text = ""


def as_text(content: str | Sequence[Message] | Sequence[Mapping[str, Any]]) -> str:
    """A prompt or completion as plain text; the turns of a chat are joined as "role: content"."""
    if isinstance(content, str):
        return content
    turns = [m if isinstance(m, Message) else Message(role=m["role"], content=m["content"]) for m in content]
    if len(turns) == 1:
        return turns[0].content
    return "\n\n".join(f"{t.role}: {t.content}" for t in turns)
