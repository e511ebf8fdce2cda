"""Bytes to requests: uvicorn's own protocol, with limits on time and number that it lacks, and errors in our shape."""

import asyncio
from typing import Any, ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from metapo.server.failures import Refused
from metapo.server.options import Limits


class GuardedProtocol(H11Protocol):
    """One connection. `limits` is set in a subclass for each server."""

    limits: ClassVar[Limits] = Limits()
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.limits.max_connections:
            n = len(self.connections)
            self._refuse(Refused(503, "overloaded", f"{n} connections are more than this server bears", 1))
        else:
            self._arm(self.limits.head_s, self._slow)

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._disarm()  # the head is whole
        elif self._timer is None and self.timeout_keep_alive_task is None:
            self._arm(self.limits.head_s, self._slow)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.conn.their_state is h11.SEND_BODY:  # refused before its end: it may send a bit more, not for ever
            self._arm(self.limits.linger_s, self.transport.close)

    def send_400_response(self, msg: str) -> None:
        self._refuse(Refused(400, "bad_http", msg))

    def _slow(self) -> None:
        self._refuse(Refused(408, "slow", f"the head took more than {self.limits.head_s:g} s to come"))

    def _refuse(self, refusal: Refused) -> None:
        """Answer without the application, and hang up."""
        self._disarm()
        body = refusal.body("")
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), "Connection": "close"}
        lines = [f"HTTP/1.1 {refusal.status} ", *(f"{n}: {v}" for n, v in (headers | refusal.headers()).items())]
        self.transport.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        self.transport.close()

    def _arm(self, seconds: float, then: Any) -> None:
        self._disarm()
        self._timer = self.loop.call_later(seconds, then)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def protocol(limits: Limits) -> type[GuardedProtocol]:
    return type("Protocol", (GuardedProtocol,), {"limits": limits})
