"""A trainer without a policy: what is written in each step is given, and everything of ours is real.

The judge goes by a criterion's id: `sound...` gives its best level to a completion that holds the word sound, and its
worst to others; `empty...` does the contrary; any other gives all the same. Each completion's reference is a sound one.
"""

import asyncio
import json
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from metapo.course import Boundary
from metapo.engines.connect import connect
from metapo.judge.endpoint import EndpointSettings
from metapo.judge.template import unfence
from metapo.judge.transport import ChatReply, ChatRequest, Transport
from metapo.meta.pairs import Pair, Source
from metapo.meta.step import Senses
from metapo.reward import Screen, screen_nothing
from metapo.rollout import Rollout
from metapo.rubric import Criterion
from metapo.rubric_text import render_criterion
from metapo.run import CHECKPOINTS, METRICS, Run
from metapo.scorer import Scorer
from metapo.settings import MetaSchedule, Settings
from tests.helpers import criterion, rubric
from tests.reviewer import Reviewer
from tests.servers import Answer, Ask, keys_by_criterion, offered, says

SOUND, EMPTY = criterion("sound", (0, 10)), criterion("empty", (0, 10))
PLAIN = criterion("plain", (0, 10))
SOUND_TEXT = "The sound answer adds four and three, names both of the numbers, and says in one line what they make: 7"
EMPTY_TEXT = "An answer that has nothing to do with it is number {}: 3"
# A gate that knows the order of references and anchors alone: no text of the meta model, no damage.
GATED: dict[str, Any] = {
    "method": "metapo",
    "candidates": 1,
    "repair": False,
    "gate": {"attack": False, "min_pairs": 4},
    "exam": {"damaged": False, "monitor": False, "compared": 0},
    "hygiene": {"duplicates": False, "no_variance": False, "misordered": False, "split": False},
    "select": "random",
}
UNGATED: dict[str, Any] = {"method": "mpo"}


class Marker:
    """The judge, as described above."""

    async def complete(self, request: ChatRequest) -> ChatReply:
        return ChatReply(text=marks(request.last), model="marker")

    async def identify(self) -> str:
        return "marker"

    async def aclose(self) -> None:
        pass


def marks(prompt: str) -> str:
    """The judge's reply to a prompt."""
    points, keys = offered(prompt), keys_by_criterion(prompt)
    is_sound = "sound" in (unfence("completion", prompt) or "")
    best = {"sound": is_sound, "empty": not is_sound}
    entries = {
        keys[name]: max(given) if next((v for k, v in best.items() if name.startswith(k)), True) else min(given)
        for name, given in points.items()
    }
    return json.dumps(entries) if entries else "yes"


def judge_and_meta(ask: Ask) -> Answer:
    """Judge and meta model at one address."""
    match stage_of(ask):
        case "":
            return says(marks(ask.prompt))(ask)
        case "analysis":
            return says("The score is inflated.")(ask)
        case stage:
            return says("1" if stage.endswith("number of criteria") else render_criterion(SOUND))(ask)


def stage_of(ask: Ask) -> str:
    """The stage of a meta step; "" where the judge is asked."""
    found = re.search(r"^Stage: (.+)$", ask.prompt, re.MULTILINE)
    return found[1] if found else ""


class Held:
    """A meta model that answers nothing until it is `let_go`; `n_waiting` counts who asked before."""

    def __init__(self, *criteria: Criterion) -> None:
        self.asked, self.let_go = asyncio.Event(), asyncio.Event()
        self.n_waiting = 0
        self._meta = Reviewer(*criteria)

    async def complete(self, request: ChatRequest) -> ChatReply:
        self.n_waiting += 1
        self.asked.set()
        await self.let_go.wait()
        return await self._meta.complete(request)

    async def identify(self) -> str:
        return "held"

    async def aclose(self) -> None:
        pass


def settings(*, first: Criterion = PLAIN, url: str = "http://127.0.0.1:9/v1", **meta: Any) -> Settings:
    """A meta step after every fourth step, unless `meta` says otherwise; by default adopted as it is (MPO)."""
    schedule = {**UNGATED, "when": "every", "every": 4, "samples": 3, **meta}
    return Settings(
        rubric=rubric(first),
        judge=EndpointSettings(url=url, model="m", max_in_flight=8),
        meta=MetaSchedule.model_validate(schedule),
    )


def write(step: int, clusters: Sequence[str] = ("",), n: int = 8) -> list[Rollout]:
    """Two groups of four for each step: every other completion is sound. The clusters take turns, group by group."""
    return [
        Rollout(
            prompt=f"Question {i // 4} of step {step}: four and three?",
            completion=f"No. {step}/{i}. {SOUND_TEXT}" if i % 2 else EMPTY_TEXT.format(f"{step}/{i}"),
            reference=f"To {step}/{i}. {SOUND_TEXT}",
            step=step,
            position=i,
            cluster=clusters[i // 4 % len(clusters)],
        )
        for i in range(n)
    ]


def anchor(number: int = 0) -> Pair:
    """A sound answer above an empty one."""
    better, worse = f"No. {number}. {SOUND_TEXT}", EMPTY_TEXT.format(number)
    return Pair(prompt="four and three?", better=better, worse=worse, source=Source.ANCHOR, why="pinned")


class Trainer:
    """Holds a run and a scorer; `done` counts the steps. `meta` and `judge` replace the servers of the settings."""

    def __init__(
        self,
        folder: Path,
        given: Settings,
        *,
        meta: Transport | None = None,
        judge: Transport | None = None,
        served: bool = False,
        resumed_step: int | None = None,
        n_steps: int | None = None,
        clusters: Sequence[str] = ("",),
        anchors: Sequence[Pair] = (),
        write: Callable[[int, Sequence[str]], list[Rollout]] = write,
        screen: Screen = screen_nothing,
    ) -> None:
        """With `served` the settings' endpoint is asked. `resumed_step` goes on with the run in the folder."""
        self.connections = connect(given) if served else connect(given, judge=judge or Marker(), meta=meta)
        ledger = self.connections.ledger
        if resumed_step is None:
            self.run = Run.create(folder, given, self.connections.meta, anchors=anchors, ledger=ledger)
        else:
            self.run = Run.resume(folder, given, self.connections.meta, ledger=ledger)
        self.scorer = Scorer(given, self.connections, self.run.revision, screen=screen)
        self.done = resumed_step or 0
        self.clusters = clusters
        self._write = write
        self.scorer.in_force = self.run.begin(self.done, n_steps)

    async def step(self) -> Boundary:
        """Write, judge, end the step, and save a checkpoint."""
        scored = await self.scorer.score(self._write(self.done, self.clusters))
        self.done += 1
        senses = Senses(self.scorer.appraise, self.scorer.explain)
        boundary = await self.run.end_step(self.done, scored, senses=senses)
        self.scorer.in_force = boundary.in_force
        folder = self.run.folder / CHECKPOINTS / f"checkpoint-{self.done}"
        folder.mkdir(parents=True, exist_ok=True)
        self.run.checkpoint(self.done, folder)
        return boundary

    async def go(self, n: int) -> Self:
        """`n` steps without an error."""
        for _ in range(n):
            assert (await self.step()).error is None
        return self

    async def killed(self, folder: Path) -> Path:
        """The disk as a kill at this moment leaves it, in another folder."""
        shutil.copytree(self.run.folder, folder, ignore=shutil.ignore_patterns(".lock", "*-shm"))
        await self.close()
        return folder

    async def close(self) -> None:
        await self.run.interrupt()
        await self.connections.aclose()
        self.run.close()

    @property
    def lineage(self) -> list[tuple[int, str]]:
        return lineage(self.run)

    def rows(self, kind: str) -> list[dict[str, Any]]:
        lines = (self.run.folder / METRICS).read_text().splitlines()
        return [row for row in map(json.loads, lines) if row["kind"] == kind]


def lineage(run: Run, cluster: str = "") -> list[tuple[int, str]]:
    """Steps and ids; also checks that the chain holds."""
    run.store.verify()
    return [(step, revision.id) for step, revision in run.store.lineage(cluster)]
