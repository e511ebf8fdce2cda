"""The tables as the newest migration leaves them; a test compares the two."""

from typing import Any

import sqlalchemy as sa

metadata = sa.MetaData()


def _call() -> list[sa.Column[Any]]:
    """What is kept of every request."""
    return [
        sa.Column("reply", sa.Text, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("finish_reason", sa.Text, nullable=False),
        sa.Column("prompt_tokens", sa.Integer),
        sa.Column("completion_tokens", sa.Integer),
        sa.Column("latency_s", sa.Float, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("endpoint", sa.Text, nullable=False),
        sa.Column("cached_tokens", sa.Integer),
        sa.Column("cost_usd", sa.Float),
    ]


attempt = sa.Table(
    "attempt",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("resumed_step", sa.Integer, nullable=False),
    sa.Column("started_at", sa.Text, nullable=False),
)
answered_by = sa.Table(
    "answered_by",
    metadata,
    sa.Column("attempt_id", sa.Integer, primary_key=True),
    sa.Column("role", sa.Text, primary_key=True),
    sa.Column("identity", sa.Text, nullable=False),
)
rubric = sa.Table(
    "rubric",
    metadata,
    sa.Column("digest", sa.Text, primary_key=True),
    sa.Column("body", sa.Text, nullable=False),
)
revision = sa.Table(
    "revision",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("rubric_digest", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("proposer", sa.Text, nullable=False),
    sa.Column("step", sa.Integer, nullable=False),
)
revision_parent = sa.Table(
    "revision_parent",
    metadata,
    sa.Column("revision_id", sa.Text, primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("parent_id", sa.Text, nullable=False),
)
adoption = sa.Table(
    "adoption",
    metadata,
    sa.Column("attempt_id", sa.Integer, primary_key=True),
    sa.Column("cluster", sa.Text, primary_key=True),
    sa.Column("step", sa.Integer, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("revision_id", sa.Text, nullable=False),
    sa.Column("factor", sa.Float, nullable=False),
    sa.Column("shift", sa.Float, nullable=False),
)
rollout = sa.Table(
    "rollout",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("attempt_id", sa.Integer, nullable=False),
    sa.Column("step", sa.Integer, nullable=False),
    sa.Column("split", sa.Text, nullable=False),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("prompt", sa.Text, nullable=False),
    sa.Column("completion", sa.Text, nullable=False),
    sa.Column("reference", sa.Text),
    sa.Column("revision_id", sa.Text, nullable=False),
    sa.Column("value", sa.Float),
    sa.Column("normalized", sa.Float),
    sa.Column("raw", sa.Float),
    sa.Column("n_reused", sa.Integer, nullable=False),
    sa.Column("n_left_out", sa.Integer, nullable=False),
    sa.Column("monitor", sa.Float),
    sa.Column("cluster", sa.Text, nullable=False),
    sa.Column("screened", sa.Text, nullable=False),
)
verdict = sa.Table(
    "verdict",
    metadata,
    sa.Column("rollout_id", sa.Text, primary_key=True),
    sa.Column("criterion_id", sa.Text, primary_key=True),
    sa.Column("points", sa.Integer),
    sa.Column("rationale", sa.Text, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("expected", sa.Float),
    sa.Column("uncertainty", sa.Float),
    sa.Column("quote", sa.Text, nullable=False),
    sa.Column("label_mass", sa.Float),
)
opinion = sa.Table(
    "opinion",
    metadata,
    sa.Column("rollout_id", sa.Text, primary_key=True),
    sa.Column("role", sa.Text, primary_key=True),
    sa.Column("judge", sa.Text, primary_key=True),
    sa.Column("criterion_id", sa.Text, primary_key=True),
    sa.Column("points", sa.Integer),
    sa.Column("value", sa.Float),
    sa.Column("rationale", sa.Text, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("detail", sa.Text, nullable=False),
)
known_answer = sa.Table(
    "known_answer",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("body", sa.Text, nullable=False),
)
judge_call = sa.Table(
    "judge_call",
    metadata,
    sa.Column("rollout_id", sa.Text, primary_key=True),
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
    sa.Column("cluster", sa.Text, primary_key=True),
    sa.Column("step", sa.Integer, primary_key=True),
    sa.Column("adopt_step", sa.Integer, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
)
meta_step = sa.Table(
    "meta_step",
    metadata,
    sa.Column("attempt_id", sa.Integer, primary_key=True),
    sa.Column("cluster", sa.Text, primary_key=True),
    sa.Column("step", sa.Integer, primary_key=True),
    sa.Column("adopt_step", sa.Integer, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("parent_id", sa.Text, nullable=False),
    sa.Column("child_id", sa.Text),
    sa.Column("decision", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
)
meta_sample = sa.Table(
    "meta_sample",
    metadata,
    sa.Column("attempt_id", sa.Integer, primary_key=True),
    sa.Column("cluster", sa.Text, primary_key=True),
    sa.Column("step", sa.Integer, primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("rollout_step", sa.Integer, nullable=False),
    sa.Column("rollout_position", sa.Integer, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("flags", sa.Text, nullable=False),
)
meta_exchange = sa.Table(
    "meta_exchange",
    metadata,
    sa.Column("attempt_id", sa.Integer, primary_key=True),
    sa.Column("cluster", sa.Text, primary_key=True),
    sa.Column("step", sa.Integer, primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("stage", sa.Text, nullable=False),
    sa.Column("sample", sa.Integer),
    sa.Column("prompt", sa.Text, nullable=False),
    sa.Column("reply", sa.Text, nullable=False),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("prompt_tokens", sa.Integer),
    sa.Column("completion_tokens", sa.Integer),
    sa.Column("cost_usd", sa.Float),
    sa.Column("latency_s", sa.Float, nullable=False),
)
proposal = sa.Table(
    "proposal",
    metadata,
    sa.Column("attempt_id", sa.Integer, primary_key=True),
    sa.Column("cluster", sa.Text, primary_key=True),
    sa.Column("step", sa.Integer, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("revision_id", sa.Text, nullable=False),
    sa.Column("accepted", sa.Boolean, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("repairs", sa.Integer),
)
gate_finding = sa.Table(
    "gate_finding",
    metadata,
    sa.Column("attempt_id", sa.Integer, primary_key=True),
    sa.Column("cluster", sa.Text, primary_key=True),
    sa.Column("step", sa.Integer, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("gate_check", sa.Text, primary_key=True),
    sa.Column("passed", sa.Boolean, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
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
    sa.Column("cluster", sa.Text, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("prompt", sa.Text, nullable=False),
    sa.Column("better", sa.Text, nullable=False),
    sa.Column("worse", sa.Text, nullable=False),
    sa.Column("reference", sa.Text),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("who", sa.Text, nullable=False),
    sa.Column("added_at", sa.Text, nullable=False),
)
act = sa.Table(
    "act",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("who", sa.Text, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("done_at", sa.Text, nullable=False),
    sa.Column("cluster", sa.Text),
    sa.Column("about", sa.Text),
    sa.Column("criterion", sa.Text, nullable=False),
    sa.Column("rubric_digest", sa.Text),
)
act_taken = sa.Table(
    "act_taken",
    metadata,
    sa.Column("attempt_id", sa.Integer, primary_key=True),
    sa.Column("cluster", sa.Text, primary_key=True),
    sa.Column("act_id", sa.Integer, primary_key=True),
    sa.Column("step", sa.Integer, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
)
served = sa.Table(
    "served",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("settings", sa.Text, nullable=False),
)
group_member = sa.Table(
    "group_member",
    metadata,
    sa.Column("attempt_id", sa.Integer, primary_key=True),
    sa.Column("split", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("step", sa.Integer, nullable=False),
)
rollout_key = sa.Table(
    "rollout_key",
    metadata,
    sa.Column("attempt_id", sa.Integer, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("rollout_id", sa.Text, nullable=False),
)
boundary = sa.Table(
    "boundary",
    metadata,
    sa.Column("attempt_id", sa.Integer, primary_key=True),
    sa.Column("step", sa.Integer, primary_key=True),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("closed_at", sa.Text, nullable=False),
)
metric = sa.Table(
    "metric",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("attempt_id", sa.Integer, nullable=False),
    sa.Column("step", sa.Integer, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
)
