"""What meta steps add to the wall time of training, where training waits for them and where they run beside it.

The offline world's arm metapo is trained under a meta step every `--every` steps, with a staleness of 0 (blocking)
and of `--staleness` (overlapped). Its meta model would answer at once; here each request takes a while, as one to a
large model does. How long is found at the start, in a short run of its own: so long that a meta step takes about a
tenth of the time of the training between two of them, which the paper gives for its own (about 11 %). Requests that a
stage sends at once wait at once. Only the meta model takes its time; judge and policy are the world's. Both models
are programs that compute on the cores of the training, in its process, as served ones would not. So that this counts
for little, meta steps are smaller than usual (fewer samples and pairs); what it takes is told, and a meta step can't
be shorter.

"Seconds in all" is the time from the end of the first step to the end of the last one, "in meta steps" the time that
meta steps took beside or between them, "waited" the time in which training stood still for one. The last two columns
compare training steps during which a meta step was under way with the others: what they lose by sharing the cores.
Later meta steps ask more than the one that the pause was found with, so blocking may come out above a tenth.

Absolute times depend on the machine and on who else uses it: compare only what one run has measured.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from metapo.engines.trl import train
from metapo.files import read_rows
from metapo.judge.transport import ChatReply, ChatRequest
from metapo.rollout import Prompt
from metapo.run import METRICS
from metapo.settings import MetaSchedule
from metapo.world import corpus
from metapo.world.anchors import world_anchors
from metapo.world.judge import WorldJudge
from metapo.world.meta import WorldMeta
from metapo.world.policy import build_tokenizer, write_policy
from metapo.world.presets import WorldSettings, arm_settings

SHARE = 0.1  # of the training time between two meta steps
TRIAL_PAUSE_S = 0.05
SMALL: dict[str, Any] = {
    "samples": 8,
    "gate": {"max_pairs": 16, "max_anchors": 8, "max_attacks": 4},
    "exam": {"compared": 4},
}
HEADER = (
    *("mode", "steps", "meta steps", "seconds in all", "in meta steps", "waited", "waited, share"),
    *("median step, s", "median step beside a meta step, s"),
)


@dataclass(eq=False)
class SlowMeta:
    """The world's meta model, each of whose replies takes `pause_s` more; `paused_s` is the time during which at least
    one of them was awaited for no other reason."""

    pause_s: float
    paused_s: float = 0.0
    inner: WorldMeta = field(default_factory=WorldMeta)
    _n_paused: int = 0
    _since: float = 0.0

    async def complete(self, request: ChatRequest) -> ChatReply:
        if self._n_paused == 0:
            self._since = time.monotonic()
        self._n_paused += 1
        try:
            await asyncio.sleep(self.pause_s)
        finally:
            self._n_paused -= 1
            if self._n_paused == 0:
                self.paused_s += time.monotonic() - self._since
        return await self.inner.complete(request)

    async def identify(self) -> str:
        return await self.inner.identify()

    async def aclose(self) -> None:
        await self.inner.aclose()


@dataclass(frozen=True)
class MetaTime:
    """A meta step that began after `began` training steps, took `seconds` and came into force after `ended`, for which
    training waited `waited_s`."""

    began: int
    ended: int
    seconds: float
    waited_s: float


@dataclass(frozen=True)
class Timing:
    """One run. `ends_s[i]` is when the completions of training step i, counted from 0, had been scored and the step was
    over but for its end's own work; `meta_steps` are those that ended before the last of these."""

    n_steps: int
    ends_s: Sequence[float]
    meta_steps: Sequence[MetaTime]

    @property
    def all_s(self) -> float:
        return self.ends_s[-1] - self.ends_s[0]

    @property
    def meta_s(self) -> float:
        return sum(m.seconds for m in self.meta_steps)

    @property
    def waited_s(self) -> float:
        return sum(m.waited_s for m in self.meta_steps)

    def steps_s(self) -> tuple[list[float], list[float]]:
        """What training steps took, without what was waited between them: those without a meta step under way, and
        those with one."""
        alone, beside = [], []
        for i, (start, end) in enumerate(zip(self.ends_s, self.ends_s[1:], strict=False)):
            seconds = end - start - sum(m.waited_s for m in self.meta_steps if m.ended == i + 1)
            (beside if any(self._runs_beside(m, i) for m in self.meta_steps) else alone).append(seconds)
        return alone, beside

    def _runs_beside(self, meta: MetaTime, i: int) -> bool:
        """Is the meta step still at work in the training step after the end of step `i`?"""
        first = meta.began - 1
        return first <= i < meta.ended - 1 and self.ends_s[i] < self.ends_s[first] + meta.seconds


def main(arguments: Sequence[str]) -> int:
    options = parse(arguments)
    trial = try_out(options.every, options.seed)
    print(
        f"A training step takes {trial.step_s:.2f} s, so a meta step should take {trial.target_s:.1f} s, {SHARE:.0%} "
        f"of {options.every} steps. The first one computes for {trial.computing_s:.1f} s and waits for "
        f"{trial.n_in_a_row:.0f} replies in a row: each takes {1000 * trial.pause_s:.0f} ms.\n"
    )
    timings = {
        mode: measure(options.steps, options.every, options.seed, staleness, SlowMeta(trial.pause_s))
        for mode, staleness in (("blocking", 0), ("overlapped", options.staleness))
    }
    print(table(timings))
    return 0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--steps", type=int, default=64, help="training steps per run (default 64)")
    parser.add_argument(
        "--every", type=int, default=20, help="training steps from one meta step to the next (default 20)"
    )
    parser.add_argument("--staleness", type=int, default=3, help="steps from its beginning to its adoption (default 3)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    if not 0 < options.staleness < options.every < options.steps - options.staleness:
        parser.error("a meta step has to fit: staleness from 1 to below every, and steps over every + staleness")
    return options


@dataclass(frozen=True)
class Trial:
    """What a short run tells: how long a training step takes, how long the first meta step should, how long it
    computes, and how many replies it waits for one after the other."""

    step_s: float
    target_s: float
    computing_s: float
    n_in_a_row: float

    @property
    def pause_s(self) -> float:
        """How long a reply has to take; 0 where the meta step computes for longer than it should take."""
        return max(0.0, self.target_s - self.computing_s) / self.n_in_a_row


def try_out(every: int, seed: int) -> Trial:
    """Train until the first meta step is over; replies take TRIAL_PAUSE_S."""
    meta = SlowMeta(TRIAL_PAUSE_S)
    timing = measure(every + 1, every, seed, 0, meta)
    step_s = median(timing.steps_s()[0])
    return Trial(step_s, SHARE * every * step_s, timing.meta_s - meta.paused_s, meta.paused_s / TRIAL_PAUSE_S)


def measure(n_steps: int, every: int, seed: int, staleness: int, meta: SlowMeta) -> Timing:
    """Train for `n_steps` in a folder that is gone afterwards."""
    settings, ends_s = make_settings(n_steps, every, seed, staleness), list[float]()

    def observe(scored: Sequence[Any]) -> dict[str, float]:
        ends_s.append(time.monotonic())
        return {}

    with tempfile.TemporaryDirectory() as out:
        folder, start = Path(out) / "run", Path(out) / "start"
        write_policy(start, settings.start)
        train(
            settings,
            folder,
            [Prompt(prompt) for prompt in corpus.prompts(held_out=False)],
            model=str(start),
            tokenizer=build_tokenizer(),
            judge=WorldJudge(sway=settings.sway, seed=settings.seed),
            meta=meta,
            observe=observe,
            anchors=world_anchors(),
        )
        rows = [row for row in read_rows(folder / METRICS) if row["kind"] == "meta" and row["step"] < n_steps]
    return Timing(n_steps, ends_s, [MetaTime(r["began"], r["step"], r["seconds"], r["waited"]) for r in rows])


def make_settings(n_steps: int, every: int, seed: int, staleness: int) -> WorldSettings:
    """The arm metapo on a fixed schedule, so that both modes have as many meta steps, and with small ones."""
    settings = arm_settings("metapo", seed=seed, steps=n_steps)
    meta = {"when": "every", "every": every, "staleness": staleness, **SMALL}
    return settings.model_copy(update={"meta": MetaSchedule.model_validate(meta)})


def table(timings: dict[str, Timing]) -> str:
    """Markdown, a line for each mode."""
    lines = [f"| {' | '.join(HEADER)} |", f"|:--|{'--:|' * (len(HEADER) - 1)}"]
    for mode, timing in timings.items():
        alone, beside = (f"{median(steps):.2f}" if steps else "" for steps in timing.steps_s())
        times = [f"{seconds:.1f}" for seconds in (timing.all_s, timing.meta_s, timing.waited_s)]
        share = f"{timing.waited_s / timing.all_s:.1%}"
        cells = (mode, str(timing.n_steps), str(len(timing.meta_steps)), *times, share, alone, beside)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
