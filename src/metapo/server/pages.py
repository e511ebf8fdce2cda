"""The pages of the dashboard: built files that know nothing, and ask the same JSON API as everybody."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI, Request, Response

from metapo.server.failures import Refused

FOLDER = Path(__file__).parents[1] / "ui"
INDEX = "index.html"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".webmanifest": "application/manifest+json",
}
"""Kinds of files that are served; others in the folder are not."""
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True)
class Page:
    """One built file."""

    body: bytes
    kind: str

    @property
    def tag(self) -> str:
        return f'"{hashlib.sha256(self.body).hexdigest()[:32]}"'


def read_pages(folder: Path = FOLDER) -> dict[str, Page]:
    """The built files by the path that they are served at; none where nothing is built."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix in TYPES)
    pages = {f"/{path.relative_to(folder).as_posix()}": Page(path.read_bytes(), TYPES[path.suffix]) for path in files}
    index = pages.pop(f"/{INDEX}", None)
    return {"/": index, **pages} if index else {}


def add_pages(app: FastAPI, pages: Mapping[str, Page]) -> None:
    """Serve each page at its path, and at / what is missing where nothing is built."""
    for path, page in pages.items():
        app.add_api_route(path, _serving(page), include_in_schema=False)
    if not pages:
        app.add_api_route("/", _missing, include_in_schema=False)


def _serving(page: Page) -> Callable[[Request], Response]:
    def serve(request: Request) -> Response:
        known = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
        headers = {**HEADERS, "ETag": page.tag}
        if page.tag in known:
            return Response(status_code=304, headers=headers)
        return Response(page.body, headers=headers, media_type=page.kind)

    return serve


def _missing() -> Response:
    raise Refused(
        503,
        "no_pages",
        "this copy of metapo has no built pages in src/metapo/ui: build them with 'make ui', or install a release. The "
        "JSON API is here all the same: /openapi.json lists it.",
    )
