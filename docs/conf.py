"""How Sphinx makes the site of README.md, docs/ and examples/: `make docs`, or

    .venv/bin/sphinx-build --fail-on-warning --keep-going -c docs -d build/doctrees . site

The pages lie where they lie in the repository, so a link that works on a code host works on the site. docs/README.md
lists them in the reader's order, and the navigation is made of it: each heading a group, each link of a list a page.
"""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.parsers import Parser

import metapo

ROOT = Path(__file__).parents[1]
CONTENTS = "docs/README.md"

project = "metapo"
author = "the authors of metapo"
version = release = metapo.__version__
html_title = f"metapo {release}"
html_show_copyright = False

extensions = ["myst_parser", "sphinx.ext.autodoc"]
root_doc = "README"
include_patterns = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/**.md", "examples/**"]
exclude_patterns = [".*", "bench", "build", "**/runs", "site", "src", "tests", "**/__pycache__", "**/node_modules"]
source_suffix = {".md": "markdown", ".py": "example", ".sh": "example", ".yaml": "example"}

myst_heading_anchors = 4
suppress_warnings = ["myst.header"]  # a README on a code host begins with what it likes

html_theme = "furo"
html_static_path = ["site"]
html_css_files = ["site.css"]
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}
pygments_style = "friendly"
pygments_dark_style = "github-dark"

default_role = "code"  # docstrings are Markdown: what stands in single backquotes is code
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_mock_imports = ["accelerate", "datasets", "peft", "torch", "transformers", "trl"]
python_maximum_signature_line_length = 100
python_display_short_literal_types = True


class Example(Parser):
    """A file of examples/ as a page: its name, and all of it."""

    supported = ("example",)

    def parse(self, inputstring: str, document: nodes.document) -> None:
        name = Path(document["source"])
        section = nodes.section(ids=[name.stem], names=[name.stem])
        section += nodes.title("", name.name)
        section += nodes.literal_block(inputstring, inputstring, language=name.suffix[1:])
        document += section


def groups(markdown: str) -> Iterator[tuple[str, list[str]]]:
    """Each heading of the contents with the entries of a toctree that its lists link to."""
    for part in re.split(r"^## ", markdown, flags=re.MULTILINE)[1:]:
        caption, _, text = part.partition("\n")
        links = re.findall(r"^- \[(.*?)\]\(([^)#]+)\)", text, re.MULTILINE)
        yield caption, [f"{title} </{name_of((ROOT / CONTENTS).parent / page)}>" for title, page in links]


def name_of(path: Path) -> str:
    """As Sphinx names a page."""
    return str(path.resolve().relative_to(ROOT).with_suffix(""))


def add_navigation(app: Sphinx, page: str, source: list[str]) -> None:
    """What only the site needs: the tree of pages at the root, and lists of what a folder holds."""
    if page == root_doc:
        app.env.note_dependency(str(ROOT / CONTENTS))
        listed = groups((ROOT / CONTENTS).read_text())
        source[0] += tree("", [f"Contents </{name_of(ROOT / CONTENTS)}>"])
        source[0] += "".join(tree(caption, entries) for caption, entries in listed)
    elif page == "docs/decisions/README":
        source[0] += tree("", ["0*"], "glob")
    elif page == "examples/README":
        source[0] += tree("", ["*", "*/*"], "glob")


def tree(caption: str, entries: list[str], *flags: str) -> str:
    options = [f":caption: {caption}"] * bool(caption) + [":hidden:", ":titlesonly:", *(f":{flag}:" for flag in flags)]
    return "\n".join(["", "", "```{toctree}", *options, "", *entries, "```", ""])


def show_code(app: Sphinx, what: str, name: str, value: object, options: object, lines: list[str]) -> None:
    """In a docstring, as in Markdown, an indented paragraph is code."""
    for i in reversed(range(1, len(lines))):
        before = next((line for line in reversed(lines[:i]) if line.strip()), "")
        if lines[i].startswith("    ") and not lines[i - 1].strip() and not before.startswith(" "):
            lines[i:i] = ["::", ""]


def copy_index(app: Sphinx, error: Exception | None) -> None:
    """A server looks for index.html; pages that link to one another link to README.html."""
    if error is None:
        shutil.copyfile(app.outdir / "README.html", app.outdir / "index.html")


def setup(app: Sphinx) -> None:
    app.add_source_parser(Example)
    app.connect("source-read", add_navigation)
    app.connect("autodoc-process-docstring", show_code)
    app.connect("build-finished", copy_index)
