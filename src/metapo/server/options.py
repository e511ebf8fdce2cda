"""What a reward server is told when it begins, and what it refuses to begin with."""

import ipaddress
import os
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from metapo.errors import SettingsError

MIN_TOKEN = 16


class Unscored(StrEnum):
    """What to answer for a rollout without a reward where the shape of the answer knows no null."""

    RAISE = "raise"
    """503: the engine asks again, and fails where that doesn't help."""
    NEUTRAL = "neutral"
    """The mean of the rewards that this process gave in the same step so far; 503 where there is none yet."""


@dataclass(frozen=True)
class Limits:
    """What one server bears. `rate` counts requests per second, None is any; `grace_s` is how long a server that was
    told to stop waits for what is under way."""

    max_body: int = 16 * 2**20
    max_in_flight: int = 4096
    max_connections: int = 8192
    max_listeners: int = 64
    rate: float | None = None
    head_s: float = 10.0
    body_s: float = 60.0
    linger_s: float = 2.0
    grace_s: float = 60.0
    heartbeat_s: float = 15.0
    poll_s: float = 0.5


@dataclass(frozen=True)
class ServeOptions:
    """Where to listen, who may ask, within which limits, and how to serve engines that know no null (`unscored`).
    `end_marks` are texts, such as <|im_end|>, that are cut off the end of OpenRLHF's queries."""

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = field(default=None, repr=False)
    names: tuple[str, ...] = ()
    unscored: Unscored | None = None
    end_marks: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)

    @property
    def hosts(self) -> frozenset[str] | None:
        """The names under which requests may ask for this server; None where any will do, as a token is needed."""
        if not is_loopback(self.host):
            return None
        return frozenset(name.lower() for name in ("localhost", "127.0.0.1", "::1", self.host, *self.names))


def is_loopback(host: str) -> bool:
    """Does an address reach this machine alone?"""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_exposed(host: str, has_token: bool, lets: str = "ask for rewards, read the rubric and change it") -> None:
    """Raises SettingsError for an address that others reach too, where no token keeps them out; `lets` is what it lets
    them do."""
    if not has_token and not is_loopback(host):
        raise SettingsError(
            f"--host {host} lets other machines {lets}. Give a token by --token-env or --token-file, or leave --host "
            "out to serve this machine alone."
        )


def read_token(env: str | None, path: Path | None) -> str | None:
    """The token in an environment variable or a file; None where neither is named. Raises SettingsError, which never
    says what is in there."""
    if env is not None and path is not None:
        raise SettingsError("give either --token-env or --token-file")
    if env is not None:
        where, token = f"the environment variable {env!r}", os.environ.get(env)
        if token is None:
            raise SettingsError(f"--token-env names {where}, which is not set")
    elif path is not None:
        where = f"the token file {path}"
        try:
            token = path.read_text(encoding="ascii").removesuffix("\n")
        except OSError as e:
            raise SettingsError(f"can't read {where}: {e.strerror}") from e
        except UnicodeDecodeError:
            token = "\x00"  # told like any other character that no token has
    else:
        return None
    if len(token) < MIN_TOKEN or not (token.isascii() and token.isprintable()) or " " in token:
        raise SettingsError(
            f"{where} must hold a token of at least {MIN_TOKEN} characters without spaces, and nothing else. Make one "
            "with: python -c 'import secrets; print(secrets.token_urlsafe(32))'"
        )
    return token
