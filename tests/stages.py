"""A chat server's behaviour that plays judge and meta model in one, for what runs in several processes."""

import asyncio

from metapo.judge.transport import ChatRequest
from metapo.rollout import Message
from metapo.rubric import Criterion, Level
from tests.reviewer import Reviewer
from tests.servers import Answer, Ask, Behaviour, says
from tests.trainer import marks


def told_apart(criterion_id: str, best: str, worst: str) -> Criterion:
    """A criterion in words of its own, so that it repeats none of the others."""
    levels = (Level(points=0, description=worst), Level(points=10, description=best))
    return Criterion(id=criterion_id, name=criterion_id.title(), levels=levels)


SOUND = told_apart("sound", "adds both numbers and names their sum", "does no arithmetic")
EMPTY = told_apart("empty", "wanders off to something else entirely", "stays with its question")
THIRD = told_apart("third", "ends on a friendly greeting", "breaks off without a goodbye")


def plays(reviewer: Reviewer) -> Behaviour:
    """Answers what a judge is asked by the words of the completion, see tests/trainer.py, and the stages of a meta step
    by `reviewer`."""

    def behave(ask: Ask) -> Answer:
        if not is_stage(ask):
            return says(marks(ask.prompt))(ask)
        messages = tuple(Message(**message) for message in ask.body["messages"])
        request = ChatRequest(messages=messages, max_tokens=ask.body["max_tokens"])
        return says(asyncio.run(reviewer.complete(request)).text)(ask)

    return behave


def is_stage(ask: Ask) -> bool:
    """Is this a stage of a meta step?"""
    return "\nStage: " in f"\n{ask.prompt}"
