import inspect
import re

import pytest

from metapo import errors
from metapo.errors import ChatError, MetapoError, MissingExtra


def subclasses(base: type) -> set[type]:
    return {base}.union(*(subclasses(c) for c in base.__subclasses__()))


def test_the_printed_tree_is_the_real_one() -> None:
    """Indentation in the module's docstring is inheritance."""
    printed: dict[str, str] = {}
    above: list[tuple[int, str]] = [(0, "Exception")]
    for line in inspect.getdoc(errors).splitlines():  # type: ignore[union-attr]
        if match := re.match(r"( {4,})([A-Z]\w+)(?:  |$)", line):
            depth, name = len(match[1]), match[2]
            above = [(d, n) for d, n in above if d < depth]
            printed[name] = above[-1][1]
            above.append((depth, name))
    real = {c.__name__: c.__base__.__name__ for c in subclasses(MetapoError) if c.__module__ == errors.__name__}
    assert printed == real


def test_the_printed_tree_marks_what_is_retryable() -> None:
    marked = set(re.findall(r"^ +(\w+) .*\(retryable\)$", inspect.getdoc(errors) or "", re.MULTILINE))
    assert marked == {c.__name__ for c in subclasses(MetapoError) if c.retryable}


def test_only_failures_of_a_chat_call_are_retryable() -> None:
    assert all(issubclass(c, ChatError) for c in subclasses(MetapoError) if c.retryable)
    assert not ChatError.retryable


@pytest.mark.parametrize("error", sorted(subclasses(MetapoError), key=lambda c: c.__name__))
def test_every_error_says_what_it_stands_for(error: type) -> None:
    assert error.__doc__


def test_a_missing_extra_names_the_install_command() -> None:
    message = str(MissingExtra("trl", "Training with TRL"))
    assert "Training with TRL needs the extra 'trl'" in message
    assert "pip install 'metapo[trl]'" in message
