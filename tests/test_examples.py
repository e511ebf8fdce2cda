"""The accelerate configurations in examples/: accelerate takes each, and knows every name in it."""

from pathlib import Path

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import launch_command_parser

CONFIGS = sorted((Path(__file__).parents[1] / "examples" / "accelerate").glob("*.yaml"))
OPTIONS = {option.removeprefix("--") for action in launch_command_parser()._actions for option in action.option_strings}
assert CONFIGS


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_accelerate_reads_it(path: Path) -> None:
    written = yaml.safe_load(path.read_text())
    assert load_config_from_file(str(path)).num_processes == written["num_processes"] > 1
    names = {name for part in written.values() if isinstance(part, dict) for name in part}
    assert names <= OPTIONS, "inside a part accelerate passes over names that it does not know"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_weights_are_gathered_for_the_policy_that_is_written(path: Path) -> None:
    """Otherwise TRL writes a folder without weights, and says nothing."""
    config = load_config_from_file(str(path))
    assert config.fsdp_config.get("fsdp_state_dict_type", "FULL_STATE_DICT") == "FULL_STATE_DICT"
    assert config.deepspeed_config.get("zero_stage") != 3 or config.deepspeed_config["zero3_save_16bit_model"]
