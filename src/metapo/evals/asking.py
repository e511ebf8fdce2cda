"""What a judge is asked about two completions, and how its reply is read."""

from dataclasses import dataclass

from metapo.judge.neutral import neutralize, shorten
from metapo.judge.parse import REFUSALS, Choice, last_choice, without_reasoning
from metapo.judge.template import fence, load_template
from metapo.judge.transport import ChatReply, ChatRequest
from metapo.rollout import Message
from metapo.rubric import digest

MAX_CHARS = 40_000  # of a completion; a longer one is shown without its middle


@dataclass(frozen=True)
class Question:
    """How a judge is asked: about what task, by which template ("general" or "essay"), for how long a reply."""

    task: str
    template: str = "general"
    max_tokens: int = 1024
    temperature: float = 0.0

    @property
    def digest(self) -> str:
        """The same where the judge is asked the same way."""
        text = load_template("metapo.evals", self.template).text
        return digest([text, self.task, self.max_tokens, self.temperature, MAX_CHARS])[:16]

    def request(self, prompt: str, first: str, second: str) -> ChatRequest:
        """The request that shows two completions in this order."""
        material = [fence("prompt", neutralize(prompt)), _shown("completion A", first), _shown("completion B", second)]
        text = load_template("metapo.evals", self.template).render(task=self.task, material="\n\n".join(material))
        return ChatRequest(
            messages=(Message(role="user", content=text),), max_tokens=self.max_tokens, temperature=self.temperature
        )


@dataclass(frozen=True)
class Reading:
    """What a reply chose, or why it chose nothing."""

    choice: Choice | None
    problem: str = ""


def read_reply(reply: ChatReply) -> Reading:
    """The letter on the reply's last line, A, B or T for neither; anything else is no choice. Never raises.

    Some servers put the whole reply where the reasoning belongs, so that is read where there is nothing else.
    """
    if reply.finish_reason in REFUSALS:
        return Reading(None, "refused")
    if reply.finish_reason == "length":
        return Reading(None, "cut")
    text = without_reasoning(reply.text) or reply.reasoning.strip()
    choice = last_choice(text)
    return Reading(choice) if choice else Reading(None, "no letter" if text else "empty")


def _shown(label: str, completion: str) -> str:
    return fence(label, shorten(neutralize(completion), MAX_CHARS).text)
