"""From endpoints to connections: one transport per endpoint, and a local model behind the command line."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from metapo.cli import main
from metapo.engines.connect import connect
from metapo.engines.local import LocalTransport
from metapo.errors import ModelError
from metapo.judge.endpoint import EndpointSettings, LocalSettings
from metapo.judge.openai import OpenAITransport
from metapo.judge.transport import ScriptedTransport
from metapo.settings import MetaSchedule, MonitorSettings, PanelSettings, Settings
from tests.helpers import criterion, rubric

RUBRIC = rubric(criterion("depth", (0, 2, 5)), criterion("style", (0, 1)))


def at(port: int) -> EndpointSettings:
    return EndpointSettings(url=f"http://localhost:{port}/v1", model="m")


def test_equal_endpoints_share_a_transport() -> None:
    settings = Settings(
        rubric=RUBRIC,
        judge=at(1),
        meta=MetaSchedule(endpoint=at(2)),
        panel=PanelSettings(judges=(at(3), at(1))),
        monitor=MonitorSettings(judge=at(2)),
    )
    found = connect(settings)
    assert [t.endpoint.url[-4] for t in found.all if isinstance(t, OpenAITransport)] == ["1", "2", "3"]
    assert found.panel[1] is found.judge
    assert found.monitor is found.meta


def test_the_meta_model_is_the_judges_unless_told() -> None:
    settings = Settings(rubric=RUBRIC, judge=at(1))
    assert (found := connect(settings)).meta is found.judge
    judge, meta = ScriptedTransport([]), ScriptedTransport([])
    assert connect(settings, judge=judge).all == [judge]
    assert connect(settings, judge=judge, meta=meta).all == [judge, meta]


async def test_a_local_model_is_loaded(tiny_model: Path) -> None:
    found = connect(Settings(rubric=RUBRIC, judge=LocalSettings(local=str(tiny_model), device="cpu")))
    assert isinstance(found.judge, LocalTransport)
    await found.aclose()


def test_a_local_model_that_is_not_there() -> None:
    with pytest.raises(ModelError, match=r"\./models/gone"):
        connect(Settings(rubric=RUBRIC, judge=LocalSettings(local="./models/gone")))


@pytest.mark.parametrize("mode", ["joint", "split", "expected"])
def test_a_local_model_scores_a_file(
    mode: str, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model of random weights has no taste, but the form holds it to verdicts."""
    monkeypatch.chdir(tmp_path)
    Path("rubric.yaml").write_text(RUBRIC.to_yaml())
    Path("rollouts.jsonl").write_text("".join(json.dumps({"prompt": "a", "completion": c}) + "\n" for c in "bcd"))
    arguments = ["--rubric", "rubric.yaml", "--rollouts", "rollouts.jsonl", "--out", "out.jsonl", "--mode", mode]
    result = CliRunner().invoke(main, ["score", *arguments, "--local", str(tiny_model)])
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert all(0 <= row["reward"] <= 1 for row in rows)
    assert all(("expected" in v) == (mode == "expected") for row in rows for v in row["verdicts"])
