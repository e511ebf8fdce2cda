"""What serving costs, beside the judge: `python -m bench.server --clients 1,16,256 --seconds 5`.

Servers in processes of their own score completions of 320 words under five criteria, with a judge in the same process
that answers at once, or after `--judge-ms`; one request holds `--group` completions. Each client keeps a connection and
sends the next request when it has the answer. The load comes from one more process, whose work takes CPU time from the
servers where cores are few. Rewards a second, and the middle, 95th and 99th percentile of the milliseconds from a
request's first byte to its answer's last, without those of the judge; memory is what all servers hold together, before
and after. `--store` is a PostgreSQL database by its URL, which is filled with rollouts: give an empty one.
"""

import argparse
import asyncio
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import quantiles
from typing import NamedTuple
from urllib.parse import urlsplit

WORDS = ("because every reason that is given here stands on its own " * 32)[:2000]


class Kind(NamedTuple):
    """Completions in a request, and the judge's milliseconds for each, which are all judged at once."""

    group: int = 1
    judge_ms: float = 0.0


class Load(NamedTuple):
    """What one load came to: rewards in all and their seconds, and the milliseconds that were added to the judge's, of
    each request, in order."""

    n: int
    seconds: float
    ms: list[float]

    @property
    def per_second(self) -> float:
        return self.n / self.seconds

    def at(self, percent: int) -> float:
        return quantiles(self.ms, n=100)[percent - 1] if len(self.ms) > 1 else self.ms[0]


@contextmanager
def servers(n: int, out: Path, store: str, kind: Kind) -> Iterator[list[tuple[str, int]]]:
    """The URL and process id of each of `n` servers on one run."""
    command = [sys.executable, "-m", "bench.server.serving", str(out), store, str(kind.judge_ms / 1000)]
    started: list[subprocess.Popen[str]] = []
    try:
        found = []
        for _ in range(n):
            child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            started.append(child)
            assert child.stdout is not None
            found.append((child.stdout.readline().strip(), child.pid))
        yield found
    finally:
        for child in started:
            child.send_signal(signal.SIGTERM)
        for child in started:
            child.wait(60)


async def load(urls: Sequence[str], n_clients: int, seconds: float, name: str, kind: Kind) -> Load:
    """Ask from `n_clients` connections, spread over the servers, for so long."""
    ms: list[float] = []
    until = time.monotonic() + seconds

    async def client(number: int) -> None:
        at = urlsplit(urls[number % len(urls)])
        reader, writer = await asyncio.open_connection(at.hostname, at.port)
        try:
            count = 0
            while (began := time.monotonic()) < until:
                writer.write(_request(f"{name}/{number}/{count}", kind.group))
                await _answer(reader, kind.group)
                ms.append(1000 * (time.monotonic() - began) - kind.judge_ms)
                count += 1
        finally:
            writer.close()

    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for number in range(n_clients):
            group.create_task(client(number))
    return Load(len(ms) * kind.group, time.monotonic() - began, sorted(ms))


def _request(name: str, group: int) -> bytes:
    keys = [f"{name}/{i}" for i in range(group)]
    rollouts = [
        {"prompt": "Should cities build bike lanes?", "completion": f"{WORDS} ({key})", "step": 0, "key": key}
        for key in keys
    ]
    body = json.dumps({"rollouts": rollouts}).encode()
    head = (
        f"POST /v1/score HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    )
    return head.encode() + b"\r\n\r\n" + body


async def _answer(reader: asyncio.StreamReader, group: int) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    body = await reader.readexactly(int(length.partition(b":")[2]))
    if not head.startswith(b"HTTP/1.1 200") or body.count(b'"reward":1.0') != group:
        raise RuntimeError(f"not every reward came: {head[:30]!r} {body[:200]!r}")


def held_mb(pids: Sequence[int]) -> float:
    """The memory that these processes hold now."""
    texts = [Path(f"/proc/{pid}/status").read_text() for pid in pids]
    return sum(int(line.split()[1]) for text in texts for line in text.splitlines() if line.startswith("VmRSS")) / 1024


def main() -> None:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", default="1,16,64,256", help="numbers of clients at once")
    parser.add_argument("--servers", default="1,2", help="numbers of server processes on one run")
    parser.add_argument("--group", type=int, default=1, help="completions in a request")
    parser.add_argument("--judge-ms", type=float, default=0.0, help="how long the judge takes for each")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each load")
    parser.add_argument("--store", default="", help="URL of an empty PostgreSQL database to use in place of SQLite")
    told = parser.parse_args()
    kind = Kind(told.group, told.judge_ms)
    print(
        "| store | servers | clients | group | judge ms | rewards/s | p50 ms | p95 ms | p99 ms | MB before | after |",
        flush=True,
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|", flush=True)
    for n_servers in map(int, told.servers.split(",")):
        with tempfile.TemporaryDirectory() as out, servers(n_servers, Path(out) / "run", told.store, kind) as up:
            urls, pids = zip(*up, strict=True)
            asyncio.run(load(urls, n_servers, 1.0, "warm", kind))
            for n_clients in map(int, told.clients.split(",")):
                before = held_mb(pids)
                found = asyncio.run(load(urls, n_clients, told.seconds, f"{n_servers}/{n_clients}", kind))
                times = " | ".join(f"{found.at(p):.0f}" for p in (50, 95, 99))
                store = "PostgreSQL" if told.store else "SQLite"
                figures = f"{found.per_second:.0f} | {times} | {before:.0f} | {held_mb(pids):.0f}"
                print(
                    f"| {store} | {n_servers} | {n_clients} | {kind.group} | {kind.judge_ms:g} | {figures} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
