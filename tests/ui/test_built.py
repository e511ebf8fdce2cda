"""The built page: made from these sources, small, and without a way to turn text into markup."""

import gzip
import hashlib
import json
import re
import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]
WEB, BUILT = ROOT / "web", ROOT / "src" / "metapo" / "ui"
SETTINGS = ("index.html", "package-lock.json", "package.json", "tsconfig.json", "vite.config.ts")
MAX_KB = {"app.js": 65, "app.css": 8, "index.html": 1}


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_the_built_files_were_made_from_the_sources() -> None:
    names = sorted([*SETTINGS, *(str(p.relative_to(WEB)) for p in (WEB / "src").rglob("*") if p.is_file())])
    sources = digest("".join(f"{name} {digest((WEB / name).read_bytes())}\n" for name in names).encode())
    built = {p.name: digest(p.read_bytes()) for p in sorted(BUILT.iterdir()) if p.name != "built.json"}
    told = json.loads((BUILT / "built.json").read_text())
    assert told == {"sources": sources, "built": built}, "the sources of the page changed: make ui"


def test_its_types_are_those_that_go_over_the_wire() -> None:
    made = runpy.run_path(str(WEB / "write_answers.py"))
    assert (WEB / "src" / "answers.ts").read_text() == made["write"](), "python web/write_answers.py"


def test_every_version_is_exact() -> None:
    package = json.loads((WEB / "package.json").read_text())
    wanted = package["dependencies"] | package["devDependencies"]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in wanted.values())
    locked = json.loads((WEB / "package-lock.json").read_text())["packages"]
    assert {name: locked[f"node_modules/{name}"]["version"] for name in wanted} == wanted


def test_text_never_becomes_markup() -> None:
    ways = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc")
    found = [p.name for p in (WEB / "src").rglob("*.ts*") if ways.search(p.read_text())]
    assert found == []


def test_it_is_small_and_asks_for_nothing_from_elsewhere() -> None:
    for name, most in MAX_KB.items():
        data = (BUILT / name).read_bytes()
        assert len(gzip.compress(data)) < most * 1000, name
        elsewhere = set(re.findall(r"https?://[\w.]+", data.decode())) - {"http://www.w3.org", "http://report"}
        assert elsewhere == set(), name
