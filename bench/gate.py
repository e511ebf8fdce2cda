"""How often the gate lets a proposal pass that is no better than its parent, and how often one that is better.

The offline world's judge errs by a level in one verdict of ten, and draws its errors anew for every wording of a
rubric: even one that only reads otherwise gives other scores. Each trial has new rollouts, new errors, and proposals
that are worse as the world's flawed meta model makes them, reworded, or better. Where the parent is vague, half of a
good rubric is better as well. `--trials` says how many trials each situation gets: 20 show what is badly wrong, and
`--trials 40` gives the figures of docs/log.md.
"""

import argparse
import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from metapo.meta.attack import attackable, rule_attacks
from metapo.meta.conversation import MetaModel
from metapo.meta.exam import make_exam
from metapo.meta.gate import Check, Exam, Gate, Report
from metapo.meta.pairs import Pair, Source
from metapo.meta.settings import MetaSettings
from metapo.rollout import Rollout
from metapo.rubric import Criterion, Revision, Rubric
from metapo.scorer import Connections, Scorer
from metapo.world import language as lang
from metapo.world.anchors import world_anchors
from metapo.world.corpus import USUAL, VICES, Writer, prompts, write_example
from metapo.world.flaws import Flaw, spoiled
from metapo.world.judge import WorldJudge
from metapo.world.ladders import LADDERS, reasons
from metapo.world.language import read_ask
from metapo.world.meta import WorldMeta
from metapo.world.presets import arm_settings, preset_rubric

TRIALS = 20
N_ROLLOUTS = 160
N_UNTRAINED = 40
N_ATTACKS = 14
N_EARLIER = 3  # meta steps before this one, where the policy is no longer new
# What a policy writes after a hundred steps under a good rubric: nearly every part, and hardly a vice.
SKILLED = Writer(0.5, 0.95, (0, 0.02, 0.15, 0.5, 0.33), 0.8, 0.9, 0.95, {vice: p / 4 for vice, p in VICES.items()})


def usual(rng: Random) -> tuple[str, str]:
    return write_example(rng, USUAL)


def skilled(rng: Random) -> tuple[str, str]:
    return write_example(rng, SKILLED)


def title_only(rng: Random) -> tuple[str, str]:
    prompt = rng.choice(prompts(held_out=False))
    return prompt, lang.title(read_ask(prompt), rng)


def ladders(*without: str, **instead: Criterion) -> Rubric:
    """The criteria of the world's meta model, without some kinds, or with others in their place."""
    return Rubric(criteria=tuple(instead.get(kind, c) for kind, c in LADDERS.items() if kind not in without))


@dataclass(frozen=True)
class Situation:
    """A parent, what the policy writes at a step, and rubrics that are better than the parent, by name."""

    name: str
    parent: Rubric
    write: Callable[[Random], tuple[str, str]]
    better: dict[str, Rubric] = field(default_factory=dict)
    step: int = 0


VAGUE, ORACLE = preset_rubric("iter0"), preset_rubric("oracle")
SITUATIONS = (
    Situation("vague parent", VAGUE, usual, {"oracle": ORACLE, "ladders": ladders()}),
    Situation("vague parent, only titles", VAGUE, title_only, {"oracle": ORACLE, "ladders": ladders()}, 50),
    Situation("oracle", ORACLE, usual),
    Situation("ladders without one, skilled policy", ladders("counterargument"), skilled, {"with it": ladders()}, 100),
    Situation("ladders, skilled policy", ladders(), skilled, {"third reason": ladders(reasons=reasons(3))}, 100),
    Situation("ladders without repeats, skilled policy", ladders("repeats"), skilled, {"with it": ladders()}, 100),
)


def proposals(at: Situation, trial: int, rng: Random) -> dict[str, Rubric]:
    criteria = at.parent.criteria
    flawed = {
        flaw.value: spoiled(flaw, criteria, criteria, rng) for flaw in Flaw if len(criteria) > 1 or flaw != "dropped"
    }
    reworded = tuple(c.model_copy(update={"instruction": f"Reading {trial}."}) for c in criteria)
    halved = {
        f"half of {name}": spoiled(Flaw.DROPPED, criteria, rubric.criteria, rng)
        for name, rubric in at.better.items()
        if len(criteria) == 1
    }
    written = {**flawed, "reworded": reworded, **halved}
    return {name: Rubric(criteria=of) for name, of in written.items()} | at.better


def written(write: Callable[[Random], tuple[str, str]], n: int, rng: Random, step: int = 0) -> list[Rollout]:
    return [Rollout(prompt=p, completion=c, step=step) for p, c in (write(rng) for _ in range(n))]


async def run_trial(at: Situation, number: int) -> dict[str, Report]:
    """What the gate finds in each proposal."""
    rng, settings, meta = Random(f"{at.name}/{number}"), arm_settings("metapo", seed=number), MetaSettings()
    parent = Revision(rubric=at.parent, reason="start", proposer="bench", step=0)
    scorer = Scorer(settings, Connections(WorldJudge(seed=number), WorldMeta()), parent)
    model = MetaModel(WorldMeta(), settings.task_description, meta)
    assert meta.gate is not None
    known, exam = world_anchors(), Exam(())
    for _ in range(N_EARLIER + 1 if at.step else 1):
        known += [pair.model_copy(update={"source": Source.EARLIER}) for pair in exam.fresh]
        unseen = await scorer.score(written(at.write, N_ROLLOUTS, rng, at.step))
        untrained = await scorer.score(written(usual, N_UNTRAINED, rng))
        exam = await make_exam(model, unseen, untrained, known, settings=meta.exam, limits=meta.gate, rng=rng, log=[])
    gate = Gate(at.parent, exam, scorer.appraise, meta.gate)

    async def examine(rubric: Rubric) -> Report:
        async def attacks() -> list[Pair]:
            return rule_attacks(rubric, attackable(exam.good), N_ATTACKS, rng)

        return await gate.examine(rubric, (), attacks)

    return {name: await examine(rubric) for name, rubric in proposals(at, number, rng).items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=TRIALS)
    n = parser.parse_args().trials
    for at in SITUATIONS:
        reports = [asyncio.run(run_trial(at, number)) for number in range(n)]
        print(f"\n{at.name:<36} {'accepted':>9}   refused by (of {n} trials)")
        for name in reports[0]:
            accepted = sum(found[name].accepted for found in reports)
            last = Counter(found[name].findings[-1].check for found in reports if not found[name].accepted)
            refused = ", ".join(f"{check.value} {last[check]}" for check in Check if last[check])
            print(f"  {name:<34} {accepted / n:>9.1%}   {refused}", flush=True)


if __name__ == "__main__":
    main()
