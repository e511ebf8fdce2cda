"""Where each HTTP request is noted when it ends, until somebody has it on record: what nobody has is not lost."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from threading import Lock

from metapo.judge.transport import Sent

Note = Callable[[Sent], None]
_account: ContextVar[str] = ContextVar("_account", default="")


def nowhere(sent: Sent) -> None:
    """Notes nothing."""


@contextmanager
def account(name: str) -> Iterator[str]:
    """What is sent in here, and by tasks that begin in here, is noted under a name of its own: a meta step works beside
    a batch."""
    token = _account.set(name)
    try:
        yield name
    finally:
        _account.reset(token)


class Ledger:
    """The requests that are in nobody's record yet: a client's questions about its server, what went out for a batch
    that came to no end, what was cancelled."""

    def __init__(self) -> None:
        # By identity, as two equal replies are two requests; the ledger holds them, so no other object has their ids.
        self._open: dict[int, tuple[str, str, Sent]] = {}
        # Guards _open: a meta step notes its requests in the event loop's thread while a trainer takes in its own.
        self._lock = Lock()

    def of(self, role: str) -> Note:
        """Notes requests to an endpoint that has this role, such as "judge"."""
        return partial(self._note, role)

    def claim(self, sent: Iterable[Sent]) -> None:
        """These are on record elsewhere."""
        with self._lock:
            for one in sent:
                self._open.pop(id(one), None)

    def take(self, name: str = "") -> list[tuple[str, Sent]]:
        """All that nobody claimed in one account, each with its role, oldest first; whoever takes them has to put them
        on record."""
        with self._lock:
            taken = {key: (role, sent) for key, (of, role, sent) in self._open.items() if of == name}
            for key in taken:
                del self._open[key]
        return list(taken.values())

    def _note(self, role: str, sent: Sent) -> None:
        with self._lock:
            self._open[id(sent)] = (_account.get(), role, sent)
