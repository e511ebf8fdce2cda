"""`metapo serve` in a process of its own: how it begins, what it refuses to begin with, and how it ends."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from click.testing import CliRunner

from metapo.cli import main
from metapo.errors import ChatError
from metapo.settings import Settings
from metapo.store import Store
from tests.server.parts import TOKEN, check_error, one, running, settings
from tests.server.test_limits import Gate, wait_for
from tests.servers import ChatServer, verdicts


@contextmanager
def process(*arguments: object, env: Mapping[str, str] | None = None) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command line, under more of an environment, and where it serves."""
    command = [sys.executable, "-m", "metapo", "serve", *map(str, arguments), "--port", "0"]
    around = {**os.environ, **(env or {})}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=around) as child:
        assert child.stdout is not None
        try:
            line = child.stdout.readline()
            if not line.startswith("metapo serves http://"):
                child.wait(30)
                assert child.stderr is not None
                raise AssertionError(line + child.stderr.read())
            yield child, line.split()[-1]
        finally:
            if child.poll() is None:
                child.kill()


def fails(*arguments: object, token: str = "") -> str:
    """What the command says when it doesn't begin."""
    found = CliRunner().invoke(main, ["serve", *map(str, arguments)], env={"REWARD_TOKEN": token})
    assert found.exit_code in (1, 2), found.output
    assert isinstance(found.exception, SystemExit)
    return found.output


def settings_file(folder: Path, judge: ChatServer) -> Path:
    path = folder / "settings.yaml"
    path.write_text(settings(judge.url).to_yaml())
    return path


def test_a_signal_lets_what_is_under_way_finish_and_loses_nothing(tmp_path: Path) -> None:
    gate = Gate()
    with ChatServer(gate) as judge:
        file = settings_file(tmp_path, judge)
        with process(file, "--out", tmp_path / "run") as (child, url), ThreadPoolExecutor(20) as pool:
            asked = [
                pool.submit(httpx2.post, f"{url}/v1/score", json=one(f"answer {i}", key=str(i)), timeout=30)
                for i in range(20)
            ]
            wait_for(lambda: judge.in_flight == 20)
            child.send_signal(signal.SIGTERM)
            wait_for(lambda: not accepts(url))
            gate.open.set()
            answers = [f.result() for f in asked]
            assert child.wait(60) == 0
        assert [a.json()["rollouts"][0]["reward"] for a in answers] == [1.0] * 20
        n_asked = judge.n_requests
        store = Store(tmp_path / "run" / "store.db")
        assert len(store.rollouts()) == 20
        store.close()
        with process(file, "--out", tmp_path / "run") as (child, url):  # goes on, and knows the keys
            again = httpx2.post(f"{url}/v1/score", json=one("answer 3", key="3"), timeout=30).json()
            assert again == answers[3].json()
            child.send_signal(signal.SIGINT)
            assert child.wait(60) == 0
        assert judge.n_requests == n_asked + 1, "who answers was asked once more, and nothing judged"


def test_a_start_that_is_refused_leaves_no_settings(tmp_path: Path) -> None:
    """Whoever reads the folder would take them for the run's."""
    with ChatServer(verdicts()) as gone:
        pass
    with pytest.raises(ChatError), running(tmp_path / "run", gone):
        pass
    with ChatServer(verdicts()) as judge, running(tmp_path / "run", judge):
        shown = Settings.load(tmp_path / "run" / "settings.yaml")
    assert shown == settings(judge.url)


def accepts(url: str) -> bool:
    host, port = url.removeprefix("http://").split(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True


def test_a_judge_that_hangs_does_not_keep_the_server_for_ever(tmp_path: Path) -> None:
    gate = Gate()
    with ChatServer(gate) as judge:
        file = settings_file(tmp_path, judge)
        with process(file, "--out", tmp_path / "run", "--grace", 1) as (child, url), ThreadPoolExecutor(1) as pool:
            asked = pool.submit(httpx2.post, f"{url}/v1/score", json=one(), timeout=30)
            wait_for(lambda: judge.in_flight == 1)
            child.send_signal(signal.SIGTERM)
            assert child.wait(60) == 0
            gate.open.set()
            check_error(asked.result(), 503, "stopping")


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    gate = Gate()
    with ChatServer(gate) as judge:
        file = settings_file(tmp_path, judge)
        with process(file, "--out", tmp_path / "run") as (child, url):
            thread = threading.Thread(target=lambda: ask_in_vain(url))
            thread.start()
            wait_for(lambda: judge.in_flight == 1)
            child.send_signal(signal.SIGTERM)
            wait_for(lambda: not accepts(url))
            began = time.monotonic()
            child.send_signal(signal.SIGTERM)
            assert child.wait(60) == 128 + signal.SIGTERM
            assert time.monotonic() - began < 2
            thread.join()
        gate.open.set()


def ask_in_vain(url: str) -> None:
    with pytest.raises(httpx2.TransportError):
        httpx2.post(f"{url}/v1/score", json=one(), timeout=30)


def test_two_servers_share_a_run(tmp_path: Path) -> None:
    with ChatServer(verdicts()) as judge:
        file = settings_file(tmp_path, judge)
        out = ("--out", tmp_path / "run")
        with process(file, *out) as (_, first), process(file, *out) as (_, second):
            scored = httpx2.post(f"{first}/v1/score", json=one(key="shared", step=2), timeout=30).json()
            assert httpx2.post(f"{second}/v1/score", json=one(key="shared", step=2), timeout=30).json() == scored
            assert httpx2.get(f"{second}/v1/status").json()["step"] == 2


OWN_TASK = """
from metapo.reward import Screened
from metapo.tasks.generic import read
from metapo.tasks.task import Task

async def screen(rollout):
    return Screened("too short", 0.0, 0.0) if len(rollout.completion) < 5 else None

TASK = Task("own", read, screen=lambda settings: screen)
"""


def test_a_tasks_own_rule_scores_as_in_training(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN_TASK)
    with ChatServer(verdicts()) as judge:
        file = settings_file(tmp_path, judge)
        file.write_text(f"{file.read_text()}task: own.py\ndata: {{train: p.jsonl}}\npolicy: {{model: none}}\n")
        with process(file, "--out", tmp_path / "run") as (_, url):
            [short] = httpx2.post(f"{url}/v1/score", json=one("no"), timeout=30).json()["rollouts"]
            [long] = httpx2.post(f"{url}/v1/score", json=one("long enough"), timeout=30).json()["rollouts"]
    assert (short["reward"], short["screened"]) == (0.0, "too short")
    assert (long["reward"], long["screened"]) == (1.0, "")


# --- what it doesn't begin with


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.168.1.7", "rewards.example"])
def test_without_a_token_no_other_address_is_served_and_nothing_is_read(tmp_path: Path, host: str) -> None:
    message = fails(tmp_path / "missing.yaml", "--out", tmp_path / "run", "--host", host)
    assert "Give a token by --token-env or --token-file" in message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "token", ["", "short", "with a space in the middle", "ümlaut-in-the-token-here", "x" * 20 + "\n"]
)
def test_a_token_that_is_none_is_refused_and_not_told(tmp_path: Path, token: str) -> None:
    arguments = (tmp_path / "missing.yaml", "--out", tmp_path / "run", "--host", "0.0.0.0")
    message = fails(*arguments, "--token-env", "REWARD_TOKEN", token=token)
    assert "must hold a token of at least 16 characters" in message
    assert not token or token not in message


def test_a_token_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    with ChatServer(verdicts()) as judge:
        file = settings_file(tmp_path, judge)
        with process(file, "--out", tmp_path / "run", "--token-file", tmp_path / "token", "--host", "0.0.0.0") as (
            child,
            url,
        ):
            at = url.replace("0.0.0.0", "127.0.0.1")
            assert httpx2.get(f"{at}/v1/rubric").status_code == 401
            good = {"Authorization": f"Bearer {TOKEN}", "Host": "any.example"}
            assert httpx2.get(f"{at}/v1/rubric", headers=good).status_code == 200
            child.send_signal(signal.SIGTERM)
            out, err = child.communicate(timeout=20)
            assert TOKEN not in out + err


def start_errors(folder: Path, judge: ChatServer) -> list[tuple[str, Sequence[object], str]]:
    good = settings_file(folder, judge)
    bad = folder / "bad.yaml"
    bad.write_text("judge: 7\n")
    other = folder / "other.yaml"
    other.write_text(settings(judge.url, task_description="Something else.").to_yaml())
    gone = folder / "gone.yaml"
    gone.write_text(settings("http://127.0.0.1:9/v1").to_yaml())
    run = folder / "run"
    return [
        ("no such settings", (folder / "missing.yaml", "--out", run), "can't read the settings"),
        ("wrong settings", (bad, "--out", run), "wrong in these fields"),
        ("token file", (good, "--out", run, "--token-file", folder / "none"), "can't read the token file"),
        ("no such name", (good, "--out", run, "--token-env", "NOWHERE_SET"), "which is not set"),
        ("judge away", (gone, "--out", folder / "gone"), "can't be reached"),
        ("file in the way", (good, "--out", good / "run"), "can't write"),
        ("group size alone", (good, "--out", run, "--group-size", 4), "belongs to --groups-per-step"),
        ("other settings", (other, "--out", run), "task_description differ"),
    ]


def test_what_keeps_it_from_beginning_is_told_in_one_message(tmp_path: Path) -> None:
    with ChatServer(verdicts()) as judge:
        cases = start_errors(tmp_path, judge)
        with running(tmp_path / "run", judge):
            pass
        told = [fails(*arguments) for _, arguments, _ in cases]
    assert [name for (name, _, said), message in zip(cases, told, strict=True) if said not in message] == [], told


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    with socket.socket() as taken, ChatServer(verdicts()) as judge:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        message = fails(settings_file(tmp_path, judge), "--out", tmp_path / "run", "--port", port)
    assert f"can't listen at 127.0.0.1, port {port}" in message
    assert not (tmp_path / "run").exists()
