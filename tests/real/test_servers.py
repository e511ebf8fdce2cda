"""Servers as child processes are ended whatever happens; checked on a small one that any machine has."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.real.servers import ServerProcess, free_port

ROOT = Path(__file__).parents[2]
# Answers everything with 200, and starts a worker that doesn't listen to SIGTERM, whose id it says.
SERVER = """
import subprocess, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
worker = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"
process = subprocess.Popen([sys.executable, "-c", worker], stdout=subprocess.PIPE)
process.stdout.readline()
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(str(process.pid).encode())
    def log_message(self, *args): pass
print("here I am", flush=True)
HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def small(code: str = SERVER, ready_s: float = 30) -> ServerProcess:
    port = free_port()
    return ServerProcess([sys.executable, "-c", code, str(port)], port, env={}, ready_s=ready_s)


def lives(pid: int) -> bool:
    """Is there such a process, other than one that only waits for its parent to take notice?"""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until_gone(pid: int) -> None:
    until = time.monotonic() + 10
    while lives(pid) and time.monotonic() < until:
        time.sleep(0.02)
    assert not lives(pid)


def test_the_context_ends_a_server_and_its_workers() -> None:
    with small() as server:
        pid, worker = server.pid, int(server.get("/worker"))
        assert pid is not None
        assert lives(pid)
        assert lives(worker)
        assert "here I am" in server.log
    assert server.pid is None
    wait_until_gone(pid)
    wait_until_gone(worker)


def test_an_error_inside_the_context_ends_it_too() -> None:
    pid = 0

    def fails() -> None:
        nonlocal pid
        with small() as server:
            pid = server.pid or 0
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fails()
    assert pid
    wait_until_gone(pid)


def test_it_comes_back_on_its_port() -> None:
    with small() as server:
        before, url = server.pid, server.url
        server.kill()
        with pytest.raises(OSError, match="refused"):
            server.get("/health")
        server.start()
        assert server.url == url
        assert server.pid != before
        assert server.get("/health")


def test_a_server_that_does_not_start_says_why() -> None:
    with pytest.raises(RuntimeError, match="no such model"), small("raise SystemExit('no such model')"):
        pass


def test_a_server_that_never_answers_is_ended() -> None:
    server = small("import time; print('loading', flush=True); time.sleep(60)", ready_s=1)
    with pytest.raises(RuntimeError, match="loading"), server:
        pass
    assert server.pid is None


@pytest.mark.skipif(not os.path.exists("/usr/bin/setpriv"), reason="setpriv (util-linux) is not installed")
def test_it_does_not_outlive_whoever_started_it() -> None:
    code = f"import time; from {__name__} import small\nwith small() as s: print(s.pid, flush=True); time.sleep(60)"
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=ROOT, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert lives(pid)
    os.kill(parent.pid, signal.SIGKILL)
    wait_until_gone(pid)
    parent.wait()
    parent.stdout.close()


def test_building_says_which_tools_are_missing(tmp_path: Path) -> None:
    env = {**os.environ, "PATH": str(tmp_path), "CXX": "", "XDG_CACHE_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "tests.real.build_llama_server"]
    run = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert run.returncode == 1
    assert run.stderr == "missing: cmake, a C++ compiler. On Debian: apt-get install cmake g++\n"
    assert not list(tmp_path.iterdir())
