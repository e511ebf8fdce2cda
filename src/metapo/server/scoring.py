"""From requests to the service and back: scoring that outlives its client, and what the answers say."""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

from starlette.requests import Request

from metapo.aio import Together
from metapo.api import AskedRollout, GivenVerdict, MissingVerdict, ScoredRollout
from metapo.asked import Asked
from metapo.rollout import Split
from metapo.rubric import Unscored, Verdict
from metapo.server.failures import RETRY_S, Refused
from metapo.server.figures import Figures
from metapo.server.options import Unscored as Policy
from metapo.service import RewardService
from metapo.store import RolloutRecord, Store

UNHEARD_S = 600.0  # how long an answer waits for a client that comes again: engines give up sooner
MAX_STEPS = 64  # whose means are kept
Work = asyncio.Task[list[RolloutRecord]]
Mark = tuple[int, str]
"""A request without keys: the newest attempt when it came, and a digest of what it says."""


class Judged(NamedTuple):
    """What a request got, and the attempt of the run that it was scored in."""

    attempt: int
    records: list[RolloutRecord]


class Scoring:
    """Scores requests to their end, whether or not the client waits: what was paid for is on record.

    A request whose client went away before the answer was there is kept; when the same request comes again, from a
    client that retries, it gets that answer and is not scored a second time. Engines that send no key need this; what
    has a key is found on record. What is kept counts for its attempt alone: where the trainer went back it asks anew,
    whichever process it told so.
    """

    def __init__(self, service: RewardService, store: Store, figures: Figures) -> None:
        self._service = service
        self._newest: Together[None, int] = Together(lambda asking: [store.standing().attempt] * len(asking))
        self._figures = figures
        self._under_way: set[Work] = set()
        self._unheard: dict[Mark, list[tuple[float, Work]]] = {}
        self._means: OrderedDict[tuple[int, int], tuple[float, int]] = OrderedDict()

    async def score(self, request: Request, asked: Sequence[Asked]) -> Judged:
        """Raises MetapoError."""
        mark = None if all(one.key for one in asked) else await self._mark(request)
        work = self._take(mark) or self._begin(asked)
        gone = asyncio.create_task(_gone(request))
        try:
            await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                self._keep(mark, work)
                raise Refused(499, "gone", "the client went away")
        except asyncio.CancelledError:
            self._keep(mark, work)
            raise
        finally:
            gone.cancel()
        return Judged(self._service.attempt, work.result())

    async def finish(self) -> None:
        """End what is still under way; nothing of it is on record."""
        for work in self._under_way:
            work.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def neutral(self, attempt: int, step: int) -> float | None:
        """The mean of the rewards given in a step so far; None where there is none."""
        total, n = self._means.get((attempt, step), (0.0, 0))
        return total / n if n else None

    async def _mark(self, request: Request) -> Mark:
        body = hashlib.sha256(request.url.path.encode() + b"\n" + await request.body()).hexdigest()
        return await self._newest(None), body

    def _begin(self, asked: Sequence[Asked]) -> Work:
        work = asyncio.create_task(self._work(asked))
        self._under_way.add(work)
        work.add_done_callback(self._done)
        return work

    def _done(self, work: Work) -> None:
        self._under_way.discard(work)
        if not work.cancelled():
            work.exception()  # seen, also where nobody waits for it

    async def _work(self, asked: Sequence[Asked]) -> list[RolloutRecord]:
        records = await self._service.score(asked)
        self._figures.scored(records)
        for record in records:
            if record.value is not None and record.rollout.split is Split.TRAIN:
                place = self._service.attempt, record.rollout.step
                total, n = self._means.get(place, (0.0, 0))
                self._means[place] = (total + record.value, n + 1)
        while len(self._means) > MAX_STEPS:
            self._means.popitem(last=False)
        return records

    def _keep(self, mark: Mark | None, work: Work) -> None:
        if mark is None:
            return
        now = time.monotonic()
        while self._unheard and (oldest := next(iter(self._unheard))):
            if self._unheard[oldest][-1][0] > now - UNHEARD_S:
                break
            del self._unheard[oldest]
        self._unheard.setdefault(mark, []).append((now, work))

    def _take(self, mark: Mark | None) -> Work | None:
        """The work on an equal request that nobody waits for any more; None where there is none, or it failed."""
        if mark is None or mark not in self._unheard:
            return None
        kept = self._unheard.pop(mark)
        (at, work), *others = kept
        if others:
            self._unheard[mark] = others
        failed = work.done() and (work.cancelled() or work.exception() is not None)
        return None if failed or at < time.monotonic() - UNHEARD_S else work


async def _gone(request: Request) -> None:
    """Returns when the client has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def asked_of(rollout: AskedRollout) -> Asked:
    return Asked(**{name: getattr(rollout, name) for name in AskedRollout.model_fields})


def shown(record: RolloutRecord, key: str = "") -> ScoredRollout:
    return ScoredRollout(
        reward=record.value,
        normalized=record.normalized,
        raw=record.raw,
        step=record.rollout.step,
        split=record.rollout.split,
        revision=record.revision_id,
        key=key,
        verdicts=tuple(_verdict(o) for o in record.outcomes if isinstance(o, Verdict)),
        unscored=tuple(
            MissingVerdict(criterion=o.criterion_id, reason=o.reason.value, detail=o.detail)
            for o in record.outcomes
            if isinstance(o, Unscored)
        ),
        screened=record.screened,
    )


def _verdict(verdict: Verdict) -> GivenVerdict:
    return GivenVerdict(
        criterion=verdict.criterion_id,
        points=verdict.points,
        value=verdict.value,
        rationale=verdict.rationale,
        quote=verdict.quote,
        uncertainty=verdict.uncertainty,
    )


def numbers(judged: Judged, policy: Policy, scoring: Scoring) -> tuple[float, ...]:
    """The rewards for an engine that knows no null. Raises Refused where there is none to give."""
    return tuple(_number(record, judged.attempt, policy, scoring) for record in judged.records)


def _number(record: RolloutRecord, attempt: int, policy: Policy, scoring: Scoring) -> float:
    if record.value is not None:
        return record.value
    neutral = scoring.neutral(attempt, record.rollout.step) if policy is Policy.NEUTRAL else None
    if neutral is not None:
        return neutral
    reasons = sorted({f"{o.criterion_id}: {o.reason.value}" for o in record.outcomes if isinstance(o, Unscored)})
    none_yet = " and no other rollout of its step has a reward yet" if policy is Policy.NEUTRAL else ""
    raise Refused(503, "unscored", f"a rollout could not be judged ({'; '.join(reasons[:5])}){none_yet}", RETRY_S)
