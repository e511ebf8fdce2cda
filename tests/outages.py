"""What can go wrong around a served run: one table, run for real by tests/server/test_outages.py; docs/write_faults.py
makes docs/outages.md of it.

Clients ask as docs/serving.md tells them to: each completion under a key of its own, all of a step at once, and again
while an answer says that this may help, or none comes. Every case ends with a look at the store: each answer that a
client got stands there once, with the reward that it was given, every step has its figures once, and the lineage holds.
"""

import asyncio
import os
import socket
import sqlite3
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from click.testing import CliRunner

from metapo.asked import Asked
from metapo.cli import main
from metapo.engines.connect import connect
from metapo.rollout import Rollout
from metapo.server.options import Limits
from metapo.server.running import Served
from metapo.service import RewardService
from metapo.settings import Settings
from metapo.store import Store
from tests.faults import Failure, LoopServer
from tests.helpers import rubric
from tests.postgres import Server
from tests.server.parts import as_response, raw, serving
from tests.server.relay import Relay
from tests.server.test_killed import Servers, recorded
from tests.server.test_stopping import process
from tests.servers import Answer, Ask, ChatServer, status
from tests.trainer import EMPTY, judge_and_meta, settings, write

FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
HUNG = Failure(hang=True)
SHORT_S = 2.0  # until a judge that is away is given up


@dataclass(frozen=True)
class Seen:
    """What clients met before their asks ended, such as "503 store", or "no answer"; how the asks ended that the outage
    hit; and whether those are on record."""

    met: frozenset[str]
    ends: frozenset[str]
    on_record: bool


@dataclass(frozen=True)
class Ground:
    """Where a case is tried: an empty folder, and a database server where there is one."""

    folder: Path
    postgres: Callable[[], Server]

    @property
    def run(self) -> Path:
        return self.folder / "run"

    @property
    def file(self) -> Path:
        return self.run / "store.db"


@dataclass(frozen=True)
class Outage:
    """`does` is what the server does meanwhile, `then` what it takes to go on. Each of `expected.met` may be met."""

    name: str
    does: str
    then: str
    run: Callable[[Ground], Awaitable[Seen]]
    expected: Seen


@dataclass
class Clients:
    """Those who ask one of the servers, each under its key. `answered` are the rewards by key."""

    urls: tuple[str, ...]
    answered: dict[str, float | None] = field(default_factory=dict)
    met: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    _turn: Iterator[int] = field(default_factory=count)

    async def step(self, number: int, positions: range = range(8)) -> None:
        """Completions of a step, at once."""
        rollouts = [r for r in write(number, n=positions.stop) if r.position in positions]
        async with httpx2.AsyncClient(timeout=60) as client:
            await asyncio.gather(*(self._ask(client, f"{number}/{r.position}", r) for r in rollouts))

    async def steps(self, numbers: range) -> None:
        for number in numbers:
            await self.step(number)

    def take(self) -> Seen:
        """What happened since the last call."""
        is_answered = all(end == "a reward" or end.startswith("null") for end in self.ends)
        seen = Seen(frozenset(self.met), frozenset(self.ends), is_answered)
        self.met.clear()
        self.ends.clear()
        return seen

    async def _ask(self, client: httpx2.AsyncClient, key: str, rollout: Rollout) -> None:
        named = {"prompt": rollout.prompt, "completion": rollout.completion, "reference": rollout.reference}
        body = {"rollouts": [{**named, "step": rollout.step, "key": key}]}
        async with asyncio.timeout(120):
            answer = await self._try(client, body)
            while answer is None:
                await asyncio.sleep(0.1)
                answer = await self._try(client, body)
        if answer.is_success:
            [scored] = answer.json()["rollouts"]
            assert self.answered.setdefault(key, scored["reward"]) == scored["reward"]
            reasons = sorted({one["reason"] for one in scored["unscored"]})
            self.ends["a reward" if scored["reward"] is not None else f"null: {', '.join(reasons)}"] += 1
        else:
            self.ends[_told(answer)] += 1

    async def _try(self, client: httpx2.AsyncClient, body: Any) -> httpx2.Response | None:
        """None where it may be asked again."""
        url = self.urls[next(self._turn) % len(self.urls)]
        try:
            answer = await client.post(f"{url}/v1/score", json=body)
        except httpx2.TransportError:
            self.met["no answer"] += 1
            return None
        if answer.status_code == 500 or (not answer.is_success and answer.json()["error"]["retryable"]):
            self.met[_told(answer)] += 1
            return None
        return answer


def _told(answer: httpx2.Response) -> str:
    return f"{answer.status_code} {answer.json()['error']['code']}"


def check_record(place: Path | str, answered: dict[str, float | None], n_steps: int) -> None:
    """Each answer once, as it was given; each step's figures once; each meta step begun and ended once."""
    assert recorded(place) == answered
    with closing(Store(place)) as store:
        store.verify()
        places = Counter((r.rollout.step, r.rollout.position) for r in store.rollouts())
        assert set(places.values()) <= {1}
        assert len(places) == len(answered)
        rows = [row["step"] for _, row in store.metrics() if row["kind"] == "train"]
        assert rows == sorted({step for step, _ in places if step < n_steps})
        begun = [(b.cluster, b.step) for b in store.begun()]
        assert len(begun) == len(set(begun))
        ended = [d.step for d in store.decisions()]
        assert sorted(set(ended)) == ended


def told(url: str, *, deadline_s: float = 20.0, approve: str = "auto", max_unscored: float = 1.0) -> Settings:
    """A meta step every other step."""
    given = settings(url=url, every=2, staleness=1, approve=approve)
    judge = given.judge.model_copy(update={"timeout_s": deadline_s / 2, "deadline_s": deadline_s, "max_in_flight": 64})
    return given.model_copy(update={"judge": judge, "max_unscored": max_unscored})


@asynccontextmanager
async def served(
    at: Ground, *, store: str | None = None, limits: Limits | None = None, deadline_s: float = 20.0
) -> AsyncIterator[tuple[LoopServer, Clients]]:
    """A judge that can fail, a server, and its clients."""
    async with (
        LoopServer(judge_and_meta) as judge,
        _hosted(Served(told(judge.url, deadline_s=deadline_s), at.run, store), limits) as url,
    ):
        yield judge, Clients((url,))


@asynccontextmanager
async def _hosted(what: Served, limits: Limits | None = None) -> AsyncIterator[str]:
    """As `serving`, while this event loop goes on: the judge is in it."""
    up = serving(what, limits=limits or Limits(grace_s=2))
    server = await asyncio.to_thread(up.__enter__)
    try:
        yield server.url
    finally:
        await asyncio.to_thread(up.__exit__, None, None, None)


# --- the judge


def judge_fails(behaviour: Callable[[Ask], Answer], deadline_s: float) -> Callable[[Ground], Awaitable[Seen]]:
    """For longer than its deadline; then it is back."""

    async def run(at: Ground) -> Seen:
        async with served(at, deadline_s=deadline_s) as (judge, clients):
            await clients.step(0)
            clients.take()
            judge.behaviour = behaviour
            await clients.step(1)
            seen = clients.take()
            judge.behaviour = judge_and_meta
            await _until_rewarded(clients, 2)
        check_record(at.file, clients.answered, 2)
        return seen

    return run


async def judge_is_away(at: Ground) -> Seen:
    async with served(at, deadline_s=SHORT_S) as (judge, clients):
        await clients.step(0)
        clients.take()
        judge.kill()
        await clients.step(1)
        seen = clients.take()
        await judge.start()
        await _until_rewarded(clients, 2)
    check_record(at.file, clients.answered, 2)
    return seen


async def judge_restarts(at: Ground) -> Seen:
    async with served(at) as (judge, clients):
        await clients.step(0)
        judge.kill()
        asked = asyncio.create_task(clients.step(1))
        await asyncio.sleep(0.3)
        await judge.start()
        await asked
        await clients.step(2)
    check_record(at.file, clients.answered, 2)
    return clients.take()


async def judge_stays_away(at: Ground) -> Seen:
    """More of a step than max_unscored allows is lost: the run stops, and the same command goes on with it."""
    async with LoopServer(judge_and_meta) as judge:
        what = Served(told(judge.url, max_unscored=0.2, deadline_s=SHORT_S), at.run)
        async with _hosted(what) as url:
            clients = Clients((url,))
            await clients.step(0)
            judge.kill()
            await clients.step(1)
            clients.take()
            await clients.step(2)
            seen = clients.take()
        await judge.start()
        async with _hosted(what) as url:
            clients.urls = (url,)
            await clients.step(2)
        assert (after := clients.take()) == REWARDED, after
    check_record(at.file, clients.answered, 2)
    return seen


async def judge_wants_another_key(at: Ground) -> Seen:
    async with LoopServer(judge_and_meta) as judge:
        what = Served(told(judge.url), at.run)
        async with _hosted(what) as url:
            clients = Clients((url,))
            await clients.step(0)
            clients.take()
            judge.behaviour = status(401)
            await clients.step(1)
            seen = clients.take()
        judge.behaviour = judge_and_meta
        async with _hosted(what) as url:
            clients.urls = (url,)
            await clients.step(1)
        assert (after := clients.take()) == REWARDED, after
    check_record(at.file, clients.answered, 1)
    return seen


async def _until_rewarded(clients: Clients, number: int) -> None:
    """The judge is asked again a while after it was given up."""
    for i in range(50):
        await asyncio.sleep(0.1)
        await clients.step(number, range(i, i + 1))
        if clients.take() == REWARDED:
            return
    raise AssertionError("no rewards")


# --- the store


async def database_restarts(at: Ground) -> Seen:
    database = at.postgres()
    store = database.new_schema()
    async with served(at, store=store) as (_, clients):
        await clients.step(0)
        asking = asyncio.create_task(clients.steps(range(1, 30)))
        for _ in range(5):
            await asyncio.sleep(0.4)
            await asyncio.to_thread(database.restart)
        await asking
        await clients.steps(range(30, 32))
    check_record(store, clients.answered, 31)
    return clients.take()


async def database_is_gone(at: Ground) -> Seen:
    """For longer than a transaction waits for it. Who asks for the server's health is answered all the same."""
    database = at.postgres()
    store = database.new_schema()
    async with served(at, store=store) as (_, clients):
        await clients.step(0)
        await asyncio.to_thread(database.stop)
        try:
            asking = asyncio.create_task(clients.step(1))
            async with httpx2.AsyncClient(timeout=2) as client:
                while not clients.met and not asking.done():
                    assert (await client.get(f"{clients.urls[0]}/healthz")).is_success
                    await asyncio.sleep(0.5)
        finally:
            await asyncio.to_thread(database.start)
        await asking
        await clients.step(2)
    check_record(store, clients.answered, 2)
    assert clients.met["503 store"]
    return clients.take()


async def disk_is_full(at: Ground) -> Seen:
    with small_disk(at.run, "2m") as grow:
        async with served(at) as (_, clients):
            filling = at.run / "filling"
            await clients.step(0)
            filling.write_bytes(bytes(2**20))
            asking = asyncio.create_task(clients.steps(range(1, 40)))
            while not clients.met:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            filling.unlink()
            grow("90m")
            await asking
        check_record(at.file, clients.answered, 39)
    return clients.take()


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Callable[[str], object]]:
    """A file system of so many bytes at this place, and what gives it others. Skips where it can't be mounted."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount the small file system that fills up")
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder]
    mounted = subprocess.run(mount, capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"no small file system can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield lambda to: subprocess.run(["mount", "-o", f"remount,size={to}", folder], check=True)
    finally:
        subprocess.run(["umount", folder], check=True)


# --- the server


async def clock_jumps(at: Ground) -> Seen:
    """Hours back and forth, while the server runs; rewards and lineage are those of a clock that goes well."""
    if FAKETIME is None:
        pytest.skip("libfaketime is not on this machine; on Debian: apt-get install libfaketime")
    shift, file = at.folder / "shift", at.folder / "settings.yaml"
    shift.write_text("+0")
    env = {"LD_PRELOAD": str(FAKETIME), "FAKETIME_TIMESTAMP_FILE": str(shift), "FAKETIME_NO_CACHE": "1"}
    env |= {"FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    with ChatServer(judge_and_meta) as judge:
        given = told(judge.url)
        file.write_text(given.to_yaml())
        with process(file, "--out", at.run, env=env) as (_, url):
            clients = Clients((url,))
            for step, jump in enumerate(["+0", "+30h", "-9h", "+2h", "-40h", "+1h"]):
                shift.write_text(jump)
                await clients.step(step)
        check_record(at.file, clients.answered, 5)
        alone = await RewardService.open(Store(at.folder / "alone.db"), given, connect(given))
        for step in range(6):
            scored = await alone.score([Asked(r.prompt, r.completion, r.reference, step=step) for r in write(step)])
            assert [clients.answered[f"{step}/{i}"] for i in range(8)] == [r.value for r in scored]
        with closing(Store(at.file)) as store:
            assert store.lineage() == alone.store.lineage()
        await alone.aclose()
    with closing(sqlite3.connect(at.file)) as db:
        times = [time for (time,) in db.execute("SELECT closed_at FROM boundary ORDER BY step")]
    assert times != sorted(times), "the clock that the server saw did jump"
    return clients.take()


async def servers_meet_at_a_boundary(at: Ground) -> Seen:
    """Both close each step, and people decide meanwhile."""
    (source := at.folder / "empty.yaml").write_text(rubric(EMPTY).to_yaml())
    async with LoopServer(judge_and_meta) as judge:
        what = Served(told(judge.url, approve="manual"), at.run)
        async with _hosted(what) as first, _hosted(what) as second:
            clients = Clients((first, second))
            await clients.step(0)
            asking = asyncio.create_task(clients.steps(range(1, 12)))
            approved = await _approve(at.run)
            await asyncio.to_thread(_decide, "edit", at.run, source)
            await asking
            await clients.steps(range(12, 14))
            async with httpx2.AsyncClient() as client:
                found = [(await client.get(f"{url}/v1/rubric")).json()["id"] for url in (first, second)]
    assert found[0] == found[1]
    with closing(Store(at.file)) as store:
        assert [act for act, *_ in store.outcomes_of_acts()] == [1, 2]
        assert approved in {r.short_id for _, r in store.lineage()}
    check_record(at.file, clients.answered, 13)
    return clients.take()


async def _approve(run: Path) -> str:
    """Let what waits come into force, as soon as something does."""
    waiting = "nothing"
    while waiting.startswith("nothing"):
        waiting = await asyncio.to_thread(_decide, "waiting", run)
    child = waiting.split()[0]
    await asyncio.to_thread(_decide, "approve", run, child)
    return child


def _decide(command: str, run: Path, *about: object) -> str:
    why = () if command == "waiting" else ("--why", "tried")
    done = CliRunner().invoke(main, ["rubric", command, str(run), *map(str, about), *why])
    assert done.exit_code == 0, done.output
    return done.output


async def servers_are_killed(at: Ground) -> Seen:
    """By SIGKILL, again and again; each begins again where it was."""
    with ChatServer(judge_and_meta) as judge:
        servers = Servers(told(judge.url), at.run)
        clients = Clients(tuple(servers.urls))
        try:
            asking = asyncio.create_task(clients.steps(range(20)))
            for i in range(5):
                await asyncio.sleep(0.3)
                await asyncio.to_thread(servers.kill, i % 2)
            await asking
        finally:
            servers.end()
    check_record(at.file, clients.answered, 19)
    return clients.take()


# --- the clients


async def answers_are_lost(at: Ground) -> Seen:
    """Between server and client, after the server has the request: nothing is judged twice."""
    async with served(at) as (judge, clients):
        await clients.step(0)
        before = judge.n_requests
        with Relay(clients.urls[0], cuts=4) as relay:
            clients.urls = (relay.url,)
            await clients.step(1)
        assert judge.n_requests == before + 8
    check_record(at.file, clients.answered, 1)
    return clients.take()


async def a_body_never_ends(at: Ground) -> Seen:
    async with served(at, limits=Limits(body_s=0.5, grace_s=2)) as (_, clients):
        slow = asyncio.to_thread(raw, clients.urls[0], _post(b'{"rollouts": [', more=1000))
        told, _ = await asyncio.gather(slow, clients.step(0))
        assert clients.take() == REWARDED
        clients.ends[_told(as_response(told))] += 1
    check_record(at.file, clients.answered, 0)
    return clients.take()


async def answers_are_not_read(at: Ground) -> Seen:
    """Clients that ask on and on, and take nothing off the line, keep nobody waiting."""
    async with served(at) as (_, clients):
        to = urlsplit(clients.urls[0])
        deaf = [socket.create_connection((to.hostname, to.port)) for _ in range(20)]
        for one in deaf:
            one.setblocking(False)
            with suppress(BlockingIOError):
                one.sendall(5000 * b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await clients.steps(range(3))
        for one in deaf:
            one.close()
    check_record(at.file, clients.answered, 2)
    return clients.take()


def flood(limits: Limits) -> Callable[[Ground], Awaitable[Seen]]:
    async def run(at: Ground) -> Seen:
        async with served(at, limits=limits) as (_, clients):
            await clients.step(0, range(100))
        check_record(at.file, clients.answered, 0)
        assert clients.met
        return clients.take()

    return run


async def requests_are_malformed(at: Ground) -> Seen:
    """By hand here; tests/server/test_openapi.py makes up many more."""
    hostile = [
        b"\x16\x03\x01 hello\r\n\r\n",
        _post(b"{"),
        _post(b'{"rollouts": [{"prompt": "p", "completion": NaN}]}'),
        _post(50_000 * b"["),
        _post(b'{"rollouts": []}'),
        _post(b'{"rollouts": [{"prompt": "p", "completion": "c", "step": -1}]}'),
        _post(b'{"rollouts": [{"prompt": "p", "completion": "c", "key": "\\u0000"}]}'),
        _post(b"", more=10**12),
        _post(b"{}").replace(b"application/json", b"text/plain"),
        _post(b"{}").replace(b"localhost", b"evil.example"),
    ]
    async with served(at, limits=Limits(grace_s=2, linger_s=0.1)) as (_, clients):
        await clients.step(0)
        clients.take()
        for request in hostile:
            clients.ends[_told(as_response(await asyncio.to_thread(raw, clients.urls[0], request, wait_s=0.5)))] += 1
        seen = clients.take()
        await clients.step(1)
    check_record(at.file, clients.answered, 1)
    return seen


def _post(body: bytes, *, more: int = 0) -> bytes:
    """A request for rewards, whose head tells of `more` bytes than there are."""
    head = "POST /v1/score HTTP/1.1", "Host: localhost", "Content-Type: application/json"
    return "\r\n".join([*head, f"Content-Length: {len(body) + more}", "", ""]).encode() + body


REWARDED = Seen(frozenset(), frozenset({"a reward"}), on_record=True)


def _seen(end: str = "a reward", *met: str, on_record: bool = True) -> Seen:
    return Seen(frozenset(met), frozenset({end}), on_record)


BACK = "nothing"
AGAIN = "nothing; the judge is asked again within 30 seconds"
RESTART = "mend it, and start the server again"

OUTAGES: dict[str, tuple[Outage, ...]] = {
    "The judge": (
        Outage("is away for less than its `deadline_s`", "asks until it is back", BACK, judge_restarts, REWARDED),
        Outage(
            "is away for longer", "gives the judge up for a while", AGAIN, judge_is_away, _seen("null: unreachable")
        ),
        Outage(
            "hangs",
            "gives the judge up for a while",
            AGAIN,
            judge_fails(lambda _: HUNG, SHORT_S),
            _seen("null: timeout"),
        ),
        Outage(
            "answers 500 to all", "asks four times", BACK, judge_fails(status(500), 20.0), _seen("null: bad_response")
        ),
        Outage(
            "is away for longer than `max_unscored` allows",
            "stops the run at the next step",
            RESTART,
            judge_stays_away,
            _seen("409 too_many_unscored", on_record=False),
        ),
        Outage(
            "refuses the key",
            "stops the run at once",
            RESTART,
            judge_wants_another_key,
            _seen("409 run_stopped", on_record=False),
        ),
    ),
    "The store": (
        Outage(
            "a database server restarts under load",
            "waits for it; what broke off is undone",
            BACK,
            database_restarts,
            _seen("a reward", "503 store"),
        ),
        Outage(
            "a database server is gone for more than 30 s",
            "waits so long, then refuses",
            BACK,
            database_is_gone,
            _seen("a reward", "503 store"),
        ),
        Outage(
            "the disk is full", "refuses; what broke off is undone", BACK, disk_is_full, _seen("a reward", "503 store")
        ),
    ),
    "The server": (
        Outage(
            "the machine's clock jumps by hours",
            "goes by another clock; only what is recorded as a time jumps",
            BACK,
            clock_jumps,
            REWARDED,
        ),
        Outage(
            "two servers come to the end of a step at once, and people decide meanwhile",
            "one closes the step and does the meta step, the other waits; a decision is taken once",
            BACK,
            servers_meet_at_a_boundary,
            REWARDED,
        ),
        Outage(
            "servers are killed at any moment, and begun again",
            "goes on where it was; what had no answer is judged anew",
            BACK,
            servers_are_killed,
            _seen("a reward", "no answer"),
        ),
    ),
    "The clients": (
        Outage(
            "connections break before the answer is there",
            "scores to the end, and answers whoever asks again",
            BACK,
            answers_are_lost,
            _seen("a reward", "no answer"),
        ),
        Outage(
            "a body never ends",
            "refuses it after a minute",
            BACK,
            a_body_never_ends,
            _seen("408 slow", on_record=False),
        ),
        Outage("answers are not read", "lets those clients wait, and no others", BACK, answers_are_not_read, REWARDED),
        Outage(
            "more requests at a time than `--max-in-flight`",
            "refuses those beyond",
            BACK,
            flood(Limits(max_in_flight=2, grace_s=2)),
            _seen("a reward", "503 overloaded"),
        ),
        Outage(
            "more requests per second than `--rate`",
            "refuses those beyond",
            BACK,
            flood(Limits(rate=20, grace_s=2)),
            _seen("a reward", "429 rate"),
        ),
        Outage(
            "requests are malformed or hostile",
            "refuses them, and says why",
            BACK,
            requests_are_malformed,
            Seen(
                frozenset(),
                frozenset(
                    {"400 bad_http", "400 bad_json", "413 too_large", "415 not_json", "421 wrong_host", "422 invalid"}
                ),
                on_record=False,
            ),
        ),
    ),
}
