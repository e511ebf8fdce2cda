"""What a judge works out before it sees any completion: a solution, or a plan by which to grade."""

from typing import Literal

from metapo.errors import ChatBadResponse
from metapo.judge.neutral import neutralize
from metapo.judge.parse import REFUSALS, without_reasoning
from metapo.judge.template import fence, load_template
from metapo.judge.transport import ChatReply

First = Literal["nothing", "solve", "plan"]
SOLVE_WORDS = 150
PLAN_WORDS = 300


def preparation_prompt(first: First, *, task: str, rubric: str, given: str, has_reference: bool) -> str:
    """What is asked beforehand. `rubric` is its text, `given` the fenced prompt and, where there is one, its reference
    solution; only a plan depends on the rubric, and nothing on a completion."""
    if first == "plan":
        return load_template("metapo.judge", "plan").render(
            task=task, rubric=rubric, material=given, max_words=str(PLAN_WORDS)
        )
    ask = load_template("metapo.judge", "ask_cite" if has_reference else "ask_solve")
    return load_template("metapo.judge", "solve").render(
        task=task, material=given, ask=ask.render(max_words=str(SOLVE_WORDS)).strip()
    )


def read_preparation(reply: ChatReply) -> str:
    """The text without its reasoning. Raises ChatBadResponse for one that is empty, cut or refused: a judge that is not
    prepared gives no verdict."""
    text = without_reasoning(reply.text)
    if not text or reply.finish_reason in (*REFUSALS, "length"):
        raise ChatBadResponse(
            f"the judge prepared nothing: its reply, with the finish_reason {reply.finish_reason!r}, "
            f"was {reply.text[:100]!r}. Where it was cut, allow more judging.max_tokens."
        )
    return text


def shown_preparation(first: First, text: str) -> str:
    """How it stands before the completion; nothing where nothing was prepared."""
    if not text:
        return ""
    if first == "plan":
        follow = load_template("metapo.judge", "plan_follow").text.strip()
        return f"{follow}\n\n{fence('plan, written beforehand', neutralize(text))}"
    return fence("what decides, worked out beforehand", neutralize(text))
