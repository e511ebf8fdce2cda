"""Is a response in the language of its prompt? Scripts by Unicode, languages by their function words.

Function words are enough here: telling two texts apart in ten languages takes a page of words, while the small
offline classifiers cost a dependency on numpy and 0.6 ms a text. They would know more languages; a language that is
not in the table and shares the prompt's script goes unnoticed.
"""

import re
import unicodedata
from collections import Counter
from functools import cache

from metapo.audit.passage import Passage

MIN_FOREIGN_LETTERS = 20
MAX_FOREIGN_SHARE = 0.3
MIN_WORDS = 25
MIN_PROMPT_WORDS = 5

_FUNCTION_WORDS = {
    "english": "the of and to in is that it was for on are with as be this by at from or an which have not but they",
    "german": "der die das und ist nicht ein eine zu den mit von auf für im dem sich auch es werden wird als oder aber",
    "french": "le la les des et est une du que qui dans pour pas sur au avec ce il sont cette par plus ne se leur aux",
    "spanish": "el la los las de y que en un una es por con para se del no su al como más lo pero sus son esta",
    "portuguese": "o os as de e que em um uma é por com para se do da não sua ao como mais dos das mas são no na",
    "italian": "il lo la gli le di e che è un una per con non si del della sono dei nel come più ma anche alla delle",
    "dutch": "de het een en van is dat niet te op voor met zijn aan door ook bij als maar wordt naar of deze worden",
    "swedish": "och att det som en är på för med av inte den till om har de ett kan men från eller var vi",
    "polish": "i w na z nie jest się do to że jak po ale przez dla od są oraz który która które tym",
    "turkish": "ve bir bu için ile da de çok olarak daha gibi olan ne kadar ama sonra değil her veya",
    "indonesian": "yang dan di dengan untuk dari ini itu tidak pada adalah dalam akan ke oleh juga atau dapat karena",
}
# A letter that stands alone may be a variable.
_SETS = {
    language: frozenset(word for word in words.split() if len(word) > 1) for language, words in _FUNCTION_WORDS.items()
}

_NAMES = {
    "english": r"english|anglais|ingl[eé]s|englisch|английск|英|영어|إنجليزي",
    "german": r"german|deutsch|allemand|alem[aá]n|德语|ドイツ|немецк",
    "french": r"french|fran[cç]ais|franz[oö]sisch|franc[eé]s|法语|フランス|французск",
    "spanish": r"spanish|espa[nñ]ol|castellano|spanisch|espagnol|西班牙|испанск",
    "portuguese": r"portugu|brazil",
    "italian": r"italian|italien",
    "dutch": r"dutch|nederlands|flemish",
    "swedish": r"swedish|svenska|norwegian|danish",
    "polish": r"polish|polski",
    "turkish": r"turkish|t[uü]rk",
    "indonesian": r"indonesia|malay|bahasa",
    "CJK": r"chinese|mandarin|cantonese|japanese|kanji|kana",
    "HANGUL": r"korean|hangul",
    "CYRILLIC": r"russian|ukrainian|bulgarian|serbian|belarusian|macedonian|kazakh|cyrillic",
    "ARABIC": r"arabic|persian|farsi|urdu|pashto|quran",
    "GREEK": r"greek",
    "HEBREW": r"hebrew|yiddish|torah",
    "DEVANAGARI": r"hindi|sanskrit|marathi|nepali",
    "THAI": r"thai",
}
_TRANSLATION = re.compile(
    r"translat|\blanguages?\b|\balphabets?\b|\btraduc|\btradui|übersetz|перевод|перевед|翻译|翻訳|번역"
)

_KIN = {"HIRAGANA": "CJK", "KATAKANA": "CJK", "KATAKANA-HIRAGANA": "CJK"}
_NO_SCRIPT = frozenset({"MATHEMATICAL", "FULLWIDTH", "MODIFIER", "MICRO", "FEMININE", "MASCULINE", "DOUBLE-STRUCK", ""})
_RUN = re.compile(r"[^\W\d_]{2,}")
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")


def wrong_script(prompt: Passage, response: Passage) -> str | None:
    """The response is in a script or language that the prompt neither uses nor names, and no translation is asked."""
    if _TRANSLATION.search(prompt.lower):
        return None
    found = _foreign_script(prompt, response) or _foreign_language(prompt, response)
    if found is None or (found in _NAMES and re.search(_NAMES[found], prompt.lower)):
        return None
    return f"written in {found if found in _SETS else found.title() + ' script'}, unlike the prompt"


def _foreign_script(prompt: Passage, response: Passage) -> str | None:
    if response.raw.isascii():
        return None
    scripts = letters_by_script(response.prose)
    own = letters_by_script(prompt.prose).keys()
    foreign = {script: n for script, n in scripts.items() if script not in own and script != "LATIN"}
    if sum(foreign.values()) < max(MIN_FOREIGN_LETTERS, MAX_FOREIGN_SHARE * sum(scripts.values())):
        return None
    return max(foreign, key=foreign.__getitem__) if own else None


def _foreign_language(prompt: Passage, response: Passage) -> str | None:
    """The response's language where it differs from the prompt's; a prompt in another script has a language too."""
    asked = language(prompt, MIN_PROMPT_WORDS) or _main_script(prompt)
    given = language(response, MIN_WORDS) if asked is not None else None
    return given if given != asked else None


def _main_script(passage: Passage) -> str | None:
    """The script of more than half of the letters, if it is not Latin: a Latin text has a language or none."""
    scripts = letters_by_script(passage.prose)
    main = max(scripts, key=scripts.__getitem__, default="LATIN")
    return main if main != "LATIN" and 2 * scripts[main] > sum(scripts.values()) else None


def language(passage: Passage, min_words: int) -> str | None:
    """The language of a text in Latin letters; None for a text of fewer words, an unknown language or a near tie."""
    if len(passage.words) < min_words:
        return None
    hits = sorted(((_n_of(passage, words), name) for name, words in _SETS.items()), reverse=True)
    (best, name), (second, _) = hits[:2]
    return name if best >= 0.15 * len(passage.words) and best >= 1.4 * second else None


def function_word_share(passage: Passage) -> float:
    """The share of words that are function words of any known language; 0 for a text without words."""
    return _n_of(passage, _ALL) / len(passage.words) if passage.words else 0.0


def _n_of(passage: Passage, words: frozenset[str]) -> int:
    return sum(passage.counts[word] for word in passage.counts.keys() & words)


_ALL = frozenset().union(*_SETS.values())


def letters_by_script(text: str) -> Counter[str]:
    """Letters by script, Chinese and Japanese as one; letters that stand alone, as in formulas, are left out."""
    if text.isascii():
        return Counter({"LATIN": sum(map(len, _RUN.findall(text)))})
    runs = "".join(_RUN.findall(text))
    rare = _NOT_ASCII.findall(runs)
    counts = Counter({"LATIN": len(runs) - len(rare)})
    for letter, n in Counter(rare).items():
        if (script := _script(letter)) not in _NO_SCRIPT:
            counts[script] += n
    return +counts


@cache
def _script(letter: str) -> str:
    first = unicodedata.name(letter, "").split(" ")[0]
    return _KIN.get(first, first)
