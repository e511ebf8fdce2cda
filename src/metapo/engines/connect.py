"""From endpoints in the settings to open connections."""

from metapo.judge.openai import OpenAITransport
from metapo.judge.transport import Transport
from metapo.scorer import Connections
from metapo.settings import Settings


def connect(settings: Settings, *, judge: Transport | None = None, meta: Transport | None = None) -> Connections:
    """A transport to each endpoint that the settings name; `judge` and `meta` replace those to theirs.

    Without an endpoint of its own the meta model is the judge's. Raises SettingsError.
    """
    judge = judge or OpenAITransport(settings.judge)
    return Connections(
        judge=judge,
        meta=meta or (OpenAITransport(settings.meta.endpoint) if settings.meta.endpoint else judge),
        panel=tuple(OpenAITransport(e) for e in settings.panel.judges) if settings.panel else (),
        monitor=OpenAITransport(settings.monitor.judge) if settings.monitor else None,
    )
