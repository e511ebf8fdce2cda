"""The documentation executes: README.md, CONTRIBUTING.md, docs/**/*.md and examples/README.md are run block by block.

- ```python: a page's blocks are one program.
- ```console: each `$ metapo ...` is run and must print what stands below it. A line that is just `...` stands for any
  lines; spaces at the end of a line don't count.
- ```yaml below `<!-- settings -->` must load as `Settings`, below `<!-- train settings -->` as `TrainSettings`.
- A block below `<!-- file: rubric.yaml -->` lies under that name in the folder of the page's other blocks.
- A block below `<!-- not run: reason -->` is left alone. So is every other language: sh, text, json, ...
- docs/cli.md is what `docs/write_cli.py` writes, every option has a help text, and every setting is named somewhere.

Each kind of block starts, page by page, in a fresh folder.
"""

import os
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import pytest
from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
PAGES = [path for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md") if path.exists()]
PAGES += sorted((ROOT / "docs").rglob("*.md")) + sorted((ROOT / "examples").rglob("*.md"))
LIMIT_S = 600
WRITE_CLI = runpy.run_path(str(ROOT / "docs" / "write_cli.py"))


@dataclass(frozen=True)
class Block:
    language: str
    text: str
    line: int
    """Of the first line inside the fence, from 1."""
    note: str
    """The HTML comment right above, without its marks; empty if there is none."""

    @property
    def is_run(self) -> bool:
        if not self.note.startswith("not run"):
            return True
        if not re.fullmatch(r"not run: \S.*", self.note, re.DOTALL):
            raise ValueError(f"line {self.line}: `<!-- not run -->` lacks its reason: `<!-- not run: reason -->`")
        return False


def blocks(markdown: str) -> list[Block]:
    tokens = MarkdownIt("commonmark").parse(markdown)
    found = []
    for before, token in pairwise([None, *tokens]):
        if token is not None and token.type == "fence" and token.map is not None:
            comment = before.content.strip() if before is not None and before.type == "html_block" else ""
            note = comment.removeprefix("<!--").removesuffix("-->").strip()
            found.append(Block((token.info.split() or [""])[0], token.content, token.map[0] + 2, note))
    return found


def having(language: str) -> list[object]:
    """The pages with a block of that language to run, as test parameters."""
    wanted = [page for page in PAGES if runnable(page.read_text(), language)]
    return [pytest.param(page, id=str(page.relative_to(ROOT))) for page in wanted]


def write_files(markdown: str, folder: Path) -> None:
    for block in blocks(markdown):
        if block.note.startswith("file: "):
            path = folder / block.note.removeprefix("file: ")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)


def runnable(markdown: str, language: str) -> list[Block]:
    return [block for block in blocks(markdown) if block.language == language and block.is_run]


def environment() -> dict[str, str]:
    """A newcomer's terminal: the environment active, 80 columns, no colours; and nothing is downloaded."""
    scripts = str(Path(sys.executable).parent)
    settings = {"COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb", "HF_HUB_OFFLINE": "1", "PYTHONIOENCODING": "utf-8"}
    return os.environ | settings | {"PATH": scripts + os.pathsep + os.environ["PATH"]}


# --- links


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    tokens = [t for block in MarkdownIt("commonmark").parse(page.read_text()) for t in block.children or []]
    links = [str(t.attrs["href"]).partition("#")[0] for t in tokens if t.type == "link_open"]
    assert [link for link in links if link and "://" not in link and not (page.parent / link).exists()] == []


# --- python


def run_python(markdown: str, name: str, folder: Path) -> str:
    """Run a page's python blocks as one program; the empty string, or what it printed before it failed.

    Each block stands on the line that it has in the page, so a traceback points into the page.
    """
    lines: list[str] = []
    for block in runnable(markdown, "python"):
        lines += [""] * (block.line - 1 - len(lines)) + block.text.splitlines()
    program = folder / "program" / f"{name}.py"
    program.parent.mkdir()
    program.write_text("\n".join(lines) + "\n")
    place = folder / "place"
    write_files(markdown, place)
    place.mkdir(exist_ok=True)
    run = shell([sys.executable, str(program)], place)
    return "" if run.returncode == 0 else f"exit {run.returncode}; line numbers are those of {name}\n{run.stdout}"


def shell(command: list[str], folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command,
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        timeout=LIMIT_S,
        check=False,
    )


# --- console


@dataclass(frozen=True)
class Command:
    text: str
    expected: str
    line: int


def commands(block: Block) -> Iterator[Command]:
    """The block's `$ ...` lines, each with the output below it; a backslash at the end continues a command."""
    lines = block.text.splitlines()
    starts = [i for i, line in enumerate(lines) if line.startswith("$ ")]
    if starts[:1] != [0]:
        raise ValueError(f"line {block.line}: a console block begins with `$ metapo ...`")
    for start, end in pairwise([*starts, len(lines)]):
        first_output = start + 1
        while lines[first_output - 1].endswith("\\") and first_output < end:
            first_output += 1
        text = " ".join(line.removesuffix("\\").strip() for line in lines[start:first_output])
        yield Command(text.removeprefix("$ "), "\n".join(lines[first_output:end]), block.line + start)


def run_console(markdown: str, folder: Path) -> list[str]:
    """What was printed otherwise than the page says, one text per command."""
    write_files(markdown, folder)
    problems = []
    for command in (command for block in runnable(markdown, "console") for command in commands(block)):
        words = shlex.split(command.text)
        if words[0] != "metapo":
            problems.append(f"line {command.line}: only `metapo ...` is run here; mark the rest as ```sh")
            continue
        run = shell(words, folder)
        if run.returncode != 0 or not matches(command.expected, run.stdout):
            problems.append(
                f"line {command.line}: `{command.text}` ended with exit code {run.returncode} and printed\n"
                f"{run.stdout}\n--- where the page says\n{command.expected}"
            )
    return problems


def matches(expected: str, output: str) -> bool:
    """Equal but for spaces at the ends of lines and of the text; a line `...` stands for any number of lines."""
    wanted = "".join(
        r"(?:.*\n)*?" if line.strip() == "..." else re.escape(line.rstrip()) + r"\n"
        for line in expected.strip("\n").splitlines()
    )
    got = "".join(line.rstrip() + "\n" for line in output.strip("\n").splitlines())
    return re.fullmatch(wanted, got) is not None


# --- the pages


def test_the_readme_is_there() -> None:
    assert (ROOT / "README.md").exists(), "README.md is missing: it is the first thing a newcomer reads"


@pytest.mark.parametrize("page", having("python"))
def test_python_blocks_run(page: Path, tmp_path: Path) -> None:
    failure = run_python(page.read_text(), page.name, tmp_path)
    assert not failure, failure


@pytest.mark.parametrize("page", having("console"))
def test_console_blocks_print_what_they_show(page: Path, tmp_path: Path) -> None:
    problems = run_console(page.read_text(), tmp_path)
    assert not problems, "\n\n".join([page.name, *problems])


@pytest.mark.parametrize("page", having("yaml"))
def test_settings_blocks_load(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from metapo.settings import Settings, TrainSettings

    monkeypatch.chdir(tmp_path)
    loads = {"settings": Settings.from_yaml, "train settings": TrainSettings.from_yaml}
    problems = load_settings(page.read_text(), tmp_path, loads)
    assert not problems, "\n\n".join([page.name, *problems])


def load_settings(markdown: str, folder: Path, loads: Mapping[str, Callable[[str], object]]) -> list[str]:
    """What the loader named by a block's note has to say against the block; relative paths start at `folder`."""
    write_files(markdown, folder)
    problems = []
    for block in runnable(markdown, "yaml"):
        try:
            if block.note in loads:
                loads[block.note](block.text)
        except Exception as error:  # whatever it is, the page is wrong, and the next block is still worth a look
            problems.append(f"line {block.line}: {type(error).__name__}: {error}")
    return problems


def test_every_setting_is_documented() -> None:
    from metapo.settings import TrainSettings

    documented = "\n".join(page.read_text() for page in PAGES)
    names = [name for name in setting_names(TrainSettings.model_json_schema()) if not is_named(name, documented)]
    assert not names, "say in the README or in docs/ what these settings do: " + ", ".join(names)


def setting_names(schema: Mapping[str, Any]) -> list[str]:
    """`EngineSettings.kl`, ...: the fields of every class in a JSON schema, save those of the rubric."""
    parts = {
        name: part for name, part in schema.get("$defs", {}).items() if name not in {"Rubric", "Criterion", "Level"}
    }
    parts[schema["title"]] = schema
    return [f"{name}.{field}" for name, part in parts.items() for field in part.get("properties", {})]


def is_named(name: str, documented: str) -> bool:
    """As a key of YAML, or in backquotes with or without what it belongs to."""
    field = name.split(".")[-1]
    return re.search(rf"^\s*(- )?{field}:|`([a-z_]+\.)*{field}`", documented, re.MULTILINE) is not None


def test_cli_page_shows_the_help_of_every_command() -> None:
    from metapo.cli import main

    page = ROOT / "docs" / "cli.md"
    written = page.read_text() if page.exists() else ""
    assert written == WRITE_CLI["page"](main), "docs/cli.md is out of date: .venv/bin/python docs/write_cli.py"


def test_every_cli_option_has_a_help_text() -> None:
    from metapo.cli import main

    options = undocumented(main)
    assert not options, "without a help text: " + ", ".join(options)


def undocumented(root: click.Command) -> list[str]:
    all_commands: Iterable[tuple[tuple[str, ...], click.Command]] = WRITE_CLI["commands"](root)
    return [
        " ".join(["metapo", *names, param.opts[0]])
        for names, command in all_commands
        for param in command.params
        if isinstance(param, click.Option) and not param.hidden and not param.help
    ]


# --- the machinery above, on pages made up for it


def test_blocks_carry_language_line_and_note() -> None:
    markdown = (
        "# Title\n\n<!-- not run: needs a GPU -->\n```python\nx = 1\n```\n\n"
        "<!-- settings -->\n\n````yaml extra\na: 1\n```\n````\n\n"
        "Text.\n\n```\nplain\n```\n\n1. item\n   ```sh\n   ls\n   ```\n"
    )
    assert blocks(markdown) == [
        Block("python", "x = 1\n", 5, "not run: needs a GPU"),
        Block("yaml", "a: 1\n```\n", 11, "settings"),
        Block("", "plain\n", 18, ""),
        Block("sh", "ls\n", 23, ""),
    ]
    assert [block.language for block in blocks(markdown) if block.is_run] == ["yaml", "", "sh"]


def test_a_block_that_is_not_run_gives_its_reason() -> None:
    with pytest.raises(ValueError, match=r"line 3: .* lacks its reason"):
        runnable("<!-- not run -->\n```python\nx\n```\n", "python")


def test_python_blocks_of_a_page_share_names_and_an_empty_folder(tmp_path: Path) -> None:
    markdown = (
        "```python\nfrom pathlib import Path\nassert list(Path().iterdir()) == []\n```\n\n"
        "<!-- not run: broken -->\n```python\n1 / 0\n```\n\n```python\nPath('made').touch()\n```\n"
    )
    assert run_python(markdown, "page.md", tmp_path) == ""
    assert (tmp_path / "place" / "made").exists()


def test_files_of_a_page_lie_where_its_blocks_run(tmp_path: Path) -> None:
    markdown = (
        "<!-- file: in/rubric.yaml -->\n```yaml\na: 1\n```\n\n"
        "```python\nassert open('in/rubric.yaml').read() == 'a: 1\\n'\n```\n"
    )
    assert run_python(markdown, "page.md", tmp_path) == ""


def test_a_failing_python_block_is_shown_at_its_line_in_the_page(tmp_path: Path) -> None:
    failure = run_python(
        "Text.\n\n```python\nx = 1\n```\n\n```python\nprint('hello')\nx / 0\n```\n", "page.md", tmp_path
    )
    assert "line 9, in <module>\n    x / 0" in failure
    assert "ZeroDivisionError" in failure
    assert "hello" in failure


def test_console_blocks_are_commands_with_their_output() -> None:
    block = Block("console", "$ metapo a \\\n    --b c\none\n\ntwo\n$ metapo d\n", 10, "")
    assert list(commands(block)) == [Command("metapo a --b c", "one\n\ntwo", 10), Command("metapo d", "", 15)]
    with pytest.raises(ValueError, match="line 10: a console block begins with"):
        list(commands(Block("console", "metapo d\n", 10, "")))


@pytest.mark.parametrize(
    ("expected", "output", "same"),
    [
        ("one\ntwo", "one  \ntwo\n", True),
        ("one\ntwo", "one\ntwo\nthree\n", False),
        ("one", "One\n", False),
        ("a.c (x)", "a.c (x)\n", True),
        ("a.c", "abc\n", False),
        ("one\n...", "one\n", True),
        ("one\n...\nfour", "one\ntwo\n\nthree\nfour\n", True),
        ("one\n...\nfour", "one\ntwo\nfour\nfive\n", False),
        ("...", "", True),
        ("", "", True),
        ("", "surprise\n", False),
        ("one ... four", "one two four\n", False),
    ],
)
def test_output_is_compared_exactly_but_for_dots(expected: str, output: str, same: bool) -> None:
    assert matches(expected, output) is same


def test_console_commands_run_and_their_output_is_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "metapo"
    fake.write_text('#!/bin/sh\necho "$COLUMNS $*"\ntest "$1" != fail\n')
    fake.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    markdown = "```console\n$ metapo 'a b' c\n80 a b c\n$ metapo fail\n80 fail\n$ metapo d\n80 e\n$ make demo\n```\n"
    failed, other_output, other_program = run_console(markdown, tmp_path)
    assert failed.startswith("line 4: `metapo fail` ended with exit code 1")
    assert other_output.startswith("line 6: `metapo d` ended with exit code 0 and printed\n80 d\n")
    assert other_program.startswith("line 8: only `metapo ...` is run here")


def test_only_marked_yaml_is_loaded_as_settings(tmp_path: Path) -> None:
    def load(text: str) -> None:
        if text != "good: 1\n":
            raise ValueError(f"no such setting: {text}")

    markdown = "<!-- settings -->\n```yaml\n{}: 1\n```\n\n```yaml\nother: 2\n```\n"
    assert load_settings(markdown.format("good"), tmp_path, {"settings": load}) == []
    [problem] = load_settings(markdown.format("bad"), tmp_path, {"settings": load})
    assert problem == "line 3: ValueError: no such setting: bad: 1\n"


def test_a_setting_is_documented_as_a_key_or_as_code() -> None:
    schema = {
        "title": "Run",
        "properties": {"engine": {}, "seed": {}},
        "$defs": {"Engine": {"properties": {"kl": {}, "steps": {}}}, "Level": {"properties": {"points": {}}}},
    }
    names = setting_names(schema)
    assert names == ["Engine.kl", "Engine.steps", "Run.engine", "Run.seed"]
    text = "The `engine.kl` term.\n\n```yaml\nengine:\n  steps: 3\n```\nA seed: any number.\n"
    assert [name for name in names if not is_named(name, text)] == ["Run.seed"]


def test_cli_page_is_written_from_the_click_tree() -> None:
    main = click.Group(
        "main",
        help="Do things.",
        commands={
            "world": click.Group("world", commands={"demo": click.Command("demo", help="Show it.")}),
            "secret": click.Command("secret", hidden=True),
            "score": click.Command("score", params=[click.Option(["--judge"])]),
        },
    )
    page = WRITE_CLI["page"](main)
    assert re.findall("^## .*$", page, re.MULTILINE) == [
        "## metapo",
        "## metapo score",
        "## metapo world",
        "## metapo world demo",
    ]
    assert "Usage: metapo world demo [OPTIONS]\n\n  Show it.\n" in page
    assert undocumented(main) == ["metapo score --judge"]
