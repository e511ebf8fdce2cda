"""A reward server's life: what it opens, in which order, and how it ends."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import uvicorn

from metapo.errors import RunError, RunExists, SettingsError
from metapo.files import write_whole
from metapo.reward import Screen, screen_nothing
from metapo.run import METRICS, SETTINGS, STORE
from metapo.scorer import Connections
from metapo.server.app import Server, make_app
from metapo.server.guard import Guard
from metapo.server.options import ServeOptions
from metapo.server.pages import read_pages
from metapo.server.protocol import protocol
from metapo.server.views import Views
from metapo.service import RewardService
from metapo.settings import Settings
from metapo.store import Counting, Store
from metapo.viewing.runs import Viewed, name_of

CLOSE_S = 3.0
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Served:
    """What is served: the settings, the run's folder, its store (a URL; by default a file in the folder), and how
    completions are counted for engines that tell no step."""

    settings: Settings
    folder: Path
    store: str | None = None
    counting: Counting | None = None
    screen: Screen = screen_nothing


@dataclass(frozen=True)
class Running:
    """A server that takes requests; `stop` is what the first signal does, from any thread."""

    url: str
    stop: Callable[[], None]


def listen(host: str, port: int) -> socket.socket:
    """Take the address before anything is opened or paid for. Raises SettingsError."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        taken = socket.socket(family, kind, proto)
        try:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind(address)
        except OSError:
            taken.close()
            raise
    except (OSError, OverflowError, UnicodeError) as e:
        why = getattr(e, "strerror", None) or str(e)
        raise SettingsError(f"can't listen at {host}, port {port}: {why}. Choose another by --host or --port.") from e
    return taken


async def serve(
    served: Served,
    options: ServeOptions,
    taken: socket.socket,
    connections: Connections,
    ready: Callable[[Running], None],
) -> None:
    """Serve until a signal comes; `ready` is told as soon as requests are taken. The connections are closed
    at the end. Raises MetapoError where it can't begin."""
    with contextlib.closing(taken):
        async with _opened(served, options, connections) as server:
            with _viewed(served, options) as views:
                guard = Guard(make_app(server, views), options, server.figures, views.pages)
                server.in_flight = lambda: guard.in_flight

                def end() -> None:
                    log.info("stopping: %d requests are under way", guard.in_flight)
                    server.events.end()
                    views.ended.set()

                await Uvicorn(config_of(guard, options), ready, server.stop, end).serve(sockets=[taken])


@contextlib.asynccontextmanager
async def _opened(served: Served, options: ServeOptions, connections: Connections) -> AsyncIterator[Server]:
    async with contextlib.AsyncExitStack() as begun:
        begun.push_async_callback(connections.aclose)
        store = open_store(served)
        begun.callback(store.close)
        service = await RewardService.open(
            store, served.settings, connections, screen=served.screen, counting=served.counting
        )
        _show_settings(served)
        begun.pop_all()  # the service closes both
    server = Server(service, store, options, counts_steps=served.counting is not None)
    try:
        yield server
    finally:
        await server.scoring.finish()
        await _close(service)


@contextlib.contextmanager
def _viewed(served: Served, options: ServeOptions) -> Iterator[Views]:
    """The run as people look at it."""
    where = served.store or served.folder / STORE
    with contextlib.closing(Store(where, reads_only=True)) as store:
        run = Viewed(name_of(served.folder.resolve().name), store, served.folder, where)
        yield Views([run], read_pages(), options.limits, can_act=True)


async def _close(service: RewardService) -> None:
    """What the judge still hasn't answered is given up after a while: nobody waits for it any more."""
    try:
        async with asyncio.timeout(CLOSE_S):
            await service.aclose()
    except TimeoutError:
        log.warning("gave up what the judge had not answered; whoever asks again has it judged anew")
        await service.aclose()


def open_store(served: Served) -> Store:
    """The run's store, and its folder where there is none yet. Several servers may share both. Raises RunError,
    StoreError."""
    folder = served.folder
    if (folder / METRICS).exists():
        raise RunExists(f"{folder} holds a run of metapo train, which writes to it alone. Choose another with --out.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise RunError(f"can't write {folder}: {e.strerror}. Choose another with --out.") from e
    return Store(served.store or folder / STORE)


def _show_settings(served: Served) -> None:
    """For people and commands that read the folder: only what the run's store has agreed to."""
    if not (served.folder / SETTINGS).exists():
        write_whole(served.folder / SETTINGS, served.settings.to_yaml())


def config_of(app: Guard, options: ServeOptions) -> uvicorn.Config:
    limits = options.limits
    return uvicorn.Config(
        app,
        http=protocol(limits),
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=max(1, round(limits.grace_s)),
        h11_max_incomplete_event_size=64 * 1024,
    )


class Uvicorn(uvicorn.Server):
    """Ends well: the first signal lets what is under way finish, the second ends at once. The process's exit code is 0
    after the first: it did as it was told."""

    def __init__(
        self,
        config: uvicorn.Config,
        ready: Callable[[Running], None],
        on_stop: Callable[[], None],
        on_end: Callable[[], None],
    ) -> None:
        """`on_stop` is told of the first signal, `on_end` when nothing new is taken any more."""
        super().__init__(config)
        self._ready = ready
        self._on_stop = on_stop
        self._on_end = on_end

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for taken in sockets or ():
            host, port = taken.getsockname()[:2]
            url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
            self._ready(Running(url, self.stop))

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit:
            os._exit(128 + sig)  # what is written is whole: each write is one transaction
        self.stop()

    def stop(self) -> None:
        self.should_exit = True
        self._on_stop()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_end()
        await super().shutdown(sockets)
