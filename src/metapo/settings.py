"""The one settings file of a run: typed, checked when read, written back as resolved."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from metapo.errors import RubricError, SettingsError
from metapo.judge.budget import Budget
from metapo.judge.endpoint import Endpoint, EndpointSettings
from metapo.judge.judge import JudgeSettings
from metapo.meta.schedule import MetaBudget, ScheduleSettings
from metapo.meta.settings import MetaSettings, under
from metapo.rubric import Frozen, Rubric, describe
from metapo.shipped import shipped_rubric, shipped_rubrics

WHOLE = ("rubric", "judge", "endpoint")
"""Settings that one file takes from no other in parts: half of an endpoint fits no other half."""


class MetaSchedule(ScheduleSettings, MetaSettings):
    """What a meta step does, when it begins, and how what it brings comes into force. `every` 0 switches meta steps
    off: the rubric stays fixed, unless people change it.

    With `approve: manual` an accepted revision waits for a person. On adoption the last batch is scored under both
    revisions (`bridge`): the change of mean and spread is logged, or taken back (`calibrate`). `anchors` is a file of
    pairs or labelled completions that no revision may order worse. `endpoint` is the meta model's; without one the
    judge's endpoint serves both (the paper's 32b_32b, 72b_72b).
    """

    when: Literal["every", "adaptive"] = "adaptive"
    staleness: int = Field(default=1, ge=0)
    approve: Literal["auto", "manual"] = "auto"
    bridge: Literal["off", "log", "calibrate"] = "log"
    anchors: str | None = None
    budget: MetaBudget = MetaBudget()
    endpoint: Endpoint | None = None

    @field_validator("bridge", mode="before")
    @classmethod
    def _off_is_a_word(cls, bridge: Any) -> Any:
        return "off" if bridge is False else bridge  # YAML reads a bare off as false


class PanelSettings(Frozen):
    """Further judges beside the first, all under the same rubric: the reward takes the median or mean of their points.
    A criterion needs a verdict from `quorum` of them, from all unless set."""

    judges: tuple[Endpoint, ...] = Field(min_length=1)
    combine: Literal["median", "mean"] = "median"
    quorum: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _quorum_can_be_met(self) -> Self:
        if self.quorum is not None and self.quorum > 1 + len(self.judges):
            raise ValueError(
                f"a quorum of {self.quorum} can't be met by {1 + len(self.judges)} judges, the first included"
            )
        return self


class MonitorSettings(Frozen):
    """A judge that is logged and never rewarded, such as a stronger model. It judges the share `share` (0 to 1) of the
    training rollouts and all of the evaluation, under `rubric` or, without one, under the rubric in force."""

    judge: Endpoint
    rubric: Rubric | None = None
    share: float = Field(default=1.0, gt=0, le=1)


class BudgetSettings(Budget):
    """What all calls of a run may cost, to judges, monitor and meta model together. The run ends, with a checkpoint, at
    the end of the step that reaches either. Money is only counted for endpoints with a `price`."""


class Settings(Frozen):
    """What an evolving reward needs, whichever engine trains on it.

    `task_description` says in a sentence or two what the policy is asked to do; judge and meta model read it, with
    `judge_notes` and `meta_notes` for one of them alone.
    `rubric` is the first revision, or the path of its file. A step in which more than the share `max_unscored`
    (0 to 1) of the training rollouts has no reward ends the run. A completion of fewer than `min_words`
    words is flagged where its prompt asks for a long text. `dropout` is the share (0 to below 1) of the criteria that
    don't count in the rewards of a prompt's completions, drawn anew for each prompt and step; pinned ones always count,
    and evaluation knows no dropout.
    """

    task_description: str = Field(default="Write a good response to the prompt.", min_length=1)
    judge_notes: str = ""
    meta_notes: str = ""
    rubric: Rubric
    judge: Endpoint
    panel: PanelSettings | None = None
    monitor: MonitorSettings | None = None
    judging: JudgeSettings = JudgeSettings()
    budget: BudgetSettings = BudgetSettings()
    meta: MetaSchedule = MetaSchedule()
    reward: Literal["normalized", "raw_sum", "conjunctive"] = "normalized"
    dropout: float = Field(default=0.0, ge=0, lt=1)
    max_unscored: float = Field(default=0.1, ge=0, le=1)
    min_words: int = Field(default=100, ge=0)
    seed: int = Field(default=0, ge=0, le=2**32 - 1)

    @model_validator(mode="after")
    def _budget_can_be_counted(self) -> Self:
        judges = [self.judge, *(self.panel.judges if self.panel else ()), self.meta.endpoint]
        judges.append(self.monitor.judge if self.monitor else None)
        if self.budget.usd is not None and not any(isinstance(e, EndpointSettings) and e.price for e in judges):
            raise ValueError("budget.usd counts nothing without a price: give one to an endpoint, or use budget.tokens")
        return self

    @property
    def judge_task(self) -> str:
        """What the judge is told of the task."""
        return "\n\n".join(filter(None, (self.task_description, self.judge_notes)))

    @property
    def meta_task(self) -> str:
        """What the meta model is told of the task."""
        return "\n\n".join(filter(None, (self.task_description, self.meta_notes)))

    @classmethod
    def load(cls, path: str | Path, *, base: Mapping[str, Any] | None = None, ignore: Collection[str] = ()) -> Self:
        """Read a YAML file over what `base` sets, without the fields to `ignore`. Raises SettingsError that names each
        field that is wrong."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except OSError as e:
            raise SettingsError(f"can't read the settings {path}: {e.strerror}. Give the path of a YAML file.") from e
        except UnicodeDecodeError as e:
            raise SettingsError(f"{path} is not UTF-8 text: {e.reason} at byte {e.start}") from e
        return cls.from_yaml(text, folder=Path(path).parent, source=str(path), base=base, ignore=ignore)

    @classmethod
    def from_yaml(
        cls,
        text: str,
        *,
        folder: Path = Path(),
        source: str = "the settings",
        base: Mapping[str, Any] | None = None,
        ignore: Collection[str] = (),
    ) -> Self:
        """Read YAML over what `base` sets; relative paths start at `folder`. Raises SettingsError."""
        try:
            data = yaml.safe_load(text)
        # PyYAML lets Python's own errors through where a value doesn't fit its tag, and where nesting is too deep.
        except (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError) as e:
            raise SettingsError(
                f"{source} is not YAML: {e}. Mend the line that this names, or the one above it."
            ) from e
        if not isinstance(data, dict):
            raise SettingsError(f"{source} must hold fields, like 'rubric: rubric.yaml'; got {str(data)[:80]!r}")
        data = under(base or {}, {name: value for name, value in data.items() if name not in ignore}, WHOLE)
        if isinstance(data.get("rubric"), str):
            data = {**data, "rubric": _rubric(data["rubric"], folder)}
        if isinstance(data.get("task"), str) and data["task"].endswith(".py"):
            data = {**data, "task": str((folder / data["task"]).absolute())}
        meta = data.get("meta")
        if isinstance(meta, dict) and isinstance(meta.get("anchors"), str):
            data = {**data, "meta": {**meta, "anchors": str(folder / meta["anchors"])}}
        monitor = data.get("monitor")
        if isinstance(monitor, dict) and isinstance(monitor.get("rubric"), str):
            data = {**data, "monitor": {**monitor, "rubric": _rubric(monitor["rubric"], folder)}}
        try:
            return cls.model_validate(data)
        except ValidationError as e:
            raise SettingsError(f"{source} is wrong in these fields:\n{describe(e, cls)}") from e

    def to_yaml(self) -> str:
        """Every field as resolved, defaults included, the rubric in full."""
        # PyYAML does not read back what it writes for U+0085, unless it is escaped
        readable = "\x85" not in self.model_dump_json()
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=readable, width=100)


def _rubric(name: str, folder: Path) -> Rubric:
    """A shipped rubric, or that in a file; ./essay/expert.yaml is a file in any case. Raises RubricError."""
    try:
        return shipped_rubric(name) or Rubric.load(folder / name)
    except RubricError as e:
        if Path(name).suffix:
            raise
        raise RubricError(f"{e} Shipped rubrics are {', '.join(shipped_rubrics())}.") from e


class DataSettings(Frozen):
    """Prompts: a .jsonl or .parquet file, or a dataset folder or hub id, and its columns where they are not the task's
    own. Prompts with the same text in `cluster_column`, or in all of several columns, share a rubric, which evolves on
    its own; without one all prompts do. `label_column` is what the task's final metric compares with; it is read of
    `eval` alone."""

    train: str = Field(min_length=1)
    eval: str | None = None
    prompt_column: str | None = None
    reference_column: str | None = None
    cluster_column: str | Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    label_column: str | None = None
    hub_split: str = "train"
    hub_eval_split: str = "test"


class PPOSettings(Frozen):
    """How PPO updates policy and value head; the defaults are the MPO paper's.

    Each batch is gone through `epochs` times, in `mini_batches` optimizer steps each. `clip` bounds the ratio of the
    probabilities, `value_clip` how far a value may move from what it was when the batch was drawn, in units of the
    reward. A completion without an end token loses `missing_eos_penalty`, in units of the reward too. `kl_estimator` is
    k1 or k3 of Schulman's note on approximating KL.
    """

    epochs: int = Field(default=4, ge=1)
    mini_batches: int = Field(default=1, ge=1)
    clip: float = Field(default=0.2, gt=0)
    value_clip: float = Field(default=0.2, gt=0)
    value_coefficient: float = Field(default=0.1, ge=0)
    gae_lambda: float = Field(default=0.95, ge=0, le=1)
    gamma: float = Field(default=1.0, ge=0, le=1)
    missing_eos_penalty: float = Field(default=1.0, ge=0)
    whiten_rewards: bool = False
    kl_estimator: Literal["k1", "k3"] = "k1"


class EngineSettings(Frozen):
    """One machine, TRL. `batch_size` counts completions per step over all ranks; `micro_batch_size` bounds how many a
    device holds at once. `kl` is the weight of the KL term. The learning rate rises to `learning_rate` over the share
    `warmup` of the steps and then follows `schedule`, which ends at 0 unless it is constant.

    Prompts of more than `max_prompt_tokens` are left out.

    KL is on by default: without it a policy that has collapsed can't follow a new rubric. A checkpoint is written
    every `save_every` steps, the last `keep_checkpoints` are kept; `eval_every` 0 evaluates at the end
    only; an evaluation writes one completion to each prompt.

    With `algorithm: ppo`, `num_generations` is 1 and `learning_rate` 3e-6 unless set, as in the MPO paper. PPO can't
    leave out a completion that has no reward: `unscored` says whether it gets the mean of the others (`neutral`), or
    the run stops (`raise`). GRPO and RLOO leave it out of its group in any case.

    `trainer` holds further arguments of TRL's GRPOConfig or RLOOConfig, such as `use_vllm: true`.
    """

    algorithm: Literal["grpo", "rloo", "ppo"] = "grpo"
    steps: int = Field(default=200, ge=1)
    batch_size: int = Field(default=64, ge=2)
    micro_batch_size: int | None = Field(default=None, ge=1)
    num_generations: int = Field(default=8, ge=1)
    learning_rate: float = Field(default=1e-6, gt=0)
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup: float = Field(default=0.0, ge=0, lt=1)
    kl: float = Field(default=0.02, ge=0)
    temperature: float = Field(default=1.0, gt=0)
    max_completion_tokens: int = Field(default=400, ge=1)
    max_prompt_tokens: int | None = Field(default=None, ge=1)
    save_every: int = Field(default=50, ge=1)
    keep_checkpoints: int = Field(default=2, ge=1)
    eval_every: int = Field(default=0, ge=0)
    unscored: Literal["neutral", "raise"] = "neutral"
    ppo: PPOSettings = PPOSettings()
    device: Literal["auto", "cpu"] = "auto"
    trainer: dict[str, Any] = Field(default={})

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_ppo(cls, data: Any) -> Any:
        is_ppo = isinstance(data, Mapping) and data.get("algorithm") == "ppo"
        return {"num_generations": 1, "learning_rate": 3e-6, **data} if is_ppo else data

    @model_validator(mode="after")
    def _fits_the_algorithm(self) -> Self:
        if self.algorithm == "ppo":
            if self.trainer:
                raise ValueError(
                    f"trainer is for algorithms grpo and rloo; with ppo leave it out: {sorted(self.trainer)}"
                )
            return self
        if self.num_generations < 2:
            raise ValueError(f"{self.algorithm} compares completions of one prompt: num_generations must be at least 2")
        if self.ppo != PPOSettings() or self.unscored != "neutral":
            raise ValueError(f"ppo and unscored are for algorithm ppo; with {self.algorithm} leave them out")
        return self


class LoraSettings(Frozen):
    """An adapter that is trained in place of the model's own weights (LoRA, arXiv 2106.09685). `targets` are the names
    of layers, or all-linear for all but the output layer. The defaults are the MPO paper's."""

    rank: int = Field(default=64, ge=1)
    alpha: int = Field(default=128, ge=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    targets: Literal["all-linear"] | tuple[str, ...] = "all-linear"


class PolicySettings(Frozen):
    """The policy: a model folder or hub id that transformers can load as a causal LM, with its tokenizer; with `lora`
    an adapter to it is trained."""

    model: str = Field(min_length=1)
    lora: LoraSettings | None = None


class TrainSettings(Settings):
    """A whole training run: prompts, policy and engine besides the reward. `task` is a shipped one or your own .py
    file; `task_options` are what that task lets you choose."""

    task: str = "generic"
    task_options: dict[str, Any] = Field(default_factory=dict)
    data: DataSettings
    policy: PolicySettings
    engine: EngineSettings = EngineSettings()
