"""The report of a comparison: one self-contained page, made from the run folders alone.

    OUT/<arm>-<seed>/     run folders, with result.json where the run is finished
    OUT/report.html       figures, charts, essays before and after, the rubric's evolution, settings

Everything is read first (`ArmRun`, `Arm`), then turned into what the page says; the template only lays it out.
"""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import Any

from metapo.charts import LineChart, StripChart, line_chart, strip_chart
from metapo.errors import RunError
from metapo.files import write_whole
from metapo.pages import load_page
from metapo.world.answers import compare_answers
from metapo.world.evolution import DecisionView, RevisionView, view_decisions, view_revisions
from metapo.world.policy import Start
from metapo.world.presets import ARMS, SWAY, MetaKind, WorldSettings, preset_rubric
from metapo.world.runs import Arm, ArmRun, Figure, group_arms, read_runs

REPORT = "report.html"
TABLE_EVERY = 10
NOTICEABLE = 0.03
FALL_FROM_PEAK = 0.1
SPREADS = 0.15
STARTS = {
    "iter0": "one vague criterion",
    "expert": "the six general traits of essay-scoring guides",
    "oracle": "the exact criteria that a careful engineer ends with after many runs",
    "autoprompt": "what a search before training made of the vague one",
}


def write_report(out: Path) -> Path:
    """Write `out/report.html` from the run folders in `out`; returns its path. The same folders give the same bytes.

    Unfinished runs are named but count nowhere. Raises RunError where no run is finished.
    """
    runs, unfinished = read_runs(out)
    if not runs:
        raise RunError(f"{out} holds no finished run to report. Start some: metapo world compare --out {out}")
    arms = group_arms(runs)
    page = load_page(REPORT, "metapo.world").render(
        arms=[view_arm(arm, max(a.n_steps for a in arms)) for arm in arms],
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


def view_arm(arm: Arm, n_steps: int) -> ArmView:
    """Everything about one arm; `n_steps` ends the x axis of all arms' charts."""
    names = ("judge_start", "judge_final", "gold_start", "gold_peak", "gold_final", "gold_held_out", "revisions")
    figures = {name: arm.figure(name) for name in names}
    measures = {"judge": [r.series("normalized") for r in arm.runs], "gold": [r.series("gold") for r in arm.runs]}
    rewrites = arm.first.rewrites
    jumps = {step for run in arm.runs for step in run.rewrites}
    rates = hack_rates(arm)
    in_words = {kind: f"{before:.0%} → {after:.0%}" for kind, (before, after) in rates.items()}
    shares = {kind: [r.series(f"hack/{kind}") for r in arm.runs] for kind in rates}
    return ArmView(
        arm=arm,
        about=describe_arm(arm),
        story=tell(figures, rates),
        figures=figures,
        scores=line_chart(measures, n_steps, marks=rewrites, jumps=jumps),
        scores_in_words=_scores_in_words(arm, figures, rewrites),
        hacks=strip_chart(shares, in_words, n_steps),
        hacks_in_words="; ".join(f"{kind} from {a:.0%} to {b:.0%}" for kind, (a, b) in rates.items()),
        revisions=view_revisions(arm.lineage),
        decisions=view_decisions(arm),
        table=table(arm),
    )


def describe_arm(arm: Arm) -> str:
    """The rubric that the arm starts with, what becomes of it, and what else is not as usual."""
    settings = arm.first.settings
    start, meta = _first_rubric(settings), settings.meta
    when = f"every {meta.every} steps"
    if meta.when == "adaptive":
        when = f"every {meta.earliest} to {meta.every * meta.latest} steps"
    if not arm.evolves:
        told = f"The rubric is {start}, and it never changes."
    elif settings.meta_model is MetaKind.REWORDING:
        told = f"The rubric starts as {start}; {when} it is reworded and reordered, its meaning unchanged."
    else:
        told = f"The rubric starts as {start}; {when} the meta model reads recent essays and may rewrite it."
        told += " What it writes has to pass a gate." if meta.gate else ""
    return " ".join([told, *_peculiarities(settings)])


def _first_rubric(settings: WorldSettings) -> str:
    preset = ARMS.get(settings.arm)
    if preset and (source := preset.source):
        return f"the one that {source.arm} had after {source.share:.0%} of its steps under the same seed"
    known = (words for name, words in STARTS.items() if preset_rubric(name) == settings.rubric)
    return next(known, f"a rubric of {len(settings.rubric.criteria)} criteria")


def _peculiarities(settings: WorldSettings) -> list[str]:
    """A sentence for each setting of the world that is not the usual one."""
    flawed = settings.meta_model is MetaKind.FLAWED
    told = {
        f"{settings.flaw:.0%} of the rubrics that the meta model writes are flawed.": flawed,
        "The policy is trained on the plain sum of points.": settings.reward == "raw_sum",
        f"A remark to the grader sways a vague criterion {settings.sway:.0%} of the time.": settings.sway != SWAY,
        "It is trained by PPO, with a value head.": settings.engine.algorithm == "ppo",
        "The policy starts weak.": settings.start is Start.WEAK,
        "The meta model's criteria are passed or failed.": settings.strict,
        f"The judge tires after {settings.tires_after} sentences.": settings.tires_after is not None,
    }
    return [sentence for sentence, holds in told.items() if holds]


def tell(figures: Mapping[str, Figure], rates: Mapping[str, tuple[float, float]]) -> str:
    """What happened in an arm, from its figures and its hack rates (start, end) alone."""
    start, peak, final = (figures[f"gold_{when}"].mean or 0.0 for when in ("start", "peak", "final"))
    judge_rose = (figures["judge_final"].mean or 0.0) > (figures["judge_start"].mean or 0.0) + NOTICEABLE
    spread = [f"{kind} ({a:.0%} → {b:.0%})" for kind, (a, b) in rates.items() if b > a + SPREADS]
    faults = f" Faults that spread: {', '.join(spread)}." if spread else ""
    if peak > start + NOTICEABLE and final < peak - FALL_FROM_PEAK:
        curve = f"gold quality climbed to {peak:.2f}, then fell back to {final:.2f}"
        story = f"Late reward hacking: {curve} while the judge's score rose." if judge_rose else f"First {curve}."
    elif final < start - NOTICEABLE:
        hacked = "Reward hacking: the judge's score rose while gold quality fell."
        story = hacked if judge_rose else "Gold quality fell."
    elif final > start + NOTICEABLE:
        story = "The essays got better: gold quality rose."
    else:
        story = "Gold quality hardly moved" + (", though the judge's score rose." if judge_rose else ".")
    return story + faults


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
    judge, gold = (
        f"{figures[f'{measure}_start'].text} at the start, {figures[f'{measure}_final'].text} at the end"
        for measure in ("judge", "gold")
    )
    changes = f"was rewritten at step {_listed(rewrites)}" if rewrites else "did not change"
    return f"Line chart for {arm.name}. Judge's score: {judge}. Gold quality: {gold}. The rubric {changes}."


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
    for step in sorted({*range(0, arm.n_steps, TABLE_EVERY), arm.n_steps - 1}):
        at = [row for run in arm.runs for row in run.steps if row["step"] == step]
        rows.append((str(step), *(_mean_text(at, name, form) for name, form in measures.items())))
    return tuple(rows)


def _mean_text(rows: Sequence[Mapping[str, Any]], name: str, form: str) -> str:
    values = [row[name] for row in rows if row.get(name) is not None]
    return form.format(fmean(values)) if values else "none"


def commands(arms: Sequence[Arm], out: Path) -> list[str]:
    """The commands that repeat the runs: one for each number of steps and each sway that was chosen for them."""
    alike: dict[tuple[int, float], list[ArmRun]] = {}
    for run in (run for arm in arms for run in arm.runs):
        alike.setdefault((run.settings.engine.steps, _chosen_sway(run.settings)), []).append(run)
    return [_command(runs, out.resolve().name) for runs in alike.values()]


def _chosen_sway(settings: WorldSettings) -> float:
    """The sway that `--sway` gave: the usual one for an arm that sets its own."""
    preset = ARMS.get(settings.arm)
    return SWAY if preset and "sway" in preset.changes else settings.sway


def _command(runs: Sequence[ArmRun], folder: str) -> str:
    settings, sway = runs[0].settings, _chosen_sway(runs[0].settings)
    arms = ",".join(dict.fromkeys(run.settings.arm for run in runs))
    seeds = ",".join(map(str, sorted({run.seed for run in runs})))
    words = ["metapo", "world", "compare", "--arms", arms, "--seeds", seeds, "--steps", str(settings.engine.steps)]
    if sway != SWAY:
        words += ["--sway", f"{sway:g}"]
    return shlex.join([*words, "--out", folder])
