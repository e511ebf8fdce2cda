"""The store of one run: append-only, readable without us, SQLite by default."""

from metapo.store.known import KnownAnswers
from metapo.store.records import (
    ActKind,
    ActRecord,
    AdoptionRecord,
    AnchorRecord,
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
from metapo.store.store import Store

__all__ = [
    "ActKind",
    "ActRecord",
    "AdoptionRecord",
    "AnchorRecord",
    "BegunRecord",
    "CallRecord",
    "DecisionRecord",
    "ExchangeRecord",
    "FindingRecord",
    "KnownAnswers",
    "MetaStepRecord",
    "OpinionRecord",
    "ProposalRecord",
    "RolloutRecord",
    "SampleRecord",
    "Spent",
    "Store",
]
