"""The tables as the newest migration leaves them; a test compares the two."""

from typing import Any

import sqlalchemy as sa

from metapo.store.text import Text

metadata = sa.MetaData()


def _call() -> list[sa.Column[Any]]:
    """What is kept of every request."""
    return [
        sa.Column("reply", Text, nullable=False),
        sa.Column("error", Text, nullable=False),
        sa.Column("model", Text, nullable=False),
        sa.Column("finish_reason", Text, nullable=False),
        sa.Column("prompt_tokens", sa.Integer),
        sa.Column("completion_tokens", sa.Integer),
        sa.Column("latency_s", sa.Float, nullable=False),
        sa.Column("role", Text, nullable=False),
        sa.Column("endpoint", Text, nullable=False),
        sa.Column("cached_tokens", sa.Integer),
        sa.Column("cost_usd", sa.Float),
    ]


attempt = sa.Table(
    "attempt",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("resumed_step", sa.Integer, nullable=False),
    sa.Column("started_at", Text, nullable=False),
)
answered_by = sa.Table(
    "answered_by",
    metadata,
    sa.Column("attempt_id", sa.Integer, primary_key=True),
    sa.Column("role", Text, primary_key=True),
    sa.Column("identity", Text, nullable=False),
)
rubric = sa.Table(
    "rubric",
    metadata,
    sa.Column("digest", Text, primary_key=True),
    sa.Column("body", Text, nullable=False),
)
revision = sa.Table(
    "revision",
    metadata,
    sa.Column("id", Text, primary_key=True),
    sa.Column("rubric_digest", Text, nullable=False),
    sa.Column("reason", Text, nullable=False),
    sa.Column("proposer", Text, nullable=False),
    sa.Column("step", sa.Integer, nullable=False),
)
revision_parent = sa.Table(
    "revision_parent",
    metadata,
    sa.Column("revision_id", Text, primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("parent_id", Text, nullable=False),
)
adoption = sa.Table(
    "adoption",
    metadata,
    sa.Column("attempt_id", sa.Integer, primary_key=True),
    sa.Column("cluster", Text, primary_key=True),
    sa.Column("step", sa.Integer, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("revision_id", Text, nullable=False),
    sa.Column("factor", sa.Float, nullable=False),
    sa.Column("shift", sa.Float, nullable=False),
)
rollout = sa.Table(
    "rollout",
    metadata,
    sa.Column("id", Text, primary_key=True),
    sa.Column("attempt_id", sa.Integer, nullable=False),
    sa.Column("step", sa.Integer, nullable=False),
    sa.Column("split", Text, nullable=False),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("prompt", Text, nullable=False),
    sa.Column("completion", Text, nullable=False),
    sa.Column("reference", Text),
    sa.Column("revision_id", Text, nullable=False),
    sa.Column("value", sa.Float),
    sa.Column("normalized", sa.Float),
    sa.Column("raw", sa.Float),
    sa.Column("n_reused", sa.Integer, nullable=False),
    sa.Column("n_left_out", sa.Integer, nullable=False),
    sa.Column("monitor", sa.Float),
    sa.Column("cluster", Text, nullable=False),
    sa.Column("screened", Text, nullable=False),
    sa.Column("prompt_id", Text, nullable=False),
)
rollout_flag = sa.Table(
    "rollout_flag",
    metadata,
    sa.Column("rollout_id", Text, primary_key=True),
    sa.Column("detector", Text, primary_key=True),
    sa.Column("detail", Text, nullable=False),
)
verdict = sa.Table(
    "verdict",
    metadata,
    sa.Column("rollout_id", Text, primary_key=True),
    sa.Column("criterion_id", Text, primary_key=True),
    sa.Column("points", sa.Integer),
    sa.Column("rationale", Text, nullable=False),
    sa.Column("reason", Text),
    sa.Column("detail", Text, nullable=False),
    sa.Column("expected", sa.Float),
    sa.Column("uncertainty", sa.Float),
    sa.Column("quote", Text, nullable=False),
    sa.Column("label_mass", sa.Float),
)
opinion = sa.Table(
    "opinion",
    metadata,
    sa.Column("rollout_id", Text, primary_key=True),
    sa.Column("role", Text, primary_key=True),
    sa.Column("judge", Text, primary_key=True),
    sa.Column("criterion_id", Text, primary_key=True),
    sa.Column("points", sa.Integer),
    sa.Column("value", sa.Float),
    sa.Column("rationale", Text, nullable=False),
    sa.Column("reason", Text),
    sa.Column("detail", Text, nullable=False),
)
known_answer = sa.Table(
    "known_answer",
    metadata,
    sa.Column("key", Text, primary_key=True),
    sa.Column("body", Text, nullable=False),
    sa.Column("step", sa.Integer, nullable=False),
)
judge_call = sa.Table(
    "judge_call",
    metadata,
    sa.Column("rollout_id", Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    *_call(),
)
other_call = sa.Table(
    "other_call",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("attempt_id", sa.Integer),
    sa.Column("step", sa.Integer, nullable=False),
    *_call(),
)
meta_begun = sa.Table(
    "meta_begun",
    metadata,
    sa.Column("attempt_id", sa.Integer, primary_key=True),
    sa.Column("cluster", Text, primary_key=True),
    sa.Column("step", sa.Integer, primary_key=True),
    sa.Column("adopt_step", sa.Integer, nullable=False),
    sa.Column("why", Text, nullable=False),
)
meta_step = sa.Table(
    "meta_step",
    metadata,
    sa.Column("attempt_id", sa.Integer, primary_key=True),
    sa.Column("cluster", Text, primary_key=True),
    sa.Column("step", sa.Integer, primary_key=True),
    sa.Column("adopt_step", sa.Integer, nullable=False),
    sa.Column("why", Text, nullable=False),
    sa.Column("parent_id", Text, nullable=False),
    sa.Column("child_id", Text),
    sa.Column("decision", Text, nullable=False),
    sa.Column("reason", Text, nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
)
meta_sample = sa.Table(
    "meta_sample",
    metadata,
    sa.Column("attempt_id", sa.Integer, primary_key=True),
    sa.Column("cluster", Text, primary_key=True),
    sa.Column("step", sa.Integer, primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("rollout_step", sa.Integer, nullable=False),
    sa.Column("rollout_position", sa.Integer, nullable=False),
    sa.Column("why", Text, nullable=False),
    sa.Column("flags", Text, nullable=False),
)
meta_exchange = sa.Table(
    "meta_exchange",
    metadata,
    sa.Column("attempt_id", sa.Integer, primary_key=True),
    sa.Column("cluster", Text, primary_key=True),
    sa.Column("step", sa.Integer, primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("stage", Text, nullable=False),
    sa.Column("sample", sa.Integer),
    sa.Column("prompt", Text, nullable=False),
    sa.Column("reply", Text, nullable=False),
    sa.Column("error", Text, nullable=False),
    sa.Column("model", Text, nullable=False),
    sa.Column("prompt_tokens", sa.Integer),
    sa.Column("completion_tokens", sa.Integer),
    sa.Column("cost_usd", sa.Float),
    sa.Column("latency_s", sa.Float, nullable=False),
)
proposal = sa.Table(
    "proposal",
    metadata,
    sa.Column("attempt_id", sa.Integer, primary_key=True),
    sa.Column("cluster", Text, primary_key=True),
    sa.Column("step", sa.Integer, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("revision_id", Text, nullable=False),
    sa.Column("accepted", sa.Boolean, nullable=False),
    sa.Column("reason", Text, nullable=False),
    sa.Column("repairs", sa.Integer),
)
gate_finding = sa.Table(
    "gate_finding",
    metadata,
    sa.Column("attempt_id", sa.Integer, primary_key=True),
    sa.Column("cluster", Text, primary_key=True),
    sa.Column("step", sa.Integer, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("gate_check", Text, primary_key=True),
    sa.Column("passed", sa.Boolean, nullable=False),
    sa.Column("detail", Text, nullable=False),
    sa.Column("parent", sa.Float),
    sa.Column("child", sa.Float),
    sa.Column("n_pairs", sa.Integer, nullable=False),
)
anchor = sa.Table(
    "anchor",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("attempt_id", sa.Integer),
    sa.Column("step", sa.Integer, nullable=False),
    sa.Column("cluster", Text, nullable=False),
    sa.Column("source", Text, nullable=False),
    sa.Column("prompt", Text, nullable=False),
    sa.Column("better", Text, nullable=False),
    sa.Column("worse", Text, nullable=False),
    sa.Column("reference", Text),
    sa.Column("why", Text, nullable=False),
    sa.Column("who", Text, nullable=False),
    sa.Column("added_at", Text, nullable=False),
)
act = sa.Table(
    "act",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("kind", Text, nullable=False),
    sa.Column("who", Text, nullable=False),
    sa.Column("why", Text, nullable=False),
    sa.Column("done_at", Text, nullable=False),
    sa.Column("cluster", Text),
    sa.Column("about", Text),
    sa.Column("criterion", Text, nullable=False),
    sa.Column("rubric_digest", Text),
)
act_taken = sa.Table(
    "act_taken",
    metadata,
    sa.Column("attempt_id", sa.Integer, primary_key=True),
    sa.Column("cluster", Text, primary_key=True),
    sa.Column("act_id", sa.Integer, primary_key=True),
    sa.Column("step", sa.Integer, nullable=False),
    sa.Column("outcome", Text, nullable=False),
)
served = sa.Table(
    "served",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("settings", Text, nullable=False),
)
group_member = sa.Table(
    "group_member",
    metadata,
    sa.Column("attempt_id", sa.Integer, primary_key=True),
    sa.Column("split", Text, primary_key=True),
    sa.Column("name", Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("step", sa.Integer, nullable=False),
)
rollout_key = sa.Table(
    "rollout_key",
    metadata,
    sa.Column("attempt_id", sa.Integer, primary_key=True),
    sa.Column("key", Text, primary_key=True),
    sa.Column("rollout_id", Text, nullable=False),
)
boundary = sa.Table(
    "boundary",
    metadata,
    sa.Column("attempt_id", sa.Integer, primary_key=True),
    sa.Column("step", sa.Integer, primary_key=True),
    sa.Column("error", Text, nullable=False),
    sa.Column("closed_at", Text, nullable=False),
)
metric = sa.Table(
    "metric",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("attempt_id", sa.Integer, nullable=False),
    sa.Column("step", sa.Integer, nullable=False),
    sa.Column("kind", Text, nullable=False),
    sa.Column("body", Text, nullable=False),
)
spent_by = sa.Table(
    "spent_by",
    metadata,
    sa.Column("writer", Text, primary_key=True),
    sa.Column("role", Text, primary_key=True),
    sa.Column("model", Text, primary_key=True),
    sa.Column("n_calls", sa.BigInteger, nullable=False),
    sa.Column("n_failed", sa.BigInteger, nullable=False),
    sa.Column("prompt_tokens", sa.BigInteger, nullable=False),
    sa.Column("completion_tokens", sa.BigInteger, nullable=False),
    sa.Column("cost_usd", sa.Float, nullable=False),
    sa.Column("latency_s", sa.Float, nullable=False),
)
pruned = sa.Table(
    "pruned",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("pruned_at", Text, nullable=False),
    sa.Column("before_step", sa.Integer, nullable=False),
    sa.Column("what", Text, nullable=False),
    sa.Column("n_rows", sa.BigInteger, nullable=False),
)
