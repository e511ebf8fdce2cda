"""The report of a comparison: one self-contained page, made from the run folders alone.

    OUT/<arm>-<seed>/     run folders, with result.json where the run is finished
    OUT/report.html       figures, charts, essays before and after, the rubric's evolution, settings

Everything is read first (`ArmRun`, `Arm`), then turned into what the page says; the template only lays it out.
"""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from metapo.errors import RunError
from metapo.files import write_whole
from metapo.run import STORE
from metapo.store import RolloutRecord, Store
from metapo.world.charts import LineChart, StripChart, line_chart, strip_chart
from metapo.world.essay import essay_of
from metapo.world.evolution import DecisionView, RevisionView, view_decisions, view_revisions
from metapo.world.gold import gold
from metapo.world.language import NEWLINE
from metapo.world.presets import SWAY, preset_rubric
from metapo.world.runs import Arm, ArmRun, Figure, group_arms, read_runs

REPORT = "report.html"
LATE_STEPS = 20
TABLE_EVERY = 10
NOTICEABLE = 0.03
FALL_FROM_PEAK = 0.1
STARTS = {
    "iter0": "one vague criterion",
    "expert": "the six general traits of essay-scoring guides",
    "oracle": "the exact criteria that a careful engineer ends with after many runs",
}


def write_report(out: Path) -> Path:
    """Write `out/report.html` from the run folders in `out`; returns its path. The same folders give the same bytes.

    Unfinished runs are named but count nowhere. Raises RunError where no run is finished.
    """
    runs, unfinished = read_runs(out)
    if not runs:
        raise RunError(f"{out} holds no finished run to report. Start some: metapo world compare --out {out}")
    arms = group_arms(runs)
    environment = Environment(
        loader=PackageLoader("metapo.world"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template(REPORT).render(
        arms=[view_arm(arm, max(a.last_step for a in arms)) for arm in arms],
        unfinished=unfinished,
        seeds=sorted({run.seed for run in runs}),
        outcome=describe_outcome(arms),
        answers=compare_answers(arms),
        version=version("metapo"),
        commands=commands(arms, out),
    )
    write_whole(out / REPORT, page)
    return out / REPORT


@dataclass(frozen=True)
class ArmView:
    """All that the page shows of one arm, in words and geometry."""

    arm: Arm
    about: str
    story: str
    figures: Mapping[str, Figure]
    scores: LineChart
    scores_in_words: str
    hacks: StripChart
    hacks_in_words: str
    revisions: tuple[RevisionView, ...]
    decisions: tuple[DecisionView, ...]
    table: tuple[tuple[str, ...], ...]


def view_arm(arm: Arm, last_step: int) -> ArmView:
    """Everything about one arm; `last_step` ends the x axis of all arms' charts."""
    names = ("judge_start", "judge_final", "gold_start", "gold_peak", "gold_final", "gold_held_out", "revisions")
    figures = {name: arm.figure(name) for name in names}
    measures = {"judge": [r.series("normalized") for r in arm.runs], "gold": [r.series("gold") for r in arm.runs]}
    rewrites = [step for step, _ in arm.lineage[1:]]
    rates = hack_rates(arm)
    in_words = {kind: f"{before:.0%} → {after:.0%}" for kind, (before, after) in rates.items()}
    shares = {kind: [r.series(f"hack/{kind}") for r in arm.runs] for kind in rates}
    return ArmView(
        arm=arm,
        about=describe_arm(arm),
        story=tell(arm, figures),
        figures=figures,
        scores=line_chart(measures, last_step, rewrites),
        scores_in_words=_scores_in_words(arm, figures, rewrites),
        hacks=strip_chart(shares, in_words, last_step),
        hacks_in_words="; ".join(f"{kind} from {a:.0%} to {b:.0%}" for kind, (a, b) in rates.items()),
        revisions=view_revisions(arm.lineage),
        decisions=view_decisions(arm),
        table=table(arm),
    )


def describe_arm(arm: Arm) -> str:
    """The rubric that the arm starts with, and what becomes of it."""
    settings = arm.first.settings
    known = (words for name, words in STARTS.items() if preset_rubric(name) == settings.rubric)
    start = next(known, f"a rubric of {len(settings.rubric.criteria)} criteria")
    if not arm.evolves:
        return f"The rubric is {start}, and it never changes."
    every = f"every {settings.meta.every} steps"
    return f"The rubric starts as {start}; {every} the meta model reads recent essays and may rewrite it."


def tell(arm: Arm, figures: Mapping[str, Figure]) -> str:
    """What happened in an arm, in a sentence that follows from its figures alone."""
    start, peak, final = (figures[f"gold_{when}"].mean or 0.0 for when in ("start", "peak", "final"))
    judge_rose = (figures["judge_final"].mean or 0.0) > (figures["judge_start"].mean or 0.0) + NOTICEABLE
    if peak > start + NOTICEABLE and final < peak - FALL_FROM_PEAK:
        curve = f"gold quality climbed to {peak:.2f}, then fell back to {final:.2f}"
        return f"Late reward hacking: {curve} while the judge's score rose." if judge_rose else f"First {curve}."
    if final < start - NOTICEABLE:
        hacked = "Reward hacking: the judge's score rose while gold quality fell."
        return hacked if judge_rose else "Gold quality fell."
    if final > start + NOTICEABLE:
        return "The essays really got better: gold quality rose."
    return "Gold quality hardly moved" + (", though the judge's score rose." if judge_rose else ".")


def describe_outcome(arms: Sequence[Arm]) -> str:
    """The arms compared by gold quality at the end; empty for a single arm."""
    if len(arms) < 2:
        return ""
    final = {arm.name: arm.figure("gold_final").mean or 0.0 for arm in arms}
    judge = {arm.name: arm.figure("judge_final").text for arm in arms}
    best, worst = max(final, key=final.__getitem__), min(final, key=final.__getitem__)
    return (
        f"The best essays came out of {best} (gold quality {final[best]:.2f}, judge's score {judge[best]}), "
        f"the worst out of {worst} (gold quality {final[worst]:.2f}, judge's score {judge[worst]})."
    )


def _scores_in_words(arm: Arm, figures: Mapping[str, Figure], rewrites: Sequence[int]) -> str:
    ends = {measure: [figures[f"{measure}_{when}"].text for when in ("start", "final")] for measure in ("judge", "gold")}
    changes = f"rewritten after step {_listed(rewrites)}" if rewrites else "never changed"
    return (
        f"Line chart for {arm.name}. Judge's score: {ends['judge'][0]} at the start, {ends['judge'][1]} at the end. "
        f"Gold quality: {ends['gold'][0]} at the start, {ends['gold'][1]} at the end. The rubric was {changes}."
    )


def _listed(items: Iterable[object]) -> str:
    *most, last = map(str, items)
    return f"{', '.join(most)} and {last}" if most else last


def hack_rates(arm: Arm) -> dict[str, tuple[float, float]]:
    """Per kind of hack the share of essays that show it, at the first step and over the last ones; means over seeds."""
    return {
        kind: (
            fmean(run.steps[0][f"hack/{kind}"] for run in arm.runs),
            fmean(run.result["hacks"][kind] for run in arm.runs),
        )
        for kind in arm.first.result["hacks"]
    }


def table(arm: Arm) -> tuple[tuple[str, ...], ...]:
    """The charts' data as rows of text, header first: every tenth step and the last one, means over seeds."""
    kinds = list(arm.first.result["hacks"])
    measures = {"normalized": "{:.2f}", "gold": "{:.2f}", **{f"hack/{kind}": "{:.0%}" for kind in kinds}}
    rows = [("step", "judge's score", "gold quality", *kinds)]
    for step in range(arm.last_step + 1):
        if step % TABLE_EVERY == 0 or step == arm.last_step:
            at = [row for run in arm.runs for row in run.steps if row["step"] == step]
            rows.append((str(step), *(_mean_text(at, name, form) for name, form in measures.items())))
    return tuple(rows)


def _mean_text(rows: Sequence[Mapping[str, Any]], name: str, form: str) -> str:
    values = [row[name] for row in rows if row.get(name) is not None]
    return form.format(fmean(values)) if values else "none"


# --- the same prompt before and after


@dataclass(frozen=True)
class Answer:
    """One essay, where it comes from, its gold quality, and per arm the judge's score (None: unscored)."""

    when: str
    lines: tuple[str, ...]
    gold: float
    judged: tuple[tuple[str, float | None], ...]


@dataclass(frozen=True)
class Answers:
    """Essays on one prompt: those before training, each with all the arms that began with it, then one per arm."""

    prompt: str
    before: tuple[Answer, ...]
    after: tuple[Answer, ...]


Records = dict[str, RolloutRecord]


def compare_answers(arms: Sequence[Arm]) -> list[Answers]:
    """Essays of each arm's first seed: at step 0, and late in training on the same prompt.

    All arms show one prompt if they share one, else each its own. Nothing is picked by quality: the prompt is the one
    that came up latest, the essay the first of its group.
    """
    early, late = {}, {}
    for arm in arms:
        first_late = max(1, arm.first.steps[-1]["step"] + 1 - LATE_STEPS)
        with closing(Store(arm.first.folder / STORE)) as store:
            early[arm.name] = _newest_by_prompt(store.rollouts(to_step=1))
            late[arm.name] = _newest_by_prompt(store.rollouts(from_step=first_late))
    names = [arm.name for arm in arms]
    if shared := _latest_prompt(early, late, names):
        return [_answers(shared, early, late, names)]
    alone = {name: _latest_prompt(early, late, [name]) for name in names}
    return [_answers(prompt, early, late, [name]) for name, prompt in alone.items() if prompt]


def _newest_by_prompt(records: Iterable[RolloutRecord]) -> Records:
    """Per prompt the first rollout of the latest step that has it."""
    newest: Records = {}
    for record in records:
        prompt = record.rollout.prompt
        if prompt not in newest or record.rollout.step > newest[prompt].rollout.step:
            newest[prompt] = record
    return newest


def _latest_prompt(early: Mapping[str, Records], late: Mapping[str, Records], names: Sequence[str]) -> str | None:
    """The prompt that every named arm has early and late, and whose late essays are the latest."""
    candidates = [p for p in early[names[0]] if all(p in early[name] and p in late[name] for name in names)]
    return max(candidates, key=lambda p: min(late[name][p].rollout.step for name in names), default=None)


def _answers(prompt: str, early: Mapping[str, Records], late: Mapping[str, Records], names: Sequence[str]) -> Answers:
    begun: dict[str, list[str]] = {}
    for name in names:
        begun.setdefault(early[name][prompt].rollout.completion, []).append(name)
    before = [_answer("Before training", {name: early[name][prompt] for name in same}) for same in begun.values()]
    after = [_answer(f"{n}, step {late[n][prompt].rollout.step}", {n: late[n][prompt]}) for n in names]
    return Answers(prompt, tuple(before), tuple(after))


def _answer(when: str, records: Mapping[str, RolloutRecord]) -> Answer:
    rollout = next(iter(records.values())).rollout
    return Answer(
        when=when,
        lines=tuple(line.strip() for line in rollout.completion.split(NEWLINE)),
        gold=gold(essay_of(rollout.prompt, rollout.completion)),
        judged=tuple((name, record.normalized) for name, record in records.items()),
    )


# --- the rubric's evolution


# --- how to make it again


def commands(arms: Sequence[Arm], out: Path) -> list[str]:
    """The commands that repeat the runs: one for each number of steps and sway among them."""
    alike: dict[tuple[int, float], list[ArmRun]] = {}
    for run in (run for arm in arms for run in arm.runs):
        alike.setdefault((run.settings.engine.steps, run.settings.sway), []).append(run)
    return [_command(runs, out.resolve().name) for runs in alike.values()]


def _command(runs: Sequence[ArmRun], folder: str) -> str:
    settings = runs[0].settings
    arms = ",".join(dict.fromkeys(run.settings.arm for run in runs))
    seeds = ",".join(map(str, sorted({run.seed for run in runs})))
    words = ["metapo", "world", "compare", "--arms", arms, "--seeds", seeds, "--steps", str(settings.engine.steps)]
    if settings.sway != SWAY:
        words += ["--sway", f"{settings.sway:g}"]
    return shlex.join([*words, "--out", folder])
