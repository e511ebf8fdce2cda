"""Who is asked for rewards: the keeper of this training, or a reward server that keeps the run elsewhere."""

from collections.abc import Sequence
from typing import Any, Protocol

from pydantic import ValidationError

from metapo.api import AskedRollout, ScoredRollout
from metapo.asked import Asked
from metapo.client import RewardClient
from metapo.engines.verl import keeper
from metapo.engines.verl.options import VerlOptions
from metapo.engines.verl.slots import Given
from metapo.engines.verl.standing import Standing, check_lineage, check_lost, revision_number
from metapo.errors import DataError, MetapoError, MissingExtra, RunError, Stopped
from metapo.rubric import describe

try:
    from ray.exceptions import RayActorError, RayTaskError
except ImportError as e:
    raise MissingExtra("verl", "training with verl") from e


class Keeps(Protocol):
    """Keeps the run, and scores. What it raises is metapo's own; each method is as the keeper's."""

    async def score(self, asked: Asked) -> Given: ...

    async def begin(self, step: int, resumed: bool = False, written_under: str = "") -> Standing: ...

    async def check(self, step: int, n_rollouts: int) -> None: ...

    async def standing(self) -> Standing: ...

    async def finish(self) -> None: ...


def who_keeps(options: VerlOptions, *, begins: bool = False) -> Keeps:
    """Where training `begins` a keeper is started, unless a server keeps the run. Raises SettingsError, and RunError
    where there is no keeper."""
    if options.server is not None:
        return ByServer(options.server, options.token_env)
    return ByKeeper(keeper.start(options) if begins else keeper.find(options))


class ByKeeper:
    """The actor's own errors as they are, without Ray's around them."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    async def score(self, asked: Asked) -> Given:
        given: Given = await self._tell("score", asked)
        return given

    async def begin(self, step: int, resumed: bool = False, written_under: str = "") -> Standing:
        standing: Standing = await self._tell("begin", step, resumed, written_under)
        return standing

    async def check(self, step: int, n_rollouts: int) -> None:
        await self._tell("check", step, n_rollouts)

    async def standing(self) -> Standing:
        standing: Standing = await self._tell("standing")
        return standing

    async def finish(self) -> None:
        await self._tell("finish")

    async def _tell(self, what: str, *args: Any) -> Any:
        try:
            return await getattr(self._actor, what).remote(*args)
        except RayTaskError as e:
            raise e.cause if isinstance(e.cause, MetapoError) else e from None
        except RayActorError as e:
            raise RunError(f"the keeper of the run is gone: {e}") from e


class ByServer:
    """Asks `metapo serve`. Bound to the event loop that first uses it; every method raises RewardServerError too."""

    def __init__(self, url: str, token_env: str | None) -> None:
        self._client = RewardClient(url, token_env=token_env)
        self._criteria: dict[str, Sequence[str]] = {}
        self._numbers: dict[tuple[str, int], int] = {}

    async def score(self, asked: Asked) -> Given:
        [scored] = await self._client.score([_rollout(asked)])
        if scored.revision not in self._criteria:
            found = (await self._client.revision(scored.revision)).revision
            self._criteria[scored.revision] = [criterion.id for criterion in found.rubric.criteria]
        number = await self._number(asked.cluster, scored.step)
        return _given(scored, self._criteria[scored.revision], number)

    async def begin(self, step: int, resumed: bool = False, written_under: str = "") -> Standing:
        if written_under:
            chain = (await self._client.lineage()).adoptions
            check_lineage([(adopted.step, adopted.id) for adopted in chain], step, written_under)
        if resumed:
            self._numbers.clear()
        await self._client.begin_step(step, resumed=resumed)
        return await self.standing()

    async def check(self, step: int, n_rollouts: int) -> None:
        found = await self._client.step(step)
        if found.stopped is not None:
            raise Stopped(found.stopped)
        check_lost(step, found.unscored, n_rollouts, found.max_unscored)

    async def standing(self) -> Standing:
        found = await self._client.rubric()
        return Standing(found.step, found.id)

    async def finish(self) -> None:
        """The server keeps the run beyond this training; the connection ends."""
        try:
            await self._client.finish()
        finally:
            await self._client.aclose()

    async def _number(self, cluster: str, step: int) -> int:
        if (cluster, step) not in self._numbers:
            adoptions = (await self._client.lineage(cluster)).adoptions
            self._numbers[cluster, step] = revision_number([a.step for a in adoptions], step)
        return self._numbers[cluster, step]


def _rollout(asked: Asked) -> AskedRollout:
    try:
        return AskedRollout(**vars(asked))
    except ValidationError as e:
        raise DataError(f"a sample can't be sent to the reward server:\n{describe(e)}") from e


def _given(scored: ScoredRollout, criteria: Sequence[str], number: int) -> Given:
    """As from a record: points in the order of the revision's criteria, those that were asked about."""
    points: dict[str, int | None] = {v.criterion: v.points for v in scored.verdicts}
    points |= {u.criterion: None for u in scored.unscored}
    return Given(
        scored.reward,
        scored.normalized,
        scored.raw,
        number,
        tuple(points[criterion] for criterion in criteria if criterion in points),
        "; ".join(f"{u.criterion}: {u.reason} {u.detail}" for u in scored.unscored),
    )
