"""A relay before a server that cuts its first connections, after the server has what was sent."""

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit


class Relay:
    """Cuts the first `cuts` connections as soon as `after_bytes` of the server's answer have come, and hands none of
    the bytes on that come after those; then it is transparent."""

    def __init__(self, url: str, *, cuts: int, after_bytes: int = 0) -> None:
        self.n_connections = 0
        self._to = urlsplit(url)
        self._cuts = cuts
        self._after = after_bytes
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._accept, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.n_connections += 1
            limit = self._after if self.n_connections <= self._cuts else None
            threading.Thread(target=self._serve, args=(client, limit), daemon=True).start()

    def _serve(self, client: socket.socket, limit: int | None) -> None:
        with client, socket.create_connection((self._to.hostname, self._to.port)) as server:
            there = threading.Thread(target=_pump, args=(client, server, None), daemon=True)
            there.start()
            _pump(server, client, limit)
            there.join()


def _pump(source: socket.socket, target: socket.socket, limit: int | None) -> None:
    n_bytes = 0
    with suppress(OSError):
        while part := source.recv(65536):
            if limit is not None and n_bytes + len(part) > limit:
                target.sendall(part[: limit - n_bytes])
                break
            target.sendall(part)
            n_bytes += len(part)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
