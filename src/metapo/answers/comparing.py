"""Whether two answers are equal, with math-verify and sympy. Only the worker runs this: it may take any time.

Numbers that are written out are compared exactly. The library rounds to six places after the point instead, which takes
0.00000001 for 0.00000002. A decimal stands for another kind of number, as 0.333333 for 1/3, if they agree to one in a
million.
"""

import re
from fractions import Fraction
from functools import cache
from typing import Any

from math_verify import LatexExtractionConfig, parse, verify
from sympy import Abs, And, Eq, Expr, Float, I, Interval, N, Rational, Symbol, Union, nan, zoo
from sympy.core.function import AppliedUndef
from sympy.core.relational import Relational

from metapo.answers.notation import is_decimal, number
from metapo.answers.reading import Answer, Numeral, Ordered, Several, Value, Words, readings

ROUNDED = 1e-6
EXACT = 1e-20
NOISE = 1e-60  # what a sum that is zero comes to, where sympy can't tell that it is
DIGITS = 30
_CONFIG = (LatexExtractionConfig(boxed_match_priority=0),)


def equal(predicted: str, reference: str) -> bool:
    """Whether one reading of the one equals one of the other."""
    return any(same(p, r) for r in readings(reference) for p in readings(predicted))


def same(a: Answer, b: Answer) -> bool:
    match a, b:
        case (Words(), _) | (_, Words()):
            return _as_words(a) == _as_words(b)
        case Value(), Value():
            return _same_names(a.name, b.name) and _same_with_units(a, b)
        case Numeral(), Numeral():
            return a == b
        case (Value(), Several() | Ordered()) | (Several() | Ordered(), Value()):
            one, other = _as_set(a), _as_set(b)
            return one is not None and one == other
        case Several(), Several():
            return a.kind == b.kind and len(a.parts) == len(b.parts) and _pair_up(a.parts, b.parts)
        case Ordered(), Ordered():
            return (
                a.kind == b.kind
                and len(a.parts) == len(b.parts)
                and all(same(x, y) for x, y in zip(a.parts, b.parts, strict=True))
            )
    return False


def _as_words(answer: Answer) -> str | None:
    if isinstance(answer, Words):
        return answer.text
    return answer.latex.lower() if isinstance(answer, Value) and not answer.unit else None


def _pair_up(a: tuple[Answer, ...], b: tuple[Answer, ...]) -> bool:
    """Each of the one with one of the other; the first that fits will do, as equality is transitive."""
    left = list(b)
    for part in a:
        found = next((i for i, other in enumerate(left) if same(part, other)), None)
        if found is None:
            return False
        del left[found]
    return True


def _same_names(a: str, b: str) -> bool:
    return not a or not b or a == b


def _same_with_units(a: Value, b: Value) -> bool:
    """A unit may be left out, not changed. A percentage is equal to its number of percent and to its value."""
    if a.unit and b.unit:
        return a.unit == b.unit and _same_values(a.latex, b.latex)
    if _same_values(a.latex, b.latex):
        return True
    if "percent" not in (a.unit, b.unit):
        return False
    percent, plain = (a, b) if a.unit else (b, a)
    return _same_values(rf"\frac{{{percent.latex}}}{{100}}", plain.latex)


def _same_values(a: str, b: str) -> bool:
    if _squeezed(a) == _squeezed(b):
        return True
    x, y = number(a), number(b)
    if x is not None and y is not None:
        return x == y or (("." in a) != ("." in b) and _is_close(x, y))
    return _same_mathematics(a, b)


def _is_close(x: Fraction, y: Fraction) -> bool:
    """A decimal of a fraction that has no end. An integer is no such fraction."""
    if 1 in (x.denominator, y.denominator):
        return False
    return abs(x - y) <= Fraction(ROUNDED) * max(abs(x), abs(y))


def _squeezed(latex: str) -> str:
    return re.sub(r"(?<!\d)\s+|\s+(?!\d)", "", latex)  # the space in 2 3/4 counts


def _same_mathematics(a: str, b: str) -> bool:
    x, y = parsed(a), parsed(b)
    if x is None or y is None:
        return False
    if _is_constant(x) and _is_constant(y):
        return _same_constants(x, y, ROUNDED if is_decimal(a) != is_decimal(b) else EXACT)
    if bool(verify(y, x, float_rounding=15, timeout_seconds=None)):
        return True
    one, other = _solutions(x), _solutions(y)  # the library compares 2x<6 with x<3 by their lists of solutions, in vain
    return one is not None and x.free_symbols == y.free_symbols and one == other


def _as_set(answer: Answer) -> Any:
    """The numbers that an inequality, an interval or a union of intervals holds; None for anything else."""
    if isinstance(answer, Value):
        return _solutions(parsed(answer.latex))
    if isinstance(answer, Several) and answer.kind == "union":
        parts = [_as_set(part) for part in answer.parts]
        return None if None in parts else Union(*parts)
    if isinstance(answer, Ordered) and answer.kind in ("()", "(]", "[)", "[]") and len(answer.parts) == 2:
        ends: list[Any] = [parsed(part.latex) if isinstance(part, Value) else None for part in answer.parts]
        if all(end is not None and _is_constant(end) and end.is_extended_real for end in ends):
            return Interval(ends[0].doit(), ends[1].doit(), answer.kind[0] == "(", answer.kind[1] == ")")
    return None


def _solutions(relation: Any) -> Any:
    """The real numbers for which an inequality in one variable holds, None for anything else."""
    parts = getattr(relation, "_unsorted_args", (relation,))  # a chain of inequalities is a class of latex2sympy's
    if not all(isinstance(part, Relational) and not isinstance(part, Eq) for part in parts):
        return None
    names = {symbol for part in parts for symbol in part.free_symbols}
    if len(names) != 1:
        return None
    [name], x = names, Symbol("x", real=True)
    try:
        return And(*(part.xreplace({name: x}) for part in parts)).as_set()
    except (NotImplementedError, TypeError, ValueError):
        return None


@cache
def parsed(latex: str) -> Any:
    """As sympy understands it, None where it doesn't; `i` is the imaginary unit and decimals are exact."""
    latex = re.sub(r"(?<=\d)\s*(?=\()", r"\\cdot ", latex)  # or 3(4) is taken for a mixed number
    found = parse(
        rf"\boxed{{{latex}}}", _CONFIG, fallback_mode="no_fallback", extraction_mode="first_match", parsing_timeout=None
    )
    if not found or isinstance(found[0], str):
        return None
    exact = {decimal: Rational(str(decimal)) for decimal in found[0].atoms(Float)}
    imaginary = {symbol: I for symbol in found[0].free_symbols if symbol.name == "i"}
    return found[0].xreplace(exact | imaginary)


def _is_constant(expression: Any) -> bool:
    return isinstance(expression, Expr) and not expression.free_symbols and not expression.has(AppliedUndef)


def _same_constants(a: Any, b: Any, tolerance: float) -> bool:
    a, b = a.doit(), b.doit()
    if a.is_Rational and b.is_Rational and tolerance == EXACT:
        return bool(a == b)
    if a.has(zoo, nan) or b.has(zoo, nan):
        return False
    x, y = N(a, DIGITS), N(b, DIGITS)
    if x.is_finite is False or y.is_finite is False:
        return bool(a == b)
    gap, size = N(Abs(a - b), DIGITS), max(N(Abs(x), DIGITS), N(Abs(y), DIGITS))  # no floats: they end at 1e308
    return bool(gap <= tolerance * size) or bool(size < NOISE)
