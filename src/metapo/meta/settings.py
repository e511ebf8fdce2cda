"""What a meta step reads, asks, examines and adopts; every part has a switch."""

from collections.abc import Collection, Mapping
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from metapo.meta.hygiene import HygieneSettings
from metapo.rubric import Frozen

MPO: dict[str, Any] = {
    "select": "random",
    "candidates": 1,
    "repair": False,
    "gate": None,
    "hygiene": {"duplicates": False, "no_variance": False, "misordered": False, "split": False},
    "rollback": False,
    "when": "every",
    "staleness": 0,
    "bridge": "off",
}
"""Where the published method differs from ours: random samples on a fixed schedule, one proposal, adopted as it is
while training waits."""


class GateSettings(Frozen):
    """What a proposal has to pass. At most `max_pairs` fresh pairs are measured, `max_anchors` pinned and archived ones
    and `max_attacks` attacks; with fewer than `min_pairs` fresh ones that have verdicts nothing can be told, and
    nothing changes. A proposal survives the attack where at most the share `max_fooled` of the attacks score as high
    as the honest completion, or no more of them than under its parent."""

    fresh: bool = True
    anchors: bool = True
    attack: bool = True
    max_pairs: int = Field(default=64, ge=4)
    max_anchors: int = Field(default=32, ge=0)
    max_attacks: int = Field(default=16, ge=1)
    min_pairs: int = Field(default=8, ge=1)
    max_fooled: float = Field(default=0.1, ge=0, le=1)


class ExamSettings(Frozen):
    """Where pairs of known order come from. `compared` pairs are ordered by the meta model, which is asked twice for
    each; it writes at most `exemplars` good completions where the policy's own leave nothing to damage, and
    `written_attacks` bad ones that are to score high. Of the pairs that examined earlier
    proposals the newest `earlier` are asked again where a gain on the fresh ones alone may be luck, and of those that
    spoke for an adopted proposal the newest `archive` count as anchors."""

    damaged: bool = True
    monitor: bool = True
    references: bool = True
    compared: int = Field(default=32, ge=0)
    exemplars: int = Field(default=16, ge=0)
    written_attacks: int = Field(default=2, ge=0)
    earlier: int = Field(default=192, ge=0)
    archive: int = Field(default=64, ge=0)


class MetaSettings(Frozen):
    """One meta step. `method` sets what the other fields don't: `metapo`, ours, or `mpo`, as published: `samples` drawn
    at random (16 to 20 in the paper), one proposal, adopted as it is.

    `candidates` proposals are merged from different parts of the refinements; where all are refused the best is written
    once more with the reason (`repair`). With `rollback` a revision that judges the next batches worse than its
    parent gives its place back. `gate` null, or off, adopts every readable proposal; on is the gate with its defaults.
    """

    method: Literal["metapo", "mpo"] = "metapo"
    select: Literal["random", "thirds", "contrast", "suspicious", "mixed"] = "mixed"
    samples: int = Field(default=16, ge=1)
    candidates: int = Field(default=2, ge=1, le=8)
    repair: bool = True
    gate: GateSettings | None = GateSettings()
    exam: ExamSettings = ExamSettings()
    hygiene: HygieneSettings = HygieneSettings()
    rollback: bool = True
    max_criteria: int = Field(default=12, ge=1, le=50)
    max_words: int = Field(default=1500, ge=50)
    max_tokens: int = Field(default=1024, ge=1)
    temperature: float = Field(default=0.7, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _method_sets_the_rest(cls, data: Any) -> Any:
        if isinstance(data, str):  # meta: mpo
            data = {"method": data}
        if not isinstance(data, dict) or data.get("method") != "mpo":
            return data
        return under({name: value for name, value in MPO.items() if name in cls.model_fields}, data)

    @field_validator("gate", mode="before")
    @classmethod
    def _gate_is_a_switch(cls, gate: Any) -> Any:
        return (GateSettings() if gate else None) if isinstance(gate, bool) else gate

    @model_validator(mode="after")
    def _attacks_fit(self) -> Self:
        if self.gate and self.exam.written_attacks > self.gate.max_attacks:
            written, most = self.exam.written_attacks, self.gate.max_attacks
            raise ValueError(f"exam.written_attacks = {written} is more than gate.max_attacks = {most}")
        return self


def under(base: Mapping[str, Any], data: Mapping[str, Any], whole: Collection[str] = ()) -> dict[str, Any]:
    """`data` with what it doesn't set taken from `base`, inside of nested parts too, but for those under the names
    `whole`."""
    nested = {
        name: under(value, data[name], whole)
        for name, value in base.items()
        if name not in whole and isinstance(value, Mapping) and isinstance(data.get(name), Mapping)
    }
    return {**base, **data, **nested}
