from fractions import Fraction

import pytest

from metapo.answers.notation import number, tidy, without_unit
from metapo.answers.reading import Answer, Numeral, Ordered, Several, Value, Words, readings


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"x = \dfrac{3}{2}.", Value(r"\frac{3}{2}", name="x")),
        (r"147\text{ cm}", Value("147", "centimeter")),
        (r"(1,\,2]", Ordered("(]", (Value("1"), Value("2")))),
        (r"\{3, 4\}", Several("list", (Value("3"), Value("4")))),
        (r"28_{9}", Numeral("28", "9")),
        (r"\text{(D)}", Words("d")),
        (r"a:b", Value("a:b")),
        (r"19:60", Ordered(":", (Value("19"), Value("60")))),
    ],
)
def test_an_answer_is_read(text: str, answer: Answer) -> None:
    assert readings(text) == (answer,)


def test_a_comma_can_mean_two_things() -> None:
    assert readings("70,110") == (Value("70110"), Several("list", (Value("70"), Value("110"))))
    assert len(readings("70, 110")) == len(readings("(70,110)")) == len(readings("7,1100")) == 1


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("-0.50", Fraction(-1, 2)),
        (".25", Fraction(1, 4)),
        ("3 1/7", Fraction(22, 7)),
        (r"-2\frac13", Fraction(-7, 3)),
        (r"-\frac{4}{6}", Fraction(-2, 3)),
        (r"1.5\times 10^{-3}", Fraction(3, 2000)),
        ("2E3", Fraction(2000)),
        ("1/0", None),
        (r"\frac10", None),
        ("1e9999", None),
        ("x", None),
        ("", None),
    ],
)
def test_written_numbers_are_exact(text: str, value: Fraction | None) -> None:
    assert number(text) == value


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("$3.50", "3.50", "dollar"),
        ("-$5", "-5", "dollar"),
        ("90^{\\circ}", "90", "degree"),
        ("12%", "12", "percent"),
        ("5 sq in", "5", "square inch"),
        ("3 xy", "3 xy", ""),
        ("2x", "2x", ""),
        (r"2\sin x", r"2\sin x", ""),
        ("40 km/h", "40", "kilometer per hour"),
        (r"\frac{1}{2}\text{ hours}", r"\frac{1}{2}", "hour"),
        ("cm", "cm", ""),
    ],
)
def test_units_part_from_values(text: str, value: str, unit: str) -> None:
    assert without_unit(text) == (value, unit)


def test_rows_of_a_matrix_survive() -> None:
    assert tidy(r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}") == r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}"
