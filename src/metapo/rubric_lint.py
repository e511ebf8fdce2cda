"""Advice on a valid rubric: what makes judges err, although nothing forbids it.

What is told from wording alone knows English; of a rubric in another language it finds less, and nothing that isn't
there.
"""

import re
import unicodedata
from collections import Counter
from difflib import SequenceMatcher
from textwrap import shorten

from metapo.rubric import Criterion, Rubric

MAX_CRITERIA = 12
MAX_WORDS = 1500
SAME_WORDING = 0.9  # the share of words, in order, that two criteria have in common when they read the same
MIN_WORDS = 5  # fewer tell too little of what is judged


def lint(rubric: Rubric) -> list[str]:
    """One line of advice per finding, in the order of the rubric; empty for a rubric that needs none."""
    findings = [advice for criterion in rubric.criteria for advice in _lint_criterion(criterion)]
    for i, first in enumerate(rubric.criteria):
        for second in rubric.criteria[i + 1 :]:
            if repeats(first, second):
                how = "has the same levels as" if first.levels == second.levels else "reads almost like"
                findings.append(f"{second.id}: {how} {first.id}; two criteria that judge the same count it twice")
    if len(rubric.criteria) > MAX_CRITERIA:
        findings.append(f"{len(rubric.criteria)} criteria; judges keep apart about {MAX_CRITERIA} at most")
    if rubric.n_words > MAX_WORDS:
        findings.append(f"{rubric.n_words} words, more than {MAX_WORDS}: every judgement pays for them")
    return findings


def _lint_criterion(criterion: Criterion) -> list[str]:
    findings = []
    descriptions = [level.description.lower() for level in criterion.levels]
    if len(set(descriptions)) < len(descriptions):
        findings.append(f"{criterion.id}: two levels have the same description; no judge can tell them apart")
    if not any(level.example for level in criterion.levels):
        findings.append(f"{criterion.id}: no level has an example; one on the best and the worst level helps a judge")
    if all(len(d.split()) <= 2 for d in descriptions):
        findings.append(
            f"{criterion.id}: levels of one or two words leave an impression to the judge; say what to look for"
        )
    if why := compound(criterion):
        findings.append(f"{criterion.id}: {why}; judges err where only a part is met, so make it one criterion each")
    return findings


# --- wording

_TOKEN = re.compile(r"\d+|[^\W\d_\u0e00-\U0010ffff]+(?:'[^\W\d_]+)?|[\u0e00-\U0010ffff]")
_ENDING = re.compile(r"(?<=\w{3})(?:ing|ed|es|e|s)$")
_FILLER = re.compile(r"an?|and|are|as|at|be|by|in|is|its?|of|on|that|the|this|to|was|were|with")
_NEGATIONS = frozenset({"no", "not", "never", "none", "nothing", "neither", "nor", "without", "hardly"})
_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def wording(text: str) -> list[str]:
    """The words of a text in order: lower case, number words as digits, without fillers and common endings."""
    tokens = _TOKEN.findall(unicodedata.normalize("NFKC", text).casefold().replace("\u2019", "'"))
    return [_stem(token) for token in tokens if not _FILLER.fullmatch(token)]


def _stem(token: str) -> str:
    if token in _NUMBERS:
        return str(_NUMBERS.index(token))
    if token.endswith("n't"):
        return "not"
    return token if token in _NEGATIONS else _ENDING.sub("", token)


def repeats(first: Criterion, second: Criterion) -> bool:
    """Do two criteria judge the same by what they say: equal levels, or near-equal wording?

    Near-equal wording has the same numbers and negations, and speaks of what one of the names says.
    """
    if first.levels == second.levels:
        return True
    a, b = _told(first), _told(second)
    if min(len(a), len(b)) < MIN_WORDS or _exact(a) != _exact(b):
        return False
    if not (set(wording(first.name)) <= {*b} or set(wording(second.name)) <= {*a}):
        return False
    return SequenceMatcher(None, a, b, autojunk=False).ratio() >= SAME_WORDING


def overlap(first: Criterion, second: Criterion) -> float:
    """The share of different words that two criteria have in common (Dice), in [0, 1]; numbers and negations don't
    count."""
    a, b = ({w for w in _told(c) if not w.isdigit()} - _NEGATIONS for c in (first, second))
    return 2 * len(a & b) / (len(a) + len(b)) if a and b else 0.0


def _told(criterion: Criterion) -> list[str]:
    levels = (level.description for level in criterion.levels)
    return [word for text in (criterion.name, criterion.instruction, *levels) for word in wording(text)]


def _exact(words: list[str]) -> Counter[str]:
    """The words of which one can turn the meaning."""
    return Counter(word for word in words if word.isdigit() or word in _NEGATIONS)


# --- compound criteria

# One thing said in two words, or a range; none of them joins two demands.
_ONE_THING = re.compile(
    r"\b(?:for (?:and|or) against|pros and cons|black and white|cause and effect|compares? and contrasts?|give and take"
    r"|back and forth|more and more|again and again|over and over|time and again|first and foremost|now and then"
    r"|questions? and answers?|trial and error|supply and demand|right and wrong|true and false|each and every"
    r"|one and only|one and the same|if and only if|and so (?:on|forth)|and the like|and (?:vice versa|not|yet)|and/or"
    r"|both sides|between [^,;.]{1,40}? and \w+|(?:one|two|\d+) and a half)\b",
    re.IGNORECASE,
)
_NAME_JOINT = re.compile(r",? and | as well as | & |; ?")
_OBJECT = (
    r"(?= (?:an?|the|its?|them|their|each|every|all|any|no|both|at least|how|why|what|which|that|\d+|two|three)\b)"
)
_VERB = (
    r"(?:is|are|has|have|must|should|needs?|gives?|explains?|cites?|provides?|includes?|follows?|avoids?|contains?"
    r"|makes?|keeps?|offers?|compares?|describes?|defines?|refutes?|rebuts?|acknowledges?|addresses|concludes?"
    r"|summari[sz]es?|begins?|stays?|takes?|puts?|tells?|says?|proves?|identif(?:y|ies)|develops?|discusses|considers?"
    r"|demonstrates?|maintains?|reaches|serves?|repeats?|justif(?:y|ies)|presents?|remains?|speaks?|does|do|never|no"
    r"|(?:well )?(?:supported|backed|followed|illustrated|explained) (?:by|with)"
    # these are nouns as well, so an object has to follow
    rf"|(?:answers?|supports?|states?|shows?|links?|claims?|uses?|names?|mentions?|ends?|opens?|tests?|checks?|quotes?"
    rf"|draws?|notes?|defends?){_OBJECT})"
)
_LEAD = r"(?:(?:also|then|always|it|they|(?:the|every|each) \w+|\w+ly) ){0,2}"
_COUNT = r"(?:at least |more than )?(?:\d+|two|three|four|five|six|seven|eight|nine|ten) (?!or\b|of\b)"
_JOINT = re.compile(
    rf" ?; ?|[.!?] (?=(?-i:[A-Z]))|,? as well as (?!can|could|any|possible|the best)"
    rf"|,? (?:and|but|while) (?={_LEAD}{_VERB}\b)"
    rf"|, (?!is |are |has |have ){_LEAD}(?={_VERB}\b)|,? and (?={_COUNT})",
    re.IGNORECASE,
)
_LIST_JOINT = re.compile(r",? and |, ")
_LOOSE_LIST = re.compile(r"\b(?:such as|like|including|or|e\.g\.)\b|:", re.IGNORECASE)
_REFERENCE = re.compile(r"(?:as|all) (?:before|above|of (?:that|this|the above))\W*$|the same\W*$", re.IGNORECASE)
MAX_LISTED_WORDS = 4
MAX_QUOTED = 60


def compound(criterion: Criterion) -> str | None:
    """Why a criterion looks as if it demanded several things at once, or None.

    It does where its name joins things, or where its best level makes demands that no lower level makes alone: a
    ladder that adds one demand per level tells a judge what each part is worth. Made to miss some rather than to
    suspect what is one demand.
    """
    if len(named := _named(criterion.name)) > 1:
        return f"its name joins {_quoted(named)}"
    if len(asked := _asked(criterion)) > 1:
        return f"its best level asks for {_quoted(asked)}"
    return None


def _named(name: str) -> list[str]:
    plain = _tied(name)
    if not _NAME_JOINT.search(plain) and plain.count(", ") < 2:
        return [name]
    return [part for joined in _NAME_JOINT.split(plain) for part in joined.split(", ") if wording(part)]


def _asked(criterion: Criterion) -> list[str]:
    """The demands of the best level that no lower level makes alone."""
    *lower, best = (_tied(level.description) for level in criterion.levels)
    parts = [part.strip(" ,.") for part in _JOINT.split(best)]
    if len(parts) == 1:
        parts = _listed(best)
    steps = [{*wording(description)} for description in lower]
    return [part for part in parts if wording(part) and not _REFERENCE.match(part) and not _is_step(part, steps)]


def _tied(text: str) -> str:
    """The text with the words of one thing tied by no-break spaces, where no joint is looked for."""
    return _ONE_THING.sub(lambda match: match[0].replace(" ", "\u00a0"), text)


def _listed(description: str) -> list[str]:
    """The parts of a description that is nothing but a list of three or more; else the description."""
    parts = _LIST_JOINT.split(description)
    is_list = " and " in description and len(parts) > 2 and all(len(p.split()) <= MAX_LISTED_WORDS for p in parts)
    return parts if is_list and not _LOOSE_LIST.search(description) else [description]


def _is_step(part: str, lower: list[set[str]]) -> bool:
    """Does a lower level say what this part says, without a "no" of its own?"""
    words = {*wording(part)}
    return any(words <= level and level & _NEGATIONS <= words for level in lower)


def _quoted(parts: list[str]) -> str:
    return " and ".join(repr(shorten(part, MAX_QUOTED, placeholder="...")) for part in parts)
