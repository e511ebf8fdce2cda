import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from metapo.errors import RubricError, SettingsError
from metapo.meta.hygiene import HygieneSettings
from metapo.meta.settings import MPO, GateSettings, MetaSettings
from metapo.settings import DataSettings, EngineSettings, MetaSchedule, PolicySettings, Settings, TrainSettings
from metapo.world.presets import arm_settings
from tests.helpers import rubric, rubrics

DOCS = Path(__file__).parents[1] / "docs" / "settings.md"
JUDGE = {"url": "http://localhost:8000/v1", "model": "judge"}
NEEDED: dict[str, Any] = {
    "rubric": rubric().model_dump(mode="json"),
    "judge": JUDGE,
    "data": {"train": "prompts.jsonl"},
    "policy": {"model": "models/policy"},
}


def dump(**changes: Any) -> str:
    """The smallest training settings with changes; a dotted name, `engine__kl`, changes a part."""
    data = {**NEEDED}
    for name, value in changes.items():
        part, _, field = name.partition("__")
        data[part] = {**data.get(part, {}), field: value} if field else value
    return yaml.safe_dump(data)


def load(text: str) -> TrainSettings:
    return TrainSettings.from_yaml(text, source="run.yaml")


def refused(text: str) -> str:
    """The message with which settings are refused."""
    with pytest.raises(SettingsError) as caught:
        load(text)
    return str(caught.value)


# --- there and back


line_ends = st.lists(
    st.sampled_from(["a", " ", "\n", "\r", "\x85", "\u2028", "\ufeff", "'", ": ", "é"]), min_size=1
).map("".join)


@st.composite
def schedules(draw: st.DrawFn) -> MetaSchedule:
    """Any that begins no meta step while another is under way."""
    every = draw(st.integers(0, 99))
    earliest = min(every, draw(st.integers(1, 9))) or 1
    return MetaSchedule(
        method=draw(st.sampled_from(["metapo", "mpo"])),
        every=every,
        earliest=earliest,
        staleness=draw(st.integers(0, earliest - 1)),
        gate=draw(st.none() | st.builds(GateSettings, attack=st.booleans(), max_fooled=st.floats(0, 1))),
    )


@given(
    rubrics(),
    line_ends | st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    st.builds(
        EngineSettings,
        algorithm=st.sampled_from(["grpo", "rloo"]),
        micro_batch_size=st.none() | st.integers(1, 64),
        learning_rate=st.floats(1e-12, 1.0),
        kl=st.floats(0, 10),
        eval_every=st.integers(0, 9),
    ),
    schedules(),
    st.integers(0, 2**32 - 1),
)
def test_yaml_written_is_read_back(given_rubric: Any, text: str, engine: Any, meta: Any, seed: int) -> None:
    settings = TrainSettings(
        rubric=given_rubric,
        task_description=text,
        judge={**JUDGE, "api_key_env": "KEY"},  # type: ignore[arg-type]
        meta=meta,
        data=DataSettings(train=text, reference_column=text),
        policy=PolicySettings(model="m"),
        engine=engine,
        seed=seed,
    )
    written = settings.to_yaml()
    assert TrainSettings.from_yaml(written) == settings
    assert TrainSettings.from_yaml(written).to_yaml() == written
    assert "\r" not in written, "reading a file would turn it into a new line"


@pytest.mark.parametrize("sway", [-0.1, 1.1, float("nan")])
def test_sway_is_a_probability(sway: float) -> None:
    with pytest.raises(ValidationError, match="sway"):
        arm_settings("mpo", seed=1, sway=sway)


# --- defaults


def test_the_smallest_settings_take_every_default() -> None:
    settings = load(dump())
    assert (settings.task, settings.reward, settings.seed) == ("generic", "normalized", 0)
    assert settings.meta == MetaSchedule()
    assert settings.engine == EngineSettings()
    assert settings.engine.kl > 0, "KL is on unless it is switched off"
    assert settings.meta.endpoint is None


def test_mpo_is_one_line_and_one_may_still_differ_from_it() -> None:
    published = load(dump(meta="mpo")).meta
    assert (published.select, published.candidates, published.gate) == ("random", 1, None)
    assert (published.repair, published.rollback, published.when) == (False, False, "every")
    assert (published.staleness, published.bridge) == (0, "off")
    assert not any(vars(published.hygiene).values())
    assert published == MetaSchedule(method="mpo") == load(dump(meta={"method": "mpo"})).meta
    assert MPO.keys() <= MetaSchedule.model_fields.keys()
    overlapped = load(dump(meta={"method": "mpo", "staleness": 3, "select": "thirds"})).meta
    assert overlapped == published.model_copy(update={"staleness": 3, "select": "thirds"})
    assert MetaSettings(method="mpo").select == "random"


def meta(text: str) -> MetaSchedule:
    """The meta settings that a file reads as which says `meta: text`."""
    return load(dump() + f"meta: {text}\n").meta


def test_under_mpo_one_rule_of_hygiene_switches_on_no_other() -> None:
    assert meta("{method: mpo, hygiene: {split: true}}").hygiene == HygieneSettings(
        duplicates=False, no_variance=False, misordered=False, split=True
    )
    assert meta("{method: mpo, hygiene: {}}").hygiene == meta("mpo").hygiene
    assert meta("{hygiene: {split: false}}").hygiene == HygieneSettings(split=False)
    given_whole = MetaSchedule.model_validate({"method": "mpo", "hygiene": HygieneSettings()})
    assert given_whole.hygiene == HygieneSettings()
    assert "meta.hygiene.merge: there is no such field" in refused(
        dump(meta={"method": "mpo", "hygiene": {"merge": True}})
    )


def test_on_and_off_are_read_as_people_write_them() -> None:
    assert meta("{bridge: off}").bridge == meta("{bridge: 'off'}").bridge == "off"
    assert meta("{gate: off}").gate is meta("{gate: false}").gate is meta("{gate: null}").gate is None
    assert meta("{gate: on}").gate == meta("{method: mpo, gate: true}").gate == GateSettings()
    assert "meta.bridge: Input should be 'off', 'log' or 'calibrate'; got 'True'" in refused(
        dump(meta={"bridge": True})
    )


def test_by_default_meta_steps_are_gated_adaptive_and_beside_training() -> None:
    ours = load(dump()).meta
    assert (ours.method, ours.when, ours.select, ours.staleness) == ("metapo", "adaptive", "mixed", 1)
    assert ours.gate == GateSettings()
    assert ours.rollback


def test_what_a_meta_step_brings_scores_before_the_next_may_begin() -> None:
    message = refused(dump(meta={"method": "mpo", "every": 2, "staleness": 2}))
    assert "staleness = 2 must be less than every = 2: the next meta step needs rollouts" in message
    assert "staleness = 5 must be less than earliest = 5" in refused(dump(meta={"staleness": 5, "earliest": 5}))
    assert "staleness = 1 must be less than every = 1" in refused(dump(meta={"every": 1}))
    assert load(dump(meta={"method": "mpo", "every": 2, "staleness": 1})).meta.staleness == 1


@pytest.mark.parametrize(
    ("text", "earliest"),
    [
        ("{}", 3),
        ("{every: 2}", 2),
        ("{every: 1, staleness: 0}", 1),
        ("{staleness: 3}", 4),
        ("{staleness: 3, every: 4}", 4),
        ("{every: 2, earliest: 2}", 2),
        ("{every: 0, staleness: 5}", 3),
    ],
)
def test_earliest_follows_what_is_set_and_is_written_back(text: str, earliest: int) -> None:
    found = load(dump() + f"meta: {text}\n")
    assert found.meta.earliest == earliest
    assert yaml.safe_load(found.to_yaml())["meta"]["earliest"] == earliest
    assert load(found.to_yaml()) == found


def test_resolved_settings_hold_every_field() -> None:
    written = yaml.safe_load(load(dump()).to_yaml())
    assert written.keys() == TrainSettings.model_fields.keys()
    assert written["engine"].keys() == EngineSettings.model_fields.keys()
    assert written["meta"].keys() == MetaSchedule.model_fields.keys()
    assert written["data"].keys() == DataSettings.model_fields.keys()


def test_the_page_shows_every_field_with_its_default() -> None:
    """The longest YAML block of docs/settings.md, but for what has no default."""
    shown = yaml.safe_load(max(re.findall(r"```yaml\n(.*?)```", DOCS.read_text(), re.DOTALL), key=len))
    needed = {"rubric": NEEDED["rubric"], **{name: shown[name] for name in ("data", "policy")}}
    needed["judge"] = {name: shown["judge"][name] for name in ("url", "model")}
    needed["data"] = {"train": shown["data"]["train"]}
    assert {**shown, "rubric": NEEDED["rubric"]} == TrainSettings.model_validate(needed).model_dump(mode="json")


# --- what is refused, with the field in the message


@pytest.mark.parametrize("field", NEEDED)
def test_a_missing_field_is_named(field: str) -> None:
    text = yaml.safe_dump({name: value for name, value in NEEDED.items() if name != field})
    assert refused(text) == f"run.yaml is wrong in these fields:\n  {field}: Field required"


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"stepz": 1}, "  stepz: there is no such field. There are task_description, "),
        ({"engine__stepz": 1}, "  engine.stepz: there is no such field. Similar ones: steps"),
        ({"engine__steps": "many"}, "  engine.steps: Input should be a valid integer, unable to parse string as an "),
        ({"engine__steps": 0}, "  engine.steps: Input should be greater than or equal to 1; got '0'"),
        (
            {"engine__steps": 1.5},
            "  engine.steps: Input should be a valid integer, got a number with a fractional part",
        ),
        ({"engine__learning_rate": 0}, "  engine.learning_rate: Input should be greater than 0; got '0'"),
        ({"engine__learning_rate": "1e-5x"}, "  engine.learning_rate: Input should be a valid number"),
        ({"engine__kl": -0.1}, "  engine.kl: Input should be greater than or equal to 0; got '-0.1'"),
        ({"engine__kl": float("nan")}, "  engine.kl: Input should be greater than or equal to 0; got 'nan'"),
        ({"engine__algorithm": "dpo"}, "  engine.algorithm: Input should be 'grpo', 'rloo' or 'ppo'; got 'dpo'"),
        ({"engine__num_generations": 1}, "  engine: grpo compares completions of one prompt: num_gen"),
        ({"engine__ppo": {"epochs": 2}}, "  engine: ppo and unscored are for algorithm ppo; with grpo "),
        ({"engine__unscored": "raise"}, "  engine: ppo and unscored are for algorithm ppo; with grpo "),
        ({"engine": "fast"}, "  engine: Input should be a valid dictionary or instance of EngineSettings; got 'fast'"),
        ({"max_unscored": 1.1}, "  max_unscored: Input should be less than or equal to 1; got '1.1'"),
        ({"seed": -1}, "  seed: Input should be greater than or equal to 0; got '-1'"),
        ({"seed": 2**32}, "  seed: Input should be less than or equal to 4294967295; got '4294967296'"),
        ({"reward": "sum"}, "  reward: Input should be 'normalized', 'raw_sum' or 'conjunctive'; got 'sum'"),
        ({"dropout": -0.1}, "  dropout: Input should be greater than or equal to 0; got '-0.1'"),
        ({"dropout": 1}, "  dropout: Input should be less than 1; got '1'"),
        ({"dropout": float("nan")}, "  dropout: Input should be less than 1; got 'nan'"),
        ({"task_description": ""}, "  task_description: String should have at least 1 character; got ''"),
        ({"meta__every": -1}, "  meta.every: Input should be greater than or equal to 0; got '-1'"),
        ({"meta__accept": "never"}, "  meta.accept: there is no such field. "),
        ({"meta__method": "grpo"}, "  meta.method: Input should be 'metapo' or 'mpo'; got 'grpo'"),
        ({"meta__approve": "never"}, "  meta.approve: Input should be 'auto' or 'manual'; got 'never'"),
        ({"meta__candidates": 0}, "  meta.candidates: Input should be greater than or equal to 1; got '0'"),
        ({"meta__gate": {"max_fooled": 2}}, "  meta.gate.max_fooled: Input should be less than or equal to 1; got '2'"),
        ({"meta__endpoint": {"url": "http://x/v1"}}, "  meta.endpoint.model: Field required"),
        ({"judging__max_attempts": 0}, "  judging.max_attempts: Input should be greater than or equal to 1; got '0'"),
        ({"judge__url": ""}, "  judge.url: String should have at least 1 character; got ''"),
        ({"judge__model": None}, "  judge.model: Input should be a valid string; got 'None'"),
        ({"data__train": ""}, "  data.train: String should have at least 1 character; got ''"),
        ({"rubric": {"criteria": []}}, "  rubric.criteria: Tuple should have at least 1 item"),
        ({"rubric": 5}, "  rubric: Input should be a valid dictionary or instance of Rubric; got '5'"),
        ({"rubric": ["a.yaml"]}, "  rubric: Input should be a valid dictionary or instance of Rubric"),
    ],
)
def test_a_wrong_field_is_named_with_what_came(changes: dict[str, Any], line: str) -> None:
    message = refused(dump(**changes))
    assert message.startswith(f"run.yaml is wrong in these fields:\n{line}")
    assert len(message.splitlines()) == 2


def test_all_wrong_fields_are_named_at_once() -> None:
    message = refused(dump(seed=-1, engine__kl=-1, extra=1))
    assert re.findall(r"^  (\S+):", message, re.MULTILINE) == ["seed", "engine.kl", "extra"]


def test_a_level_outside_the_range_is_named_by_its_place() -> None:
    wrong = {
        "criteria": [{"name": "A", "levels": [{"points": 0, "description": "a"}, {"points": 2000, "description": "b"}]}]
    }
    assert "  rubric.criteria.0.levels.1.points: Input should be less than or equal to 1000; got '2000'" in refused(
        dump(rubric=wrong)
    )


@pytest.mark.parametrize("text", ["", "just words", "- a\n- b", "5", "~"])
def test_settings_are_fields(text: str) -> None:
    assert refused(text).startswith("run.yaml must hold fields, like 'rubric: rubric.yaml'; got ")


@pytest.mark.parametrize(
    "text",
    [
        "a: [1, 2",
        "a: b: c",
        "\tseed: 1",
        "seed: !!int x",
        "seed: 2024-13-45",
        "a: " + "[" * 3000,
        "!!python/object/apply:os.system [exit]",
        "a: \x00",
    ],
)
def test_what_is_no_yaml_is_said_to_be_none(text: str) -> None:
    assert refused(text).startswith("run.yaml is not YAML: ")


# --- files


def test_a_rubric_is_read_relative_to_its_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "rubrics").mkdir()
    (tmp_path / "rubrics" / "mine.yaml").write_text(rubric().to_yaml())
    (tmp_path / "configs" / "run.yaml").write_text(dump(rubric="../rubrics/mine.yaml"))
    monkeypatch.chdir(tmp_path)
    settings = TrainSettings.load(Path("configs/run.yaml"))
    assert settings.rubric == rubric()
    # as resolved it stands in the settings themselves
    assert TrainSettings.from_yaml(settings.to_yaml(), folder=Path("/nowhere")) == settings


def test_an_absolute_path_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(rubric().to_yaml())
    assert TrainSettings.from_yaml(dump(rubric=str(tmp_path / "mine.yaml")), folder=Path("/nowhere")).rubric == rubric()


def test_a_rubric_that_is_not_there_is_named_with_its_whole_path(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(dump(rubric="gone.yaml"))
    with pytest.raises(RubricError) as caught:
        Settings.load(tmp_path / "run.yaml")
    assert str(caught.value) == (
        f"can't read the rubric {tmp_path / 'gone.yaml'}: No such file or directory. "
        "Give the path of a .yaml or .json file."
    )


def test_a_misspelt_shipped_rubric_is_told_from_those_there_are() -> None:
    with pytest.raises(RubricError, match=r"essay/exprt: No such file.* Shipped rubrics are .*, essay/expert, "):
        TrainSettings.from_yaml(dump(rubric="essay/exprt"))


def test_settings_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        TrainSettings.load(tmp_path / "gone.yaml")
    assert str(caught.value) == (
        f"can't read the settings {tmp_path / 'gone.yaml'}: No such file or directory. Give the path of a YAML file."
    )


def test_a_folder_is_no_settings_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="Is a directory"):
        TrainSettings.load(tmp_path)


def test_settings_in_another_encoding_are_said_to_be(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_bytes(b"task_description: caf\xe9\n")
    with pytest.raises(SettingsError) as caught:
        TrainSettings.load(tmp_path / "run.yaml")
    assert str(caught.value) == f"{tmp_path / 'run.yaml'} is not UTF-8 text: invalid continuation byte at byte 21"


def test_a_loaded_file_is_named_in_the_message(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(dump(seed=-1))
    with pytest.raises(SettingsError, match=re.escape(f"{tmp_path / 'run.yaml'} is wrong in these fields:\n  seed: ")):
        TrainSettings.load(tmp_path / "run.yaml")


def test_a_budget_in_money_needs_a_price() -> None:
    text = "rubric: {criteria: [{name: a, levels: [{points: 0, description: b}, {points: 1, description: c}]}]}\n"
    text += "judge: {url: http://localhost/v1, model: m%s}\nbudget: {usd: 5}"
    with pytest.raises(SettingsError, match=r"budget\.usd counts nothing without a price"):
        Settings.from_yaml(text % "")
    assert Settings.from_yaml(text % ", price: {prompt: 1, completion: 2}").budget.usd == 5
