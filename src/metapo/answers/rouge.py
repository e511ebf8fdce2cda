"""ROUGE of summaries against references, by the library rouge-score."""

from collections.abc import Iterable
from typing import NamedTuple

from metapo.errors import MissingExtra

KINDS = ("rouge1", "rouge2", "rougeL", "rougeLsum")


class Rouge(NamedTuple):
    """Of one kind, each in [0, 100]; `f` is the F-measure."""

    precision: float
    recall: float
    f: float


def rouge(pairs: Iterable[tuple[str, str]], *, stem: bool = False) -> list[dict[str, Rouge]]:
    """By kind, the score of each text against its reference, in order. For Lsum each line is a sentence.

    Takes time with the product of their lengths. Raises MissingExtra.
    """
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError as e:
        raise MissingExtra("eval", "ROUGE") from e

    scorer = RougeScorer(KINDS, use_stemmer=stem)
    scores = [scorer.score(target=reference, prediction=predicted) for predicted, reference in pairs]
    return [{k: Rouge(100 * s[k].precision, 100 * s[k].recall, 100 * s[k].fmeasure) for k in KINDS} for s in scores]
