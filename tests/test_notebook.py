"""What notebooks show: every value as HTML, whatever its texts hold."""

import re
import shutil
import subprocess
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest

import metapo
from metapo import pages
from metapo.errors import MissingExtra, RunError
from metapo.history import Lineage
from metapo.judge.judge import Assessment
from metapo.rubric import Criterion, Level, Polarity, Reason, Revision, Rubric, Unscored, Verdict
from metapo.store import Store
from tests.helpers import criterion, rubric

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"' onclick=alert(3) </td></style> {{ 7*7 }} &lt;b&gt;"
ALLOWED = {
    "div",
    "style",
    "h4",
    "p",
    "code",
    "small",
    "span",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "br",
    "ul",
    "li",
}
ALLOWED |= {"details", "summary", "strong"}


class Reader(HTMLParser):
    """The tags, attributes and text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.text += " "

    def handle_data(self, data: str) -> None:
        self.text += data


def hostile() -> Rubric:
    levels = (Level(points=0, description=HOSTILE), Level(points=2, description="x", example=HOSTILE))
    return Rubric(criteria=(Criterion(id="a", name=HOSTILE, instruction=HOSTILE, levels=levels),))


def revision(of: Rubric, *parents: str, step: int = 0) -> Revision:
    return Revision(rubric=of, parents=parents, reason=HOSTILE, proposer=HOSTILE, step=step)


def lineage() -> Lineage:
    first = revision(rubric(criterion("depth")))
    return Lineage(((0, first), (4, revision(hostile(), first.id, step=3))))


VALUES = [
    hostile(),
    Verdict(criterion_id="a", points=2, rationale=HOSTILE, quote=HOSTILE, expected=1.5, uncertainty=0.5),
    Unscored(criterion_id="a", reason=Reason.TIMEOUT, detail=HOSTILE, raw=HOSTILE),
    Assessment((Verdict(criterion_id="a", points=2, rationale=HOSTILE),), ()),
    revision(hostile()),
    lineage(),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_hostile_text_is_shown_as_text(value: object) -> None:
    html = value._repr_html_()  # type: ignore[attr-defined]
    seen = Reader(html)
    assert seen.tags <= ALLOWED
    assert seen.attributes <= {"class", "open"}
    assert "<script>alert(1)</script>" in seen.text
    assert "{{ 7*7 }}" in seen.text
    assert html.count("</style>") == 1


def test_a_rubric_shows_all_that_it_says() -> None:
    deduct = Criterion(
        id="talk",
        name="Grader talk",
        levels=(Level(points=-3, description="asks for points"), Level(points=0, description="does not")),
        polarity=Polarity.NEGATIVE,
        pinned=True,
        weight=2.0,
    )
    text = " ".join(Reader(rubric(criterion("depth"), deduct)._repr_html_() or "").text.split())
    for part in ("Depth depth", "worth 5", "Grader talk talk deducts pinned weight 2", "-3 asks for points"):
        assert part in text
    assert "2 criteria, -6 to 5 points, digest" in text


def test_outcomes_show_points_reasons_and_what_failed() -> None:
    outcomes = (
        Verdict(criterion_id="depth", points=2, rationale="Two reasons.", expected=1.5),
        Unscored(criterion_id="style", reason=Reason.TIMEOUT, detail="no answer"),
    )
    text = " ".join(Reader(Assessment(outcomes, (), n_reused=1)._repr_html_() or "").text.split())
    assert "depth 2 expected 1.50 Two reasons." in text
    assert "style unscored timeout: no answer" in text
    assert "0 calls, 1 known" in text


def test_a_lineage_is_read_from_a_run_and_shows_what_changed(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.db")
    attempt = store.begin_attempt(resumed_step=0, now=datetime.now(UTC))
    first = revision(rubric(criterion("depth", (0, 2))))
    store.adopt(attempt, 0, first)
    store.adopt(attempt, 4, revision(rubric(criterion("depth", (0, 3))), first.id, step=3))
    store.close()
    found = metapo.Lineage.load(tmp_path)
    assert [step for step, _ in found.revisions] == [0, 4]
    html = found._repr_html_() or ""
    assert re.search(r'<li class="removed">- \+2 +worth 2</li>', html)
    assert re.search(r'<li class="added">\+ \+3 +worth 3</li>', html)


def test_a_folder_without_a_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is no run folder: there is no"):
        Lineage.load(tmp_path)
    assert not list(tmp_path.iterdir())


def test_without_jinja_the_plain_form_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_page(name: str, package: str = "metapo") -> None:
        raise MissingExtra("eval", "writing a page")

    monkeypatch.setattr(pages, "load_page", load_page)
    assert rubric()._repr_html_() is None


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_a_browser_runs_nothing_of_it(tmp_path: Path) -> None:
    body = "".join(value._repr_html_() or "" for value in VALUES)  # type: ignore[attr-defined]
    page = tmp_path / "page.html"
    page.write_text(
        f"<!doctype html><meta charset=utf-8><title>quiet</title><body>{body}".replace("alert(", "document.title=(")
    )
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", page.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    assert "<title>quiet</title>" in dom
    assert "onerror=" not in re.sub(r">[^<]*<", "><", dom)
