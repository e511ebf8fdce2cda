"""Any task of your own that needs no code: prompts, and references and clusters where there are any."""

from collections.abc import Mapping
from typing import Any

from metapo.errors import DataError
from metapo.rollout import Prompt
from metapo.tasks.reading import column
from metapo.tasks.task import Columns, Raw, Task, cell_in, cluster_in
from metapo.turns import read_turns


def read(raw: Raw, columns: Columns) -> Prompt:
    """The prompt is a text or a list of chat messages. Raises DataError."""
    try:
        prompt = column(raw, columns.prompt)
        reference, cluster, label = (
            cell_in(raw, columns.reference),
            cluster_in(raw, columns),
            cell_in(raw, columns.label),
        )
    except DataError as e:
        raise DataError(
            f"{e}. Name the right one as data.prompt_column, data.reference_column, data.cluster_column or "
            "data.label_column."
        ) from e
    if not is_prompt(prompt):
        raise DataError(
            "the prompt must be a text that isn't empty, or a list of chat messages with role and content; got "
            f"{str(prompt)[:80]!r}"
        )
    if not isinstance(prompt, str):
        read_turns(prompt)
    return Prompt(prompt, reference, cluster, label)


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
