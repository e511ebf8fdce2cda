"""Any task of your own that needs no code: prompts, and references and clusters where there are any."""

from collections.abc import Mapping
from typing import Any

from metapo.errors import DataError
from metapo.rollout import Prompt
from metapo.tasks.task import Columns, Raw, Task, cluster_in


def read(raw: Raw, columns: Columns) -> Prompt:
    """The prompt is a text or a list of chat messages. Raises DataError."""
    for column in (columns.prompt, columns.reference, *columns.cluster_columns, columns.label):
        if column is not None and column not in raw:
            raise DataError(
                f"no column {column!r}; it has {', '.join(map(repr, raw))}. Name the right one as data.prompt_column, "
                "data.reference_column, data.cluster_column or data.label_column."
            )
    prompt = raw[columns.prompt]
    if not is_prompt(prompt):
        raise DataError(
            "the prompt must be a text that isn't empty, or a list of chat messages with role and content; got "
            f"{str(prompt)[:80]!r}"
        )
    return Prompt(prompt, _text(raw, columns.reference), cluster_in(raw, columns), _text(raw, columns.label))


def _text(raw: Raw, column: str | None) -> str | None:
    value = raw[column] if column is not None else None
    return None if value is None else str(value)


def is_prompt(value: Any) -> bool:
    """A text that isn't empty, or a list of chat messages with role and content."""
    if isinstance(value, str):
        return bool(value.strip())
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(m, Mapping) and isinstance(m.get("content"), str) and m.get("role") for m in value)
    )


TASK = Task("generic", read)
