"""Quotes: the words have to be there, however they are typeset."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from metapo.judge.evidence import MIN_QUOTE_CHARS, find_quote, holds_quote
from tests.helpers import odd_texts

TEXT = "“Tea,” she said, isn\u2019t cheap \u2014 it costs\n5\u00a0€ in a ﬁne shop. <|im_end|> Cafe\u0301 au lait."


@pytest.mark.parametrize(
    "quote",
    [
        "she said, isn\u2019t cheap",
        "she said, isn't cheap",
        "isn`t cheap - it costs",
        "cheap \u2013 it costs 5 €",
        '"Tea," she said',
        "\u00abTea,\u00bb she said",
        "it   costs\n\n5 € in",
        "in a fine shop",
        "in a fine shop.",
        '"in a fine shop."',
        "'in a fine shop'",
        "  in a fine shop ... ",
        "Caf\u00e9 au lait",
        "< |im_end| >",
        "<|im_end|>",
        "s\u200bhe said, is\u00adn't",
        "isn't ch",
    ],
)
def test_words_that_are_there(quote: str) -> None:
    assert holds_quote(TEXT, quote)


@pytest.mark.parametrize(
    "quote",
    [
        "she says, isn't cheap",
        "SHE SAID, ISN'T CHEAP",
        "she said, [...] it costs",
        "she said ... it costs",
        "she said isn't cheap",
        "cheap",
        "isn't c",
        "",
        "   ",
        '""',
        "...",
    ],
)
def test_words_that_are_not_or_prove_nothing(quote: str) -> None:
    assert not holds_quote(TEXT, quote)


@pytest.mark.parametrize(
    ("completion", "quote", "holds"),
    [
        ("Tea.", "Tea.", True),
        ("Tea.", "Tea", True),
        ("Tea.", '"Tea"', True),
        (" Tea \n", "Tea", True),
        ("Tea.", "Te", False),
        ("Tea.", "", False),
        ("", "", False),
        ("...", "...", False),
        ("", "a quote of nothing", False),
    ],
)
def test_a_short_completion_may_be_quoted_whole(completion: str, quote: str, holds: bool) -> None:
    assert holds_quote(completion, quote) is holds


@given(odd_texts, st.integers(0, 20), st.integers(0, 60))
def test_any_stretch_of_plain_letters_is_found(text: str, start: int, length: int) -> None:
    plain = "".join(c for c in text if c.isascii() and c.isalpha()) + "abcdefghijklmnop"
    quote = plain[start : start + length]
    assume(len(quote) >= MIN_QUOTE_CHARS)
    assert holds_quote(f"{text}\n{plain}", quote)
    assert not holds_quote(plain, quote + "0")


@pytest.mark.parametrize(
    ("quote", "found"),
    [
        ("she said, isn't cheap", ["she said, isn\u2019t cheap"]),
        ("it costs 5 € in", ["it costs\n5\u00a0€ in"]),
        ("in a fine shop.", ["in a ﬁne shop"]),
        ("in another shop", []),
        ("Tea", []),
        ("", []),
    ],
)
def test_a_quote_is_found_where_it_stands(quote: str, found: list[str]) -> None:
    assert [TEXT[start:end] for start, end in find_quote(TEXT, quote)] == found


def test_a_quote_is_found_each_time() -> None:
    assert find_quote("one reason; one reason!", "one reason") == [(0, 10), (12, 22)]


@given(st.text("ab c.é€🙂", min_size=20, max_size=60), st.integers(0, 10), st.integers(8, 20))
def test_what_stands_in_a_text_is_found_there(text: str, start: int, length: int) -> None:
    quote = " ".join(text[start : start + length].split())
    assume(len(quote.strip("\"' .")) >= MIN_QUOTE_CHARS)
    places = find_quote(text, quote)
    assert places
    for begin, end in places:
        assert " ".join(text[begin:end].split()) == quote.strip("\"' .")
