import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metapo.errors import RunError, RunInUse
from metapo.files import append_row, hold, read_rows, whole_folder, write_whole

OLD, NEW = "old\n", "new\n" * 20_000

# --- write_whole


@pytest.mark.parametrize("content", ["", "text", "two\nlines", "é漢🙂\u2028", "\r\n", "no end", b"", b"\x00\xff\r\n"])
def test_a_file_holds_just_what_was_given(tmp_path: Path, content: str | bytes) -> None:
    path = tmp_path / "a" / "b" / "file.txt"
    write_whole(path, content)
    assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert [*path.parent.iterdir()] == [path]


def test_a_file_is_replaced_not_written_into(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text(OLD)
    with path.open() as reader:
        write_whole(path, NEW)
        assert (reader.read(), path.read_text()) == (OLD, NEW)
    write_whole(path, "shorter")
    assert path.read_text() == "shorter"


def test_a_failure_between_writing_and_replacing_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_text(OLD)
    for error in (OSError(28, "No space left on device"), KeyboardInterrupt()):

        def fail(descriptor: int, error: BaseException = error) -> None:
            raise error

        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(RunError if isinstance(error, OSError) else KeyboardInterrupt):
            write_whole(path, NEW)
        assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("file", OLD)]


def test_text_that_no_file_takes_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text(OLD)
    with pytest.raises(UnicodeEncodeError):
        write_whole(path, "half of a pair: \ud83d")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("file", OLD)]


@pytest.mark.parametrize("below", ["file/new.txt", "folder"])
def test_a_place_that_takes_no_file(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text(OLD)
    (tmp_path / "folder" / "inside").mkdir(parents=True)
    with pytest.raises(RunError) as caught:
        write_whole(tmp_path / below, NEW)
    assert str(caught.value).startswith(f"can't write {tmp_path / below}: ")
    assert str(caught.value).endswith(". Free some space or fix the permissions, then try again.")
    assert (tmp_path / "file").read_text() == OLD
    assert {p.name for p in tmp_path.iterdir()} == {"file", "folder"}


def test_a_write_that_is_cut_short_leaves_the_old_file(tmp_path: Path) -> None:
    """A process that may write no file beyond 4 kB, as on a disk that fills up."""
    (tmp_path / "file").write_text(OLD)
    code = (
        "import resource, signal, pathlib\n"
        "from metapo.files import write_whole, append_row\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "from metapo.errors import RunError\n"
        "for work in (lambda p: write_whole(p, 'new\\n' * 20_000), lambda p: append_row(p, {'text': 'x' * 9000})):\n"
        "    try:\n"
        f"        work(pathlib.Path({str(tmp_path / 'file')!r}))\n"
        "    except RunError as e:\n"
        "        print(e)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    assert (
        first
        == f"can't write {tmp_path / 'file'}: File too large. Free some space or fix the permissions, then try again."
    )
    assert second == f"can't write {tmp_path / 'file'}: File too large. Free some space, then resume the run."
    assert (tmp_path / "file").read_text().startswith(OLD)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if mount is None or os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a tiny tmpfs takes root and its permission to mount")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_leaves_the_old_file(tiny_disk: Path) -> None:
    path = tiny_disk / "file"
    path.write_text(OLD)
    with pytest.raises(RunError, match=r"can't write .*/file: No space left on device\. Free some space"):
        write_whole(path, NEW)
    assert [(p.name, p.read_text()) for p in tiny_disk.iterdir()] == [("file", OLD)]
    with pytest.raises(RunError, match=r"No space left on device\. Free some space, then resume the run\."):
        append_row(path, {"text": NEW})
    path.write_text(OLD)
    write_whole(path, "fits again")
    assert path.read_text() == "fits again"


def test_a_killed_writer_leaves_the_old_file_or_the_new(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("0" * 100_000)
    code = (
        "import pathlib, sys\n"
        "from metapo.files import write_whole\n"
        "print('go', flush=True)\n"
        f"for n in range(10**6): write_whole(pathlib.Path({str(path)!r}), str(n % 10) * 100_000)\n"
    )
    for _ in range(5):
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            for _ in range(20):
                text = path.read_text()
                assert (len(text), len(set(text))) == (100_000, 1)
            process.kill()
        text = path.read_text()
        assert (len(text), len(set(text))) == (100_000, 1)


# --- hold


def test_one_process_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "new" / ".lock"
    code = "import pathlib, sys; from metapo.files import hold; hold(pathlib.Path(sys.argv[1]), 'the thing').release()"

    def other() -> str:
        command = [sys.executable, "-c", code, str(path)]
        return subprocess.run(command, capture_output=True, text=True, check=False).stderr

    lock = hold(path, "the thing")
    assert "RunInUse: another process is using the thing. Wait for it to end, or choose another" in other()
    with pytest.raises(RunInUse):
        hold(path, "the thing")
    lock.release()
    assert other() == ""


def test_a_place_that_takes_no_lock(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"can't write the thing: Not a directory\. Choose another with --out\."):
        hold(tmp_path / "file" / "new" / ".lock", "the thing")


# --- rows

values = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()


@given(st.lists(st.dictionaries(st.text(), values | st.lists(values, max_size=3), max_size=4), max_size=6), st.data())
def test_rows_come_back_and_a_cut_last_line_is_left_out(rows: list[dict[str, Any]], data: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        for row in rows:
            append_row(path, row)
        assert [*read_rows(path)] == rows
        whole = path.read_bytes() if rows else b""
        kept = data.draw(st.integers(0, len(whole)))
        path.write_bytes(whole[:kept])
        assert [*read_rows(path)] == rows[: whole[:kept].count(b"\n")]


def test_a_file_that_is_not_there_has_no_rows(tmp_path: Path) -> None:
    assert [*read_rows(tmp_path / "gone.jsonl")] == []


def test_a_damaged_line_in_the_middle_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"a": 1}\n{"a": \n{"a": 3}\n')
    with pytest.raises(json.JSONDecodeError):
        list(read_rows(tmp_path / "rows.jsonl"))


def test_a_row_needs_its_folder(tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        append_row(tmp_path / "gone" / "rows.jsonl", {})
    assert str(caught.value).startswith(f"can't write {tmp_path / 'gone' / 'rows.jsonl'}: No such file or directory.")


# --- whole_folder


def test_a_folder_takes_its_place_when_it_is_full(tmp_path: Path) -> None:
    target = tmp_path / "model"
    for text in ("first", "second"):
        with whole_folder(target) as draft:
            (draft / "weights").write_text(text)
            assert not target.exists() or (target / "weights").read_text() == "first"
        assert (target / "weights").read_text() == text
    assert [*tmp_path.iterdir()] == [target]


def test_a_folder_that_failed_leaves_the_old_one_and_no_rest(tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "weights").write_text("old")
    (tmp_path / ".model.part").mkdir()
    (tmp_path / ".model.part" / "half").write_text("of an earlier crash")

    def fail() -> None:
        with whole_folder(target) as draft:
            assert [*draft.iterdir()] == []
            (draft / "weights").write_text("new")
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fail()
    assert [(p.name, p.read_text()) for p in target.iterdir()] == [("weights", "old")]
    assert [*tmp_path.iterdir()] == [target]
