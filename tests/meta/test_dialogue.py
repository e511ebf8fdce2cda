"""Dialogues in an exam: only what the policy said last is damaged, or turned into an attack."""

from random import Random

from metapo.meta.attack import rule_attacks
from metapo.meta.damage import DAMAGES
from metapo.meta.pairs import Pair, damaged_pairs
from metapo.rollout import Rollout, as_text
from metapo.turns import Role, turns_in
from tests.helpers import rubric

CALL = {"function": {"name": "timetable", "arguments": {"to": "Lyon"}}}
ENDINGS = (
    "The train to Lyon leaves at nine. It takes two hours to arrive. You need no other ticket. Have a pleasant trip!",
    "Your parcel was sent on Monday. It should reach you today. The driver rings twice. Nobody has to sign for it.",
)


def dialogue(ending: str) -> Rollout:
    messages = [
        {"role": "assistant", "content": "Let me look. One moment, please.", "tool_calls": [CALL]},
        {"role": "tool", "name": "timetable", "content": "Nine. Eleven. Noon. One. Two. Three."},
        {"role": "assistant", "content": ending},
    ]
    return Rollout(prompt=f"A question about: {ending[:20]}", completion=as_text(messages))


ROLLOUTS = [dialogue(ending) for ending in ENDINGS]


def assert_only_the_ending_differs(pair: Pair) -> None:
    better, worse = (turns_in(text, Role.ASSISTANT) for text in (pair.better, pair.worse))
    assert better[:-1] == worse[:-1]
    assert worse[-1].role is Role.ASSISTANT
    assert better[-1].content in ENDINGS
    assert worse[-1].content != better[-1].content


def test_only_the_ending_is_damaged() -> None:
    pairs = damaged_pairs(ROLLOUTS, 40, Random(1), among=tuple(DAMAGES))
    assert len({pair.why for pair in pairs}) >= 5
    for pair in pairs:
        assert_only_the_ending_differs(pair)
        assert "Eleven" not in turns_in(pair.worse, Role.ASSISTANT)[-1].content


def test_only_the_ending_attacks() -> None:
    pairs = rule_attacks(rubric(), ROLLOUTS, 20, Random(1))
    assert pairs
    for pair in pairs:
        assert_only_the_ending_differs(pair)
