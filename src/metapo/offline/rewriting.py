"""The meta model rewrites a rubric from known mistakes: one analysis, then the criteria, in one conversation."""

from typing import NamedTuple

from metapo.errors import ChatError, ChatMisconfigured
from metapo.judge.template import load_template
from metapo.meta.conversation import Exchange, MetaModel, Stage
from metapo.meta.hygiene import tidy
from metapo.meta.propose import read
from metapo.rubric import Rubric
from metapo.rubric_text import render_rubric


class Rewritten(NamedTuple):
    """A rubric that differs from the one before, or None; `note` says what was left out, or why there is none."""

    rubric: Rubric | None
    note: str


async def rewrite(model: MetaModel, rubric: Rubric, evidence: str, log: list[Exchange]) -> Rewritten:
    """A rubric that takes `evidence`, fenced material on the mistakes under `rubric`, into account. Pinned criteria
    stay. Raises ChatMisconfigured; any other failure leaves no rubric."""
    limits = model.settings
    try:
        text = await _write(model, rubric, evidence, log)
    except ChatMisconfigured:
        raise
    except ChatError as e:
        return Rewritten(None, f"the meta model failed: {type(e).__name__}: {e}")
    criteria, problems = read(text)
    if not criteria:
        return Rewritten(None, f"no readable rubric: {'; '.join(problems[:5]) or 'it is empty'}")
    tidied, notes = tidy(rubric, criteria, limits.max_criteria, limits.max_words, limits.hygiene)
    if tidied.digest == rubric.digest:
        return Rewritten(None, "the proposal equals the rubric in use")
    return Rewritten(tidied, "; ".join([*problems, *notes]))


async def _write(model: MetaModel, rubric: Rubric, evidence: str, log: list[Exchange]) -> str:
    conversation = model.talk(Stage.ANALYZE, log)
    diagnose = load_template("metapo.offline", "diagnose")
    await conversation.ask(diagnose.render(task=model.task, rubric=render_rubric(rubric), evidence=evidence))
    conversation.stage = Stage.REFINE
    limits = {"max_criteria": str(model.settings.max_criteria), "max_words": str(model.settings.max_words)}
    count = load_template("metapo.offline", "rewrite_count").render(**limits)
    return await conversation.write_rubric(count, "refine_criterion")
