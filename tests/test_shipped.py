"""Rubrics and presets that come with the package."""

import pytest

from metapo.errors import SettingsError
from metapo.rubric_lint import lint
from metapo.shipped import shipped_preset, shipped_presets, shipped_rubric, shipped_rubrics


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
