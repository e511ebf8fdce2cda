"""Mathematical answers: found in a solution, and held against another."""

from metapo.answers.boxed import boxed_answer, holds_box
from metapo.answers.equality import Comparer, Equality, Why, out_of_bounds

__all__ = ["Comparer", "Equality", "Why", "boxed_answer", "holds_box", "out_of_bounds"]
