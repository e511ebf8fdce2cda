"""The picture of a comparison, from folders that real runs wrote."""

import asyncio
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from metapo.cli import main
from metapo.errors import RunError
from metapo.world.picture import write_picture
from tests.world.test_report import STEPS, make_run, settings

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two arms under one seed, and a third that is unfinished."""
    out = tmp_path_factory.mktemp("comparison")

    async def make() -> None:
        for arm in ("mpo", "iter0"):
            await make_run(out, settings(arm, 7))
        await make_run(out, settings("oracle", 7), n_steps=3, finish=False)

    asyncio.run(make())
    return out


def test_it_is_one_drawing_of_the_arms_in_the_order_asked_for(comparison: Path) -> None:
    out = comparison / "picture.svg"
    done = CliRunner().invoke(main, ["world", "picture", str(comparison), "--arms", "mpo, iter0", "--out", str(out)])
    assert done.output == f"Picture: {out}\n"
    root = ElementTree.parse(out).getroot()
    assert [text.text for text in root.iter(f"{SVG}text") if text.get("class") == "name"] == ["mpo", "iter0"]
    lines = [line for line in root.iter(f"{SVG}polyline") if "thick" in str(line.get("class"))]
    assert [len(str(line.get("points")).split()) for line in lines] == [STEPS] * 4, "judge and gold of each arm"
    assert "seeds" not in out.read_text()
    assert "the vague rubric, evolving as published" in out.read_text()


def test_the_same_folders_give_the_same_bytes(comparison: Path, tmp_path: Path) -> None:
    first, again = (write_picture(comparison, ["iter0"], tmp_path / name).read_bytes() for name in ("a.svg", "b.svg"))
    assert first == again


def test_an_arm_without_a_finished_run_is_refused_with_the_command_that_makes_one(comparison: Path) -> None:
    with pytest.raises(RunError, match=r"no finished run of oracle\. .* compare --arms iter0,oracle --out"):
        write_picture(comparison, ["iter0", "oracle"], comparison / "none.svg")
    assert not (comparison / "none.svg").exists()
