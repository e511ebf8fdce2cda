"""The example of a cluster: its command and settings make verl's config, and verl's reward worker scores under them."""

import re
import shlex
from pathlib import Path

import pytest

from metapo.rollout import Rollout
from metapo.rubric import Rubric
from tests.engines import verl_parts as verl
from tests.examples.parts import EXAMPLES, copied, replace_in
from tests.servers import ChatServer, verdicts

pytestmark = pytest.mark.filterwarnings("ignore")  # verl's and Ray's own
JUDGE = "http://judge.local:8000/v1"


def overrides(place: Path) -> list[str]:
    """What the command hands to verl, as the shell does."""
    _, command = re.split(r"^python -m verl\.trainer\.main_ppo", (place / "train.sh").read_text(), flags=re.MULTILINE)
    return [word.replace("$PWD", str(place)) for word in shlex.split(command) if word != "\n"]


def test_verls_reward_worker_scores_under_its_settings(tmp_path: Path) -> None:
    place = copied(tmp_path) / "verl"
    with ChatServer(verdicts()) as judge:
        replace_in(place / "settings.yaml", **{JUDGE: judge.url, JUDGE.replace("8000", "8001"): judge.url})
        search, preset, *given = overrides(place)
        assert (search, preset) == ("hydra.searchpath=[pkg://metapo.presets]", "+verl=ppo")
        verl.write_tokenizer(place / "policy")
        config = verl.verl_config(*given, *verl.SMALL, f"actor_rollout_ref.model.path={place / 'policy'}")
        assert verl.VerlOptions.of(config).load_settings().rubric == Rubric.load(EXAMPLES / "rubric.yaml")
        assert config.trainer.nnodes * config.trainer.n_gpus_per_node == 32
        with verl.cluster(), verl.kept(config), verl.reward_manager(config) as manager:
            written = [Rollout(prompt="Argue for lanes.", completion="Lanes save lives.", position=i) for i in range(4)]
            assert [verl.reward(manager, sample) for sample in verl.samples(written, manager)] == [1.0] * 4
