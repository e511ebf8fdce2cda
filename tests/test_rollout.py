import pytest
from pydantic import ValidationError

from metapo.rollout import Message, Rollout, Split, as_text


def test_a_rollout_is_for_training_unless_said_otherwise() -> None:
    assert Rollout(prompt="p", completion="c").split is Split.TRAIN
    assert Rollout.model_validate_json('{"prompt": "p", "completion": "c", "split": "eval"}').split is Split.EVAL


@pytest.mark.parametrize("field", ["step", "position"])
def test_counts_start_at_zero(field: str) -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        Rollout.model_validate({"prompt": "p", "completion": "c", field: -1})


def test_half_a_surrogate_pair_is_replaced() -> None:
    """Neither UTF-8 nor a database can hold it, but JSON escapes can bring it in."""
    rollout = Rollout(prompt="p", completion="cut \ud83d", reference="\ude42")
    assert rollout.completion == "cut \ufffd"
    assert rollout.reference == "\ufffd"
    assert rollout.model_dump_json()


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("plain", "plain"),
        ([], ""),
        ([{"role": "assistant", "content": "only turn"}], "only turn"),
        ([Message(role="user", content="a"), Message(role="assistant", content="b")], "user: a\n\nassistant: b"),
        ([{"role": "user", "content": "a"}, {"role": "assistant", "content": ""}], "user: a\n\nassistant: "),
    ],
)
def test_as_text(content: object, text: str) -> None:
    assert as_text(content) == text  # type: ignore[arg-type]
