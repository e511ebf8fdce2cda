"""Known answers in memory: the newest are kept, and each is found out once at a time."""

import asyncio

import pytest

from metapo.judge.cache import MAX_REMEMBERED, Answers, MemoryCache


def test_a_cache_keeps_what_was_used_last() -> None:
    cache = MemoryCache()
    assert cache.load("0") is None
    for i in range(MAX_REMEMBERED):
        cache.save(str(i), f"body {i}")
    assert cache.load("0") == "body 0"
    cache.save("one more", "body")
    assert cache.load("0") == "body 0", "it was used since"
    assert cache.load("1") is None
    assert cache.load("2") == "body 2"
    cache.save("2", "another")
    assert cache.load("2") == "another"


async def find_out(answers: Answers, key: str, found: str | None, log: list[str]) -> str | None:
    """Claim a key; look for what isn't known, which takes a while."""
    async with answers.claim(key) as claim:
        if claim.known is None:
            log.append(key)
            await asyncio.sleep(0.01)
            claim.found = found
        return claim.known or claim.found


async def test_equal_questions_at_once_are_worked_on_once() -> None:
    answers, log = Answers(MemoryCache()), list[str]()
    got = await asyncio.gather(*(find_out(answers, key, f"{key}!", log) for key in "aabab"))
    assert got == ["a!", "a!", "b!", "a!", "b!"]
    assert sorted(log) == ["a", "b"]
    assert await find_out(answers, "a", "other", log) == "a!"


async def test_who_waited_tries_where_nothing_was_found() -> None:
    answers, log = Answers(MemoryCache()), list[str]()
    got = await asyncio.gather(*(find_out(answers, "a", found, log) for found in (None, "second", "third")))
    assert got == [None, "second", "second"]
    assert log == ["a", "a"]


async def test_a_failure_and_a_cancellation_leave_the_key_free() -> None:
    answers, log = Answers(MemoryCache()), list[str]()

    async def fail() -> None:
        async with answers.claim("a"):
            await asyncio.sleep(0.01)
            raise ValueError("no answer")

    failing, stuck = asyncio.create_task(fail()), asyncio.create_task(find_out(answers, "b", "b!", log))
    await asyncio.sleep(0)
    waiting = [asyncio.create_task(find_out(answers, key, "found", log)) for key in "ab"]
    await asyncio.sleep(0)
    stuck.cancel()
    assert await asyncio.gather(*waiting) == ["found", "found"]
    with pytest.raises(ValueError, match="no answer"):
        await failing
    assert stuck.cancelled()
