"""Settings that every test shares."""

import os

import pytest
from hypothesis import settings

# Before torch is imported anywhere: two threads on a busy machine are several times slower than one.
os.environ["OMP_NUM_THREADS"] = "1"

# The same examples on every run; `--hypothesis-profile explore` looks for new ones.
settings.register_profile("metapo", deadline=None, max_examples=100, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=3000)
settings.load_profile("metapo")


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loopback servers are reached directly, whatever the machine's proxy settings say."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
