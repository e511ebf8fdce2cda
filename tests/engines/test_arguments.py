"""engine.trainer: further arguments of TRL's trainers are typed and reach them; what metapo decides is refused."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from trl import GRPOConfig, RLOOConfig

from metapo.engines.arguments import KEPT, _own, _typed, trainer_config
from metapo.errors import SettingsError
from tests.engines.parts import small_world


def config(algorithm: str = "grpo", **trainer: Any) -> Any:
    return trainer_config(small_world(algorithm=algorithm, trainer=trainer), Path("run"), n_ranks=1)


@pytest.mark.parametrize(
    ("algorithm", "name", "given", "taken"),
    [
        ("grpo", "max_grad_norm", 0.5, 0.5),
        ("grpo", "epsilon", "1e-3", 1e-3),  # YAML reads it as a text
        ("grpo", "loss_type", "dr_grpo", "dr_grpo"),
        ("grpo", "model_init_kwargs", {"dtype": "bfloat16"}, {"dtype": "bfloat16"}),
        ("grpo", "report_to", "none", []),
        ("rloo", "normalize_advantages", True, True),
    ],
)
def test_an_argument_reaches_the_trainer(algorithm: str, name: str, given: Any, taken: Any) -> None:
    assert getattr(config(algorithm, **{name: given}), name) == taken


@pytest.mark.parametrize(
    ("trainer", "message"),
    [
        ({"use_vlm": True}, r"^engine\.trainer\.use_vlm: the installed TRL's GRPOConfig has no such .* ones: use_vllm"),
        ({"normalize_advantages": True}, "GRPOConfig has no such argument"),
        ({"xyz": 1}, "no such argument. `pip show trl` tells the version.$"),
        ({"use_vllm": "server"}, r"^engine\.trainer\.use_vllm: Input should be a valid boolean, .*; got 'server'$"),
        ({"use_vllm": True}, r"needs vLLM\. Install it with: pip install 'trl\[vllm\]'$"),
        ({"max_steps": 3}, r"^engine\.trainer\.max_steps can't be set: it follows from engine\.steps$"),
        ({"fp16": True, "bf16": True}, "which sets fp16, bf16, is refused by TRL: At most one of fp16 and bf16"),
    ],
)
def test_what_can_not_be_is_told(trainer: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        config(**trainer)


def test_what_metapo_decides_is_kept_but_for_defaults() -> None:
    own = _own(small_world(), Path("run"), n_ranks=1, eval_generations=1)
    assert own.keys() - KEPT.keys() == {"bf16", "gradient_checkpointing", "report_to", "disable_tqdm"}


@pytest.mark.parametrize("config_class", [GRPOConfig, RLOOConfig])
def test_what_is_kept_is_trls_and_every_default_is_of_its_declared_type(config_class: Any) -> None:
    fields = {field.name: field for field in dataclasses.fields(config_class)}
    assert KEPT.keys() - fields.keys() <= {"warmup_ratio"}, "transformers 5.10 has it, 5.23 no more"
    defaults = {name: field.default for name, field in fields.items() if field.default is not dataclasses.MISSING}
    types = {name: field.type for name, field in fields.items()}
    assert {name: _typed(name, value, types[name]) for name, value in defaults.items()} == defaults
