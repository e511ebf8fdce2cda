"""Mathematical answers: found in a solution, and held against another."""

from metapo.answers.boxed import boxed_answer, holds_box
from metapo.answers.equality import Comparer, Equality, Why, excess_of

__all__ = ["Comparer", "Equality", "Why", "boxed_answer", "excess_of", "holds_box"]
