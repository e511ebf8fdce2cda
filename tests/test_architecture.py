"""The tree is the architecture: a module of metapo imports only from lines above it, and trainers stay in their corner.

Every import counts: at the top of a file, inside functions, under TYPE_CHECKING, and `import_module("...")`.
The root `__init__` stands last but one, so it may import from anything and nothing but `__main__` imports from it.
"""

import ast
import runpy
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "metapo"

ORDER = (
    "errors",
    "aio",
    "files",
    "pages",
    "charts",
    "intervals",
    "rubric",
    "presets",
    "shipped",
    "rubric_text",
    "rubric_diff",
    "rubric_lint",
    "turns",
    "rollout",
    "store",
    "judge",
    "reward",
    "scale",
    "audit",
    "meta",
    "settings",
    "scorer",
    "answers",
    "tasks",
    "anchors",
    "figures",
    "reported",
    "records",
    "evidence",
    "people",
    "history",
    "evolve",
    "course",
    "run",
    "tracking",
    "asked",
    "service",
    "card",
    "bridge",
    "api",
    "client",
    "viewing",
    "engines",
    "world",
    "evals",
    "offline",
    "preflight",
    "server",
    "cli",
    "__init__",
    "__main__",
)
TRAINERS = {"torch", "trl", "transformers", "verl", "ray", "datasets", "accelerate"}
TRAINERS_LIVE_IN = {"engines", "world"}


def test_every_import_follows_the_order() -> None:
    sources = {str(path.relative_to(PACKAGE)): path.read_text() for path in sorted(PACKAGE.rglob("*.py"))}
    assert "rubric.py" in sources
    problems = violations(sources)
    assert not problems, "\n".join(["", *problems])


def test_import_metapo_loads_nothing_heavy() -> None:
    heavy = runpy.run_path(str(ROOT / "bench" / "imports.py"))["HEAVY"]
    code = f"import metapo, sys; print(*sorted(sys.modules.keys() & set({heavy!r})))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


# --- the checker: files by path relative to src/metapo -> one line per violation


@dataclass(frozen=True)
class Import:
    target: str
    """What is imported, dotted and absolute; the name after `from x import` belongs to it if it is a module."""
    line: int
    in_function: bool


def violations(sources: Mapping[str, str]) -> list[str]:
    problems = [
        f"{path}: '{top(path)}' has no place in the order; add it to ORDER in tests/test_architecture.py"
        for path in sources
        if top(path) not in ORDER
    ]
    edges: dict[str, set[str]] = {path: set() for path in sources}
    for path, source in sources.items():
        for found in imports(path, source, sources):
            where = f"{path}:{found.line}"
            package, *rest = found.target.split(".")
            if package in TRAINERS and not may_import(package, path, found.in_function):
                problems.append(f"{where} imports {package}, which lives under engines/ and world/ only")
            if package != "metapo":
                continue
            target = file_of(rest, sources)
            if target is None:
                problems.append(f"{where} imports {found.target}, which does not exist")
            elif top(target) == top(path):
                edges[path].add(target)
            elif {top(target), top(path)} <= set(ORDER) and ORDER.index(top(target)) > ORDER.index(top(path)):
                problems.append(f"{where} imports {target}: '{top(target)}' stands below '{top(path)}'; move the code")
    return problems + cycles(edges)


def may_import(trainer: str, path: str, in_function: bool) -> bool:
    return top(path) in TRAINERS_LIVE_IN or (top(path) == "tasks" and trainer == "datasets" and in_function)


def cycles(edges: Mapping[str, set[str]]) -> list[str]:
    """One cycle for each module or package that has any; `edges` stay inside one of them."""
    problems = []
    for name in dict.fromkeys(map(top, edges)):
        inside = {path: targets for path, targets in edges.items() if top(path) == name}
        try:
            TopologicalSorter(inside).prepare()
        except CycleError as error:
            problems.append("cycle: " + " imports ".join(reversed(error.args[1])))
    return problems


def top(path: str) -> str:
    """`judge/parse.py` -> `judge`, `rubric.py` -> `rubric`."""
    return path.split("/")[0].removesuffix(".py")


def file_of(module: list[str], sources: Mapping[str, str]) -> str | None:
    """`["judge", "parse"]` -> `judge/parse.py`; None if there is no such module."""
    stem = "/".join(module)
    candidates = (f"{stem}.py", f"{stem}/__init__.py".removeprefix("/"))
    return next((path for path in candidates if path in sources), None)


def imports(path: str, source: str, sources: Mapping[str, str]) -> Iterator[Import]:
    for node, in_function in walk(ast.parse(source, path), in_function=False):
        for target in targets(node, path, sources):
            yield Import(target, getattr(node, "lineno", 0), in_function)


def walk(node: ast.AST, in_function: bool) -> Iterator[tuple[ast.AST, bool]]:
    yield node, in_function
    in_function = in_function or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    for child in ast.iter_child_nodes(node):
        yield from walk(child, in_function)


def targets(node: ast.AST, path: str, sources: Mapping[str, str]) -> list[str]:
    match node:
        case ast.Import(names=names):
            return [name.name for name in names]
        case ast.ImportFrom(module=module, names=names, level=level):
            package = ["metapo", *path.split("/")[:-1]]
            base = ".".join([*(package[: len(package) + 1 - level] if level else []), *([module] if module else [])])
            return [submodule_or(base, name.name, sources) for name in names]
        case ast.Call(
            func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
            args=[ast.Constant(value=str(name)), *_],
        ):
            return [name]
    return []


def submodule_or(base: str, name: str, sources: Mapping[str, str]) -> str:
    package, *rest = base.split(".")
    is_module = package == "metapo" and file_of([*rest, name], sources) is not None
    return f"{base}.{name}" if is_module else base


# --- the checker caught in the act, on made-up files

FILES = {
    "__init__.py": "",
    "errors.py": "",
    "rubric.py": "",
    "judge/__init__.py": "",
    "judge/judge.py": "",
    "judge/parse.py": "",
    "reward.py": "",
    "tasks/__init__.py": "",
    "engines/trl.py": "",
    "world/policy.py": "",
    "cli.py": "",
    "__main__.py": "",
}


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("rubric.py", "from metapo.errors import RubricError"),
        ("rubric.py", "from metapo import errors"),
        ("judge/judge.py", "from metapo.judge.parse import parse"),
        ("judge/judge.py", "from . import parse"),
        ("judge/__init__.py", "from metapo.judge.judge import Judge"),
        ("judge/judge.py", "import json, pydantic"),
        ("engines/trl.py", "import torch\nfrom trl import GRPOTrainer"),
        ("world/policy.py", "def load():\n    import torch.nn"),
        ("tasks/__init__.py", "def load():\n    from datasets import load_dataset"),
        ("__init__.py", "def __getattr__(name):\n    from metapo.cli import main"),
        ("__main__.py", "from metapo.cli import main"),
        ("rubric.py", "from torchmetrics import x\nimport metaposition"),
    ],
)
def test_checker_lets_pass(path: str, source: str) -> None:
    assert violations(FILES | {path: source}) == []


@pytest.mark.parametrize(
    ("path", "source", "message"),
    [
        ("rubric.py", "from metapo.judge import Judge", "rubric.py:1 imports judge/__init__.py: 'judge' stands below"),
        ("rubric.py", "\nfrom metapo import reward", "rubric.py:2 imports reward.py: 'reward' stands below 'rubric'"),
        ("rubric.py", "from . import reward", "rubric.py:1 imports reward.py"),
        ("rubric.py", "from .judge.parse import parse", "rubric.py:1 imports judge/parse.py"),
        ("judge/parse.py", "from .. import cli", "judge/parse.py:1 imports cli.py"),
        ("judge/parse.py", "from ..cli import main", "judge/parse.py:1 imports cli.py"),
        ("rubric.py", "import metapo.cli as c", "rubric.py:1 imports cli.py"),
        ("rubric.py", "def f():\n    import metapo.judge.parse", "rubric.py:2 imports judge/parse.py"),
        ("rubric.py", "class A:\n  async def f(self):\n    import metapo.cli", "rubric.py:3 imports cli.py"),
        ("rubric.py", "if TYPE_CHECKING:\n    from metapo.cli import main", "rubric.py:2 imports cli.py"),
        ("rubric.py", "try:\n    import metapo.cli\nexcept ImportError:\n    pass", "rubric.py:2 imports cli.py"),
        ("rubric.py", "import importlib\nimportlib.import_module('metapo.cli')", "rubric.py:2 imports cli.py"),
        ("rubric.py", "__import__('metapo.cli')", "rubric.py:1 imports cli.py"),
        ("cli.py", "from metapo import Rubric", "cli.py:1 imports __init__.py: '__init__' stands below 'cli'"),
        ("cli.py", "import metapo", "cli.py:1 imports __init__.py"),
        ("cli.py", "import metapo.gone", "cli.py:1 imports metapo.gone, which does not exist"),
        ("rubric.py", "import torch.nn.functional as F", "rubric.py:1 imports torch, which lives under"),
        ("judge/judge.py", "def f():\n    from transformers import x", "judge/judge.py:2 imports transformers"),
        ("reward.py", "if TYPE_CHECKING:\n    from trl import x", "reward.py:2 imports trl"),
        ("cli.py", "f = lambda: __import__('verl')", "cli.py:1 imports verl"),
        ("tasks/__init__.py", "from datasets import Dataset", "tasks/__init__.py:1 imports datasets"),
        ("tasks/__init__.py", "def f():\n    import accelerate", "tasks/__init__.py:2 imports accelerate"),
        ("tools/x.py", "", "tools/x.py: 'tools' has no place in the order; add it to ORDER in tests/test_arch"),
        ("extra.py", "import torch", "extra.py: 'extra' has no place in the order"),
        ("rubric.py", "from metapo.rubric import Rubric", "cycle: rubric.py imports rubric.py"),
    ],
)
def test_checker_catches(path: str, source: str, message: str) -> None:
    assert any(problem.startswith(message) for problem in violations(FILES | {path: source}))


def test_checker_catches_a_cycle_inside_a_package() -> None:
    files = FILES | {
        "judge/judge.py": "from metapo.judge.parse import parse",
        "judge/parse.py": "def f():\n    from metapo.judge import Judge",
        "judge/__init__.py": "from metapo.judge.judge import Judge",
    }
    [problem] = violations(files)
    assert problem.startswith("cycle: ")
    around = problem.removeprefix("cycle: ").split(" imports ")
    follows = set(pairwise(around))
    allowed = {
        ("judge/judge.py", "judge/parse.py"),
        ("judge/parse.py", "judge/__init__.py"),
        ("judge/__init__.py", "judge/judge.py"),
    }
    assert follows == allowed
