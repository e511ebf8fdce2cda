"""Numbered migrations, run when a store is opened. A migration that has shipped is never edited."""

from collections.abc import Callable

import sqlalchemy as sa

from metapo.errors import StoreError, StoreOutdated
from metapo.store.text import Text, prompt_id

Migration = Callable[[sa.Connection], None]
MIGRATIONS: list[Migration] = []


def migration(function: Migration) -> Migration:
    """Register the next migration; its number is its place."""
    MIGRATIONS.append(function)
    return function


def migrate(db: sa.Connection) -> int:
    """Bring a store to the newest schema; returns how many migrations ran. Raises StoreError for a newer store, or a
    database that holds something else."""
    if (done := schema_of(db)) is None:
        db.execute(sa.text("CREATE TABLE migration (number INTEGER PRIMARY KEY, name TEXT NOT NULL)"))
        done = 0
    for number, function in enumerate(MIGRATIONS[done:], done + 1):
        function(db)
        db.execute(
            sa.text("INSERT INTO migration (number, name) VALUES (:number, :name)"),
            {"number": number, "name": function.__name__},
        )
    return len(MIGRATIONS) - done


def schema_of(db: sa.Connection) -> int | None:
    """The number of the newest migration that was done; None in an empty database. Raises StoreError for a newer store,
    or a database that holds something else."""
    tables = set(sa.inspect(db).get_table_names())
    if not tables:
        return None
    if "migration" not in tables or {c["name"] for c in sa.inspect(db).get_columns("migration")} != {"number", "name"}:
        raise StoreError(
            f"this database is no store: it holds the tables {', '.join(sorted(tables)[:3])}. Give the store an empty "
            "one, or on a server an empty schema"
        )
    done = db.scalar(sa.text("SELECT COALESCE(MAX(number), 0) FROM migration")) or 0
    if done > len(MIGRATIONS):
        raise StoreError(
            f"the store has schema {done}, this version of metapo knows up to {len(MIGRATIONS)}: "
            "open it with the version that wrote it, or a newer one"
        )
    return done


def check_schema(db: sa.Connection) -> None:
    """Raises StoreOutdated for an older schema than this version's, StoreError for a newer one, or where there is no
    store."""
    if (found := schema_of(db)) is None:
        raise StoreError("there is no store here")
    if found < len(MIGRATIONS):
        raise StoreOutdated(
            f"the store has schema {found}, and this version of metapo reads {len(MIGRATIONS)}. Whatever opens it to "
            "write brings it there, which would stop an older version that still writes to it"
        )


def _run(db: sa.Connection, script: str) -> None:
    for statement in script.split(";"):
        if statement.strip():
            db.execute(sa.text(statement))


@migration
def m001_first(db: sa.Connection) -> None:
    """Attempts, lineage, rollouts, verdicts, calls, meta steps, and a view per question that people ask."""
    _run(db, _M001)


@migration
def m002_judging(db: sa.Connection) -> None:
    """What a call cost and where it went, expected points and evidence, opinions of several judges, known answers."""
    _run(db, _M002)


@migration
def m003_accounts(db: sa.Connection) -> None:
    """Calls that belong to no rollout, who answered an attempt, and what the levels' probabilities summed up to."""
    _run(db, _M003)


@migration
def m004_evolution(db: sa.Connection) -> None:
    """Lineages by cluster, meta steps that overlap training, what the gate found, anchors, and what people decide."""
    _run(db, _M004)


# A row is live unless a later attempt wrote it anew: one that resumed before its step, or at it where the row's work
# begins after that many steps (training rollouts) rather than ends with them (evaluation, meta steps, adoptions).
_M001 = """
CREATE TABLE attempt (id INTEGER PRIMARY KEY, resumed_step INTEGER NOT NULL, started_at TEXT NOT NULL);
CREATE TABLE rubric (digest TEXT PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE revision (
    id TEXT PRIMARY KEY, rubric_digest TEXT NOT NULL REFERENCES rubric (digest),
    reason TEXT NOT NULL, proposer TEXT NOT NULL, step INTEGER NOT NULL);
CREATE TABLE revision_parent (
    revision_id TEXT NOT NULL REFERENCES revision (id), position INTEGER NOT NULL,
    parent_id TEXT NOT NULL REFERENCES revision (id), PRIMARY KEY (revision_id, position));
CREATE TABLE adoption (
    attempt_id INTEGER NOT NULL REFERENCES attempt (id), step INTEGER NOT NULL,
    revision_id TEXT NOT NULL REFERENCES revision (id), PRIMARY KEY (attempt_id, step));
CREATE TABLE rollout (
    id TEXT PRIMARY KEY, attempt_id INTEGER NOT NULL REFERENCES attempt (id), step INTEGER NOT NULL,
    split TEXT NOT NULL, position INTEGER NOT NULL, prompt TEXT NOT NULL, completion TEXT NOT NULL, reference TEXT,
    revision_id TEXT NOT NULL REFERENCES revision (id),
    value DOUBLE PRECISION, normalized DOUBLE PRECISION, raw DOUBLE PRECISION);
CREATE INDEX rollout_by_step ON rollout (step, split, position);
CREATE TABLE verdict (
    rollout_id TEXT NOT NULL REFERENCES rollout (id), criterion_id TEXT NOT NULL, points INTEGER,
    rationale TEXT NOT NULL, reason TEXT, detail TEXT NOT NULL, PRIMARY KEY (rollout_id, criterion_id));
CREATE TABLE judge_call (
    rollout_id TEXT NOT NULL REFERENCES rollout (id), number INTEGER NOT NULL, reply TEXT NOT NULL,
    error TEXT NOT NULL, model TEXT NOT NULL, finish_reason TEXT NOT NULL, prompt_tokens INTEGER,
    completion_tokens INTEGER, latency_s DOUBLE PRECISION NOT NULL, PRIMARY KEY (rollout_id, number));
CREATE TABLE meta_step (
    attempt_id INTEGER NOT NULL REFERENCES attempt (id), step INTEGER NOT NULL,
    parent_id TEXT NOT NULL REFERENCES revision (id), child_id TEXT REFERENCES revision (id),
    decision TEXT NOT NULL, reason TEXT NOT NULL, seconds DOUBLE PRECISION NOT NULL, PRIMARY KEY (attempt_id, step));
CREATE TABLE meta_sample (
    attempt_id INTEGER NOT NULL, step INTEGER NOT NULL, position INTEGER NOT NULL,
    rollout_step INTEGER NOT NULL, rollout_position INTEGER NOT NULL, PRIMARY KEY (attempt_id, step, position));
CREATE TABLE meta_exchange (
    attempt_id INTEGER NOT NULL, step INTEGER NOT NULL, position INTEGER NOT NULL, stage TEXT NOT NULL,
    sample INTEGER, prompt TEXT NOT NULL, reply TEXT NOT NULL, error TEXT NOT NULL,
    PRIMARY KEY (attempt_id, step, position));
CREATE VIEW live_rollout AS SELECT r.* FROM rollout r WHERE NOT EXISTS (
    SELECT 1 FROM attempt a WHERE a.id > r.attempt_id AND (
        a.resumed_step < r.step OR a.resumed_step = 0 OR (a.resumed_step = r.step AND r.split = 'train')));
CREATE VIEW live_meta_step AS SELECT m.* FROM meta_step m WHERE NOT EXISTS (
    SELECT 1 FROM attempt a WHERE a.id > m.attempt_id AND a.resumed_step < m.step);
CREATE VIEW live_adoption AS SELECT d.* FROM adoption d WHERE NOT EXISTS (
    SELECT 1 FROM attempt a WHERE a.id > d.attempt_id AND a.resumed_step < d.step);
CREATE VIEW lineage AS SELECT d.step AS from_step, v.id, v.rubric_digest, v.proposer, v.reason
    FROM live_adoption d JOIN revision v ON v.id = d.revision_id;
CREATE VIEW reward_by_step AS SELECT step, split, revision_id, COUNT(*) AS n_rollouts,
    COUNT(*) - COUNT(value) AS n_unscored, AVG(normalized) AS normalized, AVG(raw) AS raw
    FROM live_rollout GROUP BY step, split, revision_id;
CREATE VIEW points_by_criterion AS SELECT r.step, r.split, v.criterion_id, COUNT(*) AS n_rollouts,
    COUNT(*) - COUNT(v.points) AS n_unscored, AVG(v.points) AS points
    FROM live_rollout r JOIN verdict v ON v.rollout_id = r.id GROUP BY r.step, r.split, v.criterion_id;
CREATE VIEW unscored_by_reason AS SELECT r.step, r.split, v.reason, COUNT(*) AS n_verdicts
    FROM live_rollout r JOIN verdict v ON v.rollout_id = r.id WHERE v.reason IS NOT NULL
    GROUP BY r.step, r.split, v.reason
"""

# Views that name all columns of a table are made anew, as they don't follow where the database is PostgreSQL.
_M002 = """
DROP VIEW unscored_by_reason;
DROP VIEW points_by_criterion;
DROP VIEW reward_by_step;
DROP VIEW live_rollout;
ALTER TABLE rollout ADD COLUMN n_reused INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rollout ADD COLUMN n_left_out INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rollout ADD COLUMN monitor DOUBLE PRECISION;
ALTER TABLE verdict ADD COLUMN expected DOUBLE PRECISION;
ALTER TABLE verdict ADD COLUMN uncertainty DOUBLE PRECISION;
ALTER TABLE verdict ADD COLUMN quote TEXT NOT NULL DEFAULT '';
ALTER TABLE judge_call ADD COLUMN role TEXT NOT NULL DEFAULT 'judge';
ALTER TABLE judge_call ADD COLUMN endpoint TEXT NOT NULL DEFAULT '';
ALTER TABLE judge_call ADD COLUMN cached_tokens INTEGER;
ALTER TABLE judge_call ADD COLUMN cost_usd DOUBLE PRECISION;
ALTER TABLE meta_exchange ADD COLUMN model TEXT NOT NULL DEFAULT '';
ALTER TABLE meta_exchange ADD COLUMN prompt_tokens INTEGER;
ALTER TABLE meta_exchange ADD COLUMN completion_tokens INTEGER;
ALTER TABLE meta_exchange ADD COLUMN cost_usd DOUBLE PRECISION;
ALTER TABLE meta_exchange ADD COLUMN latency_s DOUBLE PRECISION NOT NULL DEFAULT 0;
CREATE TABLE opinion (
    rollout_id TEXT NOT NULL REFERENCES rollout (id), role TEXT NOT NULL, judge TEXT NOT NULL,
    criterion_id TEXT NOT NULL, points INTEGER, value DOUBLE PRECISION, rationale TEXT NOT NULL, reason TEXT,
    detail TEXT NOT NULL, PRIMARY KEY (rollout_id, role, judge, criterion_id));
CREATE TABLE known_answer (key TEXT PRIMARY KEY, body TEXT NOT NULL);
CREATE VIEW live_rollout AS SELECT r.* FROM rollout r WHERE NOT EXISTS (
    SELECT 1 FROM attempt a WHERE a.id > r.attempt_id AND (
        a.resumed_step < r.step OR a.resumed_step = 0 OR (a.resumed_step = r.step AND r.split = 'train')));
CREATE VIEW reward_by_step AS SELECT step, split, revision_id, COUNT(*) AS n_rollouts,
    COUNT(*) - COUNT(value) AS n_unscored, AVG(normalized) AS normalized, AVG(raw) AS raw, AVG(monitor) AS monitor
    FROM live_rollout GROUP BY step, split, revision_id;
CREATE VIEW points_by_criterion AS SELECT r.step, r.split, v.criterion_id, COUNT(*) AS n_rollouts,
    COUNT(*) - COUNT(v.points) AS n_unscored, AVG(COALESCE(v.expected, v.points)) AS points
    FROM live_rollout r JOIN verdict v ON v.rollout_id = r.id GROUP BY r.step, r.split, v.criterion_id;
CREATE VIEW unscored_by_reason AS SELECT r.step, r.split, v.reason, COUNT(*) AS n_verdicts
    FROM live_rollout r JOIN verdict v ON v.rollout_id = r.id WHERE v.reason IS NOT NULL
    GROUP BY r.step, r.split, v.reason;
CREATE VIEW spending AS SELECT role, model, COUNT(*) AS n_calls,
    SUM(CASE WHEN error = '' THEN 0 ELSE 1 END) AS n_failed,
    COALESCE(SUM(prompt_tokens), 0) AS prompt_tokens, COALESCE(SUM(completion_tokens), 0) AS completion_tokens,
    COALESCE(SUM(cost_usd), 0) AS cost_usd, SUM(latency_s) AS latency_s
    FROM (SELECT role, model, error, prompt_tokens, completion_tokens, cost_usd, latency_s FROM judge_call
          UNION ALL SELECT 'meta', model, error, prompt_tokens, completion_tokens, cost_usd, latency_s
          FROM meta_exchange) AS c
    GROUP BY role, model
"""

# A call made before any attempt began has no attempt_id; `step` is how many optimizer steps were done.
_M003 = """
DROP VIEW spending;
ALTER TABLE verdict ADD COLUMN label_mass DOUBLE PRECISION;
CREATE TABLE other_call (
    number INTEGER PRIMARY KEY, attempt_id INTEGER REFERENCES attempt (id), step INTEGER NOT NULL,
    reply TEXT NOT NULL, error TEXT NOT NULL, model TEXT NOT NULL, finish_reason TEXT NOT NULL, prompt_tokens INTEGER,
    completion_tokens INTEGER, latency_s DOUBLE PRECISION NOT NULL, role TEXT NOT NULL, endpoint TEXT NOT NULL,
    cached_tokens INTEGER, cost_usd DOUBLE PRECISION);
CREATE TABLE answered_by (
    attempt_id INTEGER NOT NULL REFERENCES attempt (id), role TEXT NOT NULL, identity TEXT NOT NULL,
    PRIMARY KEY (attempt_id, role));
CREATE VIEW spending AS SELECT role, model, COUNT(*) AS n_calls,
    SUM(CASE WHEN error = '' THEN 0 ELSE 1 END) AS n_failed,
    COALESCE(SUM(prompt_tokens), 0) AS prompt_tokens, COALESCE(SUM(completion_tokens), 0) AS completion_tokens,
    COALESCE(SUM(cost_usd), 0) AS cost_usd, SUM(latency_s) AS latency_s
    FROM (SELECT role, model, error, prompt_tokens, completion_tokens, cost_usd, latency_s FROM judge_call
          UNION ALL SELECT role, model, error, prompt_tokens, completion_tokens, cost_usd, latency_s FROM other_call
          UNION ALL SELECT 'meta', model, error, prompt_tokens, completion_tokens, cost_usd, latency_s
          FROM meta_exchange) AS c
    GROUP BY role, model
"""

# A primary key can't grow, so the tables that get a cluster are made anew. An anchor's source is "anchor" for a
# person's, "archive" for evidence of an accepted proposal. A meta step begins after `step` steps, and what it brings
# holds from `adopt_step` on.
_M004 = """
DROP VIEW lineage;
DROP VIEW live_adoption;
DROP VIEW live_meta_step;
DROP VIEW spending;
DROP VIEW unscored_by_reason;
DROP VIEW points_by_criterion;
DROP VIEW reward_by_step;
DROP VIEW live_rollout;
ALTER TABLE rollout ADD COLUMN cluster TEXT NOT NULL DEFAULT '';
ALTER TABLE adoption RENAME TO old_adoption;
CREATE TABLE adoption (
    attempt_id INTEGER NOT NULL REFERENCES attempt (id), cluster TEXT NOT NULL, step INTEGER NOT NULL,
    number INTEGER NOT NULL, revision_id TEXT NOT NULL REFERENCES revision (id), factor DOUBLE PRECISION NOT NULL,
    shift DOUBLE PRECISION NOT NULL, PRIMARY KEY (attempt_id, cluster, step, number));
INSERT INTO adoption SELECT attempt_id, '', step, 0, revision_id, 1.0, 0.0 FROM old_adoption;
DROP TABLE old_adoption;
ALTER TABLE meta_step RENAME TO old_meta_step;
CREATE TABLE meta_step (
    attempt_id INTEGER NOT NULL REFERENCES attempt (id), cluster TEXT NOT NULL, step INTEGER NOT NULL,
    adopt_step INTEGER NOT NULL, why TEXT NOT NULL, parent_id TEXT NOT NULL REFERENCES revision (id),
    child_id TEXT REFERENCES revision (id), decision TEXT NOT NULL, reason TEXT NOT NULL,
    seconds DOUBLE PRECISION NOT NULL, PRIMARY KEY (attempt_id, cluster, step));
INSERT INTO meta_step SELECT attempt_id, '', step, step, '', parent_id, child_id, decision, reason, seconds
    FROM old_meta_step;
DROP TABLE old_meta_step;
ALTER TABLE meta_sample RENAME TO old_meta_sample;
CREATE TABLE meta_sample (
    attempt_id INTEGER NOT NULL, cluster TEXT NOT NULL, step INTEGER NOT NULL, position INTEGER NOT NULL,
    rollout_step INTEGER NOT NULL, rollout_position INTEGER NOT NULL, why TEXT NOT NULL, flags TEXT NOT NULL,
    PRIMARY KEY (attempt_id, cluster, step, position));
INSERT INTO meta_sample SELECT attempt_id, '', step, position, rollout_step, rollout_position, '', ''
    FROM old_meta_sample;
DROP TABLE old_meta_sample;
ALTER TABLE meta_exchange RENAME TO old_meta_exchange;
CREATE TABLE meta_exchange (
    attempt_id INTEGER NOT NULL, cluster TEXT NOT NULL, step INTEGER NOT NULL, position INTEGER NOT NULL,
    stage TEXT NOT NULL, sample INTEGER, prompt TEXT NOT NULL, reply TEXT NOT NULL, error TEXT NOT NULL,
    model TEXT NOT NULL, prompt_tokens INTEGER, completion_tokens INTEGER, cost_usd DOUBLE PRECISION,
    latency_s DOUBLE PRECISION NOT NULL, PRIMARY KEY (attempt_id, cluster, step, position));
INSERT INTO meta_exchange SELECT attempt_id, '', step, position, stage, sample, prompt, reply, error, model,
    prompt_tokens, completion_tokens, cost_usd, latency_s FROM old_meta_exchange;
DROP TABLE old_meta_exchange;
CREATE TABLE meta_begun (
    attempt_id INTEGER NOT NULL REFERENCES attempt (id), cluster TEXT NOT NULL, step INTEGER NOT NULL,
    adopt_step INTEGER NOT NULL, why TEXT NOT NULL, PRIMARY KEY (attempt_id, cluster, step));
CREATE TABLE proposal (
    attempt_id INTEGER NOT NULL, cluster TEXT NOT NULL, step INTEGER NOT NULL, number INTEGER NOT NULL,
    revision_id TEXT NOT NULL REFERENCES revision (id), accepted BOOLEAN NOT NULL, reason TEXT NOT NULL,
    repairs INTEGER, PRIMARY KEY (attempt_id, cluster, step, number));
CREATE TABLE gate_finding (
    attempt_id INTEGER NOT NULL, cluster TEXT NOT NULL, step INTEGER NOT NULL, number INTEGER NOT NULL,
    gate_check TEXT NOT NULL, passed BOOLEAN NOT NULL, detail TEXT NOT NULL, parent DOUBLE PRECISION,
    child DOUBLE PRECISION, n_pairs INTEGER NOT NULL, PRIMARY KEY (attempt_id, cluster, step, number, gate_check));
CREATE TABLE anchor (
    number INTEGER PRIMARY KEY, attempt_id INTEGER REFERENCES attempt (id), step INTEGER NOT NULL,
    cluster TEXT NOT NULL, source TEXT NOT NULL, prompt TEXT NOT NULL, better TEXT NOT NULL,
    worse TEXT NOT NULL, reference TEXT,
    why TEXT NOT NULL, who TEXT NOT NULL, added_at TEXT NOT NULL);
CREATE TABLE act (
    id INTEGER PRIMARY KEY, kind TEXT NOT NULL, who TEXT NOT NULL, why TEXT NOT NULL, done_at TEXT NOT NULL,
    cluster TEXT, about TEXT, criterion TEXT NOT NULL, rubric_digest TEXT REFERENCES rubric (digest));
CREATE TABLE act_taken (
    attempt_id INTEGER NOT NULL REFERENCES attempt (id), cluster TEXT NOT NULL,
    act_id INTEGER NOT NULL REFERENCES act (id), step INTEGER NOT NULL, outcome TEXT NOT NULL,
    PRIMARY KEY (attempt_id, cluster, act_id));
CREATE VIEW live_rollout AS SELECT r.* FROM rollout r WHERE NOT EXISTS (
    SELECT 1 FROM attempt a WHERE a.id > r.attempt_id AND (
        a.resumed_step < r.step OR a.resumed_step = 0 OR (a.resumed_step = r.step AND r.split = 'train')));
CREATE VIEW live_meta_begun AS SELECT m.* FROM meta_begun m WHERE NOT EXISTS (
    SELECT 1 FROM attempt a WHERE a.id > m.attempt_id AND a.resumed_step < m.step);
CREATE VIEW live_meta_step AS SELECT m.* FROM meta_step m WHERE NOT EXISTS (
    SELECT 1 FROM attempt a WHERE a.id > m.attempt_id AND a.resumed_step < m.step);
CREATE VIEW live_adoption AS SELECT d.* FROM adoption d WHERE NOT EXISTS (
    SELECT 1 FROM attempt a WHERE a.id > d.attempt_id AND a.resumed_step < d.step);
CREATE VIEW live_anchor AS SELECT n.* FROM anchor n WHERE NOT EXISTS (
    SELECT 1 FROM attempt a WHERE a.id > n.attempt_id AND a.resumed_step < n.step);
CREATE VIEW live_act_taken AS SELECT t.* FROM act_taken t WHERE NOT EXISTS (
    SELECT 1 FROM attempt a WHERE a.id > t.attempt_id AND a.resumed_step < t.step);
CREATE VIEW lineage AS SELECT d.cluster, d.step AS from_step, d.number, v.id, v.rubric_digest, v.proposer, v.reason
    FROM live_adoption d JOIN revision v ON v.id = d.revision_id;
CREATE VIEW gate_decisions AS SELECT m.cluster, m.step, m.why, p.number, p.revision_id, p.accepted, f.gate_check,
    f.passed, f.parent, f.child, f.n_pairs, f.detail
    FROM live_meta_step m
    JOIN proposal p ON p.attempt_id = m.attempt_id AND p.cluster = m.cluster AND p.step = m.step
    LEFT JOIN gate_finding f ON f.attempt_id = p.attempt_id AND f.cluster = p.cluster AND f.step = p.step
        AND f.number = p.number;
CREATE VIEW reward_by_step AS SELECT step, split, revision_id, COUNT(*) AS n_rollouts,
    COUNT(*) - COUNT(value) AS n_unscored, AVG(normalized) AS normalized, AVG(raw) AS raw, AVG(monitor) AS monitor
    FROM live_rollout GROUP BY step, split, revision_id;
CREATE VIEW points_by_criterion AS SELECT r.step, r.split, v.criterion_id, COUNT(*) AS n_rollouts,
    COUNT(*) - COUNT(v.points) AS n_unscored, AVG(COALESCE(v.expected, v.points)) AS points
    FROM live_rollout r JOIN verdict v ON v.rollout_id = r.id GROUP BY r.step, r.split, v.criterion_id;
CREATE VIEW unscored_by_reason AS SELECT r.step, r.split, v.reason, COUNT(*) AS n_verdicts
    FROM live_rollout r JOIN verdict v ON v.rollout_id = r.id WHERE v.reason IS NOT NULL
    GROUP BY r.step, r.split, v.reason;
CREATE VIEW spending AS SELECT role, model, COUNT(*) AS n_calls,
    SUM(CASE WHEN error = '' THEN 0 ELSE 1 END) AS n_failed,
    COALESCE(SUM(prompt_tokens), 0) AS prompt_tokens, COALESCE(SUM(completion_tokens), 0) AS completion_tokens,
    COALESCE(SUM(cost_usd), 0) AS cost_usd, SUM(latency_s) AS latency_s
    FROM (SELECT role, model, error, prompt_tokens, completion_tokens, cost_usd, latency_s FROM judge_call
          UNION ALL SELECT role, model, error, prompt_tokens, completion_tokens, cost_usd, latency_s FROM other_call
          UNION ALL SELECT 'meta', model, error, prompt_tokens, completion_tokens, cost_usd, latency_s
          FROM meta_exchange) AS c
    GROUP BY role, model
"""


@migration
def m005_screens(db: sa.Connection) -> None:
    """Why a task's own rule scored a rollout, without the judge."""
    _run(db, _M005)


_M005 = """
DROP VIEW unscored_by_reason;
DROP VIEW points_by_criterion;
DROP VIEW reward_by_step;
DROP VIEW live_rollout;
ALTER TABLE rollout ADD COLUMN screened TEXT NOT NULL DEFAULT '';
CREATE VIEW live_rollout AS SELECT r.* FROM rollout r WHERE NOT EXISTS (
    SELECT 1 FROM attempt a WHERE a.id > r.attempt_id AND (
        a.resumed_step < r.step OR a.resumed_step = 0 OR (a.resumed_step = r.step AND r.split = 'train')));
CREATE VIEW reward_by_step AS SELECT step, split, revision_id, COUNT(*) AS n_rollouts,
    COUNT(*) - COUNT(value) AS n_unscored, AVG(normalized) AS normalized, AVG(raw) AS raw, AVG(monitor) AS monitor
    FROM live_rollout GROUP BY step, split, revision_id;
CREATE VIEW points_by_criterion AS SELECT r.step, r.split, v.criterion_id, COUNT(*) AS n_rollouts,
    COUNT(*) - COUNT(v.points) AS n_unscored, AVG(COALESCE(v.expected, v.points)) AS points
    FROM live_rollout r JOIN verdict v ON v.rollout_id = r.id GROUP BY r.step, r.split, v.criterion_id;
CREATE VIEW unscored_by_reason AS SELECT r.step, r.split, v.reason, COUNT(*) AS n_verdicts
    FROM live_rollout r JOIN verdict v ON v.rollout_id = r.id WHERE v.reason IS NOT NULL
    GROUP BY r.step, r.split, v.reason;
CREATE VIEW screened_by_reason AS SELECT step, split, screened AS reason, COUNT(*) AS n_rollouts, AVG(value) AS reward
    FROM live_rollout WHERE screened <> '' GROUP BY step, split, screened;
"""


@migration
def m006_service(db: sa.Connection) -> None:
    """What a service keeps that scores for many engines: its settings, the step of each group, the ids under which
    engines ask, the steps that are over, and the run's metrics."""
    _run(db, _M006)


# A group's first member, number 0, fixes the step of all; where the engine tells no step, each member is counted.
# A metrics row is live by the rule of rollouts: those of training begin after `step` steps, the others end with them.
_M006 = """
CREATE TABLE served (id INTEGER PRIMARY KEY, settings TEXT NOT NULL);
CREATE TABLE group_member (
    attempt_id INTEGER NOT NULL REFERENCES attempt (id), split TEXT NOT NULL, name TEXT NOT NULL,
    number INTEGER NOT NULL, step INTEGER NOT NULL, PRIMARY KEY (attempt_id, split, name, number));
CREATE INDEX group_member_by_step ON group_member (attempt_id, split, step);
CREATE TABLE rollout_key (
    attempt_id INTEGER NOT NULL REFERENCES attempt (id), key TEXT NOT NULL,
    rollout_id TEXT NOT NULL REFERENCES rollout (id), PRIMARY KEY (attempt_id, key));
CREATE TABLE boundary (
    attempt_id INTEGER NOT NULL REFERENCES attempt (id), step INTEGER NOT NULL, error TEXT NOT NULL,
    closed_at TEXT NOT NULL, PRIMARY KEY (attempt_id, step));
CREATE TABLE metric (
    number INTEGER PRIMARY KEY, attempt_id INTEGER NOT NULL REFERENCES attempt (id), step INTEGER NOT NULL,
    kind TEXT NOT NULL, body TEXT NOT NULL);
CREATE VIEW live_metric AS SELECT m.* FROM metric m WHERE NOT EXISTS (
    SELECT 1 FROM attempt a WHERE a.id > m.attempt_id AND (
        a.resumed_step < m.step OR a.resumed_step = 0 OR (a.resumed_step = m.step AND m.kind = 'train')))
"""


@migration
def m007_growth(db: sa.Connection) -> None:
    """What a step asks costs the same in a store of any size; and what was removed from it, if anything was."""
    _run(db, _M007)


# Each process that writes calls counts them in rows of its own, so that none waits for another.
_M007 = """
CREATE INDEX rollout_by_cluster ON rollout (screened, split, cluster, step, attempt_id);
CREATE INDEX rollout_key_by_rollout ON rollout_key (rollout_id);
ALTER TABLE known_answer ADD COLUMN step INTEGER NOT NULL DEFAULT 0;
CREATE TABLE pruned (
    number INTEGER PRIMARY KEY, pruned_at TEXT NOT NULL, before_step INTEGER NOT NULL, what TEXT NOT NULL,
    n_rows BIGINT NOT NULL);
CREATE TABLE spent_by (
    writer TEXT NOT NULL, role TEXT NOT NULL, model TEXT NOT NULL, n_calls BIGINT NOT NULL, n_failed BIGINT NOT NULL,
    prompt_tokens BIGINT NOT NULL, completion_tokens BIGINT NOT NULL, cost_usd DOUBLE PRECISION NOT NULL,
    latency_s DOUBLE PRECISION NOT NULL, PRIMARY KEY (writer, role, model));
INSERT INTO spent_by SELECT '', role, model, n_calls, n_failed, prompt_tokens, completion_tokens, cost_usd, latency_s
    FROM spending;
DROP VIEW spending;
CREATE VIEW spending AS SELECT role, model, SUM(n_calls) AS n_calls, SUM(n_failed) AS n_failed,
    SUM(prompt_tokens) AS prompt_tokens, SUM(completion_tokens) AS completion_tokens, SUM(cost_usd) AS cost_usd,
    SUM(latency_s) AS latency_s
    FROM spent_by GROUP BY role, model
"""


@migration
def m008_viewing(db: sa.Connection) -> None:
    """What people who look at a run search by: the flags of each rollout, its prompt, its reward."""
    _run(db, _M008)
    rollout = sa.table("rollout", sa.column("id", Text()), sa.column("prompt", Text()), sa.column("prompt_id", Text()))
    named = sa.update(rollout).where(rollout.c.id == sa.bindparam("of")).values(prompt_id=sa.bindparam("name"))
    prompts, last = sa.select(rollout.c.id, rollout.c.prompt).order_by(rollout.c.id).limit(_MOST_NAMED), ""
    while rows := db.execute(prompts.where(rollout.c.id > last)).all():
        db.execute(named, [{"of": row.id, "name": prompt_id(row.prompt)} for row in rows])
        last = rows[-1].id
    _run(db, _M008_INDEXES)


_MOST_NAMED = 2000  # whose prompts are in memory at once
_M008 = """
DROP VIEW screened_by_reason;
DROP VIEW unscored_by_reason;
DROP VIEW points_by_criterion;
DROP VIEW reward_by_step;
DROP VIEW live_rollout;
ALTER TABLE rollout ADD COLUMN prompt_id TEXT NOT NULL DEFAULT '';
CREATE TABLE rollout_flag (
    rollout_id TEXT NOT NULL REFERENCES rollout (id), detector TEXT NOT NULL, detail TEXT NOT NULL,
    PRIMARY KEY (rollout_id, detector));
CREATE VIEW live_rollout AS SELECT r.* FROM rollout r WHERE NOT EXISTS (
    SELECT 1 FROM attempt a WHERE a.id > r.attempt_id AND (
        a.resumed_step < r.step OR a.resumed_step = 0 OR (a.resumed_step = r.step AND r.split = 'train')));
CREATE VIEW reward_by_step AS SELECT step, split, revision_id, COUNT(*) AS n_rollouts,
    COUNT(*) - COUNT(value) AS n_unscored, AVG(normalized) AS normalized, AVG(raw) AS raw, AVG(monitor) AS monitor
    FROM live_rollout GROUP BY step, split, revision_id;
CREATE VIEW points_by_criterion AS SELECT r.step, r.split, v.criterion_id, COUNT(*) AS n_rollouts,
    COUNT(*) - COUNT(v.points) AS n_unscored, AVG(COALESCE(v.expected, v.points)) AS points
    FROM live_rollout r JOIN verdict v ON v.rollout_id = r.id GROUP BY r.step, r.split, v.criterion_id;
CREATE VIEW unscored_by_reason AS SELECT r.step, r.split, v.reason, COUNT(*) AS n_verdicts
    FROM live_rollout r JOIN verdict v ON v.rollout_id = r.id WHERE v.reason IS NOT NULL
    GROUP BY r.step, r.split, v.reason;
CREATE VIEW screened_by_reason AS SELECT step, split, screened AS reason, COUNT(*) AS n_rollouts, AVG(value) AS reward
    FROM live_rollout WHERE screened <> '' GROUP BY step, split, screened
"""
_M008_INDEXES = """
DROP INDEX rollout_by_step;
CREATE INDEX rollout_by_step ON rollout (step, split, position, attempt_id);
CREATE INDEX rollout_by_prompt ON rollout (prompt_id, step, split, position, attempt_id);
CREATE INDEX rollout_by_reward ON rollout (value, step, split, position, attempt_id)
"""
