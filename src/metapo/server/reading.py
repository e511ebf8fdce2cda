"""A request's JSON, read so strictly that no two readers could disagree on it."""

import json
import math
from typing import Any

from metapo.server.failures import Refused

MAX_DEPTH = 64


def read_json(body: bytes) -> Any:
    """The value in a body. Raises Refused for what is no JSON, and for JSON with a repeated name, NaN, infinity, a
    number beyond a float, or brackets nested deeper than `MAX_DEPTH`."""
    try:
        value = json.loads(
            body.decode("utf-8"), object_pairs_hook=_object, parse_constant=_constant, parse_float=_number
        )
    except UnicodeDecodeError as e:
        raise _bad(f"the body is not UTF-8: {e.reason} at byte {e.start}") from e
    except json.JSONDecodeError as e:
        raise _bad(f"the body is not JSON: {e.msg} at line {e.lineno}, column {e.colno}") from e
    except RecursionError as e:
        raise _too_deep() from e
    except ValueError as e:  # a whole number of thousands of digits
        raise _bad(f"the body holds a number that can't be read: {e}") from e
    if _depth(value) > MAX_DEPTH:
        raise _too_deep()
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise _bad(f"an object has the name {repeated[:80]!r} twice; which one counts?")
    return found


def _constant(name: str) -> Any:
    raise _bad(f"{name} is no JSON number; where there is no value, leave the field out or give null")


def _number(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise _bad(f"the number {text[:40]} is beyond what a float can hold")
    return number


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level := [v for v in level if isinstance(v, dict | list)]:
        depth += 1
        level = [inner for v in level for inner in (v.values() if isinstance(v, dict) else v)]
        if depth > MAX_DEPTH:
            break
    return depth


def _bad(message: str) -> Refused:
    return Refused(400, "bad_json", message)


def _too_deep() -> Refused:
    return _bad(f"the body's brackets are nested deeper than {MAX_DEPTH}")
