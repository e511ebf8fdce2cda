"""Summaries of bills, held against the reference summary by ROUGE.

The reference is the label of the final metric. Name its column as `data.reference_column` too, and judge and meta model
see it; as it is, they don't.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean

from metapo.answers.rouge import KINDS, rouge
from metapo.judge.template import load_template
from metapo.rollout import Prompt, Rollout
from metapo.tasks.task import Columns, Raw, Task, build_prompt, filled_in

SETTINGS = {
    "task_description": "Summarize a bill in fewer than 400 words, for readers who have not seen it.",
    "judge_notes": (
        "Hold each statement of the summary against the bill. What the bill doesn't say counts as wrong, however "
        "likely it sounds. Sentences copied from the bill show no understanding of it. Praise of the bill, and "
        "remarks on its importance or on the summary itself, are no content."
    ),
    "meta_notes": (
        "Failures to look for: provisions, sums or dates that the bill doesn't have; the title or the table of "
        "contents in place of what would change; whole sentences copied; the first sections in detail and the rest not "
        "at all; who must do what left open; general remarks that fit any bill; an ending that is cut off."
    ),
    "min_words": 40,
}


def read(raw: Raw, columns: Columns) -> Prompt:
    """One row. Raises LeftOut where bill or summary is empty, DataError."""
    template = load_template("metapo.tasks", "summarization")
    return build_prompt(template.render(bill=filled_in(raw, columns.prompt).strip()), raw, columns)


def measure(summaries: Sequence[tuple[Rollout, str]]) -> Mapping[str, float]:
    """The mean F-measures of ROUGE, in [0, 100]. Raises MissingExtra."""
    scores = rouge((rollout.completion, reference) for rollout, reference in summaries)
    return {kind: fmean(score[kind].f for score in scores) for kind in KINDS}


TASK = Task("summarization", read, SETTINGS, Columns("clean_text", label="clean_summary"), measure=measure)
