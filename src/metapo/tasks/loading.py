"""Finding a task, and turning a dataset into its prompts."""

import logging
from collections import Counter
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from metapo.errors import DataError, SettingsError
from metapo.rollout import Prompt
from metapo.settings import DataSettings
from metapo.tasks.own import run_file
from metapo.tasks.reading import read_source
from metapo.tasks.task import LeftOut, Task

SHIPPED = ("dialogue", "essay", "ethics", "generic", "math", "summarization")
log = logging.getLogger(__name__)


def find_task(name: str) -> Task:
    """A shipped task by its name, or the TASK in your own .py file, which is run. Raises SettingsError."""
    if name in SHIPPED:
        shipped: Task = import_module(f"metapo.tasks.{name}").TASK
        return shipped
    if not name.endswith(".py"):
        raise SettingsError(f"there is no task {name!r}. Shipped are {', '.join(SHIPPED)}; your own is a .py file.")
    if not Path(name).is_file():
        raise SettingsError(f"there is no file {name} to hold a task. Give its path as seen from the settings file.")
    task = run_file(name).get("TASK")
    if not isinstance(task, Task):
        raise SettingsError(f"{name} must hold a metapo Task under the name TASK; got {type(task).__name__}")
    return task


def load_prompts(task: Task, data: DataSettings, source: str, *, hub_split: str, labels: bool) -> list[Prompt]:
    """The prompts of a dataset, in its order. Without `labels` none are read: training has no use for them.

    `source` is a .jsonl or .parquet file, or a dataset folder or hub id. Raises DataError that names the row
    (counted from 1, blank lines left out) for what is wrong with it, a missing column or a line that is not JSON among
    others.
    """
    columns = task.columns.under(data)
    if not labels:
        columns = replace(columns, label=None)
    prompts: list[Prompt] = []
    left_out: Counter[str] = Counter()
    for number, raw in enumerate(read_source(source, hub_split), 1):
        try:
            prompts.append(task.read(raw, columns))
        except LeftOut as e:
            left_out[str(e)] += 1
        except DataError as e:
            raise DataError(f"{source}, row {number}: {e}") from e
        except (LookupError, TypeError, ValueError, AttributeError) as e:  # a row of another shape than it expects
            raise DataError(
                f"{source}, row {number}: the task {task.name} can't read it ({type(e).__name__}: {e}); it has "
                f"{', '.join(map(repr, raw)) or 'no columns'}. Mend the row, or the task's read."
            ) from e
    for why, n in left_out.items():
        log.info("%s: %d of %d rows left out: %s", source, n, len(prompts) + left_out.total(), why)
    if not prompts:
        told = f" that {task.name} can use" if left_out else ""
        raise DataError(f"{source} holds no rows{told}; at least one prompt is needed")
    return prompts
