"""A server that shows runs: what it opens, and how it ends."""

import contextlib
import logging
import socket
from collections.abc import Callable, Mapping, Sequence

from fastapi import FastAPI

from metapo.server.figures import Figures
from metapo.server.framework import new_app
from metapo.server.guard import Guard
from metapo.server.options import ServeOptions
from metapo.server.pages import Page, add_pages, read_pages
from metapo.server.running import Running, Uvicorn, config_of
from metapo.server.views import Views, looking
from metapo.viewing.runs import Viewed, close

log = logging.getLogger(__name__)


async def look(
    runs: Sequence[Viewed],
    options: ServeOptions,
    taken: socket.socket,
    ready: Callable[[Running], None],
    *,
    can_act: bool = True,
    pages: Mapping[str, Page] | None = None,
) -> None:
    """Show runs until a signal comes; `ready` is told as soon as requests are taken. `pages` stand in for the built
    ones. The runs are closed at the end."""
    with contextlib.closing(taken):
        try:
            views = Views(runs, read_pages() if pages is None else pages, options.limits, can_act=can_act)
            guard = Guard(app_of(views, options), options, Figures(), {"/", *views.pages})
            await Uvicorn(config_of(guard, options), ready, lambda: None, views.ended.set).serve(sockets=[taken])
        finally:
            close(runs)


def app_of(views: Views, options: ServeOptions) -> FastAPI:
    """The application, without its guard."""
    app = new_app(
        "metapo ui",
        "Runs as people look at them and decide on them. Every error has the shape of ErrorAnswer.",
        (looking,),
        has_token=options.token is not None,
    )
    app.state.views = views
    add_pages(app, views.pages)
    return app
