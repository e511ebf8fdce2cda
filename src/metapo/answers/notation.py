r"""One notation for mathematical answers: LaTeX without what changes only how it looks, and its units.

math-verify reads mathematics, but (0.9) takes `3(4)` for a mixed number, `i` for a variable, `1,2` and `(1,2)` apart
only in part, and drops units whatever they are. What is notation and no mathematics is therefore settled here, before.
"""

import re
from fractions import Fraction

_SIGNS = (
    {"−": "-", "–": "-", "—": "-", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "÷": "/", "∕": "/", "＝": "="}
    | {"π": r"\pi ", "∞": r"\infty ", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "∪": r"\cup ", "∈": r"\in "}
    | {"±": r"\pm ", "∓": r"\mp ", "∅": r"\emptyset ", "°": r"^{\circ}", "²": "^{2}", "³": "^{3}", "％": "%"}
    | {"½": r"\frac{1}{2}", "¼": r"\frac{1}{4}", "¾": r"\frac{3}{4}", "\u00a0": " ", "\u2009": " ", "\u202f": " "}
)
_TABLE = str.maketrans(_SIGNS)
_REWRITES = tuple(
    (re.compile(pattern), by)
    for pattern, by in (
        (r"(?<=\d)(?:\{,\}\s*|,\\!|\\!,|\\,|,\\,)(?=\d{3}(?!\d))", ""),  # a comma that is typeset as no separator
        (r"\\!", ""),
        (r"(?<!\\)\\(?:[,;:> ]|q?quad(?![a-zA-Z])|thinspace(?![a-zA-Z]))|~", " "),
        (r"\\(?:left|right|[bB]igg?[lr]?|displaystyle|textstyle|limits)(?![a-zA-Z])\.?", ""),
        (r"\\over(?:line|rightarrow)\s*\{\s*([A-Z]{2})\s*\}", r"\1"),
        (r"\\[lc]dots(?![a-zA-Z])", r"\\dots"),
        (r"\\[dtc]frac(?![a-zA-Z])", r"\\frac"),
        (r"√\s*(\d+|[a-zA-Z])", r"\\sqrt{\1}"),
        (r"√\s*\(([^()]*)\)", r"\\sqrt{\1}"),
        (r"\\sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}"),
        (r"\bsqrt\s*\(([^()]*)\)", r"\\sqrt{\1}"),
        (r"(?<![\\a-zA-Z])(pi|infty)(?![a-zA-Z])", r"\\\1 "),
        (r"(?:\^\s*\{\s*\\circ\s*\}|\^\s*\\circ(?![a-zA-Z])|\\degree(?![a-zA-Z]))", r"^{\\circ}"),
        (r"\\geqs?lant(?![a-zA-Z])|\\geq(?![a-zA-Z])|>=", r"\\ge "),
        (r"\\leqs?lant(?![a-zA-Z])|\\leq(?![a-zA-Z])|<=", r"\\le "),
        (r"\\neq(?![a-zA-Z])|!=", r"\\ne "),
        (r"\\lt(?![a-zA-Z])", "<"),
        (r"\\gt(?![a-zA-Z])", ">"),
        (r"\\l?[vb]rack(?![a-zA-Z])", "["),
        (r"\\(?:text|mbox|textrm)\s*\{\s*,?\s*(?:and|or)\s*\}", ","),
        (r"\\(?:text|mbox|textrm)\s*\{\s*([$%])\s*\}", r"\1"),
        (r",?\s+(?:and|or)\s+", ", "),
        (r"(?<=\d)\s*\*\*\s*", "^"),
        (r"\*", r"\\cdot "),
        (r"\^\s*\(\s*(-?\w+(?:/\w+)?)\s*\)", r"^{\1}"),
        (r"\^\s*(-?\d{2,}|-\w)", r"^{\1}"),  # x^10 as people type it, not LaTeX's x^{1}0
    )
)
_DELIMITERS = ((r"\(", r"\)"), (r"\[", r"\]"), ("$$", "$$"), ("$", "$"))
_WRAPPER = re.compile(
    r"\\(?:text|mbox|textbf|textit|textrm|textsf|mathrm|mathbf|mathit|mathsf|bf|rm|boldsymbol|bm|operatorname)\s*"
    r"\{([^{}]*)\}"
)


def tidy(text: str) -> str:
    """The same answer in one notation. Money keeps `$`; texts keep their commands."""
    text = text.translate(_TABLE).strip()
    text = _without_delimiters(text).replace(r"\$", "$").replace(r"\%", "%").replace(r"\#", "#")
    for pattern, by in _REWRITES:
        text = pattern.sub(by, text)
    text = " ".join(text.split())
    return text.rstrip(".,; ") if len(text) > 1 else text


def _without_delimiters(text: str) -> str:
    for start, end in _DELIMITERS:
        inside = text[len(start) : -len(end)]
        if text.startswith(start) and text.endswith(end) and inside.strip() and start not in inside:
            return inside.strip() if not inside.endswith("\\") else text
    return text


def unwrapped(text: str) -> tuple[str, bool]:
    r"""The text inside `\text{...}` and its like, where that is all there is, and whether it was so."""
    was = False
    while match := _WRAPPER.fullmatch(text.strip()):
        text, was = match[1], True
    return text.strip(), was


def without_wrappers(text: str) -> str:
    return _WRAPPER.sub(r"\1", text)


# --- numbers

_DECIMAL = r"[-+]?(?:\d+\.?\d*|\.\d+)"
_NUMBER = re.compile(
    rf"\(?\s*({_DECIMAL})\s*\)?\s*(?:(?:[eE]|(?:\\times|\\cdot|x)\s*10\s*\^\s*)\s*\{{?\s*([-+]?\d{{1,3}})\s*\}}?)?"
)
_POWER = re.compile(r"10\s*\^\s*\{?\s*(-?\d{1,3})\s*\}?")
_REPEATING = re.compile(r"(-?)(\d*)\.(\d*)\\overline\s*\{\s*(\d+)\s*\}")
_MIXED = re.compile(r"([-+]?)\s*(\d+)\s*(?:\\frac\s*\{\s*(\d+)\s*\}\s*\{\s*(\d+)\s*\}|\\frac(\d)(\d)|\s(\d+)/(\d+))")
_RATIO = re.compile(r"([-+]?\d+)\s*/\s*(\d+)|([-+]?)\\frac\s*(?:\{\s*([-+]?\d+)\s*\}|(\d))\s*(?:\{\s*(\d+)\s*\}|(\d))")
_THOUSANDS = re.compile(r"(?<![\d.,])[1-9]\d{0,2}(?:,\d{3})+(?![\d,])")


def number(text: str) -> Fraction | None:
    """A number that is written out: decimal, repeating, scientific, mixed or a quotient of integers. Exact."""
    text = text.strip().replace("- ", "-")
    if match := _NUMBER.fullmatch(text):
        return Fraction(match[1]) * Fraction(10) ** int(match[2] or 0)
    if match := _POWER.fullmatch(text):
        return Fraction(10) ** int(match[1])
    if match := _RATIO.fullmatch(text):
        above, below = match[1] or match[4] or match[5], match[2] or match[6] or match[7]
        if int(below):
            return Fraction(int(above), int(below)) * (-1 if match[3] == "-" else 1)
    if match := _REPEATING.fullmatch(text):
        start, repeated = match[2] + match[3], match[4]
        size = Fraction(int(start + repeated) - int(start or 0), 10 ** len(match[3]) * (10 ** len(repeated) - 1))
        return -size if match[1] else size
    if match := _MIXED.fullmatch(text):
        above, below = (next(g for g in match.groups()[i::2] if g) for i in (2, 3))
        if int(below):
            size = int(match[2]) + Fraction(int(above), int(below))
            return -size if match[1] == "-" else size
    return None


def is_decimal(text: str) -> bool:
    """Whether some number in it has a decimal point, so that it may be rounded."""
    return re.search(r"\d\.\d|(?<!\d)\.\d", text) is not None


def without_thousands(text: str) -> str:
    """Without the commas of `12,345`, up to the first bracket: inside, a comma parts two elements."""
    outside = re.split(r"[(\[{]", text, maxsplit=1)[0]
    return _THOUSANDS.sub(lambda m: m[0].replace(",", ""), outside) + text[len(outside) :]


# --- units

_UNITS = {
    "millimeter": "mm millimetre",
    "centimeter": "cm centimetre",
    "meter": "m metre",
    "kilometer": "km kilometre",
    "inch": "in inches",
    "foot": "ft feet",
    "yard": "yd",
    "mile": "mi",
    "gram": "g",
    "kilogram": "kg kilo",
    "pound": "lb lbs",
    "ounce": "oz",
    "liter": "l litre",
    "milliliter": "ml millilitre",
    "second": "s sec",
    "minute": "min",
    "hour": "h hr hrs",
    "day": "",
    "week": "",
    "year": "yr",
    "dollar": "usd $ bucks",
    "cent": "cents ¢",
    "euro": "eur €",
    "poundsterling": "gbp £",
    "degree": "deg",
    "radian": "rad",
    "percent": "% pct percentage",
    "mile per hour": "mph",
}
_CANONICAL = {alias: unit for unit, aliases in _UNITS.items() for alias in (unit, *aliases.split())}
_NO_UNIT = {"unit", "square unit", "cubic unit"}
_POWERS = {"2": "square", "3": "cubic"}
_SYMBOLS = "$€£¢"
_DEGREES = re.compile(r"(\d+(?:\.\d+)?)\s*\^\{\\circ\}")
_UNIT_TEXT = re.compile(
    r"(?P<value>.*\S)\s*\\(?:text|mbox|textrm|mathrm|rm|operatorname)\s*\{(?P<unit>[^{}]*)\}\s*(?P<power>\^\s*\{?[23]\}?)?"
)
_UNIT_WORDS = re.compile(
    r"(?P<value>.*[\d})i])(?P<gap>\s*)"
    r"(?P<unit>(?<![\\a-zA-Z])[a-zA-Z]+(?:[ /][a-zA-Z]+)*)\.?(?P<power>\^\s*\{?[23]\}?)?"
)


def without_unit(text: str) -> tuple[str, str]:
    """A value and its unit, "" where it has none or only says that there is one ("square units")."""
    text = text.strip()
    if text and text.lstrip("-+ ")[:1] in _SYMBOLS and len(text) > 1:
        symbol = text.lstrip("-+ ")[0]
        rest, _ = without_unit(text.replace(symbol, "", 1))
        return rest, _CANONICAL[symbol]
    if len(text) > 1 and text[-1] in _SYMBOLS + "%":
        return text[:-1].strip(), _CANONICAL[text[-1]]
    if re.search(r"\\(?:sin|cos|tan|cot|sec|csc)(?![a-zA-Z])", text):
        return _DEGREES.sub(r"(\\frac{\1\\pi}{180})", text), ""  # the library takes the sine of 30 radians
    if text.endswith(r"^{\circ}") and len(text) > len(r"^{\circ}"):
        return text.removesuffix(r"^{\circ}").strip(), "degree"
    if (match := _UNIT_TEXT.fullmatch(text)) and re.fullmatch(r"[a-zA-Z%°$./ ]*", match["unit"]):
        return match["value"].rstrip("-"), _unit(match["unit"], match["power"])
    if (match := _UNIT_WORDS.fullmatch(text)) and _names_a_unit(match["unit"], bool(match["gap"])):
        return match["value"], _unit(match["unit"], match["power"])
    return text, ""


def _names_a_unit(words: str, apart: bool) -> bool:
    """One letter is a variable; longer words count where they are known, or are clearly words."""
    unit = _unit(words, None)
    known = unit in _NO_UNIT or not unit or all(w in _CANONICAL or w in _POWERS.values() for w in unit.split(" per "))
    return len(words) > 1 and (known or (apart and len(words) >= 4 and "\\" not in words))


def _unit(words: str, power: str | None) -> str:
    words = words.lower().replace(".", "").replace("/", " per ").replace("sq ", "square ").replace("cu ", "cubic ")
    squared = _POWERS[re.sub(r"\D", "", power)] if power else ""
    unit = " ".join(_singular(word) for word in [squared, *words.split()] if word)
    unit = unit.removeprefix("degree ") if unit in ("degree fahrenheit", "degree celsius") else unit
    return "" if unit in _NO_UNIT else unit


def _singular(word: str) -> str:
    if word in _CANONICAL:
        return _CANONICAL[word]
    one = word.removesuffix("s") if len(word) > 3 and not word.endswith("ss") else word
    return _CANONICAL.get(one, one)
