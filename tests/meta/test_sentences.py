import time

import pytest
from hypothesis import given

from metapo.meta.sentences import split_sentences
from tests.audit.essays import CHINESE, CODE, ESSAY, POEM
from tests.helpers import odd_texts
from tests.world import essays


def stripped(text: str) -> list[str]:
    return [s.strip() for s in split_sentences(text)]


@given(odd_texts | essays.texts)
def test_joined_sentences_are_the_text(text: str) -> None:
    sentences = split_sentences(text)
    assert "".join(sentences) == text
    assert not text.strip() or all(s.strip() for s in sentences)


@given(essays.texts)
def test_the_offline_world_is_split_as_it_splits_itself(text: str) -> None:
    assert [" ".join(s.split()) for s in split_sentences(text)] == [s.text for s in essays.essay(text).sentences]


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("", []),
        ("One line", ["One line"]),
        ("It rains. It pours! Why? Nobody knows…", ["It rains.", "It pours!", "Why?", "Nobody knows…"]),
        ('He said "no." She can\'t. He can.', ['He said "no."', "She can't.", "He can."]),
        ("Dr. Smith of the U.S. office, i.e. Mr. J. R. Smith, left at 3.15 p.m. on Friday. He ran.", None),
        ("# A title\n\nText. More\ntext.", ["# A title", "Text.", "More", "text."]),
        ("- one\n- two\n\n1. three\n2. four", ["- one", "- two", "1. three", "2. four"]),
        ("| a | b |\n|---|---|\n| 1 | 2 |", ["| a | b |", "|---|---|", "| 1 | 2 |"]),
        ("def f(x):\n    y = x + 1\n    return y\n", ["def f(x):", "y = x + 1", "return y"]),
        ("城市。汽车!", ["城市。", "汽车!"]),
    ],
)
def test_split(text: str, sentences: list[str] | None) -> None:
    wanted = [text[: -len(" He ran.")], "He ran."] if sentences is None else sentences
    assert stripped(text) == wanted


def test_a_wrapped_paragraph_is_split_at_full_stops_only() -> None:
    sentences = stripped(ESSAY)
    assert len(sentences) == 13
    assert sentences[0].endswith("give their centres back.")
    assert all(s[-1] == "." for s in sentences)


def test_verse_and_code_go_line_by_line() -> None:
    assert stripped(POEM) == [line.strip() for line in POEM.splitlines() if line]
    assert stripped(CODE) == [line.strip() for line in CODE.splitlines()]
    assert len(stripped(CHINESE)) == 3


@pytest.mark.parametrize(
    "piece", ["!", ".", "a. ", '."', "<nl>", "。", " ", "\n", ". . ", "x" * 70 + "\n", "- a\n", "`"]
)
def test_hostile_texts_take_no_long_time(piece: str) -> None:
    started = time.process_time()
    split_sentences(piece * (200_000 // len(piece)))
    assert time.process_time() - started < 5
