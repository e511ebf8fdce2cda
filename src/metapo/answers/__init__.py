"""Answers: found in a completion, and held against a reference or a label."""

from metapo.answers.boxed import boxed_answer, holds_box
from metapo.answers.equality import Comparer, Equality, Why
from metapo.answers.gold import gold

__all__ = ["Comparer", "Equality", "Why", "boxed_answer", "gold", "holds_box"]
