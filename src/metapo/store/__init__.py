"""The store of one run: append-only, readable without us, SQLite by default."""

from metapo.store.known import KnownAnswers
from metapo.store.records import CallRecord, ExchangeRecord, MetaStepRecord, OpinionRecord, RolloutRecord, Spent
from metapo.store.store import Store

__all__ = [
    "CallRecord",
    "ExchangeRecord",
    "KnownAnswers",
    "MetaStepRecord",
    "OpinionRecord",
    "RolloutRecord",
    "Spent",
    "Store",
]
