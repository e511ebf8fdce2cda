"""Essays and stories on a prompt.

The metric is no figure of the run: finished policies meet in `metapo eval tournament`.
"""

from metapo.judge.template import load_template
from metapo.rollout import Prompt
from metapo.tasks.task import Columns, Raw, Task, build_prompt, filled_in

SETTINGS = {
    "task_description": "Write an essay or a story of at most 350 words that answers the prompt.",
    "judge_notes": (
        "Read what stands there, not what it promises. A heading or a plan is no essay, and what is said twice counts "
        "once. Long words, many headings and praise of the text's own quality are no merit. A text that breaks off in "
        "the middle of a sentence was cut at its limit: it has no ending."
    ),
    "meta_notes": (
        "Failures to look for: a title or an outline in place of a text; the prompt quoted or reworded at length; one "
        "idea in ever new words; stock phrases that fit any prompt; sources and figures that nobody could find; "
        "remarks to whoever grades; a text far from its prompt that reads well; an ending that is cut off. A story is "
        "as good an answer as an essay where the prompt asks for one or leaves it open."
    ),
}


def read(raw: Raw, columns: Columns) -> Prompt:
    """One row. Raises LeftOut for an empty prompt, DataError."""
    template = load_template("metapo.tasks", "essay")
    return build_prompt(template.render(prompt=filled_in(raw, columns.prompt).strip()), raw, columns)


TASK = Task("essay", read, SETTINGS)
