"""Claims: one holder at a time, in whatever process; a holder that dies lets go."""

import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from metapo.store import Store
from tests.postgres import running

HOLDER = """
import sys
from metapo.store import Store
claim = Store(sys.argv[1]).claim(sys.argv[2])
print("none" if claim is None else "held", flush=True)
sys.stdin.read()
"""


@contextmanager
def holder(place: Path | str, name: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds a claim until it ends."""
    command = [sys.executable, "-c", HOLDER, str(place), name]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def test_one_of_two_in_a_process_holds_a_claim(place: Path | str) -> None:
    with closing(Store(place)) as store, closing(Store(place)) as other:
        first = store.claim("step 4")
        assert first is not None
        assert first.held
        assert store.claim("step 4") is other.claim("step 4") is None
        with store.claim("step 5") or pytest.fail("another name is another claim"):
            pass
        first.release()
        first.release()
        assert not first.held
        second = other.claim("step 4")
        assert second is not None
        second.release()


def test_a_claim_is_waited_for_and_given_up_after_a_while(place: Path | str) -> None:
    with closing(Store(place)) as store, ThreadPoolExecutor(1) as pool:
        first = store.claim("a")
        assert first is not None
        began = time.monotonic()
        assert store.claim("a", timeout_s=0.3) is None
        assert time.monotonic() - began >= 0.25
        waiting = pool.submit(store.claim, "a", timeout_s=60)
        time.sleep(0.2)
        assert not waiting.done()
        first.release()
        second = waiting.result(timeout=30)
        assert second is not None
        second.release()


def test_a_claim_of_another_process_ends_with_it(place: Path | str) -> None:
    with closing(Store(place)) as store, ThreadPoolExecutor(1) as pool:
        with holder(place, "a") as process:
            assert store.claim("a") is None
            waiting = pool.submit(store.claim, "a", timeout_s=60)
            time.sleep(0.2)
            assert not waiting.done()
            process.kill()
            claim = waiting.result(timeout=30)
        assert claim is not None
        claim.release()


def test_each_store_of_a_folder_or_a_database_has_claims_of_its_own(
    request: pytest.FixtureRequest, place: Path | str
) -> None:
    elsewhere = (
        place.with_name("elsewhere.db") if isinstance(place, Path) else request.getfixturevalue("postgres").new_schema()
    )
    with closing(Store(place)) as store, closing(Store(elsewhere)) as other:
        claims = [s.claim("a") for s in (store, other)]
        for claim in claims:
            assert claim is not None
            claim.release()


def test_a_claim_on_a_server_that_went_down_is_held_no_more() -> None:
    try:
        with running() as server, closing(Store(server.new_schema())) as store:
            claim = store.claim("a")
            assert claim is not None
            server.restart()
            assert not claim.held
            again = store.claim("a")
            assert again is not None
            claim.release()
            assert again.held, "the old claim lets go of nothing that is another's"
            again.release()
    except LookupError as e:
        pytest.skip(str(e))
