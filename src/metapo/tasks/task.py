"""What a task is: one value that says how its rows become prompts, what scores without the judge, what is measured."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import ValidationError

from metapo.errors import DataError, SettingsError
from metapo.reward import Observe, Scored, Screen, screen_nothing
from metapo.rollout import Prompt, Rollout, Split
from metapo.rubric import Frozen, describe
from metapo.settings import DataSettings, TrainSettings
from metapo.tasks.reading import column

Raw = Mapping[str, Any]
"""A row as it lies in the dataset."""
Read = Callable[[Raw, "Columns"], Prompt]
Measure = Callable[[Sequence[tuple[Rollout, str]]], Mapping[str, float]]
"""Evaluation rollouts with their prompts' labels, at least one -> the final metric and what belongs to it."""
Options = TypeVar("Options", bound=Frozen)
log = logging.getLogger(__name__)


class LeftOut(Exception):
    """Raised by a task's `read` for a row that is none of its prompts; says why."""


@dataclass(frozen=True)
class Columns:
    """Which columns of a dataset a task reads; None where it reads none."""

    prompt: str = "prompt"
    reference: str | None = None
    cluster: str | tuple[str, ...] | None = None
    label: str | None = None

    @property
    def cluster_columns(self) -> tuple[str, ...]:
        """The columns that name a cluster together; empty where none does."""
        return (self.cluster,) if isinstance(self.cluster, str) else self.cluster or ()

    def under(self, data: DataSettings) -> "Columns":
        """The same with what the settings name instead."""
        return Columns(
            data.prompt_column or self.prompt,
            data.reference_column or self.reference,
            data.cluster_column or self.cluster,
            data.label_column or self.label,
        )


class NoOptions(Frozen):
    """A task that lets nothing be chosen."""


def read_options(kind: type[Options], settings: TrainSettings) -> Options:
    """The task's options in the settings. Raises SettingsError with those that there are."""
    try:
        return kind.model_validate(settings.task_options)
    except ValidationError as e:
        there_are = ", ".join(f"{name} ({field.default})" for name, field in kind.model_fields.items()) or "none"
        raise SettingsError(
            f"task_options of {settings.task} are wrong:\n{describe(e)}\nIts options are: {there_are}"
        ) from e


def no_screen(settings: TrainSettings) -> Screen:
    """The judge scores everything, and nothing can be chosen. Raises SettingsError for any option."""
    read_options(NoOptions, settings)
    return screen_nothing


def no_tools(settings: TrainSettings) -> Sequence[Callable[..., Any]]:
    """The policy calls nothing that runs."""
    return ()


@dataclass(frozen=True)
class Task:
    """A task.

    `settings` are what its runs begin with, in the shape of a settings file: a preset and the user's file come over
    them. `read` makes a prompt of a row and raises LeftOut for a row to pass over, DataError for one that is wrong.
    `screen` scores completions without the judge: what lacks its verdict gets the least that the task gives, which is
    no failure, and an answer that can be checked gets all or nothing; it reads the task's options. `measure` is the
    final metric, on evaluation rollouts whose prompts have labels. `tools` are typed and documented functions that the
    policy may call while it writes.
    """

    name: str
    read: Read
    settings: Mapping[str, Any] = field(default_factory=dict)
    columns: Columns = field(default_factory=Columns)
    screen: Callable[[TrainSettings], Screen] = no_screen
    measure: Measure | None = None
    tools: Callable[[TrainSettings], Sequence[Callable[..., Any]]] = no_tools

    def observer(self, prompts: Sequence[Prompt]) -> Observe:
        """Measures the evaluation rollouts of `prompts`, by their labels; those of a prompt with several are left out.

        The metric is tried on an empty completion first, so that what it lacks is told before training, not after it.
        Raises MissingExtra.
        """
        labels = _labels(prompts)
        if self.measure and labels:
            prompt, label = next(iter(labels.items()))
            self.measure([(Rollout(prompt=prompt, completion="", split=Split.EVAL), label)])

        def observe(scored: Sequence[Scored]) -> Mapping[str, float]:
            evaluated = [s.rollout for s in scored if s.rollout.split is Split.EVAL]
            labelled = [(rollout, labels[rollout.prompt]) for rollout in evaluated if rollout.prompt in labels]
            return self.measure(labelled) if self.measure and labelled else {}

        return observe


def _labels(prompts: Sequence[Prompt]) -> dict[str, str]:
    """The label of each prompt that has one. What has several can't be measured: the log says how many are left out."""
    labels: dict[str, set[str]] = {}
    for prompt in prompts:
        if prompt.label is not None:
            labels.setdefault(prompt.text, set()).add(prompt.label)
    if n_torn := sum(len(found) > 1 for found in labels.values()):
        log.warning("%d of %d prompts have several labels: the final metric leaves them out", n_torn, len(labels))
    return {prompt: label for prompt, (label, *others) in labels.items() if not others}


def build_prompt(content: str, raw: Raw, columns: Columns) -> Prompt:
    """A prompt of this content, with reference, cluster and label from their columns where the task or the settings
    name any. Raises LeftOut for one that is empty, DataError."""
    reference = filled_in(raw, columns.reference) if columns.reference else None
    label = filled_in(raw, columns.label) if columns.label else None
    return Prompt(content, reference, cluster_in(raw, columns), label)


def filled_in(raw: Raw, name: str) -> str:
    """The text in a column. Raises LeftOut where it is empty, DataError where there is no such column, or no text."""
    if not (cell_in(raw, name) or "").strip():
        raise LeftOut(f"no {name}")
    return text_in(raw, name)


def text_in(raw: Raw, name: str) -> str:
    """The text in a column. Raises DataError where there is no such column, or no text in it."""
    value = column(raw, name)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{name!r} must be a text that isn't empty; got {str(value)[:80]!r}")
    return value


def cluster_in(raw: Raw, columns: Columns) -> str:
    """The cluster that a row names, of several columns "algebra/0"; "" where the task has no clusters. Raises
    DataError."""
    return "/".join(cell_in(raw, name) or "" for name in columns.cluster_columns)


def cell_in(raw: Raw, name: str | None) -> str | None:
    """What stands in a column, as text; None where it is null, or where no column is named. Raises DataError."""
    value = None if name is None else column(raw, name)
    return None if value is None else str(value)
