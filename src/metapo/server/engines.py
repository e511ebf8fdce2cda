"""The shapes in which OpenRLHF and slime ask: one completion at a time, and no word of steps, groups or keys.

OpenRLHF 0.11.2, openrlhf/utils/agent.py, posts {"query", "prompts", "labels"} and reads "rewards", "scores" and
"extra_logs"; slime, slime/rollout/rm_hub/__init__.py, posts {"prompt", "response", "label"} and takes the whole body.
"""

from collections.abc import Sequence
from typing import Any

from pydantic import Field, model_validator

from metapo.api import MAX_ROLLOUTS, Answer, Content
from metapo.asked import Asked
from metapo.rubric import Frozen, Text
from metapo.server.failures import Refused


class OpenRLHFRequest(Frozen):
    """`query` holds each prompt with its completion, special tokens included; `labels` are reference solutions."""

    query: tuple[Text, ...] = Field(min_length=1, max_length=MAX_ROLLOUTS)
    prompts: tuple[Text, ...]
    labels: tuple[Any, ...] = ()

    @model_validator(mode="after")
    def _belong_together(self) -> "OpenRLHFRequest":
        n, n_prompts, n_labels = len(self.query), len(self.prompts), len(self.labels)
        if n_prompts != n or n_labels not in (0, n):
            raise ValueError(f"query, prompts and labels belong together, but have {n}, {n_prompts} and {n_labels}")
        return self


class OpenRLHFAnswer(Answer):
    """`rewards` trains, `scores` is what dynamic filtering goes by, `extra_logs` are averaged into the trainer's log.
    Each list has one entry per query."""

    rewards: tuple[float, ...]
    scores: tuple[float, ...]
    extra_logs: dict[str, tuple[float, ...]]


class SlimeRequest(Frozen, extra="ignore"):
    """One completion; the `label` is a reference solution."""

    prompt: Content
    response: Content
    label: Any = None


class SlimeAnswer(Answer):
    """The answer with detail=true: give slime --reward-key reward."""

    reward: float
    unscored: bool
    step: int
    revision: str


def openrlhf_asked(request: OpenRLHFRequest, end_marks: Sequence[str]) -> list[Asked]:
    """The completions in a request of OpenRLHF. Raises Refused where a query doesn't begin with its prompt."""
    labels = request.labels or [None] * len(request.query)
    return [
        Asked(prompt=prompt, completion=_cut(query, prompt, i, end_marks), reference=reference(label))
        for i, (query, prompt, label) in enumerate(zip(request.query, request.prompts, labels, strict=True))
    ]


def slime_asked(request: SlimeRequest) -> Asked:
    return Asked(prompt=request.prompt, completion=request.response, reference=reference(request.label))


def reference(label: Any) -> str | None:
    """A label as a reference solution: engines send null or an empty text where there is none."""
    return None if label is None or label == "" else str(label)


def _cut(query: str, prompt: str, i: int, end_marks: Sequence[str]) -> str:
    if not query.startswith(prompt):
        at = next((n for n, (a, b) in enumerate(zip(query, prompt, strict=False)) if a != b), len(query))
        raise Refused(
            422,
            "prompt_not_in_query",
            f"query {i} doesn't begin with its prompt, so the completion can't be told from it: they part at character "
            f"{at} of the prompt's {len(prompt)}. OpenRLHF cuts prompts that are longer than its --data.max_len leaves "
            "room for, and some tokenizers don't give back the text that they were given: leave out long prompts, or "
            "ask by metapo.client from a reward function of your own.",
        )
    completion = query[len(prompt) :]
    for mark in end_marks:
        completion = completion.removesuffix(mark)
    return completion
