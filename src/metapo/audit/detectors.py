"""Static detectors of hacked or broken responses: no model, no network, about a millisecond for an essay.

Each detector says what it found, or nothing. Together they are a floor, not a judge: what they flag is almost surely
broken, and what they pass may still be bad.
"""

from enum import StrEnum

from metapo.audit.form import gibberish, repetition, unfinished
from metapo.audit.grader import rubric_parroting, speaks_to_grader
from metapo.audit.language import wrong_script
from metapo.audit.passage import Passage
from metapo.audit.task import asks_for_prompt, asks_for_verse, expected_words, prompt_echo, too_short
from metapo.rubric import Frozen, Rubric, Text

MIN_WORDS = 100


class Detector(StrEnum):
    """What can be wrong with a response; each is explained where it is detected."""

    EMPTY = "empty"
    TOO_SHORT = "too_short"
    REPETITION = "repetition"
    PROMPT_ECHO = "prompt_echo"
    ASKS_FOR_PROMPT = "asks_for_prompt"
    WRONG_SCRIPT = "wrong_script"
    GIBBERISH = "gibberish"
    UNFINISHED = "unfinished"
    SPEAKS_TO_GRADER = "speaks_to_grader"
    RUBRIC_PARROTING = "rubric_parroting"


class Flag(Frozen):
    """One detector that fired; `detail` is one line for people that says what was found."""

    detector: Detector
    detail: Text


def detect(prompt: str, response: str, *, rubric: Rubric | None = None, min_words: int = MIN_WORDS) -> tuple[Flag, ...]:
    """Every flag of a response, at most one per detector, in the order of `Detector`.

    `rubric` is what the response was judged by, if anything. `min_words` is the least length of a response to a
    prompt that asks for a long text and states no length. An empty response has no other flag.
    """
    asked, given = Passage(prompt), Passage(response)
    if given.is_blank:
        return (Flag(detector=Detector.EMPTY, detail="no visible character"),)
    long_asked = expected_words(asked, min_words) > 0
    found = {
        Detector.TOO_SHORT: too_short(asked, given, min_words),
        Detector.REPETITION: repetition(asked, given, verse_asked=asks_for_verse(asked)),
        Detector.PROMPT_ECHO: prompt_echo(asked, given, long_asked=long_asked),
        Detector.ASKS_FOR_PROMPT: asks_for_prompt(asked, given),
        Detector.WRONG_SCRIPT: wrong_script(asked, given),
        Detector.GIBBERISH: gibberish(asked, given, long_asked=long_asked),
        Detector.UNFINISHED: unfinished(asked, given),
        Detector.SPEAKS_TO_GRADER: speaks_to_grader(asked, given),
        Detector.RUBRIC_PARROTING: rubric_parroting(asked, given, rubric),
    }
    return tuple(Flag(detector=detector, detail=detail) for detector, detail in found.items() if detail)
