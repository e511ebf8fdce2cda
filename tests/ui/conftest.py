"""One browser and one `metapo ui` for all tests of a process."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.ui.browser import CHROMIUM, DESKTOP, DRIVER, Page, chromium
from tests.ui.runs import hostile, make_empty, make_run

REASON = "needs Chromium and its driver: apt-get install chromium chromium-driver"


@dataclass(frozen=True)
class Site:
    """A server that shows runs, and the folders of these."""

    url: str
    folders: Path
    stop: Any


@contextmanager
def showing(runs: Sequence[Path], port: int = 0, **more: Any) -> Iterator[Site]:
    """`metapo ui` in a thread. `token` and `can_act` are as on its command line."""
    from metapo.server.looking import look
    from metapo.server.options import ServeOptions
    from metapo.server.running import Running, listen
    from metapo.viewing.runs import open_runs

    options = ServeOptions(host="127.0.0.1", port=port, token=more.get("token"))
    taken = listen("127.0.0.1", port)
    up: list[Running] = []
    is_up = threading.Event()

    def ready(server: Running) -> None:
        up.append(server)
        is_up.set()

    def work() -> None:
        asyncio.run(look(open_runs(runs), options, taken, ready, can_act=more.get("can_act", True)))

    thread = threading.Thread(target=work)
    thread.start()
    assert is_up.wait(30)

    def stop() -> None:
        up[0].stop()
        thread.join(30)

    try:
        yield Site(up[0].url, runs[0].parent if runs else Path(), stop)
    finally:
        stop()


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    if CHROMIUM is None or DRIVER is None:
        pytest.skip(REASON)
    downloads = tmp_path_factory.mktemp("downloads")
    with chromium(downloads) as page:
        yield page


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs: one as usual, one with markup in every field, one that has only begun."""
    root = tmp_path_factory.mktemp("runs")
    make_run(root / "essay")
    make_run(root / "hostile", hostile)
    make_empty(root / "empty")
    return root


@pytest.fixture(scope="session")
def site(folders: Path) -> Iterator[Site]:
    with showing([folders / "essay", folders / "hostile", folders / "empty"]) as server:
        yield server


@pytest.fixture
def page(browser: Page, site: Site) -> Iterator[Page]:
    """The browser at the site, as large as a desktop's; afterwards it has complained of nothing."""
    browser.base = site.url + "/"
    browser.size(*DESKTOP)
    browser.prefers()
    browser.complaints()
    yield browser
    assert browser.complaints() == []
