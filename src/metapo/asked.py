"""What an engine asks a service to score, and how it becomes a rollout."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from metapo.errors import DataError
from metapo.rollout import Rollout, Split, as_text, completion_text
from metapo.rubric import digest
from metapo.store import Counting


@dataclass(frozen=True)
class Asked:
    """A completion to score. `step` is how many optimizer steps were done when it was written; None where the engine
    tells none: such steps are counted, or else it is the step that is open. Completions with the same `group` belong to
    the step of the first of them. What was scored under a `key` is never scored again.
    """

    prompt: str | Sequence[Mapping[str, Any]]
    completion: str | Sequence[Mapping[str, Any]]
    reference: str | None = None
    cluster: str = ""
    step: int | None = None
    group: str = ""
    split: Split = Split.TRAIN
    key: str = ""

    @cached_property
    def rollout(self) -> Rollout:
        """Without its place: a step that is counted is not known yet. Raises DataError for what can't be read."""
        if self.step is not None and self.step < 0:
            raise DataError(f"step {self.step} came; steps are counted from 0")
        return Rollout(
            prompt=as_text(self.prompt),
            completion=completion_text(self.completion),
            reference=self.reference,
            split=self.split,
            cluster=self.cluster,
        )

    def group_in(self, counting: Counting | None) -> str:
        """Where steps are counted, completions of one prompt are a group unless the engine names it."""
        if self.group or counting is None or self.step is not None:
            return self.group
        return digest(as_text(self.prompt))

    def check_same(self, known: Rollout) -> None:
        """One key stands for one completion, in one place: raises DataError unless that is `known`."""
        here, there = _of_content(self.rollout), _of_content(known)
        if self.step is not None and not self.group:
            here, there = {"step": self.step, **here}, {"step": known.step, **there}
        if differ := [name for name, value in here.items() if there[name] != value]:
            raise DataError(
                f"the key {self.key!r} stands for another completion, which is on record with another "
                f"{', '.join(differ)}: give each completion its own"
            )


def _of_content(rollout: Rollout) -> dict[str, Any]:
    return rollout.model_dump(include={"prompt", "completion", "reference", "split", "cluster"})
