"""verl's own config with metapo's presets over it, and what the block `metapo` refuses."""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import fields
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import yaml

from metapo.errors import SettingsError
from metapo.shipped import shipped_presets
from tests.engines import verl_parts as verl
from tests.trainer import settings

pytestmark = pytest.mark.filterwarnings("ignore")  # verl's own
ROOT = Path(__file__).parents[2]
PRESETS = ROOT / "src" / "metapo" / "presets" / "verl"


@pytest.mark.parametrize("name", ["ppo", "grpo"])
def test_verl_knows_every_key_of_a_preset(name: str) -> None:
    from omegaconf import OmegaConf
    from verl.workers.config.rollout import AgentLoopConfig

    plain, composed = verl.verl_config(preset=""), verl.verl_config(preset=name)
    manager = "actor_rollout_ref.rollout.agent.agent_loop_manager_class"
    assert "agent_loop_manager_class" in [field.name for field in fields(AgentLoopConfig)]
    for file in ("wiring", name):
        for key, value in leaves(yaml.safe_load((PRESETS / f"{file}.yaml").read_text())):
            if key != "defaults" and not key.startswith("metapo."):
                assert key == manager or OmegaConf.select(plain, key, default="no such key") != "no such key", key
                assert OmegaConf.select(composed, key) == value


def test_the_presets_are_ppo_with_a_critic_and_grpo_without() -> None:
    ppo, grpo = verl.verl_config(preset="ppo"), verl.verl_config(preset="grpo")
    assert verl.needs_critic(ppo)
    assert not verl.needs_critic(grpo)
    for config in (ppo, grpo):
        assert config.data.train_batch_size * config.actor_rollout_ref.rollout.n == 64
        assert config.data.train_batch_size >= config.actor_rollout_ref.actor.ppo_mini_batch_size
    assert ppo.critic.ppo_epochs == ppo.actor_rollout_ref.actor.ppo_epochs == 4


def test_metapo_train_offers_none_of_them() -> None:
    assert [name for name in shipped_presets() if "verl" in name] == []


def test_the_package_registers_its_manager_with_verl() -> None:
    from verl.experimental.reward_loop.reward_manager import get_reward_manager_cls

    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["verl.plugins"]
    for name, value in declared.items():
        EntryPoint(name, value, "verl.plugins").load()
    assert get_reward_manager_cls("metapo") is verl.RewardManager


def test_options_are_read(tmp_path: Path) -> None:
    config = verl.config_for(tmp_path, settings())
    options = verl.VerlOptions.of(config)
    assert options.load_settings() == settings()
    assert (options.place, options.unscored, options.slots) == (tmp_path / "store.db", "raise", 12)
    config.metapo.store = "postgresql+psycopg://user@host/db"
    assert verl.VerlOptions.of(config).place == "postgresql+psycopg://user@host/db"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["metapo.store=run/store.db"], "store must be an absolute path or a database's URL; got 'run/store.db'"),
        (["metapo.unscored=mask"], "unscored.*'raise' or 'neutral'"),
        (["metapo.unscored=neutral"], "unscored: neutral needs the number to give"),
        (["metapo.neutral=0"], "unscored: raise takes none"),
        (["metapo.slots=-1"], "slots.*greater than or equal to 0"),
        (["+metapo.slot=3"], "slot.*not permitted"),
        (
            ["metapo.server=http://localhost:8000"],
            "settings and store, or .*got server, settings, store",
        ),
        (["metapo.token_env=TOKEN"], "settings and store, or .*got settings, store, token_env"),
        (["metapo.settings=null"], "settings and store, or in their place server.*; got store"),
        (["metapo.settings=???"], "not complete: Missing mandatory value: settings"),
        (["reward.reward_model.enable=true"], "would take that model's score and never ask metapo"),
    ],
)
def test_options_that_are_wrong_are_told(tmp_path: Path, overrides: list[str], message: str) -> None:
    config = verl.config_for(tmp_path, settings(), *overrides)
    with pytest.raises(SettingsError, match=f"(?s){message}"):
        verl.VerlOptions.of(config)


def test_a_server_takes_the_place_of_settings_and_store(tmp_path: Path) -> None:
    config = verl.config_for_server(tmp_path, "http://localhost:8000", "metapo.token_env=TOKEN")
    options = verl.VerlOptions.of(config)
    assert (options.server, options.token_env, options.unscored) == ("http://localhost:8000", "TOKEN", "raise")


def test_no_message_about_options_repeats_a_password(tmp_path: Path) -> None:
    config = verl.config_for(tmp_path, settings(), "metapo.neutral=1")
    config.metapo.settings, config.metapo.store = "s.yaml", "postgresql://ada:hunter2@host/db"
    with pytest.raises(SettingsError, match="got unscored: raise, neutral: 1") as told:
        verl.VerlOptions.of(config)
    config.metapo.server = "http://localhost:8000"
    with pytest.raises(SettingsError, match="in their place server") as twice:
        verl.VerlOptions.of(config)
    assert "hunter2" not in f"{told.value} {twice.value}"


def test_a_config_without_the_block_says_how_to_give_it() -> None:
    with pytest.raises(SettingsError, match=r"(?s)unscored.*Give them as \+metapo\.settings="):
        verl.VerlOptions.of(verl.verl_config(preset=""))


def leaves(block: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in block.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
