"""A real `metapo ui` on loopback, in a thread."""

import asyncio
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from metapo.server.looking import look
from metapo.server.options import Limits, ServeOptions
from metapo.server.pages import Page
from metapo.server.running import Running, listen
from metapo.viewing.runs import open_runs


class Shown:
    """A server that shows runs."""

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str, **more: Any) -> httpx2.Response:
        return httpx2.get(self.url + path, timeout=30, **more)

    def post(self, path: str, body: Any, **more: Any) -> httpx2.Response:
        return httpx2.post(self.url + path, json=body, timeout=30, **more)


@contextmanager
def shown(
    *places: Path | str, can_act: bool = True, pages: Mapping[str, Page] | None = None, **options: Any
) -> Iterator[Shown]:
    """A server until the block ends."""
    chosen = ServeOptions(port=0, **{"limits": Limits(grace_s=1, poll_s=0.05, heartbeat_s=0.2), **options})
    found: list[Running | BaseException] = []
    begun = threading.Event()

    def ready(server: Running) -> None:
        found.append(server)
        begun.set()

    def work() -> None:
        try:
            taken = listen(chosen.host, 0)
            asyncio.run(look(open_runs(places), chosen, taken, ready, can_act=can_act, pages=pages))
        except BaseException as e:
            found.append(e)
        finally:
            begun.set()

    thread = threading.Thread(target=work)
    thread.start()
    assert begun.wait(30)
    first = found[0]
    if isinstance(first, BaseException):
        thread.join()
        raise first
    try:
        yield Shown(first.url)
    finally:
        first.stop()
        thread.join(30)
    assert len(found) == 1, found[1]
