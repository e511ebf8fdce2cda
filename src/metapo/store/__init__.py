"""The store of one run: append-only, readable without us, SQLite by default."""

from metapo.store.records import CallRecord, ExchangeRecord, MetaStepRecord, RolloutRecord
from metapo.store.store import Store

__all__ = ["CallRecord", "ExchangeRecord", "MetaStepRecord", "RolloutRecord", "Store"]
