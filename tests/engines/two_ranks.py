"""Run by torchrun: one rank of a two-rank training run that notes which revision it scored each batch with."""

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

from metapo.engines.trl import EvolvingReward, train
from metapo.rollout import Prompt
from metapo.world import corpus
from metapo.world.judge import WorldJudge
from metapo.world.meta import WorldMeta
from metapo.world.policy import build_tokenizer
from metapo.world.presets import WorldSettings


def main(settings_file: Path, policy: Path, out: Path, fail_rank: str = "", resume: str = "") -> None:
    """With a `fail_rank` of "server" judge and meta model are those of the settings."""
    rank = os.environ["RANK"]
    score = EvolvingReward.__call__

    def noted(self: EvolvingReward, prompts: list[Any], completions: list[Any], **columns: Any) -> list[float | None]:
        row = {
            "step": columns["trainer_state"].global_step,
            "revision": self.scorer.in_force[""].revision.id,
            "n": len(prompts),
        }
        with (out.parent / f"rank-{rank}.jsonl").open("a") as f:
            f.write(json.dumps(row) + "\n")
        return score(self, prompts, completions, **columns)

    EvolvingReward.__call__ = noted  # type: ignore[method-assign]
    rows = [Prompt(p) for p in corpus.prompts(held_out=False)]
    judge: Any = Failing() if rank == fail_rank else WorldJudge(seed=1)
    is_served = fail_rank == "server"
    train(
        WorldSettings.load(settings_file),
        out,
        rows,
        resume=bool(resume),
        model=str(policy),
        tokenizer=build_tokenizer(),
        judge=None if is_served else judge,
        meta=None if is_served else WorldMeta(),
    )


class Failing(WorldJudge):
    """A judge whose key was withdrawn after the first check."""

    async def complete(self, request: Any) -> Any:
        from metapo.errors import ChatMisconfigured

        if "<rubric>" in request.last:
            raise ChatMisconfigured("401: the key is no longer valid")
        return await super().complete(request)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), *sys.argv[4:])
