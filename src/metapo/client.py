"""Asking a reward server: `RewardClient` where there is an event loop, `Rewards` as any engine's reward function.

    rewards = Rewards("http://localhost:8000")

    def reward(prompts, completions, step, **columns):
        return rewards(prompts, completions, step=step)

A request whose answer is lost is sent again under the same keys, so nothing is scored twice. What has no keys, pairs
and acts, is sent again only where no server took it up.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self, TypeVar
from uuid import uuid4

import httpx2
import tenacity
from pydantic import ValidationError

from metapo.aio import each
from metapo.api import (
    Answer,
    AskedPair,
    AskedRollout,
    ErrorAnswer,
    EvolveAnswer,
    EvolveRequest,
    FeedbackAnswer,
    FeedbackRequest,
    InForceAnswer,
    LineageAnswer,
    RevisionAnswer,
    ScoreAnswer,
    ScoredRollout,
    ScoreRequest,
    StatusAnswer,
    StepAnswer,
    StepFiguresAnswer,
    StepRequest,
)
from metapo.bridge import Bridge
from metapo.errors import DataError, RewardServerError, SettingsError
from metapo.rollout import Split
from metapo.rubric import Frozen, describe

AT_ONCE = 8  # requests of one call to `score`
IN_ONE = 64  # rollouts of one request: few enough that a lost answer costs little
MAX_PAUSE_S = 30.0
_jittered = tenacity.wait_random_exponential(multiplier=0.5, max=10)
A = TypeVar("A", bound=Answer)


class RewardClient:
    """One server, or several that share a run: then `urls` take turns when one fails. Bound to the event loop that
    first uses it.

    A request that fails in a way that may pass is sent again until `deadline_s` seconds have gone by since its first
    try; `timeout_s` bounds one try. The token is read from `token_env` when set. Every method raises RewardServerError.
    `evolve` and `feedback` raise it with the code "unsure" where they may be on record all the same.
    """

    def __init__(
        self, *urls: str, token_env: str | None = None, timeout_s: float = 300.0, deadline_s: float = 900.0
    ) -> None:
        if not urls:
            raise SettingsError("give a reward server's URL, like http://localhost:8000")
        self._urls = [_checked(url) for url in urls]
        self._turn = 0
        self._deadline_s = deadline_s
        self._client = httpx2.AsyncClient(
            headers=_headers(token_env), timeout=httpx2.Timeout(timeout_s, connect=min(10.0, timeout_s))
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._client.aclose()

    async def score(self, rollouts: Sequence[AskedRollout]) -> list[ScoredRollout]:
        """One entry per rollout, in order. A rollout without a key is given one for as long as this call takes."""
        keyed = [r if r.key else r.model_copy(update={"key": uuid4().hex}) for r in rollouts]
        parts = [tuple(keyed[i : i + IN_ONE]) for i in range(0, len(keyed), IN_ONE)]

        async def score_part(part: tuple[AskedRollout, ...]) -> tuple[ScoredRollout, ...]:
            return (await self._post("/v1/score", ScoreRequest(rollouts=part), ScoreAnswer)).rollouts

        return [scored for part in await each(score_part, parts, AT_ONCE) for scored in part]

    async def rubric(self, cluster: str = "") -> InForceAnswer:
        """What scores now."""
        return await self._get("/v1/rubric", InForceAnswer, cluster=cluster)

    async def lineage(self, cluster: str = "") -> LineageAnswer:
        """What scored from which step on, and how meta steps ended."""
        return await self._get("/v1/rubric/lineage", LineageAnswer, cluster=cluster)

    async def revision(self, prefix: str) -> RevisionAnswer:
        """The revision whose id begins so."""
        return await self._get(f"/v1/rubric/{prefix}", RevisionAnswer)

    async def begin_step(self, step: int, *, resumed: bool = False) -> int:
        """Say that `step` optimizer steps are done; `resumed` where the trainer went back to a checkpoint there."""
        return (await self._post("/v1/step", StepRequest(step=step, resumed=resumed), StepAnswer)).step

    async def step(self, step: int) -> StepFiguresAnswer:
        """How many training rollouts of a step there are so far, and how many without a reward."""
        return await self._get(f"/v1/step/{step}", StepFiguresAnswer)

    async def finish(self) -> int:
        """Say that training ended, so that the figures of its last step and evaluation are noted."""
        return (await self._ask("POST", "/v1/finish", StepAnswer, _may_pass)).step

    async def evolve(self, who: str, why: str) -> int:
        """Ask for a meta step at the next boundary; returns the number of the act."""
        return (await self._post_once("/v1/evolve", EvolveRequest(who=who, why=why), EvolveAnswer)).act

    async def feedback(self, pairs: Sequence[AskedPair], who: str) -> int:
        """Pin pairs of known order; returns how many."""
        request = FeedbackRequest(who=who, pairs=tuple(pairs))
        return (await self._post_once("/v1/feedback", request, FeedbackAnswer)).pinned

    async def status(self) -> StatusAnswer:
        """How the run stands."""
        return await self._get("/v1/status", StatusAnswer)

    async def events(self, after: int = 0) -> AsyncIterator[tuple[int, dict[str, Any]]]:
        """The numbered rows of the run's metrics after a number, then each new one as it comes; a line that breaks is
        taken up where it broke."""
        failures = 0
        while True:
            try:
                async for number, row in self._listen(after):
                    after, failures = number, 0
                    yield number, row
            except RewardServerError as e:
                failures += 1
                if not e.retryable or failures > 5:
                    raise
                await asyncio.sleep(e.retry_after_s or float(failures))

    async def _listen(self, after: int) -> AsyncIterator[tuple[int, dict[str, Any]]]:
        url = self._urls[self._turn % len(self._urls)]
        number = after
        try:
            async with self._client.stream("GET", f"{url}/v1/events", params={"after": after}) as response:
                if not response.is_success:
                    await response.aread()
                    raise _refusal(response)
                async for line in response.aiter_lines():
                    name, _, value = line.partition(": ")
                    if name == "id":
                        number = int(value)
                    elif name == "data":
                        yield number, json.loads(value)
        except httpx2.TransportError as e:
            self._turn += 1
            raise _unreachable(url, e) from e

    async def _get(self, path: str, shape: type[A], **query: str) -> A:
        return await self._ask("GET", path, shape, _may_pass, params=query)

    async def _post(self, path: str, body: Frozen, shape: type[A]) -> A:
        return await self._ask("POST", path, shape, _may_pass, content=body.model_dump_json())

    async def _post_once(self, path: str, body: Frozen, shape: type[A]) -> A:
        """Post what would count twice if it came twice."""
        try:
            return await self._ask("POST", path, shape, _was_not_taken_up, content=body.model_dump_json())
        except RewardServerError as e:
            if e.retryable and not _was_not_taken_up(e):
                raise _unsure(path, e) from e
            raise

    async def _ask(
        self,
        method: str,
        path: str,
        shape: type[A],
        may_repeat: Callable[[BaseException], bool],
        **more: Any,
    ) -> A:
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(may_repeat),
            wait=_wait,
            stop=tenacity.stop_after_delay(self._deadline_s),
            reraise=True,
        )
        answer: A = await retrying(self._try, method, path, shape, more)
        return answer

    async def _try(self, method: str, path: str, shape: type[A], more: Mapping[str, Any]) -> A:
        url = self._urls[self._turn % len(self._urls)]
        headers = {"Content-Type": "application/json"} if "content" in more else {}
        try:
            response = await self._client.request(method, f"{url}{path}", headers=headers, **more)
        except httpx2.TransportError as e:
            self._turn += 1
            raise _unreachable(url, e) from e
        if not response.is_success:
            error = _refusal(response)
            self._turn += error.retryable
            raise error
        try:
            return shape.model_validate_json(response.content)
        except ValidationError as e:
            raise RewardServerError(
                f"{url}{path} answered in another shape than this client knows:\n{describe(e)}"
            ) from e


class Rewards:
    """A reward function for any engine: prompts and completions in, one reward each out.

    `unscored` says what a rollout gets that could not be judged: None, for engines that leave it out of its group; an
    error ("raise"); or the mean of the call's other rewards ("neutral").
    """

    __name__ = "metapo"

    def __init__(
        self,
        *urls: str,
        token_env: str | None = None,
        unscored: Literal["none", "raise", "neutral"] = "none",
        timeout_s: float = 300.0,
        deadline_s: float = 900.0,
    ) -> None:
        self._client = RewardClient(*urls, token_env=token_env, timeout_s=timeout_s, deadline_s=deadline_s)
        self._bridge = Bridge()
        self._unscored = unscored

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **told: Any) -> list[float | None]:
        """One reward per completion, in order; `told` and what is raised are as in `scored`."""
        return [s.reward for s in self.scored(prompts, completions, **told)]

    def scored(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        *,
        step: int | None = None,
        split: str = "train",
        references: Sequence[str | None] | None = None,
        clusters: Sequence[str] | None = None,
        keys: Sequence[str] | None = None,
    ) -> list[ScoredRollout]:
        """One entry per completion, in order, with verdicts, revision and why there is no reward. `step` is the number
        of optimizer steps done; the columns have one entry per completion. Raises RewardServerError, DataError."""
        n = len(completions)
        columns = (prompts, completions, references or [None] * n, clusters or [""] * n, keys or [""] * n)
        if any(len(column) != n for column in columns):
            raise DataError(f"each column needs one entry per completion, {n}; got {[len(c) for c in columns]}")
        try:
            rollouts = [
                AskedRollout(
                    prompt=prompt,
                    completion=completion,
                    step=step,
                    split=Split(split),
                    reference=reference,
                    cluster=cluster,
                    key=key,
                )
                for prompt, completion, reference, cluster, key in zip(*columns, strict=True)
            ]
        except ValidationError as e:
            raise DataError(f"a rollout can't be sent:\n{describe(e)}") from e
        return self._filled(self._bridge.run(self._client.score(rollouts)))

    def begin_step(self, step: int, *, resumed: bool = False) -> int:
        """As `RewardClient.begin_step`."""
        return self._bridge.run(self._client.begin_step(step, resumed=resumed))

    def finish(self) -> int:
        """As `RewardClient.finish`."""
        return self._bridge.run(self._client.finish())

    def close(self) -> None:
        self._bridge.run(self._client.aclose())
        self._bridge.close()

    def _filled(self, scored: list[ScoredRollout]) -> list[ScoredRollout]:
        given = [s.reward for s in scored if s.reward is not None]
        if self._unscored == "none" or len(given) == len(scored):
            return scored
        if self._unscored == "raise" or not given:
            first = next(s for s in scored if s.reward is None)
            reasons = "; ".join(f"{u.criterion}: {u.reason} {u.detail[:100]}" for u in first.unscored[:3])
            n = len(scored) - len(given)
            raise RewardServerError(f"{n} of {len(scored)} rollouts could not be judged. {reasons}", code="unscored")
        mean = sum(given) / len(given)
        return [s if s.reward is not None else s.model_copy(update={"reward": mean}) for s in scored]


def _refusal(response: httpx2.Response) -> RewardServerError:
    """What the server says it is, or what else stands between says instead."""
    where = f"{response.request.method} {response.request.url.copy_with(query=None, userinfo=b'')}"
    status = response.status_code
    try:
        told = ErrorAnswer.model_validate_json(response.content).error
    except ValidationError:
        error = RewardServerError(f"{where} answered {status}: {response.text[:200]!r}", code="foreign", status=status)
        error.retryable = status in (408, 429, 502, 503, 504)
        return error
    error = RewardServerError(
        f"{where} answered {status} {told.code} (request {told.request}): {told.message}",
        code=told.code,
        status=status,
        request=told.request,
    )
    error.retryable = told.retryable
    with_pause = response.headers.get("retry-after", "")
    error.retry_after_s = float(with_pause) if with_pause.isdecimal() else None
    return error


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, RewardServerError) and error.retryable


def _was_not_taken_up(error: BaseException) -> bool:
    """No connection was made, or the server refused before it read what was asked."""
    sent_nothing = isinstance(error.__cause__, httpx2.ConnectError | httpx2.ConnectTimeout)
    return sent_nothing or (isinstance(error, RewardServerError) and error.code in ("rate", "overloaded"))


def _unsure(path: str, error: RewardServerError) -> RewardServerError:
    return RewardServerError(
        f"what was sent to {path} may be on record or not, and is not sent again, as it could count twice: {error} See "
        "what metapo rubric acts tells of the run before you send it again.",
        code="unsure",
        status=error.status,
        request=error.request,
    )


def _unreachable(url: str, error: Exception) -> RewardServerError:
    found = RewardServerError(
        f"{url} can't be reached: {str(error) or type(error).__name__}. Does metapo serve run there?"
    )
    found.retryable = True
    return found


def _wait(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    told = error.retry_after_s if isinstance(error, RewardServerError) else None
    return min(MAX_PAUSE_S, _jittered(state) if told is None else told + 0.1 * _jittered(state))


def _checked(url: str) -> str:
    """Raises SettingsError unless a URL names a server over HTTP, and nothing secret."""
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL as e:
        raise SettingsError(f"the URL of a reward server is wrong: {e}. Give one like http://localhost:8000") from e
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.userinfo or parsed.query:
        raise SettingsError(
            "the URL of a reward server is scheme, host and port, like http://localhost:8000, and a token comes by "
            "token_env"
        )
    return url.rstrip("/")


def _headers(token_env: str | None) -> dict[str, str]:
    if token_env is None:
        return {}
    token = os.environ.get(token_env, "")
    if not token or not (token.isascii() and token.isprintable()) or " " in token:
        raise SettingsError(
            f"token_env names the environment variable {token_env!r}, which holds no token. Set it to the server's."
        )
    return {"Authorization": f"Bearer {token}"}
