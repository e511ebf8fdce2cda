"""Meta Policy Optimization as a library: reinforcement learning from an LLM judge under a rubric that evolves.

Names are loaded when first used, so that `import metapo` stays cheap.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Criterion": "metapo.rubric",
    "EndpointSettings": "metapo.judge.endpoint",
    "Judge": "metapo.judge.judge",
    "Level": "metapo.rubric",
    "Lineage": "metapo.history",
    "MetaSchedule": "metapo.settings",
    "MetapoError": "metapo.errors",
    "Revision": "metapo.rubric",
    "Rollout": "metapo.rollout",
    "Rubric": "metapo.rubric",
    "Settings": "metapo.settings",
    "Store": "metapo.store",
    "TrainSettings": "metapo.settings",
}
__all__ = sorted([*_HOMES, "__version__"])


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'metapo' has no attribute {name!r}; it offers {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
