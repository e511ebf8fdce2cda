"""The store of one run: append-only, readable without us, SQLite by default, PostgreSQL by URL."""

from metapo.store.claims import Claimed
from metapo.store.known import KnownAnswers
from metapo.store.records import (
    ActKind,
    ActRecord,
    AdoptionRecord,
    AnchorRecord,
    AttemptRecord,
    BegunRecord,
    CallRecord,
    DecisionRecord,
    ExchangeRecord,
    FindingRecord,
    MetaStepRecord,
    OpinionRecord,
    ProposalRecord,
    RolloutRecord,
    SampleRecord,
    Spent,
)
from metapo.store.serving import Counting, Member, Standing
from metapo.store.store import Store

__all__ = [
    "ActKind",
    "ActRecord",
    "AdoptionRecord",
    "AnchorRecord",
    "AttemptRecord",
    "BegunRecord",
    "CallRecord",
    "Claimed",
    "Counting",
    "DecisionRecord",
    "ExchangeRecord",
    "FindingRecord",
    "KnownAnswers",
    "Member",
    "MetaStepRecord",
    "OpinionRecord",
    "ProposalRecord",
    "RolloutRecord",
    "SampleRecord",
    "Spent",
    "Standing",
    "Store",
]
