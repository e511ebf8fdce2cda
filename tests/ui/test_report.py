"""`metapo report`: the same views in one file, without server and network."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from metapo.cli import main
from tests.ui.browser import DESKTOP, Page
from tests.ui.runs import HOSTILE, N_STEPS

HELD = 40


@pytest.fixture(scope="module")
def report(folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report") / "report.html"
    runs = [str(folders / "essay"), str(folders / "hostile")]
    result = CliRunner().invoke(main, ["report", *runs, "--out", str(out), "--rollouts", str(HELD)])
    assert result.exit_code == 0, result.output
    assert re.fullmatch(rf"2 runs in {re.escape(str(out))} \(\d\.\d MB\)\n", result.output)
    return out


@pytest.fixture
def offline(browser: Page, report: Path) -> Iterator[Page]:
    """The report in a browser that reaches nothing."""
    browser.base = report.as_uri()
    browser.size(*DESKTOP)
    browser.prefers()
    browser.complaints()
    yield browser
    assert browser.complaints() == []


def test_it_is_one_file_that_names_no_other(report: Path) -> None:
    page = report.read_text()
    assert not re.search(r'(?:src|href)="(?!data:)', page)
    assert HOSTILE[:30] not in page
    assert "default-src 'none'; script-src 'sha256-" in page


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("#/run/essay", ["Judge score and real quality", "Flagged as hacks", "report"]),
        ("#/run/essay?with=hostile", ["hostile: judge"]),
        ("#/rubric/essay", ["4 revisions", "since 4", "Pass rate"]),
        ("#/rollouts/essay", ["shown, all there are", "This report holds", "of 96 rollouts"]),
        ("#/rollouts/essay?flag=too_short", ["too short", "shown, all there are"]),
        (f"#/rollout/essay/1-train-{N_STEPS - 1}-1", ["3 verdicts", "the rationale", "the same one across steps"]),
        ("#/pairs/essay", ["2 prompts", "Left rollout"]),
        ("#/meta/essay/4", ["3 samples", "Proposal 1"]),
        ("#/acts/essay", ["Nothing can be decided here", "1 revision waiting", "the act why", "the anchor why"]),
    ],
)
def test_each_view_is_there(offline: Page, address: str, words: list[str]) -> None:
    offline.open(address)
    offline.says(*words)
    assert offline.all("form.act") == []


def test_exchanges_are_there_in_full_and_what_is_not_there_is_told(offline: Page) -> None:
    offline.open("#/meta/essay/4")
    offline.click(".exchange summary", "sample 1")
    offline.says("the analyze prompt", "the analyze reply")
    offline.open("#/rollout/essay/1-train-999-0")
    offline.says("This isn't in the report, which holds a part of the run")


def test_hostile_text_is_text_here_too(offline: Page) -> None:
    offline.open("#/rubric/hostile")
    offline.says("criterion <script>window.hacked=1</script>")
    assert offline.run("return window.hacked") is None
    assert offline.all("main img, main script") == []


def test_it_needs_the_built_page(folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metapo.viewing.report.files", lambda package: tmp_path)
    result = CliRunner().invoke(main, ["report", str(folders / "essay"), "--out", str(tmp_path / "report.html")])
    assert result.exit_code == 1
    assert "make ui" in result.output
    assert not (tmp_path / "report.html").exists()
