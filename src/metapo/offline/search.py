"""A whole search: from settings and data to the best rubric in a folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from metapo.bridge import Bridge
from metapo.meta.conversation import MetaModel
from metapo.meta.pairs import Pair
from metapo.offline.autoprompt import Autoprompt, AutopromptPlan, check_prompts
from metapo.offline.boundary import Labelled, Written
from metapo.offline.cases import Case
from metapo.offline.lineage import BEST, Lineage
from metapo.offline.optimize import Optimizer, OptimizerPlan
from metapo.rollout import Rollout
from metapo.rubric import Rubric, digest
from metapo.run import STORE
from metapo.scorer import Connections, Scorer
from metapo.settings import Settings
from metapo.store import KnownAnswers, Spent


@dataclass(frozen=True)
class Searched:
    """How a search ended: the best rubric and its file, why it ended, its rounds, changes and spending in all.

    `before` and `after` say how well the first rubric and the best do on the `n_held_out` cases or pairs that chose, in
    [0, 1]: the agreement with labels (None without a score), or the share in the right order. `n_left_out` pairs had no
    verdicts.
    """

    rubric: Rubric
    path: Path
    why: str
    n_rounds: int
    n_changes: int
    spent: Spent
    before: float | None
    after: float | None
    n_held_out: int
    n_left_out: int = 0


async def search_autoprompt(
    settings: Settings,
    connections: Connections,
    plan: AutopromptPlan,
    known: Sequence[Case],
    given: Sequence[Rollout],
    out: Path,
) -> Searched:
    """Refine the settings' rubric in the folder `out`: on the labelled cases `known`, or else on `given` rollouts and
    what the meta model writes after them, which the settings' monitor labels. Closes the connections.

    Raises DataError for cases of one prompt alone, RunExists, RunInUse, RunError, ChatError,
    ChatMisconfigured, JudgeFailureLimit.
    """
    try:
        check_prompts([case.rollout for case in known] or given)
    except BaseException:
        await connections.aclose()
        raise
    data: list[Any] = [[c.rollout.model_dump(), c.label] for c in known] or [r.model_dump() for r in given]
    search = await _Search.open(settings, connections, out, ["autoprompt", plan.cases, data])
    try:
        source = Labelled(search.scorer, known) if known else Written(search.model, given)
        work = Autoprompt(search.lineage, search.scorer, search.model, source, plan)
        why = await work.run()
        before, after = [await work.agreement(r) for r in (settings.rubric, search.lineage.best.rubric)]
        return search.ended(why, before, after, work.n_held_out)
    finally:
        await search.close()


def search_optimize(
    settings: Settings, connections: Connections, plan: OptimizerPlan, known: Sequence[Pair], out: Path
) -> Searched:
    """Evolve the settings' rubric in the folder `out` with GEPA, on pairs whose order is known. Closes the connections.

    Raises MissingExtra, DataError, and what `search_autoprompt` does.
    """
    bridge = Bridge()
    try:
        data = ["optimize", plan.minibatch, [p.key for p in known]]
        search = bridge.run(_Search.open(settings, connections, out, data, resumes=False))
        try:
            ended = Optimizer(search.lineage, search.scorer, search.model, plan, bridge.run).optimize(known)
            return search.ended(ended.why, ended.before, ended.after, ended.n, ended.n_left_out)
        finally:
            bridge.run(search.close())
    finally:
        bridge.close()


def annotator_rubric() -> Rubric:
    """Quality, in five levels."""
    return Rubric.from_yaml(files("metapo.offline").joinpath("annotator.yaml").read_text(encoding="utf-8"))


class _Search:
    """What a search works with, and how to end it."""

    def __init__(self, settings: Settings, connections: Connections, lineage: Lineage, out: Path) -> None:
        self.lineage = lineage
        self._connections = connections
        self._known = KnownAnswers(out / STORE)
        self.scorer = Scorer(settings, connections, lineage.best, self._known)
        name = f"meta model {(settings.meta.endpoint or settings.judge).model}"
        self.model = MetaModel(connections.meta, settings.meta_task, settings.meta, name)

    @classmethod
    async def open(
        cls, settings: Settings, connections: Connections, out: Path, data: Any, *, resumes: bool = True
    ) -> "_Search":
        """The connections are the search's to close, also where it can't begin."""
        try:
            lineage = Lineage.open(
                out,
                settings.rubric,
                {"search": data[0], "data": digest(data), "settings": _what_counts(settings)},
                ledger=connections.ledger,
                answered_by=await connections.identify(),
                resumes=resumes,
            )
        except BaseException:
            await connections.aclose()
            raise
        return cls(settings, connections, lineage, out)

    def ended(
        self, why: str, before: float | None, after: float | None, n_held_out: int, n_left_out: int = 0
    ) -> Searched:
        store = self.lineage.store
        return Searched(
            rubric=self.lineage.best.rubric,
            path=self.lineage.folder / BEST,
            why=why,
            n_rounds=self.lineage.n_rounds,
            n_changes=len(store.lineage()) - 1,
            spent=store.spent(),
            before=before,
            after=after,
            n_held_out=n_held_out,
            n_left_out=n_left_out,
        )

    async def close(self) -> None:
        try:
            self._known.close()
            self.lineage.close()
        finally:
            await self._connections.aclose()


def _what_counts(settings: Settings) -> dict[str, Any]:
    """What a search has to keep while it goes on: all settings but what it may cost, and where models answer."""
    data = settings.model_dump(mode="json", exclude={"rubric", "budget", "judge", "panel", "max_unscored"})
    data["meta"].pop("endpoint")
    if data["monitor"]:
        data["monitor"].pop("judge")
    return data
