"""A real `metapo ui` on loopback, in a thread."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from metapo.server.looking import look
from metapo.server.options import Limits, ServeOptions
from metapo.server.pages import Page
from metapo.server.running import listen
from metapo.viewing.runs import open_runs
from tests.server.parts import in_a_thread


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
    with in_a_thread(
        lambda ready: look(open_runs(places), chosen, listen(chosen.host, 0), ready, can_act=can_act, pages=pages)
    ) as first:
        yield Shown(first.url)
