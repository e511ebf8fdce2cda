"""Rubrics and presets that come with the package."""

import pytest

from metapo.errors import SettingsError
from metapo.meta.settings import under
from metapo.rubric_lint import lint
from metapo.settings import WHOLE, TrainSettings
from metapo.shipped import shipped_preset, shipped_presets, shipped_rubric, shipped_rubrics
from metapo.tasks.loading import find_task


@pytest.mark.parametrize("name", shipped_rubrics())
def test_a_shipped_rubric_reads_and_names_what_it_is_for(name: str) -> None:
    rubric = shipped_rubric(name)
    assert rubric is not None
    if not name.startswith("world/") and not name.endswith("/iter0"):  # those are to show what rubrics lack
        assert lint(rubric) == []


def test_other_names_are_no_shipped_rubric() -> None:
    assert shipped_rubric("world") is None
    assert shipped_rubric("../rubrics/world/iter0") is None
    assert "world/oracle" in shipped_rubrics()


def test_an_unknown_preset_is_told_with_those_there_are() -> None:
    with pytest.raises(SettingsError, match="there is no preset 'paper/chess'; shipped are"):
        shipped_preset("paper/chess")
    for name in shipped_presets():
        assert shipped_preset(name)[1]["task"] == name.split("/")[1]


@pytest.mark.parametrize("task", ["essay", "summarization", "ethics", "math", "dialogue"])
def test_a_task_has_its_baselines_and_presets(task: str) -> None:
    assert {f"{task}/{arm}" for arm in ("iter0", "expert", "oracle", "autoprompt")} <= {*shipped_rubrics()}
    assert {f"gpu/{task}"} | ({f"paper/{task}"} if task != "dialogue" else set()) <= {*shipped_presets()}


@pytest.mark.parametrize("name", shipped_presets())
def test_a_preset_is_a_whole_settings_file(name: str) -> None:
    preset = shipped_preset(name)[1]
    base = under(find_task(preset["task"]).settings, preset, WHOLE)
    settings = TrainSettings.from_yaml("{}", base=base)
    assert settings.task_description
    assert settings.judge_notes
    assert settings.meta_notes
    assert settings.engine.batch_size == 64
    is_paper = name.startswith("paper/")
    assert (settings.meta.method == "mpo") is is_paper
    assert settings.engine.steps % settings.meta.every == 0
    assert (settings.engine.learning_rate, settings.reward) == (3e-6, "raw_sum") or not is_paper
