"""From endpoints in the settings to open connections."""

from metapo.judge.endpoint import Endpoint, LocalSettings
from metapo.judge.openai import OpenAITransport
from metapo.judge.transport import Transport
from metapo.scorer import Connections
from metapo.settings import Settings


def connect(settings: Settings, *, judge: Transport | None = None, meta: Transport | None = None) -> Connections:
    """A transport to each endpoint that the settings name, one for endpoints that are equal; `judge` and `meta` replace
    those to theirs. Without an endpoint of its own the meta model is the judge's.

    Raises SettingsError; for a local model also ModelError and MissingExtra.
    """
    opened: list[tuple[Endpoint, Transport]] = [] if judge is None else [(settings.judge, judge)]

    def to(endpoint: Endpoint) -> Transport:
        for known, transport in opened:
            if known == endpoint:
                return transport
        opened.append((endpoint, open_transport(endpoint)))
        return opened[-1][1]

    return Connections(
        judge=to(settings.judge),
        meta=meta or to(settings.meta.endpoint or settings.judge),
        panel=tuple(to(endpoint) for endpoint in settings.panel.judges) if settings.panel else (),
        monitor=to(settings.monitor.judge) if settings.monitor else None,
    )


def open_transport(endpoint: Endpoint) -> Transport:
    """A connection to a server, or a model loaded into this process."""
    if isinstance(endpoint, LocalSettings):
        from metapo.engines.local import LocalTransport

        return LocalTransport(endpoint)
    return OpenAITransport(endpoint)
