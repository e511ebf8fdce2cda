"""Responses whose form alone shows that they are broken: loops, noise, texts that stop in the middle."""

import re
from collections.abc import Sequence
from itertools import groupby
from operator import eq

from metapo.audit.language import function_word_share
from metapo.audit.passage import Passage, clip, windows

LOOP_WINDOW = 12
MIN_NEW_SHARE = 0.5
MIN_NEW_SHARE_IN_VERSE = 0.25
MIN_LOOP_WORDS = 48
MAX_RUN_OF_A_WORD = 9
CUT_WORDS = 100

_REPEAT_ASKED = re.compile(
    r"\brepeat (?:the|this|that|it|after|each|every|\d|\W)|\b(?:\d{2,4}|ten|twenty|fifty|a hundred) times\b"
)
_SAME_LETTER = re.compile(r"([^\W\d_])\1{39}")
_SAME_DIGIT = re.compile(r"(\d)\1{119}")  # a googol written out has 100 zeros

_BROKEN = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f\ufffd\ue000-\uf8ff]")
_PICTURE_ASKED = re.compile(r"\b(?:art|draw|emojis?|diagram|pattern|table|chart|maze|grid|board|code|symbols)\b")
_CODED_ASKED = re.compile(r"\b(?:dna|rna|protein|ciphers?|encod\w*|encrypt\w*|base64|hash|password|random string)\b")
_SIGN = re.compile(r"\w")
_UNSPEAKABLE = re.compile(r"[^aeiouy]+\Z|[a-z]*?[bcdfghjklmnpqrstvwxz]{6}")
_LONGEST_WORD = 60

_DANGLING = re.compile(
    r"(?:[,(\[{\u2014\u2013]|(?<= )(?:and|or|but|nor|the|a|an|because|although|whereas|than|my|your|their))$"
)
_EMPTY_HEADING = re.compile(r"#{1,6} (?=.{0,60}[A-Za-z]{4}).*")
_EMPTY_ITEM = re.compile(r"[-*\u2022+]|\d{1,3}[.)]")
_OUTLINE_ASKED = re.compile(r"\b(?:outline|headings?|python|bash|shell|yaml|code|script|toc)\b")


def repetition(prompt: Passage, response: Passage, *, verse_asked: bool) -> str | None:
    """A letter or a word in a loop, or a text of which at most half is new, counted in runs of LOOP_WINDOW words.

    Half is what is new in a text given twice. Verse has refrains, so a quarter will do there; a prompt that asks to
    repeat is left alone.
    """
    if _REPEAT_ASKED.search(prompt.lower):
        return None
    longest = max(response.words, key=len, default="")
    if same := _SAME_LETTER.search(longest) or _SAME_DIGIT.search(response.raw):
        return f"{same[1]!r} over and over"
    if stuck := _stuck_word(response.words):
        return stuck
    return _loop(response, MIN_NEW_SHARE_IN_VERSE if verse_asked else MIN_NEW_SHARE)


def _stuck_word(words: Sequence[str]) -> str | None:
    if sum(map(eq, words, words[1:])) < MAX_RUN_OF_A_WORD:
        return None
    for word, run in groupby(words):
        n = sum(1 for _ in run)
        if n > MAX_RUN_OF_A_WORD and (len(word) > 1 or not word.isascii()):
            return f"{clip(word)!r} {n} times in a row"
    return None


def _loop(response: Passage, min_new_share: float) -> str | None:
    n = len(response.words)
    if n < MIN_LOOP_WORDS:
        # too short for windows; a table may well hold few different words
        is_loop = n >= MIN_LOOP_WORDS // 2 and len(response.counts) <= n * min_new_share / 3 and "|" not in response.raw
        return f"{n} words, {len(response.counts)} of them different" if is_loop else None
    share = len(set(windows(response.words, LOOP_WINDOW))) / n
    return f"{share:.0%} of the response is new, the rest repeats it" if share <= min_new_share else None


def gibberish(prompt: Passage, response: Passage, *, long_asked: bool) -> str | None:
    """No language: broken characters, symbols, keys hit at random, or words that nothing ties together."""
    text = response.raw
    n_broken = len(_BROKEN.findall(text))
    if n_broken >= 5 and n_broken > 0.03 * len(text):
        return f"{n_broken} characters that no text holds"
    if (symbols := _symbols(response)) and not _PICTURE_ASKED.search(prompt.lower):
        return symbols
    return _noise(prompt, response, long_asked=long_asked)


def _symbols(response: Passage) -> str | None:
    if sum(map(len, response.words)) >= 0.15 * len(response.raw):
        return None
    visible = "".join(response.raw.split())
    n_signs = len(_SIGN.findall(visible))
    if len(visible) < 40 or n_signs >= 0.15 * len(visible):
        return None
    return f"symbols, with {n_signs} letters and digits among {len(visible)} characters"


def _noise(prompt: Passage, response: Passage, *, long_asked: bool) -> str | None:
    if _CODED_ASKED.search(prompt.lower):
        return None
    if endless := next((w for w in response.words if len(w) > _LONGEST_WORD and w.isascii()), None):
        return f"a word of {len(endless)} letters: {clip(endless, 30)}"
    plain = [word for word in response.counts if len(word) >= 4 and word.isascii()]
    noise = [word for word in plain if _UNSPEAKABLE.match(word)]
    if len(plain) >= 12 and len(noise) > 0.3 * len(plain):
        return f"words that nobody can speak: {clip(' '.join(noise))}"
    if long_asked and len(response.words) >= 60 and function_word_share(prompt) >= 0.25:
        share = function_word_share(response)
        return f"words in a heap, {share:.0%} of them function words" if share < 0.08 else None
    return None


def unfinished(prompt: Passage, response: Passage) -> str | None:
    """The text announces something that never comes, or is short and stops in mid-sentence.

    Announced: a last line that ends in a colon, a heading or a list mark with nothing after it, an open code block.
    Stops: after a conjunction, an article, a comma or an open bracket, in a text under CUT_WORDS words. A longer text
    that stops in mid-sentence is left alone: a token limit cuts about one honest essay in twenty, and what was
    written up to there can be judged.
    """
    if response.raw.count("```") % 2:
        return "a code block that nothing closes"
    last = response.lines[-1]
    if last.endswith((":", "\uff1a")):
        return f"nothing follows {clip(last[-60:])}"
    if len(response.lines) > 1 and _is_open_mark(prompt, last):
        return f"nothing follows {clip(last)}"
    if 5 <= response.n_words < CUT_WORDS and (cut := _DANGLING.search(last)):
        return f"stops after {cut[0]!r}"
    return None


def _is_open_mark(prompt: Passage, last: str) -> bool:
    if _EMPTY_ITEM.fullmatch(last):
        return True
    return _EMPTY_HEADING.fullmatch(last) is not None and not _OUTLINE_ASKED.search(prompt.lower)
