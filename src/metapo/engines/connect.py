"""From endpoints in the settings to open connections."""

from metapo.judge.endpoint import Endpoint, LocalSettings
from metapo.judge.ledger import Ledger, Note, nowhere
from metapo.judge.openai import OpenAITransport
from metapo.judge.transport import Transport
from metapo.scorer import Connections
from metapo.settings import Settings


def connect(settings: Settings, *, judge: Transport | None = None, meta: Transport | None = None) -> Connections:
    """A transport to each endpoint that the settings name, one for endpoints that are equal; `judge` and `meta` replace
    those to theirs. Without an endpoint of its own the meta model is the judge's. The ledger knows the requests to
    servers, each under the first role of its endpoint.

    Raises SettingsError; for a local model also ModelError and MissingExtra.
    """
    ledger = Ledger()
    opened: list[tuple[Endpoint, Transport]] = [] if judge is None else [(settings.judge, judge)]

    def to(endpoint: Endpoint, role: str) -> Transport:
        for known, transport in opened:
            if known == endpoint:
                return transport
        opened.append((endpoint, open_transport(endpoint, ledger.of(role))))
        return opened[-1][1]

    return Connections(
        judge=to(settings.judge, "judge"),
        meta=meta or to(settings.meta.endpoint or settings.judge, "meta"),
        panel=tuple(to(endpoint, "judge") for endpoint in settings.panel.judges) if settings.panel else (),
        monitor=to(settings.monitor.judge, "monitor") if settings.monitor else None,
        ledger=ledger,
    )


def open_transport(endpoint: Endpoint, note: Note = nowhere, *, bare: bool = False) -> Transport:
    """A connection to a server, which notes its requests, or a model loaded into this process (`bare`: given prompts as
    a policy is trained on them). Raises SettingsError, ModelError, MissingExtra."""
    if isinstance(endpoint, LocalSettings):
        from metapo.engines.local import LocalTransport

        return LocalTransport(endpoint, bare=bare)
    return OpenAITransport(endpoint, note)
