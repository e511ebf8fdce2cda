"""The site builds without a warning, its links lead somewhere, and it needs nothing from elsewhere."""

import re
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
LOADS = {"script": "src", "img": "src", "iframe": "src", "source": "src", "object": "data"}


@dataclass
class Page(HTMLParser):
    """What one page links to, what it loads by itself, and the places in it that a link may name."""

    text: str
    links: list[str] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)
    places: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        of = {name: value or "" for name, value in attrs}
        self.places.update(value for name, value in of.items() if name in ("id", "name"))
        if tag == "a" and "href" in of:
            self.links.append(of["href"])
        if tag == "link" and of.get("rel") in ("stylesheet", "icon", "preload", "shortcut icon"):
            self.loads.append(of["href"])
        if (attribute := LOADS.get(tag)) in of:
            self.loads.append(of[str(attribute)])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = ["-m", "sphinx", "--fail-on-warning", "--keep-going", "-q", "-c", "docs", "-d", str(folder / "trees")]
    done = subprocess.run(
        [sys.executable, *command, ".", str(folder / "site")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return folder / "site"


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}


def test_every_link_leads_to_a_page_and_a_place_in_it(pages: dict[Path, Page]) -> None:
    broken = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            found = pages.get(target)
            if not parts.scheme and not (found or target.is_file()):
                broken.append(f"{path.name}: {link}")
            elif found and not parts.scheme and parts.fragment and unquote(parts.fragment) not in found.places:
                broken.append(f"{path.name}: no {parts.fragment} in {target.name}")
    assert broken == []


def test_nothing_is_loaded_from_elsewhere(site: Path, pages: dict[Path, Page]) -> None:
    assert {load for page in pages.values() for load in page.loads if urlsplit(load).netloc} == set()
    for style in site.rglob("*.css"):
        assert re.findall(r"(?:@import|url\()\s*['\"]?(?:https?:)?//[^)'\"]*", style.read_text()) == [], style


def test_the_contents_name_every_page_once() -> None:
    contents = (ROOT / "docs" / "README.md").read_text()
    named = Counter(re.findall(r"^- \[.*?\]\((.*?)\)", contents, re.MULTILINE))
    written = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    own = {name for name in written if re.match(r"decisions/\d", name)} | {"README.md"}
    assert {name for name in named if not name.startswith("../")} == written - own
    assert set(named.values()) == {1}


def test_the_reference_has_what_a_program_imports(pages: dict[Path, Page]) -> None:
    places = {place for page in pages.values() for place in page.places}
    for name in (
        "engines.trl.EvolvingReward.open",
        "client.Rewards",
        "tasks.task.Task",
        "judge.endpoint.EndpointSettings",
    ):
        assert f"metapo.{name}" in places


def test_pictures_are_drawings_that_say_what_they_show(pages: dict[Path, Page]) -> None:
    for picture in (ROOT / "docs" / "pictures").glob("*.svg"):
        text = picture.read_text()
        assert re.search(r"<title>[^<]{40,}</title>", text), picture.name
        assert "prefers-color-scheme: dark" in text, picture.name
        assert "://" not in text.replace("http://www.w3.org/2000/svg", ""), picture.name


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_the_search_works_from_a_folder(site: Path, tmp_path: Path) -> None:
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}"]
    url = f"file://{site / 'search.html'}?q=sign-flip"
    done = subprocess.run(
        [*command, "--virtual-time-budget=10000", "--dump-dom", url],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "docs/meta.html" in done.stdout
