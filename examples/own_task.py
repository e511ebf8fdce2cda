"""A task of your own in one file: headlines. What has too many words is scored without the judge, and the final metric
is the share of headlines that name what they must.

    metapo train headlines.yaml --out runs/headlines
"""

from collections.abc import Mapping, Sequence
from typing import Any

from metapo.reward import Screen, Screened
from metapo.rollout import Prompt, Rollout
from metapo.settings import TrainSettings
from metapo.tasks.task import Columns, Raw, Task, build_prompt, filled_in, no_screen

MAX_WORDS = 10


def read(raw: Raw, columns: Columns) -> Prompt:
    article = filled_in(raw, columns.prompt)
    return build_prompt(f"Write a headline of at most {MAX_WORDS} words.\n\n{article}", raw, columns)


def screen(settings: TrainSettings) -> Screen:
    no_screen(settings)  # refuses options, as there are none to choose

    async def screened(rollout: Rollout) -> Screened | None:
        n_words = len(rollout.completion.split())
        return Screened("too many words", normalized=0.0, raw=-5) if n_words > MAX_WORDS else None

    return screened


def measure(answered: Sequence[tuple[Rollout, str]]) -> Mapping[str, float]:
    return {"names it": sum(label in rollout.completion.lower() for rollout, label in answered) / len(answered)}


SETTINGS: Mapping[str, Any] = {"task_description": "Write a headline for a news article.", "min_words": 3}
TASK = Task("headlines", read, SETTINGS, Columns("article", label="must_name"), screen, measure)
