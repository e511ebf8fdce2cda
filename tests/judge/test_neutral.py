"""Texts on their way to the judge: a person sees the same, a server's tokenizer sees no token of its own."""

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metapo.judge.neutral import neutralize, shorten
from tests.helpers import odd_texts

TOKENS = (
    *("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<｜User｜>", "<｜end▁of▁sentence｜>", "<|", "|>"),
    *("<s>", "</s>", "<think>", "</think>", "</THINK>", "<start_of_turn>", "<end_of_turn>", "<eos>", "<tool_call>"),
    *("[INST]", "[/INST]", "<<SYS>>", "<</SYS>>", "[TOOL_CALLS]", "<|start_header_id|>", "<unk>", "<assistant>"),
)
UNSEEN = ("\u200b", "\u200e", "\u200d", "\u200c", "\u2060", "\ufeff", "\u202e", "\x00", "\x1b", "\u00ad", "\U000e0041")
hostile = st.lists(st.sampled_from([*TOKENS, *UNSEEN, "<", ">", "|", "[", "]", "x", "\u0915", "\U000e0100"])).map(
    "".join
)


@pytest.mark.parametrize("token", TOKENS)
def test_control_tokens_are_broken_up_and_can_still_be_read(token: str) -> None:
    shown = neutralize(f"a {token} b")
    assert token not in shown
    assert shown.replace(" ", "") == f"a{token}b"


@pytest.mark.parametrize("unseen", UNSEEN)
def test_unseen_characters_do_not_hide_a_token(unseen: str) -> None:
    assert neutralize(f"<{unseen}|im{unseen}_end|{unseen}>") == "< |im_end| >"
    assert neutralize(f"[/IN{unseen}ST]<{unseen}s>") == "[ /INST ]< s >"


@pytest.mark.parametrize(
    "text",
    [
        "Plain words, 3 < 4 > 2, a | b || c, x[0], <b>bold</b>, <system-design>, [inst]\n\tindented",
        "naïve café, 漢字, Привет, مرحبا, e\u0301, 🙂, ❤️\u200d🔥, 👩\u200d💻",
        "\u0915\u094d\u200d\u0937 \u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        "",
    ],
)
def test_what_a_person_can_see_stays(text: str) -> None:
    assert neutralize(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\r\nb\rc\x0bd\x0ce\x85f\u2028g\u2029h", "a\nb\nc\nd\ne\nf\ng\nh"),
        ("a\u3164b\u2800c", "a b c"),
        ("a\u200db", "ab"),
        ("\u200d🙂\u200d", "🙂"),
        ("🙂\u200d\u200d🙂", "🙂🙂"),
        ("a\u200e\u200d\u200eb", "ab"),
        ("a\U000e0100\u200d\U000e0100b", "ab"),
        ("half \ud83d pair", "half  pair"),
        ("t\U000e0061\U000e0062ag", "tag"),
        ("priv\ue000ate", "private"),
        ("s\U000e01efs", "ss"),
    ],
)
def test_what_nobody_can_see_goes(text: str, shown: str) -> None:
    assert neutralize(text) == shown


@given(hostile | odd_texts)
def test_a_neutral_text_is_neutral(text: str) -> None:
    shown = neutralize(text)
    assert neutralize(shown) == shown
    assert not any(token in shown for token in TOKENS)
    unseen = [c for c in shown if unicodedata.category(c) in ("Cc", "Cf", "Co", "Cs") and c not in "\n\t\u200c\u200d"]
    assert unseen == []
    assert not re.search("[\u200c\u200d][\u200c\u200d]", shown)


@pytest.mark.parametrize(("text", "max_chars"), [("", 1), ("abc", 3), ("abc", 9)])
def test_a_text_that_fits_stays_whole(text: str, max_chars: int) -> None:
    assert shorten(text, max_chars) == (text, 0)


def test_of_a_long_text_head_and_tail_are_shown() -> None:
    shown = shorten("h" * 60 + "m" * 900 + "t" * 40, 100)
    assert shown.n_left_out == 900
    assert shown.text == f"{'h' * 60}\n[... 900 characters are left out here ...]\n{'t' * 40}"


@given(st.text(max_size=300), st.integers(1, 300))
def test_nothing_is_lost_or_shown_twice(text: str, max_chars: int) -> None:
    shown, n_left_out = shorten(text, max_chars)
    head, gap, tail = shown.partition(f"\n[... {n_left_out} characters are left out here ...]\n")
    if n_left_out:
        assert gap
        assert len(head) + len(tail) == max_chars == len(text) - n_left_out
    assert text.startswith(head)
    assert text.endswith(tail)
