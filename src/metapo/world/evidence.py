"""The page on what the offline world showed, made from finished run folders alone.

Everything is read first (`ArmRun`, `Tally`), then turned into rows of text; the template only lays them out.
"""

import platform
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import fmean

from metapo.errors import RunError
from metapo.files import write_whole
from metapo.intervals import LEVEL, RESAMPLES
from metapo.meta.onset import PARTED, SMOOTH, STAYS
from metapo.pages import load_page
from metapo.world.checks import check_all
from metapo.world.flaws import Flaw
from metapo.world.paired import MIN_PAIRS, Comparison, compare_paired
from metapo.world.presets import ARMS, TUNING_SEEDS, arm_settings
from metapo.world.questions import QUESTIONS
from metapo.world.report import commands
from metapo.world.runs import Arm, ArmRun, Figure, Unfinished, group_arms, read_runs
from metapo.world.tally import DIP_AFTER, DIP_SMOOTH, Tally, tally
from metapo.world.values import AROUND, Around, value_head

PAGE = "evidence.md"
REFERENCES = ("mpo", "metapo")
SOFTWARE = ("metapo", "torch", "transformers", "trl")
TUNED = r"\*"  # a star that Markdown shows
Row = tuple[str, ...]


def write_evidence(folders: Sequence[Path], out: Path) -> Path:
    """Write the page `out` from the run folders in `folders`; returns its path. The same folders, in the same order and
    with the same software, give the same bytes.

    Unfinished runs are named but count nowhere. Raises RunError where no run is finished, an arm has a seed twice, or
    an arm's runs have different numbers of steps; StoreError.
    """
    write_whole(out, render(folders, out))
    return out


def render(folders: Sequence[Path], out: Path) -> str:
    """The page's text; `out` is only named in it."""
    runs, unfinished = read_all(folders)
    arms = group_arms(runs)
    tallies = {arm.name: [tally(run) for run in arm.runs] for arm in arms}
    asked = [AskedView(q.title, q.note, compare_all(arms, q.pairs)) for q in QUESTIONS]
    references = [reference for reference in REFERENCES if reference in tallies]
    return load_page(PAGE, "metapo.world").render(
        command=shlex.join(["metapo", "world", "evidence", *map(str, folders), "--out", str(out)]),
        commands=[
            c for folder in folders if (found := read_runs(folder)[0]) for c in commands(group_arms(found), folder)
        ],
        software=[f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in SOFTWARE)],
        arms=[(arm.name, ARMS[arm.name].about, _seeds(arm), str(arm.n_steps)) for arm in arms],
        tuned=", ".join(map(str, sorted(TUNING_SEEDS & {run.seed for run in runs}))),
        missing=[name for name in ARMS if name not in tallies],
        unfinished=unfinished,
        differing=[f"{r.settings.arm}, seed {r.seed}" for r in runs if differs(r)],
        fewest=min(len(arm.runs) for arm in arms),
        most=max(len(arm.runs) for arm in arms),
        quality=[quality_row(arm) for arm in arms],
        hacks=[hack_row(arm, tallies[arm.name]) for arm in arms],
        kinds=list(arms[0].first.result["hacks"]),
        revisions=[revision_row(arm, tallies[arm.name]) for arm in arms if arm.evolves],
        references=[(r, compare_all(arms, [(a.name, r) for a in arms if a.name != r])) for r in references],
        checks=[(c.asked, c.found, c.met.value) for c in check_all(tallies)],
        dips=[dip_row(name, tallies[name]) for name in ("flawed-gate", "flawed-nogate") if name in tallies],
        flaws=[flaw_row(name, tallies[name]) for name in ("flawed-gate", "flawed-nogate") if name in tallies],
        flaw_kinds=list(Flaw),
        accepted=accepted_flaws(tallies.get("flawed-gate", ())),
        asked=asked,
        n_compared=sum(bool(row.comparison) for view in asked for row in view.rows),
        values=[value_row(arm) for arm in arms if arm.first.settings.engine.algorithm == "ppo"],
        around=AROUND,
        costs=[cost_row(arm, tallies[arm.name]) for arm in arms if arm.evolves],
        resamples=RESAMPLES,
        level=f"{LEVEL:.0%}",
        min_pairs=MIN_PAIRS,
        onset=(SMOOTH, PARTED, STAYS),
        dip=(DIP_SMOOTH, DIP_AFTER),
    )


# --- what is read


def read_all(folders: Iterable[Path]) -> tuple[list[ArmRun], list[Unfinished]]:
    """The runs in several folders as if they lay in one. Raises RunError."""
    runs: list[ArmRun] = []
    unfinished: list[Unfinished] = []
    for folder in folders:
        found, others = read_runs(folder)
        runs += found
        unfinished += others
    if not runs:
        named = ", ".join(map(str, folders))
        raise RunError(f"there is no finished run in {named}. Start some: metapo world compare --out FOLDER")
    _check_alike(runs)
    return sorted(runs, key=lambda run: (run.settings.arm, run.seed)), unfinished


def _check_alike(runs: Sequence[ArmRun]) -> None:
    known: dict[tuple[str, int], ArmRun] = {}
    n_steps: dict[str, ArmRun] = {}
    for run in runs:
        arm, twin = run.settings.arm, known.setdefault((run.settings.arm, run.seed), run)
        if twin is not run:
            raise RunError(
                f"{twin.folder} and {run.folder} both hold {arm} under seed {run.seed}; a run counts once: name or "
                "keep only one of them"
            )
        if arm not in ARMS:
            raise RunError(f"{run.folder} holds the arm {arm!r}, which does not exist (any more)")
        first = n_steps.setdefault(arm, run)
        if first.settings.engine.steps != run.settings.engine.steps:
            raise RunError(
                f"{first.folder} and {run.folder} are runs of {arm} with {first.settings.engine.steps} and "
                f"{run.settings.engine.steps} steps, of which no mean can be taken"
            )


def differs(run: ArmRun) -> bool:
    """Has the run other settings than its arm has today?"""
    own = run.settings
    return own != arm_settings(own.arm, seed=own.seed, steps=own.engine.steps, rubric=own.rubric)


# --- comparisons


@dataclass(frozen=True)
class ComparedView:
    """One line of a table of comparisons; `comparison` is None where runs are missing, and `lacking` says which."""

    arm: str
    against: str
    comparison: Comparison | None
    lacking: Row
    cells: Row


@dataclass(frozen=True)
class AskedView:
    """A question and its lines."""

    title: str
    note: str
    lines: Sequence[ComparedView]

    @property
    def rows(self) -> list[ComparedView]:
        return [line for line in self.lines if line.comparison]

    @property
    def not_run(self) -> list[str]:
        """The arms that are missing, each once."""
        return list(dict.fromkeys(arm for line in self.lines for arm in line.lacking))


def compare_all(arms: Sequence[Arm], pairs: Iterable[tuple[str, str]]) -> list[ComparedView]:
    """Each pair of arms by final gold, the seeds paired."""
    return [_compared(arms, arm, against) for arm, against in pairs]


def _compared(arms: Sequence[Arm], name: str, against: str) -> ComparedView:
    by_name = {arm.name: arm for arm in arms}
    if lacking := tuple(arm for arm in (name, against) if arm not in by_name):
        return ComparedView(name, against, None, lacking, ())
    mine, theirs = by_name[name], by_name[against]
    comparable = mine.n_steps == theirs.n_steps
    found = compare_paired(name, against, _finals(mine), _finals(theirs) if comparable else {})
    return ComparedView(name, against, found, (), compared_cells(found))


def _finals(arm: Arm) -> dict[int, float]:
    return {run.seed: run.result["gold_final"] for run in arm.runs}


def compared_cells(found: Comparison) -> Row:
    """Pairs, mean difference, interval, differences by seed and the word."""
    interval = found.interval
    return (
        {0: "none", 1: "one seed"}.get(found.n, str(found.n)),
        "" if found.mean is None else f"{found.mean:+.3f}",
        f"{interval.low:+.3f} to {interval.high:+.3f}" if interval else "",
        _by_seed(found.differences, "{:+.3f}"),
        found.word.value,
    )


# --- rows


def quality_row(arm: Arm) -> Row:
    start, peak, final, held_out, judge = (
        arm.figure(name) for name in ("gold_start", "gold_peak", "gold_final", "gold_held_out", "judge_final")
    )
    return (
        arm.name,
        _n(arm),
        _mean(start),
        _mean(peak),
        _mean(final),
        "" if final.spread is None else f"{final.spread:.3f}",
        _by_seed(_finals(arm), "{:.3f}"),
        _mean(held_out),
        _mean(judge),
    )


def hack_row(arm: Arm, tallies: Sequence[Tally]) -> Row:
    onsets = {t.run.seed: t.onset for t in tallies}
    shares = (fmean(run.result["hacks"][kind] for run in arm.runs) for kind in arm.first.result["hacks"])
    return (arm.name, _n(arm), _by_seed(onsets, "{}"), *(f"{share:.1%}" for share in shares))


def revision_row(arm: Arm, tallies: Sequence[Tally]) -> Row:
    """Means per run."""
    return (
        arm.name,
        _n(arm),
        _average(tallies, lambda t: t.n_meta_steps),
        _average(tallies, lambda t: t.n_adopted),
        _average(tallies, lambda t: t.n_proposals),
        _average(tallies, lambda t: t.n_refused),
        _average(tallies, lambda t: t.n_rolled_back),
    )


def dip_row(name: str, tallies: Sequence[Tally]) -> Row:
    dips = {t.run.seed: t.dip for t in tallies}
    return (name, _mean(Figure.of(dips.values())), _by_seed(dips, "{:.3f}"))


def flaw_row(name: str, tallies: Sequence[Tally]) -> Row:
    """Per kind of flaw how many proposals were accepted, of how many, and how many adopted, over all runs."""
    cells = []
    for flaw in Flaw:
        proposed = [p for t in tallies for p in t.flawed if p.flaw is flaw]
        accepted, adopted = sum(p.accepted for p in proposed), sum(p.adopted for p in proposed)
        cells.append(f"{accepted} of {len(proposed)} accepted, {adopted} adopted")
    return (name, *cells)


def accepted_flaws(tallies: Sequence[Tally]) -> list[str]:
    """Each flawed proposal that a gate accepted, in words."""
    return [
        f"seed {t.run.seed}, the meta step after step {p.step}: {p.flaw.value}, of {p.n_criteria} criteria where its "
        f"parent has {p.n_parent}; {'adopted' if p.adopted else 'not adopted, as another was better'}"
        for t in tallies
        for p in t.flawed
        if p.accepted
    ]


def value_row(arm: Arm) -> Row:
    """Of PPO's value head: changes of rubric in all, each figure over whole runs, before, at and after one."""
    found = value_head(arm.runs)
    return (
        arm.name,
        _n(arm),
        str(found.n_changes),
        _around(found.explained, "{:.2f}"),
        _around(found.bias, "{:.2f}"),
        _around(found.loss, "{:.3g}"),
    )


def _around(figure: Around, form: str) -> str:
    whole, *parts = (
        "none" if x is None else form.format(x) for x in (figure.whole, figure.before, figure.at, figure.after)
    )
    return whole if figure.at is None else f"{whole}; {parts[0]} → {parts[1]} → {parts[2]}"


def cost_row(arm: Arm, tallies: Sequence[Tally]) -> Row:
    """Means per run."""
    tokens = fmean(t.asked.tokens + t.examined.tokens for t in tallies)
    return (
        arm.name,
        _average(tallies, lambda t: t.n_meta_steps),
        _average(tallies, lambda t: t.asked.n_calls),
        _average(tallies, lambda t: t.examined.n_calls) if any(t.examined.n_calls for t in tallies) else "none known",
        f"{tokens:.0f}" if tokens else "none known",
        _average(tallies, lambda t: t.meta_s),
        f"{fmean(t.waited_s for t in tallies):.2f}",
        _average(tallies, lambda t: t.training_s),
        f"{fmean(t.waited_share for t in tallies):.2%}",
    )


def _average(tallies: Sequence[Tally], figure: Callable[[Tally], float]) -> str:
    return f"{fmean(figure(t) for t in tallies):.1f}"


def _seeds(arm: Arm) -> str:
    """The arm's seeds; those of TUNING_SEEDS have a star."""
    return ", ".join(f"{run.seed}{TUNED if run.seed in TUNING_SEEDS else ''}" for run in arm.runs)


def _n(arm: Arm) -> str:
    return "one seed" if len(arm.runs) == 1 else str(len(arm.runs))


def _mean(figure: Figure) -> str:
    return "not measured" if figure.mean is None else f"{figure.mean:.3f}"


def _by_seed(values: Mapping[int, float | None], form: str) -> str:
    """Each seed with its value."""
    return ", ".join(f"{seed}: {'none' if v is None else form.format(v)}" for seed, v in sorted(values.items()))
