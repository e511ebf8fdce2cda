import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metapo.answers import Comparer, Why, boxed_answer
from metapo.answers.equality import MAX_CHARS, MAX_DEPTH
from metapo.errors import MissingExtra, RunError
from tests.answers.pairs import EQUAL, UNEQUAL
from tests.answers.problems import real_problems


@pytest.fixture(scope="module")
def comparer() -> Iterator[Comparer]:
    with Comparer() as comparer:
        yield comparer


@pytest.mark.parametrize("kind", EQUAL)
def test_equal_pairs_both_ways(comparer: Comparer, kind: str) -> None:
    wrong = [p for pair in EQUAL[kind] for p in (pair, pair[::-1]) if not comparer.compare(*p).equal]
    assert wrong == []


@pytest.mark.parametrize("kind", UNEQUAL)
def test_unequal_pairs_both_ways(comparer: Comparer, kind: str) -> None:
    whys = {p: comparer.compare(*p).why for pair in UNEQUAL[kind] for p in (pair, pair[::-1])}
    assert {p: why for p, why in whys.items() if why not in (Why.DIFFERENT, Why.NO_ANSWER)} == {}


def test_there_are_enough_pairs() -> None:
    assert sum(map(len, EQUAL.values())) >= 60
    assert sum(map(len, UNEQUAL.values())) >= 60


def test_what_a_box_holds_is_compared(comparer: Comparer) -> None:
    assert comparer.compare(r"First \boxed{1}, no: \boxed{\frac12}.", "0.5").equal
    assert comparer.compare(r"\boxed{}", "0.5").why is Why.NO_ANSWER
    assert comparer.compare(None, "0.5").why is Why.NO_ANSWER
    assert comparer.compare(" ", "0.5").why is Why.NO_ANSWER


@settings(max_examples=30)
@given(st.integers(-999, 999), st.integers(1, 99), st.integers(1, 9))
def test_fractions_are_equal_as_fractions_are(comparer: Comparer, above: int, below: int, times: int) -> None:
    expanded = rf"\frac{{{above * times}}}{{{below * times}}}"
    assert comparer.compare(expanded, f"{above}/{below}").equal
    assert not comparer.compare(expanded, f"{above + 1}/{below}").equal


@pytest.mark.parametrize("split", ["train", "test"])
def test_reference_solutions_equal_themselves(comparer: Comparer, split: str) -> None:
    path = real_problems(split)
    solutions = {row["id"]: row["solution"] for row in map(json.loads, path.read_text().splitlines())}
    answers = {name: boxed_answer(solution) for name, solution in solutions.items()}
    assert [name for name, answer in answers.items() if answer is None] == []
    # another notation of the same, or the texts alone would do
    retyped = {name: rf"\[ {answer} \,\]" for name, answer in answers.items()}
    unequal = [name for name in answers if not comparer.compare(retyped[name], solutions[name]).equal]
    assert unequal == []


# --- hostile answers

PASS_PARTOUT = (
    *("10^{400}", "-10^{400}", "10^{5000}", "10^{-400}", "1e999", "e^{1000}", r"\infty", r"-\infty", r"\pm\infty"),
    *("1/0", "0/0", r"\frac{0}{0}", r"\tan\frac{\pi}{2}", r"\log 0", "oo", "zoo", "nan", "inf", r"0\cdot\infty"),
    *("x", "True", "()", "{}", r"\{\}", r"\emptyset", "x=x", "5=5", "x<x", "x=", "=3", r"x\in\mathbb{R}"),
    *(
        r"(-\infty,\infty)",
        ".",
        "-",
        "=",
        "_",
        "^",
        ",",
        ",,",
        "?",
        "*",
        "%",
        "$",
        "°",
        r"\cdot",
        r"\text{}",
        r"\sqrt{}",
    ),
)
REFERENCES = (
    *("3", "0", r"-\frac12", r"\sqrt2", r"\pi", "x^2+1", "(1,2)", "1,2", "x>2", "[1,2)", r"\text{even}", "2i", r"45\%"),
    *(r"\begin{pmatrix}1\\2\end{pmatrix}", r"30^\circ", "2^{2008}-2", "0.5", "y=2x", "101_3", r"12\text{ cm}", "2:3"),
)


@pytest.mark.parametrize("answer", PASS_PARTOUT)
def test_no_answer_is_equal_to_whatever_it_meets(comparer: Comparer, answer: str) -> None:
    assert [r for r in REFERENCES if comparer.compare(answer, r).equal or comparer.compare(r, answer).equal] == []


HOSTILE = {
    "a tower of powers": r"9^{9^{9^{9}}}",
    "the same, typed": "9^9^9^9",
    "the same, as Python": "9**9**9**9",
    "a factorial": "99999999!",
    "factorials": "((9!)!)!",
    "a binomial": r"\binom{10^9}{10^8}",
    "a sum": r"\sum_{n=1}^{10^9} n^n",
    "a power of a sum": "(a+b+c+d+e+f)^{90}",
    "no integral": r"\int_0^1 e^{e^{e^x}} dx",
    "functions of functions": r"\tan" * 200 + "x",
    "indices of indices": "x_" * 400,
    "bars": "|" * 900,
    "signs": "-" * 999 + "1",
    "points": "." * 900,
    "dollars": "$" * 999,
    "texts in texts": r"\text{" * 25 + "a" + "}" * 25,
    "fractions of nothing": r"\frac" * 150,
    "a long list": ",".join(str(i) for i in range(250)),
    "a zero byte": "\x00",
    "half a character": "\ud800",
    "lines": "1\n2\n3",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_answers_come_to_an_end(comparer: Comparer, name: str) -> None:
    start = monotonic()
    assert not comparer.compare(HOSTILE[name], "3").equal
    assert not comparer.compare("3+x", HOSTILE[name]).equal
    assert monotonic() - start < 60
    assert comparer.compare("0.50", r"\frac12").equal


@pytest.mark.parametrize(
    "text",
    ["__import__('os').system('touch {0}')", "\\text{{__import__('os').system('touch {0}')}}", "open('{0}','w')"],
)
def test_no_code_runs(comparer: Comparer, text: str, tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    assert not comparer.compare(text.format(touched), "3").equal
    assert not touched.exists()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{" * 2_000_000, Why.TOO_LONG),
        (r"\boxed{" + "{" * 2_000_000, Why.NO_ANSWER),
        ("1" * (MAX_CHARS + 1), Why.TOO_LONG),
        ("(" * (MAX_DEPTH + 1) + "1" + ")" * (MAX_DEPTH + 1), Why.TOO_NESTED),
        (r"\sqrt{" * 200 + "1" + "}" * 200, Why.TOO_LONG),
    ],
)
def test_what_is_too_large_is_not_tried(text: str, why: Why) -> None:
    with Comparer() as comparer:
        assert comparer.compare(text, "3").why is why
        assert comparer._process is None


def test_time_is_bounded() -> None:
    with Comparer(cpu_s=1) as comparer:
        start = monotonic()
        assert comparer.compare(r"9^{9^{9^{9}}}", "3").why is Why.GAVE_UP
        assert monotonic() - start < 25


def test_any_thread_may_ask(comparer: Comparer) -> None:
    pairs = [(str(i), rf"\frac{{{2 * (i + i % 2)}}}{{2}}") for i in range(40)]
    with ThreadPoolExecutor(4) as pool:
        equal = list(pool.map(lambda pair: comparer.compare(*pair).equal, pairs))
    assert equal == [i % 2 == 0 for i in range(40)]


def test_a_process_that_was_killed_starts_again(comparer: Comparer) -> None:
    assert comparer.compare("1+1", "2").equal
    assert comparer._process is not None
    comparer._process.kill()
    comparer._process.wait()
    assert comparer.compare("1+2", "3").equal


def test_a_missing_extra_names_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with Comparer() as comparer, pytest.raises(MissingExtra, match=r"pip install 'metapo\[math\]'"):
        comparer.compare("1", "2")


def test_a_process_that_does_not_start_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with Comparer() as comparer, pytest.raises(RunError, match="did not start: /bin/false -m metapo"):
        comparer.compare("1", "2")
