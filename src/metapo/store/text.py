"""Text as a database holds it: in PostgreSQL, which knows no NUL character, with an escape for it."""

import hashlib
import re

import sqlalchemy as sa

ESCAPE = "\x10"  # data link escape, which hardly any text holds
ESCAPES = str.maketrans({"\x00": ESCAPE + "0", ESCAPE: ESCAPE + ESCAPE})
ESCAPED = re.compile(ESCAPE + "(.)", re.DOTALL)


class Text(sa.types.TypeDecorator[str]):
    """Text that comes back as it was written, whatever it holds."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        return value if value is None or dialect.name == "sqlite" else value.translate(ESCAPES)

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> str | None:
        return value if value is None or dialect.name == "sqlite" else unescape(value)


def unescape(text: str) -> str:
    """What was meant by a text from PostgreSQL."""
    return ESCAPED.sub(lambda found: "\x00" if found[1] == "0" else found[1], text) if ESCAPE in text else text


def prompt_id(prompt: str) -> str:
    """What names a prompt, whatever its length: 16 hex digits."""
    return hashlib.sha256(prompt.encode()).hexdigest()[:16]
