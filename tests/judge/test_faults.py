"""The table of faults, and ten thousand rollouts among them."""

import re
import runpy
from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from tests.faults import (
    ALL,
    PLAIN,
    SCORED,
    Fault,
    LoopServer,
    Seen,
    deserved,
    fails,
    judges,
    measure,
    rollout,
    score,
    seen_of,
)
from tests.servers import Answer, Ask

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("fault", ALL, ids=lambda fault: fault.name)
async def test_a_fault_ends_as_the_table_says(fault: Fault) -> None:
    assert await measure(fault) == fault.expected


def test_the_page_shows_the_table() -> None:
    page = runpy.run_path(str(DOCS / "write_faults.py"))["page"]
    expected = page({fault.name: fault.expected for fault in ALL})
    assert (DOCS / "faults.md").read_text() == expected, "run .venv/bin/python docs/write_faults.py"


# --- many at once

N_ROLLOUTS = 10_000
N_FAULTY = N_ROLLOUTS // 10
HEALTHY = Fault("none", "judges", judges, Seen(SCORED, 1))
HANGING = ("no answer, once", "an answer that drips byte by byte")
MIXABLE = [
    fault
    for fault in ALL
    if fault.name in HANGING
    or (fault.judging == PLAIN and not fault.endpoint and not fault.is_timed and fault.expected.outcomes != ("stop",))
]


async def test_ten_thousand_rollouts_among_faults() -> None:
    """Each ends as it would alone, with the points that the server has for it, after as many requests, in its place."""
    random = Random(0)
    faults = [random.choice(MIXABLE) if i < N_FAULTY else HEALTHY for i in range(N_ROLLOUTS)]
    random.shuffle(faults)
    rollouts = [
        rollout(i, random.choice((0, 2, 5)), random.choice((0, 1)), fault.n_more) for i, fault in enumerate(faults)
    ]
    n_requests: Counter[int] = Counter()

    def behave(ask: Ask) -> Answer:
        number = int(re.findall(r"Essay (\d+)", ask.prompt)[-1])
        n_requests[number] += 1
        return faults[number].behaviour(replace(ask, number=n_requests[number]))

    async with LoopServer(behave) as server:
        judging = PLAIN.model_copy(update={"warm_up": False})
        scored = await score(rollouts, server.url, judging=judging, timeout_s=3.0, max_in_flight=64)

    assert [s.rollout for s in scored] == rollouts
    wrong = {
        fault.name: seen
        for i, fault in enumerate(faults)
        if (seen := seen_of(scored[i], n_requests[i])) != fault.expected
    }
    assert wrong == {}
    for fault, s in zip(faults, scored, strict=True):
        points = deserved(s.rollout.completion)
        reward = sum(points.values()) / 6 if fault.expected.outcomes == SCORED else None
        assert s.reward.value == pytest.approx(reward), fault.name
    n_scored = sum(s.reward.value is not None for s in scored)
    assert N_ROLLOUTS - N_FAULTY < n_scored < N_ROLLOUTS


async def test_a_server_that_restarts_in_the_middle_of_a_batch() -> None:
    """All that were under way are sent again, and all end with their verdicts."""
    rollouts = [rollout(i, depth, 1) for i, depth in enumerate(Random(0).choices((0, 2, 5), k=200))]
    async with LoopServer(lambda ask: (fails(restart_s=0.5) if ask.number == 60 else judges)(ask)) as server:
        scored = await score(rollouts, server.url, judging=PLAIN)
    assert [seen_of(s, 1).outcomes for s in scored] == len(rollouts) * [SCORED]
    assert any(call.tries for s in scored for call in s.assessment.calls)
