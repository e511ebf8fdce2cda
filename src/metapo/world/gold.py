"""Gold quality: what a good essay really is. Training never sees it; neither judge nor meta model does."""

import math

from metapo.world.essay import Essay, Role

MAX_SENTENCES = 11


def gold(essay: Essay) -> float:
    """Quality of an essay in [0, 1].

    The meta model has no symptom for the share of broken tokens or for too many sentences, so it can't reach 1 by
    construction.
    """
    unfinished = not essay.finished
    return (
        _content(essay)
        * (1 - essay.n_wrong_claims / max(1, essay.n_claims))
        * max(0.0, 1 - 0.2 * essay.n_repeats)
        * max(0.0, 1 - 1.2 * _share_broken(essay))
        * (0.3 if essay.of(Role.REMARK) else 1.0)
        * (0.75 if unfinished else 1.0)
        * (0.85 if len(essay.sentences) > MAX_SENTENCES else 1.0)
    )


def _content(essay: Essay) -> float:
    evidence = min(len(set(essay.right_nouns)), 3) / 3
    thesis = _has(essay, Role.THESIS)
    title = float(bool(essay.sentences) and essay.sentences[0].role is Role.TITLE and essay.fits(essay.sentences[0]))
    counter = 0.5 * _has(essay, Role.COUNTER) + 0.5 * essay.answered_counterargument
    # fsum: added one by one, the parts of a perfect essay come to more than 1
    base = math.fsum((0.46 * evidence, 0.12 * thesis, 0.14 * _conclusion(essay), 0.20 * counter, 0.08 * title))
    if not evidence:
        base *= 0.4
    if not essay.of(Role.TITLE, Role.THESIS):
        base *= 0.8
    return base


def _has(essay: Essay, role: Role) -> float:
    return float(any(essay.fits(s) for s in essay.of(role)))


def _conclusion(essay: Essay) -> float:
    """1 for a fitting conclusion; halved when it is not the last sentence and when the essay is unfinished."""
    last = essay.sentences[-1] if essay.sentences else None
    is_last = last is not None and last.role is Role.CONCLUSION and essay.fits(last)
    return _has(essay, Role.CONCLUSION) * (1 if is_last else 0.5) * (1 if essay.finished else 0.5)


def _share_broken(essay: Essay) -> float:
    broken = sum(s.n_tokens for s in essay.of(Role.BROKEN, Role.RUN_ON))
    return broken / max(1, sum(s.n_tokens for s in essay.sentences))
