import asyncio
import time

import pytest

from metapo.errors import ChatDown
from metapo.judge import breaker
from metapo.judge.breaker import Breaker


def opened(reason: str = "503") -> Breaker:
    found = Breaker("http://judge")
    found.gave_up(0.0, reason, since=0.0)
    return found


def is_open(breaker: Breaker) -> bool:
    try:
        breaker.check()
    except ChatDown:
        return True
    return False


def test_while_closed_all_go() -> None:
    closed = Breaker("http://judge")
    for _ in range(3):
        closed.check()
        closed.enter()


def test_while_open_nobody_goes_and_the_reason_is_told() -> None:
    for attempt in (opened().check, opened().enter):
        with pytest.raises(ChatDown, match="http://judge answers nobody: 503"):
            attempt()


async def test_an_answer_since_then_keeps_it_closed() -> None:
    breaker = Breaker("http://judge")
    await asyncio.sleep(0.05)
    breaker.answered()
    breaker.gave_up(0.05, "503", since=0.0)
    assert not is_open(breaker)
    await asyncio.sleep(0.05)
    breaker.gave_up(0.05, "503", since=0.0)
    assert is_open(breaker)


async def test_the_silence_of_an_idle_time_does_not_count() -> None:
    breaker = Breaker("http://judge")
    await asyncio.sleep(0.05)
    breaker.gave_up(0.05, "429, come back later", since=time.monotonic())
    assert not is_open(breaker)


def test_one_try_after_the_pause_and_an_answer_closes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaker, "PAUSE_S", 0.3)
    found = opened()
    assert is_open(found)
    time.sleep(0.31)
    found.check()  # those that only ask don't use the one try up
    found.check()
    found.enter()
    with pytest.raises(ChatDown):
        found.enter()
    found.answered()
    found.enter()
    found.enter()


async def test_opening_ends_the_pauses_of_those_that_wait() -> None:
    breaker = Breaker("http://judge")
    waiting = asyncio.create_task(breaker.pause(60))
    await asyncio.sleep(0)
    breaker.gave_up(0.0, "503", since=0.0)
    await asyncio.wait_for(waiting, 1)


async def test_a_pause_lasts_as_long_as_it_should() -> None:
    started = time.monotonic()
    await Breaker("http://judge").pause(0.05)
    assert time.monotonic() - started >= 0.04
