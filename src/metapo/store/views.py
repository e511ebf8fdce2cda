"""The views as the newest migration leaves them; a test compares the two."""

from typing import Any

import sqlalchemy as sa

from metapo.store import schema as t
from metapo.store.text import Text

SUPERSEDED = (t.rollout, t.adoption, t.meta_begun, t.meta_step, t.anchor, t.act_taken, t.metric)
"""Tables whose rows a later attempt may supersede."""


def live(table: sa.Table) -> sa.TableClause:
    """The view of the rows that count."""
    return sa.table(f"live_{table.name}", *(sa.column(c.name, c.type) for c in table.columns))


def _view(name: str, texts: str, **others: Any) -> sa.TableClause:
    kinds = {**dict.fromkeys(texts.split(), Text()), **others}
    return sa.table(name, *(sa.column(column, kind) for column, kind in kinds.items()))


_N, _X, _YES = sa.BigInteger(), sa.Float(), sa.Boolean()
VIEWS = (
    _view("lineage", "cluster id rubric_digest proposer reason", from_step=_N, number=_N),
    _view(
        "gate_decisions",
        "cluster why revision_id gate_check detail",
        step=_N,
        number=_N,
        n_pairs=_N,
        accepted=_YES,
        passed=_YES,
        parent=_X,
        child=_X,
    ),
    _view(
        "reward_by_step",
        "split revision_id",
        step=_N,
        n_rollouts=_N,
        n_unscored=_N,
        normalized=_X,
        raw=_X,
        monitor=_X,
    ),
    _view("points_by_criterion", "split criterion_id", step=_N, n_rollouts=_N, n_unscored=_N, points=_X),
    _view("unscored_by_reason", "split reason", step=_N, n_verdicts=_N),
    _view("screened_by_reason", "split reason", step=_N, n_rollouts=_N, reward=_X),
    _view(
        "spending",
        "role model",
        **dict.fromkeys(("n_calls", "n_failed", "prompt_tokens", "completion_tokens"), _N),
        cost_usd=_X,
        latency_s=_X,
    ),
)
"""A view for each question that people ask."""
