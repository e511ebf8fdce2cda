"""What a prompt asks for, as far as its words tell (English only), and the responses that miss it altogether."""

import re

from metapo.audit.passage import Passage, clip

ECHO_SHARE = 0.5
WORDS_PER_PARAGRAPH = 20
SHARE_OF_ASKED = 0.25
MAX_REQUEST_WORDS = 100

_LONG_NOUN = (
    r"(?:essay|article|story|speech|report|paper|blog ?post|editorial|dissertation|thesis|full text|original text)"
)
_NOT_THE_WHOLE = (
    r"(?:title|headline|outline|name|slogan|topic|summary|sentence|abstract|tweet|caption|question|short|brief|score"
    r"|grade)"
)
_PRODUCE = r"(?:write|writing|compose|create|provide|produce|draft|generate|prepare|develop|craft|convert|revert)"
_LONG = (
    re.compile(
        rf"\b{_PRODUCE}\b(?: (?!{_NOT_THE_WHOLE}\b)[\w,'\"-]{{1,30}}){{0,12}}? [\"']?{_LONG_NOUN}\b"
        rf"(?! (?:{_NOT_THE_WHOLE}))"
    ),
    re.compile(r"\b(?:in|for) (?:your|this|the) (?:essay|paper|next assignment|upcoming assignment)\b"),
    re.compile(r"\b(?:your|the) (?:essay|article|paper|story|report) (?:should|must|needs to|will)\b"),
    re.compile(r"\bwrite (?:about|on) the following (?:topic|question|issue)"),
    re.compile(r"\bsummary (?:back )?into the (?:original|full) "),
    re.compile(r"\bdiscuss (?:both|the|these|this|your)\b|\bgive reasons\b"),
    re.compile(r"\bgive (?:your |you )?(?:own )?opinion|\bwhat is your opinion ?\?"),
    re.compile(r"\bto (?:what )?extent do you\b|\bdo you agree or disagree\b|\bagree or disagree\?"),
    re.compile(
        r"\bwhat (?:are|is) the (?:causes?|reasons?|effects?|difficulties|problems?|advantages)\b.{1,200}\bhow\b"
    ),
)
_SHORT = re.compile(
    r"\b(?:in|with) (?:just |only |exactly )?(?:one|a single|a few|two|1|2) (?:words?|sentences?|lines?)\b"
    r"|\bone[- ](?:word|sentence|line)\b|\b(?:yes or no|true or false)\b"
    r"|\bwith (?:just |only )?the (?:answer|title|number|letter)\b"
)
_N_WORDS = re.compile(r"\b(\d{1,3}(?:,\d{3})|\d{1,5})(?: ?(?:-|to|or|\u2013) ?\d{1,5})?[- ]words?\b")
_N_PARAGRAPHS = re.compile(r"\b(two|three|four|five|six|seven|eight|\d)[- ]paragraphs?\b")
_NUMERALS = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8}

_SHORT_ANSWER = re.compile(
    r"(?:^|[.?!:\n][\s\"]{0,4})(?:(?:in|of|to|from|by|at|on|for) )?"
    r"(?:who|whom|whose|which|when|where|what (?:is|was)(?! your))\b"
    r"|\b(?:titles?|headlines?|headings?|captions?|slogan|names?|named|call(?:ed)?|list|translate|label|subject line"
    r"|define|term|phrase|quote|choose|pick|classify)\b"
)
_SUBTITLE = re.compile(r": (?:A|An|The|How|Why) ")
_VERSE_ASKED = re.compile(r"\b(?:poems?|poetry|verse|songs?|lyrics|chorus|refrain|villanelle|ballad)\b")
_SAME_TEXT_ASKED = re.compile(
    r"(?:^|[.!?:\n][\s\"]{0,3}|\b(?:please|and|then|you|to|just) )(?:repeat|copy|proofread|correct|rewrite|reword"
    r"|rephrase|paraphrase|edit|fix|format|translate|quote|cite|extract|punctuate|capitali[sz]e|transcribe|reverse|sort|continue"
    r"|complete|memori[sz]e|say|spell)\b"
)

_WANTED = (
    r"(?:prompt|topic|essay|text|question|instructions?|summary|article|passage|assignment|claim|statement|document"
    r"|task|input)"
)
_REQUESTS = (
    re.compile(
        r"\b(?:please|could you|can you|kindly|you need to|need you to) (?:\w{1,12} ){0,2}?"
        r"(?:provide|share|send|give|paste|specify|clarify|supply|tell|enter|upload|include|type|state)"
        rf" (?:[\w']{{1,15}} ){{0,8}}?{_WANTED}\b"
    ),
    re.compile(
        r"\bi(?:'d| would|'ll| will|'m| am) (?:be )?(?:more than |very |so )?"
        r"(?:happy|glad|ready|delighted|pleased|here) to\b.{0,160}?\?"
    ),
    re.compile(r"\b(?:how (?:can|may) i (?:help|assist) you|what (?:can i|would you like|do you want me to))\b"),
    re.compile(rf"\bwhat(?:'s| is| are) (?:the|your) (?:\w{{1,15}} ){{0,3}}?{_WANTED}\b[^.?!\n]{{0,80}}\?"),
    re.compile(
        r"\b(?:you haven't|you have not|you didn't|you did not|there is no|there's no|i don't see (?:a|an|the|any))\b"
        rf"[^.?!\n]{{0,40}}\b{_WANTED}\b"
    ),
    re.compile(r"\b(?:waiting for|awaiting|(?:once|as soon as) you (?:provide|share|send|give))\b"),
)
_EXCHANGE_ASKED = re.compile(r"\b(?:letters?|emails?|message|dialogue|conversation|script|reply|chatbot)\b")


def expected_words(prompt: Passage, min_words: int) -> int:
    """The fewest words that a response to this prompt can do with; 0 where the prompt asks for nothing long.

    It is `min_words` where the prompt asks for an essay or the like to be written, or in the manner of an exam ("to
    what extent do you agree", "discuss both views"). A stated length can only lower it: to a quarter of the words, or
    to WORDS_PER_PARAGRAPH words for each paragraph. What is longer than `min_words` is never *far* too short.
    """
    text = prompt.lower
    if _SHORT.search(text):
        return 0
    if stated := _N_WORDS.search(text):
        return min(min_words, int(int(stated[1].replace(",", "")) * SHARE_OF_ASKED))
    if stated := _N_PARAGRAPHS.search(text):
        return min(min_words, WORDS_PER_PARAGRAPH * (_NUMERALS.get(stated[1]) or int(stated[1])))
    return min_words if any(pattern.search(text) for pattern in _LONG) else 0


def asks_for_verse(prompt: Passage) -> bool:
    return _VERSE_ASKED.search(prompt.lower) is not None


def too_short(prompt: Passage, response: Passage, min_words: int) -> str | None:
    """A title alone, or fewer words than `expected_words`."""
    expected = expected_words(prompt, min_words)
    if response.n_words < expected:
        return f"{response.n_words} words where at least {expected} are needed"
    if not expected and _is_title(prompt, response):
        return f"a title alone: {clip(response.raw)}"
    return None


def _is_title(prompt: Passage, response: Passage) -> bool:
    """One line in title case on the prompt's topic that no sentence ends, and no short answer was asked for."""
    if len(response.lines) != 1 or response.n_words > 30:
        return False
    line = response.lines[0]
    if line[-1] in ".!?\u2026" or _SHORT_ANSWER.search(prompt.lower) or len(prompt.words) < 6:
        return False
    long_words = [word for word in re.findall(r"[^\W\d_]{4,}", line) if not word.isupper()]
    n_capitals = sum(word[0].isupper() for word in long_words)
    is_long_enough = response.n_words >= (4 if ":" in line else 6)
    if not is_long_enough or n_capitals < max(3, 0.7 * len(long_words)):
        return False
    return _SUBTITLE.search(line) is not None or _share_a_stem(prompt, response)


def _share_a_stem(prompt: Passage, response: Passage) -> bool:
    stems = {word[:5] for word in prompt.words if len(word) >= 5}
    return any(word[:5] in stems for word in response.words if len(word) >= 5)


def prompt_echo(prompt: Passage, response: Passage, *, long_asked: bool) -> str | None:
    """Most of the response is the prompt's own words in the prompt's order.

    An excerpt of a long prompt may be an answer, so unless a long text was asked for, most of the prompt has to come
    back too. A prompt that asks for its own text again (repeat, correct, translate ...) is left alone.
    """
    if _SAME_TEXT_ASKED.search(prompt.lower):
        return None
    if len(response.words) >= 4 and response.words == prompt.words:
        return "the prompt, word for word"
    in_prompt = set(prompt.windows)
    if in_prompt.isdisjoint(response.windows):
        return None
    n_echoed = sum(window in in_prompt for window in response.windows)
    share = n_echoed / len(response.windows)
    if share <= ECHO_SHARE or not (long_asked or n_echoed > ECHO_SHARE * len(prompt.windows)):
        return None
    return f"{share:.0%} of the response repeats the prompt"


def asks_for_prompt(prompt: Passage, response: Passage) -> str | None:
    """A short response that asks what to do instead of doing it; letters and dialogues may ask."""
    if response.n_words > MAX_REQUEST_WORDS or _EXCHANGE_ASKED.search(prompt.lower):
        return None
    for pattern in _REQUESTS:
        if found := pattern.search(response.lower):
            return clip(found[0])
    return None
