"""One Ray actor that holds the run: every reward worker of the cluster asks it.

It begins and ends with the process that drives training. Ray starts it again where it was killed, and asks it once
more what it owes; what it had answered is in the store and is not judged twice.
"""

import asyncio
import time
from pathlib import Path
from typing import Any

from metapo.asked import Asked
from metapo.engines.connect import connect
from metapo.engines.verl.options import VerlOptions
from metapo.engines.verl.slots import Given, given
from metapo.engines.verl.standing import Standing, check_lineage, check_lost, revision_number
from metapo.errors import MissingExtra, RunError
from metapo.rubric import digest
from metapo.service import RewardService
from metapo.settings import Settings
from metapo.store import Store

try:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
except ImportError as e:
    raise MissingExtra("verl", "training with verl") from e

NAMESPACE = "metapo"
MAX_RESTARTS = 100
END_S = 30.0
AT_ONCE = 8192  # requests that wait in the keeper; how many the judge is asked at once is for its settings to say


class Keeper:
    """Opens the run when it is first asked. `settings` is the text of metapo's settings."""

    def __init__(self, place: Path | str, settings: str) -> None:
        self._place = place
        self._settings = Settings.from_yaml(settings)
        self._service: RewardService | None = None
        self._opening = asyncio.Lock()  # several ask at once when it is new
        self._numbers: dict[tuple[str, int], int] = {}

    async def score(self, asked: Asked) -> Given:
        """Raises Stopped, DataError, StoreError, and what keeps the run from being opened."""
        service = await self._run()
        [record] = await service.score([asked])
        return given(record, await self._number(service, record.rollout.cluster, record.rollout.step))

    async def begin(self, step: int, resumed: bool = False, written_under: str = "") -> Standing:
        """`step` steps are done; with `resumed`, training goes on from a checkpoint there, which names the revision
        that it was `written_under`. Raises LineageError where the run lacks it, and what ends the run."""
        service = await self._run()
        if written_under:
            chain = await asyncio.to_thread(service.store.lineage)
            check_lineage([(at, revision.id) for at, revision in chain], step, written_under)
        if resumed:
            self._numbers.clear()
        await service.begin_step(step, resumed=resumed)
        return await self.standing()

    async def check(self, step: int, n_rollouts: int) -> None:
        """Raises what ends the run, if anything; also where a step of `n_rollouts` has lost too many of them already,
        since a trainer that replaces what fails would never come to the step's end."""
        service = await self._run()
        if service.error is not None:
            raise service.error
        records = await asyncio.to_thread(service.store.rollouts, from_step=step, to_step=step + 1)
        check_lost(step, sum(r.value is None for r in records), n_rollouts, self._settings.max_unscored)

    async def standing(self) -> Standing:
        service = await self._run()
        return Standing(service.step, service.in_force().revision.id)

    async def finish(self) -> None:
        """Training is over: note the figures of its last step."""
        await (await self._run()).finish()

    async def _run(self) -> RewardService:
        async with self._opening:
            if self._service is None:
                store = await asyncio.to_thread(Store, self._place)
                self._service = await RewardService.open(store, self._settings, connect(self._settings))
        return self._service

    async def _number(self, service: RewardService, cluster: str, step: int) -> int:
        if (cluster, step) not in self._numbers:
            adoptions = await asyncio.to_thread(service.store.adoptions, cluster)
            self._numbers[cluster, step] = revision_number([a.step for a in adoptions], step)
        return self._numbers[cluster, step]


def start(options: VerlOptions) -> Any:
    """A keeper for this process's training, in place of one that another training left behind. The settings file is
    read here; the store, where it is a file, lies on this machine. Raises SettingsError."""
    settings = options.load_settings().to_yaml()
    end(options)
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=options.is_url)
    return (
        ray.remote(Keeper)
        .options(
            name=_name(options),
            namespace=NAMESPACE,
            num_cpus=0,
            max_restarts=MAX_RESTARTS,
            max_task_retries=-1,
            max_concurrency=AT_ONCE,
            scheduling_strategy=here,
        )
        .remote(options.place, settings)
    )


def find(options: VerlOptions) -> Any:
    """The keeper of the training that is under way. Raises RunError where there is none."""
    if kept := _kept(options):
        return kept
    raise RunError(
        f"nobody keeps the run in {options.shown}. Set actor_rollout_ref.rollout.agent.agent_loop_manager_class to "
        "metapo.engines.verl.rollouts.RolloutManager, which starts its keeper."
    )


def end(options: VerlOptions) -> None:
    """End the keeper of a store, where there is one; nothing that it answered is lost. Raises RunError where it does
    not end."""
    deadline = time.monotonic() + END_S
    while old := _kept(options):
        if time.monotonic() > deadline:
            raise RunError(f"the keeper of the run in {options.shown} does not end; end it with Ray's own tools")
        ray.kill(old)
        time.sleep(0.1)


def _kept(options: VerlOptions) -> Any:
    """The keeper of a store; None where there is none."""
    try:
        return ray.get_actor(_name(options), namespace=NAMESPACE)
    except ValueError:
        return None


def _name(options: VerlOptions) -> str:
    """Ray shows an actor's name to everybody, and a URL may hold a password."""
    return f"keeper-{digest(options.store)[:32]}"
