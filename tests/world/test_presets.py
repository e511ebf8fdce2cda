"""The arms as settings: what is different about an arm is what its name says."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from pydantic import ValidationError

from metapo.cli import main
from metapo.errors import RunError
from metapo.rubric import Rubric
from metapo.world.policy import Start
from metapo.world.presets import (
    ARMS,
    STEPS,
    SWAY,
    VARIANTS,
    MetaKind,
    Preset,
    WorldSettings,
    arm_settings,
    preset_rubric,
    under,
    with_sources,
)

HANDED_OVER = preset_rubric("expert")


def settings_of(arm: str, **given: Any) -> WorldSettings:
    """An arm's settings under seed 1; one that takes its rubric from a run is handed expert's."""
    return arm_settings(arm, **{"seed": 1, "rubric": HANDED_OVER if ARMS[arm].source else None, **given})


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """Every field by its dotted path; a rubric is one field."""
    if isinstance(value, dict) and path != "rubric":
        return {k: v for name, part in value.items() for k, v in flat(part, f"{path}.{name}".strip(".")).items()}
    return {path: value}


def difference(one: str, other: str) -> dict[str, Any]:
    """The fields in which two arms differ, with the other's values; their names apart. What is switched off with None
    lacks its fields."""
    a, b = (flat(settings_of(arm).model_dump()) for arm in (one, other))
    found = {path: b[path] for path in b if (path not in a or a[path] != b[path]) and path != "arm"}
    off = tuple(f"{path}." for path, value in found.items() if value is None)
    assert [path for path in a if path not in b and not path.startswith(off)] == []
    return found


@pytest.mark.parametrize("arm", ARMS)
def test_an_arm_comes_back_from_its_file(arm: str) -> None:
    settings = settings_of(arm, seed=5, steps=7, sway=0.5)
    assert WorldSettings.from_yaml(settings.to_yaml()) == settings
    assert (settings.arm, settings.engine.steps, settings.seed) == (arm, 7, 5)


EVERY = {"meta.every": 10}
PUBLISHED = EVERY | {
    "meta.method": "mpo",
    "meta.select": "random",
    "meta.candidates": 1,
    "meta.repair": False,
    "meta.gate": None,
    "meta.hygiene.duplicates": False,
    "meta.hygiene.no_variance": False,
    "meta.hygiene.misordered": False,
    "meta.hygiene.split": False,
    "meta.rollback": False,
    "meta.when": "every",
    "meta.staleness": 0,
    "meta.bridge": "off",
}
PAIRS: dict[tuple[str, str], dict[str, Any]] = {
    ("iter0", "mpo"): PUBLISHED,
    ("iter0", "metapo"): EVERY | {"judging.mode": "expected", "reward": "conjunctive"},
    ("metapo", "flawed-gate"): {"meta_model": MetaKind.FLAWED},
    ("iter0", "null-rewrite"): PUBLISHED | {"meta_model": MetaKind.REWORDING},
    ("mpo", "null-rewrite"): {"meta_model": MetaKind.REWORDING},
    ("oracle", "null-rewrite-oracle"): PUBLISHED | {"meta_model": MetaKind.REWORDING},
    ("mpo", "flawed-nogate"): {"meta_model": MetaKind.FLAWED},
    ("iter0", "expert"): {"rubric": preset_rubric("expert").model_dump()},
    ("iter0", "oracle"): {"rubric": preset_rubric("oracle").model_dump()},
    ("iter0", "autoprompt"): {"rubric": preset_rubric("autoprompt").model_dump()},
    ("iter0", "final-from-start"): {"rubric": HANDED_OVER.model_dump()},
    ("final-from-start", "halfway-from-start"): {},
}


@pytest.mark.parametrize("pair", PAIRS)
def test_arms_differ_in_what_their_names_say(pair: tuple[str, str]) -> None:
    assert difference(*pair) == PAIRS[pair]


def varied() -> Iterable[tuple[str, str]]:
    """Every arm that is a variant, with the variant: the longest that its name ends with."""
    for arm in ARMS:
        found = [v for v in VARIANTS if arm.endswith(f"-{v}")]
        if found:
            yield arm, max(found, key=len)


VARIED = dict(varied())


def test_the_arms_without_a_variant_are_those_compared_above() -> None:
    assert {*ARMS} - {*VARIED} == {arm for pair in PAIRS for arm in pair}
    assert {*VARIED.values()} == {*VARIANTS}


@pytest.mark.parametrize("arm", VARIED)
def test_a_variant_changes_what_its_name_says(arm: str) -> None:
    variant = VARIED[arm]
    plain = arm.removesuffix(f"-{variant}")
    assert difference(plain, arm) == VARIANTS[variant].changes
    source, varied_source = ARMS[plain].source, ARMS[arm].source
    assert (source is None) == (varied_source is None)
    if source and varied_source:
        assert (varied_source.arm, varied_source.share) == (f"{source.arm}-{variant}", source.share)


def test_what_the_variants_are() -> None:
    """The table by hand: fields and values as one would write them into a settings file."""
    assert {name: dict(variant.changes) for name, variant in VARIANTS.items()} == {
        "every-20": {"meta.every": 20},
        "every-40": {"meta.every": 40},
        "raw": {"reward": "raw_sum"},
        "sway-0": {"sway": 0},
        "sway-1": {"sway": 1},
        "weak": {"start": "weak"},
        "strict": {"strict": True},
        "weak-strict": {"start": "weak", "strict": True},
        "late": {"tires_after": 9},
        "ppo": {"engine.algorithm": "ppo", "engine.learning_rate": 3e-4},
        "no-gate": {"meta.gate": None},
        "no-anchors": {"meta.gate.anchors": False},
        "no-attack": {"meta.gate.attack": False},
        "no-comparison": {"meta.exam.compared": 0},
        "no-earlier": {"meta.exam.earlier": 0},
        "no-damage": {"meta.exam.damaged": False, "meta.exam.exemplars": 0},
        "no-choice": {"meta.candidates": 1, "meta.repair": False},
        "no-selection": {"meta.select": "random"},
        "no-hygiene": dict.fromkeys((p for p in PUBLISHED if p.startswith("meta.hygiene.")), False),
        "no-rollback": {"meta.rollback": False},
        "no-triggers": {"meta.when": "every"},
        "blocking": {"meta.staleness": 0},
        "expected": {"judging.mode": "expected"},
        "joint": {"judging.mode": "joint"},
        "conjunctive": {"reward": "conjunctive"},
        "additive": {"reward": "normalized"},
        "dropout": {"dropout": 0.5},
    }


def test_a_change_of_an_unknown_field_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ARMS, "odd", Preset("odd", changes={"meta.evry": 3}))
    with pytest.raises(ValidationError, match=r"meta\.evry"):
        arm_settings("odd", seed=1)


@pytest.mark.parametrize("arm", ["iter0", "mpo", "mpo-sway-0", "mpo-sway-1", "mpo-raw"])
def test_an_arm_that_sets_sway_keeps_its_own(arm: str) -> None:
    own = {"mpo-sway-0": 0.0, "mpo-sway-1": 1.0}.get(arm)
    assert settings_of(arm, sway=0.5).sway == (0.5 if own is None else own)
    assert settings_of(arm).sway == (SWAY if own is None else own)


def test_the_world_is_as_it_always_was_unless_an_arm_says_so() -> None:
    settings = settings_of("mpo")
    assert (settings.meta_model, settings.start, settings.strict, settings.tires_after, settings.sway) == (
        MetaKind.RULES,
        Start.USUAL,
        False,
        None,
        0.25,
    )
    known = settings.model_dump(mode="json", exclude={"meta_model", "flaw", "start", "strict", "tires_after"})
    assert WorldSettings.model_validate(known) == settings, "a run of a version without these options goes on"


# --- arms that start with another's rubric


def test_a_source_is_an_arm_that_needs_none() -> None:
    for arm, preset in ARMS.items():
        if preset.source:
            assert ARMS[preset.source.arm].source is None, arm
            assert settings_of(preset.source.arm).meta.every, "a rubric that never changed is no news"


@pytest.mark.parametrize("arm", [arm for arm, preset in ARMS.items() if preset.source])
def test_an_arm_with_a_source_starts_with_what_it_is_handed(arm: str) -> None:
    rubric = preset_rubric("oracle")
    assert settings_of(arm, rubric=rubric).rubric == rubric
    assert settings_of(arm).meta.every == 0
    with pytest.raises(
        RunError, match=rf"^{arm} starts with a rubric of mpo\S* under the same seed\. Use .*--rubric-of"
    ):
        arm_settings(arm, seed=1)


def test_an_arm_of_its_own_takes_no_other_rubric() -> None:
    assert settings_of("iter0", rubric=Rubric(criteria=HANDED_OVER.criteria[:1])).rubric == preset_rubric("iter0")


@pytest.mark.parametrize(
    ("arms", "run"),
    [
        (["iter0", "expert"], ["iter0", "expert"]),
        (["final-from-start"], ["mpo", "final-from-start"]),
        (["final-from-start", "iter0", "mpo"], ["mpo", "final-from-start", "iter0"]),
        (["mpo", "halfway-from-start", "final-from-start"], ["mpo", "halfway-from-start", "final-from-start"]),
        (["final-from-start-weak", "mpo"], ["mpo-weak", "final-from-start-weak", "mpo"]),
        (["iter0", "iter0"], ["iter0"]),
    ],
)
def test_sources_come_first(arms: list[str], run: list[str]) -> None:
    assert with_sources(arms) == run


# --- the command line


def test_the_arms_are_listed_with_what_they_are() -> None:
    done = CliRunner().invoke(main, ["world", "arms"], catch_exceptions=False)
    listed = [line.split(maxsplit=1) for line in done.output.splitlines()]
    assert listed == [[arm, preset.about] for arm, preset in ARMS.items()]
    assert len({preset.about for preset in ARMS.values()}) == len(ARMS)
    assert ARMS["final-from-start-late"].about.endswith(
        "; the judge tires after 9 sentences, which few essays have at first"
    )


def test_an_arm_of_its_own_refuses_a_handed_over_rubric() -> None:
    done = CliRunner().invoke(main, ["world", "run", "mpo", "--rubric-of", "there", "--out", "here"])
    assert done.exit_code == 2
    assert "mpo has a rubric of its own to start with" in done.output


def test_the_command_line_has_the_same_defaults() -> None:
    world = main.commands["world"]
    assert isinstance(world, click.Group)
    for name in ("demo", "compare", "run"):
        defaults = {p.name: p.default for p in world.commands[name].params}
        assert defaults["steps"] == STEPS
        assert defaults.get("sway", SWAY) == SWAY


def test_an_algorithm_is_part_of_the_name_so_that_runs_never_mix(tmp_path: Path) -> None:
    assert under("grpo", ["iter0", "mpo-raw"]) == ["iter0", "mpo-raw"]
    assert under("ppo", ["iter0", "mpo-raw", "metapo-ppo"]) == ["iter0-ppo", "mpo-raw-ppo", "metapo-ppo"]
    command = ["world", "compare", "--arms", "expert", "--algorithm", "ppo", "--out", str(tmp_path)]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 1
    assert "there is no arm expert-ppo; choose from iter0" in done.output
