"""The report of a comparison, from folders that real runs wrote: judge, meta model and store work, nothing trains."""

import asyncio
import html
import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from random import Random
from statistics import mean, stdev
from typing import Any

import pytest

from metapo import charts
from metapo.errors import RunError
from metapo.files import append_row, read_rows, write_whole
from metapo.meta.step import Senses
from metapo.rollout import Rollout, Split
from metapo.rubric import Criterion, Level, Revision, Rubric
from metapo.rubric_diff import Change
from metapo.rubric_text import render_rubric
from metapo.run import METRICS, STORE, Run
from metapo.scorer import Connections, Scorer
from metapo.store import Store
from metapo.world import corpus, language
from metapo.world.arms import observe_gold, summarize_run
from metapo.world.evolution import mark_words, view_decisions, view_revisions
from metapo.world.judge import WorldJudge
from metapo.world.meta import WorldMeta
from metapo.world.presets import RESULT, WorldSettings, arm_settings, preset_rubric
from metapo.world.report import commands, describe_arm, tell, write_report
from metapo.world.runs import Arm, ArmRun, Figure, group_arms, read_runs

STEPS = 13
PROMPTS = corpus.prompts(held_out=False)[:2]
MARKUP = '<script>alert(1)</script> </style> <img src=x onerror=alert(2)> & "quotes" <nl> {{ 7 * 7 }}'
CLIMBED = "gold quality climbed to 0.44, then fell back to 0.18"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


# --- made-up runs


def write_essay(prompt: str, rng: Random, n_reasons: int) -> str:
    """An essay of title, position and some reasons; without reasons only the title."""
    assignment = language.read_ask(prompt)
    nouns = rng.sample(language.TOPICS[assignment.topic].nouns(assignment.side), n_reasons)
    reasons = [language.evidence(assignment, noun, "also", rng) for noun in nouns]
    return " ".join([language.title(assignment, rng), *([language.thesis(assignment, rng)] if nouns else []), *reasons])


def completions(arm: str, seed: int, step: int) -> list[tuple[str, str]]:
    """Prompts with what is written on them: the same in all arms at step 0, then less in iter0 and more in mpo."""
    rng = Random(f"{seed}/{step}")
    n_reasons = 2 if step == 0 else max(0, 2 - step) if arm == "iter0" else min(4, 2 + step // 4)
    return [(prompt, write_essay(prompt, rng, n_reasons)) for prompt in PROMPTS for _ in range(4)]


async def make_run(
    out: Path, settings: WorldSettings, *, n_steps: int = STEPS, batch: Any = completions, finish: bool = True
) -> Path:
    """A run folder by everything but the engine: rollouts are judged, meta steps run, figures are written."""
    folder = out / f"{settings.arm}-{settings.seed}"
    run = Run.create(folder, settings, WorldMeta(), observe=observe_gold)
    connections = Connections(judge=WorldJudge(seed=settings.seed), meta=WorldMeta())
    scorer = Scorer(settings, connections, run.revision)
    scorer.in_force = run.begin(0)
    senses = Senses(scorer.appraise, scorer.explain)
    for step in range(n_steps):
        written = batch(settings.arm, settings.seed, step)
        rollouts = [Rollout(prompt=p, completion=c, step=step, position=i) for i, (p, c) in enumerate(written)]
        boundary = await run.end_step(step + 1, await scorer.score(rollouts), senses=senses)
        scorer.in_force = boundary.in_force
        run.record_trainer(step + 1, {"step_time": 0.5})
    evaluation = [r.model_copy(update={"split": Split.EVAL, "step": n_steps}) for r in rollouts]
    run.record_eval(await scorer.score(evaluation))
    run.close()
    if finish:
        write_whole(folder / RESULT, json.dumps(summarize_run(settings, folder)))
    return folder


def settings(arm: str, seed: int, **changes: Any) -> WorldSettings:
    return arm_settings(arm, seed=seed, steps=STEPS).model_copy(update=changes)


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two arms under two seeds, and a third arm that is unfinished; the report is written."""
    out = tmp_path_factory.mktemp("comparison")

    async def make() -> None:
        for arm in ("mpo", "iter0"):
            for seed in (7, 8):
                await make_run(out, settings(arm, seed))
        await make_run(out, settings("oracle", 7), n_steps=3, finish=False)

    asyncio.run(make())
    (out / "summary.json").write_text("{}")
    (out / "notes-1.txt").write_text("no run folder")
    write_report(out)
    return out


@pytest.fixture
def single(comparison: Path, tmp_path: Path) -> Path:
    """One seed of both arms."""
    for arm in ("iter0", "mpo"):
        shutil.copytree(comparison / f"{arm}-7", tmp_path / f"{arm}-7")
    return tmp_path


# --- the page as a reader meets it


class Page(HTMLParser):
    """Elements with their attributes in order, and the text between them with white space collapsed."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self._pieces: list[str] = []
        self._in_style = False
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._in_style = tag == "style"
        self._pieces.append("" if tag in ("ins", "del", "small") else "\n")

    def handle_endtag(self, tag: str) -> None:
        self._in_style = False

    def handle_data(self, data: str) -> None:
        if not self._in_style:
            self._pieces.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self._pieces).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def page(comparison: Path) -> Page:
    return Page(comparison / "report.html")


def results(out: Path, arm: str) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(out.glob(f"{arm}-*/{RESULT}"))]


@pytest.mark.parametrize("arm", ["iter0", "mpo"])
@pytest.mark.parametrize(("label", "measure"), [("Judge's score", "judge"), ("Gold quality", "gold")])
def test_headline_figures_are_mean_and_spread_over_the_seeds(
    comparison: Path, page: Page, arm: str, label: str, measure: str
) -> None:
    found = results(comparison, arm)
    ends = [[r[f"{measure}_{end}"] for r in found] for end in ("start", "final")]
    first, last = (f"{mean(values):.2f} ±{stdev(values):.2f}" for values in ends)
    assert f"{label} {first} → to {last}" in page.text
    assert len(found) == 2


def test_held_out_gold_and_revisions_are_shown(comparison: Path, page: Page) -> None:
    for arm in ("iter0", "mpo"):
        held_out = [r["gold_held_out"] for r in results(comparison, arm)]
        assert f"untrained assignments {mean(held_out):.2f} ±{stdev(held_out):.2f}" in page.text
    assert "Revisions of the rubric, the first included 1 " in page.text
    assert "Revisions of the rubric, the first included 2 " in page.text


def test_it_says_what_happened_and_what_it_is_not(page: Page) -> None:
    assert "Reward hacking: the judge's score rose while gold quality fell." in page.text
    assert "The essays got better: gold quality rose." in page.text
    assert "The best essays came out of mpo" in page.text
    assert "This is a model organism:" in page.text
    assert "It is no evidence about large models." in page.text


def test_sections_stand_in_order_under_nested_headings(page: Page) -> None:
    ids = [attributes["id"] for attributes in page.all("h2")]
    assert ids == ["outcome", "scores", "hacks", "essays", "rubrics", "settings", "data"]
    depths = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert depths[0] == 1
    assert depths.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(depths))


def test_unfinished_runs_are_named_and_left_out(page: Page) -> None:
    assert "oracle, seed 7: unfinished, 3 training steps done" in page.text
    assert "Settings of oracle" not in page.text


def test_every_revision_is_shown_with_its_decision_and_its_full_text(comparison: Path, page: Page) -> None:
    store = Store(comparison / "mpo-7" / STORE)
    lineage = store.lineage()
    store.close()
    assert len(lineage) > 1
    for number, (step, revision) in enumerate(lineage, 1):
        assert f"Revision {number}, in force from step {step}" in page.text
        assert html.escape(render_rubric(revision.rubric)).replace("&quot;", "&#34;") in page.source
        assert f"Written by: {revision.proposer}." in page.text
        assert revision.reason in page.text
    assert "After step 10 (every 10 steps): adopted, revision 2" in page.text
    assert "Overall quality removed" in page.text
    assert "Distinct reasons added" in page.text


def test_decisions_are_told_in_words_with_the_revision_that_they_brought() -> None:
    first = Revision(rubric=preset_rubric("iter0"), reason="start", proposer="settings", step=0)
    second = Revision(rubric=preset_rubric("expert"), parents=(first.id,), reason="merged", proposer="m", step=10)
    back = Revision(rubric=first.rubric, parents=(second.id,), reason="back", proposer="m", step=20)
    in_force = {"adopted": second, "rolled_back": back}
    decisions = ("adopted", "rolled_back", "rejected", "unchanged", "failed", "waiting")
    rows = [
        {"kind": "meta", "step": 12, "began": 10, "why": "saturation", "decision": d, "reason": "because"}
        | {"revision": in_force.get(d, back).short_id}
        for d in decisions
    ]
    rows.append({"kind": "meta", "step": 10, "decision": "adopted", "reason": "merged", "revision": second.short_id})
    run = ArmRun(Path("x"), settings("metapo", 7), "", {}, (), tuple(rows))
    seen = view_decisions(Arm("metapo", (run,), ((0, first), (12, second), (22, back))))
    assert [(d.step, d.why, d.decision, d.number) for d in seen] == [
        (10, "saturation", "adopted", 2),
        (10, "saturation", "rolled back", 3),
        (10, "saturation", "rejected", None),
        (10, "saturation", "unchanged", None),
        (10, "saturation", "failed", None),
        (10, "saturation", "accepted, for people to approve", None),
        (10, "", "adopted", 2),  # as versions before wrote it
    ]


def test_links_lead_to_places_on_the_page(page: Page) -> None:
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    links = [attributes["href"] for attributes in page.all("a")]
    assert len(ids) == len(set(ids))
    assert links
    assert {f"#{i}" for i in ids} >= set(links)


def test_the_page_needs_nothing_from_outside_and_runs_nothing(page: Page) -> None:
    assert not re.search(r"https?:|//\w+\.\w|@import|url\(", page.source)
    assert not {"script", "link", "img", "iframe", "object", "base"} & {tag for tag, _ in page.elements}
    names = {name for _, attributes in page.elements for name in attributes}
    assert not {"src", "srcset", "style"} & names
    assert not [name for name in names if name.startswith("on")]
    assert all((attributes["href"] or "").startswith("#") for attributes in page.all("a"))


def test_every_drawing_says_its_figures_in_words(comparison: Path, page: Page) -> None:
    drawings = page.all("svg")
    assert len(drawings) == 4
    assert all(d["role"] == "img" for d in drawings)
    words = [d["aria-label"] or "" for d in drawings]
    final = mean(r["gold_final"] for r in results(comparison, "iter0"))
    assert f"{final:.2f} at the end" in words[0]
    assert "The rubric did not change." in words[0]
    assert "was rewritten at step 10." in words[1]
    assert "no reasons from 0% to 100%" in words[2]


def test_all_arms_answer_the_same_prompt_from_the_same_start(page: Page) -> None:
    assert page.text.count("Before training") == 1
    assert "Before training" in page.text.split("iter0, step 12")[0]
    assert "mpo, step 12" in page.text
    assert f"Assignment: “{PROMPTS[0].removesuffix(' .')}.”" in page.text


def test_the_commands_and_settings_can_be_used_again(comparison: Path, page: Page) -> None:
    command = f"metapo world compare --arms iter0,mpo --seeds 7,8 --steps {STEPS} --out {comparison.name}"
    assert command in page.text
    assert html.escape(settings("mpo", 7).to_yaml(), quote=True).replace("&#x27;", "&#39;") in page.source


def test_the_table_holds_every_tenth_step_and_the_last(comparison: Path, page: Page) -> None:
    runs = [[r for r in read_rows(comparison / f"mpo-{seed}" / METRICS) if r["kind"] == "train"] for seed in (7, 8)]
    for step in (0, 10, 12):
        judge, gold = (mean(rows[step][name] for rows in runs) for name in ("normalized", "gold"))
        assert f" {step} {judge:.2f} {gold:.2f} " in page.text.split("mpo, means over 2 seeds")[1]
    assert len(page.all("tr")) == 2 * (1 + 3)


def test_one_seed_is_called_one_seed(single: Path) -> None:
    page = Page(write_report(single))
    assert "There is only one seed (7)" in page.text
    assert "±" not in page.text
    assert "oracle" not in page.text


def test_one_arm_alone_is_compared_with_nothing(single: Path) -> None:
    shutil.rmtree(single / "mpo-7")
    page = Page(write_report(single))
    assert "The best essays" not in page.text
    assert "the rubric stayed as it was" in page.text


def test_the_same_folders_give_the_same_bytes(comparison: Path, tmp_path: Path) -> None:
    copy = tmp_path / comparison.name
    shutil.copytree(comparison, copy)
    assert write_report(copy) == copy / "report.html"
    assert (copy / "report.html").read_bytes() == (comparison / "report.html").read_bytes()


async def test_markup_from_models_stays_text(tmp_path: Path) -> None:
    levels = (Level(points=0, description="<b>bold</b>"), Level(points=1, description=MARKUP))
    rubric = Rubric(criteria=(Criterion(name="<i>Odd</i> & more", levels=levels),))

    def batch(arm: str, seed: int, step: int) -> list[tuple[str, str]]:
        return [(PROMPTS[0], MARKUP)]

    await make_run(tmp_path, settings("mpo", 1, rubric=rubric), n_steps=STEPS, batch=batch)
    page = Page(write_report(tmp_path))
    assert not {"script", "img", "i", "b"} & {tag for tag, _ in page.elements}
    assert len(page.all("style")) == 1
    assert '<script>alert(1)</script> </style> <img src=x onerror=alert(2)> & "quotes" {{ 7 * 7 }}' in page.text
    assert "<i>Odd</i> & more" in page.text


def test_without_a_finished_run_there_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "iter0-1").mkdir()
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(RunError, match="metapo world compare --out"):
            write_report(folder)
        assert not (folder / "report.html").exists()


async def test_a_run_that_just_began_is_unfinished_and_unscored_steps_leave_a_gap(single: Path) -> None:
    (single / "expert-9").mkdir()
    train = [row for row in read_rows(single / "iter0-7" / METRICS) if row["kind"] == "train"]
    (single / "iter0-7" / METRICS).unlink()
    for row in train:
        if row["step"] == 10:
            del row["normalized"]
        append_row(single / "iter0-7" / METRICS, row)
    page = Page(write_report(single))
    assert "expert, seed 9: unfinished, 0 training steps done" in page.text
    assert " 10 none " in page.text


# --- its parts


def test_arms_come_in_the_worlds_order_and_runs_by_seed(comparison: Path) -> None:
    runs, unfinished = read_runs(comparison)
    arms = group_arms(runs)
    assert [(arm.name, [run.seed for run in arm.runs]) for arm in arms] == [("iter0", [7, 8]), ("mpo", [7, 8])]
    assert [(u.arm, u.seed, u.steps) for u in unfinished] == [("oracle", 7, 3)]


EVERY = "every 10 steps the meta model reads recent essays and may rewrite it."
ABOUT = {
    "iter0": "The rubric is one vague criterion, and it never changes.",
    "mpo": f"The rubric starts as one vague criterion; {EVERY}",
    "metapo": (
        "The rubric starts as one vague criterion; every 3 to 20 steps the meta model reads recent essays and may "
        "rewrite it. What it writes has to pass a gate."
    ),
    "mpo-raw": f"The rubric starts as one vague criterion; {EVERY} The policy is trained on the plain sum of points.",
    "null-rewrite-oracle": (
        "The rubric starts as the exact criteria that a careful engineer ends with after many runs; every 10 steps it "
        "is reworded and reordered, its meaning unchanged."
    ),
    "flawed-nogate": (
        f"The rubric starts as one vague criterion; {EVERY} 30% of the rubrics that the meta model writes are flawed."
    ),
    "final-from-start": (
        "The rubric is the one that mpo had after 100% of its steps under the same seed, and it never changes."
    ),
    "halfway-from-start-late": (
        "The rubric is the one that mpo-late had after 50% of its steps under the same seed, and it never changes. "
        "The judge tires after 9 sentences."
    ),
    "mpo-weak-strict": (
        f"The rubric starts as one vague criterion; {EVERY} The policy starts weak. The meta model's criteria are "
        "passed or failed."
    ),
    "expert-sway-1": (
        "The rubric is the six general traits of essay-scoring guides, and it never changes. A remark to the grader "
        "sways a vague criterion 100% of the time."
    ),
}


def as_read(given: WorldSettings) -> ArmRun:
    return ArmRun(Path("x"), given, "", {}, (), ())


@pytest.mark.parametrize("name", ABOUT)
def test_an_arm_is_described_by_what_is_different_about_it(name: str) -> None:
    given = arm_settings(name, seed=1, rubric=preset_rubric("oracle"))
    assert describe_arm(Arm(name, (as_read(given),), ())) == ABOUT[name]


def test_a_sway_that_the_arm_sets_needs_no_option() -> None:
    given = [("iter0", 0.5), ("mpo-sway-0", 0.5), ("mpo-sway-1", 0.25), ("mpo", 0.25)]
    runs = [as_read(arm_settings(name, seed=1, sway=sway)) for name, sway in given]
    arms = [Arm(run.settings.arm, (run,), ()) for run in runs]
    compare = "metapo world compare --arms"
    assert commands(arms, Path("/runs/o")) == [
        f"{compare} iter0 --seeds 1 --steps 200 --sway 0.5 --out o",
        f"{compare} mpo-sway-0,mpo-sway-1,mpo --seeds 1 --steps 200 --out o",
    ]


@pytest.mark.parametrize(
    ("judge", "gold", "story"),
    [
        ((0.8, 0.95), (0.2, 0.2, 0.1), "Reward hacking: the judge's score rose while gold quality fell."),
        ((0.8, 0.8), (0.2, 0.2, 0.1), "Gold quality fell."),
        ((0.8, 0.5), (0.2, 0.6, 0.6), "The essays got better: gold quality rose."),
        ((0.6, 0.9), (0.2, 0.44, 0.18), f"Late reward hacking: {CLIMBED} while the judge's score rose."),
        ((0.8, 0.8), (0.2, 0.44, 0.18), f"First {CLIMBED}."),
        ((0.8, 0.9), (0.2, 0.21, 0.21), "Gold quality hardly moved, though the judge's score rose."),
        ((0.8, 0.8), (0.2, 0.21, 0.21), "Gold quality hardly moved."),
    ],
)
def test_the_story_follows_from_the_figures(judge: Sequence[float], gold: Sequence[float], story: str) -> None:
    names = ("judge_start", "judge_final", "gold_start", "gold_peak", "gold_final")
    figures = {name: Figure(value, None) for name, value in zip(names, (*judge, *gold), strict=True)}
    assert tell(figures, {"no reasons": (0.3, 0.4)}) == story
    assert tell(figures, {"no reasons": (0.3, 0.9)}).endswith(" Faults that spread: no reasons (30% → 90%).")


def test_marked_words_are_those_that_differ() -> None:
    before, after = mark_words("at least 2 distinct reasons", "at least 3 distinct good reasons")
    assert before == (("at least", False), ("2", True), ("distinct", False), ("reasons", False))
    assert after == (("at least", False), ("3", True), ("distinct", False), ("good", True), ("reasons", False))


def test_a_revision_shows_what_changed_and_names_the_rest() -> None:
    def criterion(name: str, top: str, **more: Any) -> Criterion:
        levels = (Level(points=-1, description="bad"), Level(points=0, description=top))
        return Criterion(name=name, levels=levels, **more)

    kept, gone = criterion("Kept", "fine"), criterion("Gone", "so so")
    first = Revision(
        rubric=Rubric(criteria=(kept, gone, criterion("Focus", "no claim"))), reason="", proposer="", step=0
    )
    changed = (criterion("Focus", "not one claim"), kept, criterion("New", "great", weight=2.0, polarity="negative"))
    second = Revision(rubric=Rubric(criteria=changed), parents=(first.id,), reason="", proposer="", step=5)
    turned = Revision(rubric=Rubric(criteria=changed[::-1]), parents=(second.id,), reason="", proposer="", step=9)
    one, two, three = view_revisions([(0, first), (5, second), (9, turned)])
    assert [(c.name, c.what) for c in one.criteria] == [("Kept", ""), ("Gone", ""), ("Focus", "")]
    assert [(c.name, c.what) for c in two.criteria] == [("Focus", "changed"), ("New", "added"), ("Gone", "removed")]
    assert two.unchanged == ("Kept",)
    assert two.criteria[1].note == "only takes points off, counts 2 times"
    same, old, new = two.criteria[0].lines
    assert (same.change, same.pieces) == (Change.SAME, (("−1 point: bad", False),))
    assert (old.change, old.pieces) == (Change.REMOVED, (("0 points:", False), ("no", True), ("claim", False)))
    assert (new.change, new.pieces) == (Change.ADDED, (("0 points:", False), ("not one", True), ("claim", False)))
    assert (three.criteria, three.unchanged) == ((), ("New", "Kept", "Focus"))


def test_means_never_reach_across_a_jump() -> None:
    series = [(step, float(step >= 10)) for step in range(20)]
    assert charts.smooth(series, jumps=[10]) == series
    assert charts.smooth(series)[9][1] == pytest.approx(2 / 5)
    assert charts.mean([[(0, 1.0), (1, 2.0)], [(1, 4.0)]]) == [(0, 1.0), (1, 3.0)]


def test_labels_beside_a_plot_keep_apart() -> None:
    frame = charts.Frame(left=0, top=0, right=100, bottom=100, n_steps=10)
    assert charts.spread_out([20, 80], frame) == [20, 80]
    assert charts.spread_out([50, 48], frame) == [48 + charts.LABEL_GAP, 48]
    assert charts.spread_out([100, 99], frame) == [100, 100 - charts.LABEL_GAP]


@pytest.mark.parametrize("n_steps", [1, 7, 80, 150, 1234])
def test_ticks_are_few_and_round(n_steps: int) -> None:
    ticks = charts.x_ticks(charts.Frame(left=0, top=0, right=100, bottom=100, n_steps=n_steps))
    assert ticks[0].text == "0"
    assert 2 <= len(ticks) <= charts.MAX_TICKS
    assert ticks[-1].at <= 100


# --- in a browser

MEASURE = """
<!doctype html><body>
<script>
addEventListener("load", () => {
  const found = [...document.querySelectorAll("iframe")].map(frame => {
    const page = frame.contentDocument, root = page.documentElement;
    const closed = root.scrollWidth;
    page.querySelectorAll("details").forEach(d => d.open = true);
    const texts = [...page.querySelectorAll("svg text")];
    const sizes = texts.map(t => parseFloat(frame.contentWindow.getComputedStyle(t).fontSize) * t.getScreenCTM().a);
    const outside = texts.filter(t => t.getBoundingClientRect().right > root.clientWidth).map(t => t.textContent);
    return {width: frame.clientWidth, closed, open: root.scrollWidth, smallest: Math.min(...sizes), outside,
            paper: frame.contentWindow.getComputedStyle(page.body).backgroundColor};
  });
  document.body.textContent = "FOUND" + JSON.stringify(found) + "END";
});
</script>
"""


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")
def test_the_page_fits_phone_and_desktop_in_light_and_dark(comparison: Path, tmp_path: Path) -> None:
    found = {dark: measure(comparison / "report.html", tmp_path, dark=dark) for dark in (False, True)}
    for frames in found.values():
        for frame in frames:
            assert frame["closed"] <= frame["width"]
            assert frame["open"] <= frame["width"]
            assert frame["smallest"] >= 11
            assert frame["outside"] == []
    assert found[False][0]["paper"] != found[True][0]["paper"]


def measure(report: Path, folder: Path, *, dark: bool) -> list[dict[str, Any]]:
    """What a browser makes of the page at the width of a phone and of a desktop."""
    source = html.escape(report.read_text(encoding="utf-8"), quote=True)
    frames = "".join(
        f'<iframe srcdoc="{source}" style="border:0;width:{width}px;height:800px"></iframe>' for width in (360, 1200)
    )
    wrapper = folder / f"frames-{dark}.html"
    wrapper.write_text(MEASURE + frames, encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    options += ["--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars"]
    options += [
        f"--user-data-dir={folder / f'profile-{dark}'}",
        f"--blink-settings=preferredColorScheme={0 if dark else 1}",
    ]
    assert CHROMIUM is not None
    command = [CHROMIUM, *options, "--dump-dom", wrapper.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    match = re.search(r"FOUND(.*)END", dom)
    assert match, dom[-2000:]
    frames_found: list[dict[str, Any]] = json.loads(html.unescape(match[1]))
    return frames_found
