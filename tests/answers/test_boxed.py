from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metapo.answers import boxed_answer, holds_box


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"so it is \boxed{4}.", "4"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\fbox{12}", "12"),
        (r"first \boxed{1}, then \boxed{2}", "2"),
        (r"\boxed{1} and \fbox{3}", "3"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{\left\{ x \right.}", r"\left\{ x \right."),
        (r"\boxed{\boxed{7}}", "{7}"),
        (r"\boxed{a \boxed{b} c}", "a {b} c"),
        (r"\boxed {5}", "5"),
        (r"\boxed 5 is it", "5"),
        (r"$\boxed\pi$", r"\pi"),
        ("\\boxed{\n3\n}", "3"),
        (r"\boxed{\text{a } b}", r"\text{a } b"),
        (r"\boxed{1}{2}", "1"),
    ],
)
def test_the_last_box_is_the_answer(text: str, answer: str) -> None:
    assert boxed_answer(text) == answer
    assert holds_box(text)


@pytest.mark.parametrize(
    "text", ["", "the answer is 4", r"\boxed{", r"\boxed{1", r"\boxed{}", r"\boxed{ }", r"\boxed", r"\boxed{1}\boxed{2"]
)
def test_no_answer(text: str) -> None:
    assert boxed_answer(text) is None


def test_a_longer_command_is_no_box() -> None:
    assert boxed_answer(r"\boxedx{4} \fboxsep{3}") is None
    assert not holds_box(r"\boxedx{4}")


def _braced(parts: list[str]) -> str:
    return "{" + "".join(parts) + "}"


@given(st.recursive(st.sampled_from(("a", "1", r"\{", r"\}", " x")), lambda inner: st.lists(inner).map(_braced)))
def test_balanced_braces_come_back_whole(inside: str) -> None:
    assert boxed_answer(r"Thus \boxed{" + inside + "} } } { .") == (inside.strip() or None)


@pytest.mark.parametrize("text", [r"\boxed{" * 200_000, r"\boxed{" + "{" * 2_000_000, "{" * 2_000_000, "\\" * 999_999])
def test_megabytes_of_braces_take_linear_time(text: str) -> None:
    start = process_time()
    assert boxed_answer(text) is None
    assert process_time() - start < 10
