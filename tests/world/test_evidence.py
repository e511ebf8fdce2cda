"""The page of evidence, from made-up run folders whose figures are known."""

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from metapo.cli import main
from metapo.errors import RunError
from metapo.files import append_row, write_whole
from metapo.rubric import Revision
from metapo.run import METRICS, STORE
from metapo.run import SETTINGS as SETTINGS_FILE
from metapo.store import CallRecord, MetaStepRecord, ProposalRecord, Store
from metapo.world.arms import HACKS, summarize_run
from metapo.world.evidence import write_evidence
from metapo.world.flaws import Flaw, FlawedMeta
from metapo.world.presets import ARMS, RESULT, WorldSettings, arm_settings, preset_rubric, with_sources
from metapo.world.questions import QUESTIONS
from metapo.world.tally import worst_dip
from tests.world.test_spoilt import PARENT, SETTINGS, conversation, flawed, record, written

STEPS = 60
FIRST = Revision(rubric=preset_rubric("iter0"), reason="given", proposer="person", step=0)
BETTER = Revision(rubric=preset_rubric("expert"), parents=(FIRST.id,), reason="merged", proposer="meta", step=10)
WORSE = Revision(rubric=preset_rubric("oracle"), parents=(FIRST.id,), reason="merged", proposer="meta", step=10)
GATED = [
    {"decision": "adopted", "seconds": 4.0, "waited": 0.0},
    {"decision": "rejected", "seconds": 6.0, "waited": 1.0},
    {"decision": "rolled_back", "seconds": 2.0, "waited": 2.0},
]


def settings(arm: str, seed: int, steps: int = STEPS) -> WorldSettings:
    return arm_settings(arm, seed=seed, steps=steps, rubric=preset_rubric("oracle"))


def make_run(
    out: Path,
    own: WorldSettings,
    gold: Sequence[float],
    meta: Sequence[dict[str, Any]] = (),
    rewrite: int = STEPS,
    values: Sequence[dict[str, float]] = (),
) -> Path:
    """A finished run with these gold qualities, two seconds per step, another revision from step `rewrite` on, and what
    the trainer says of PPO's `values`; the judge's score is 0.5 throughout."""
    folder = out / f"{own.arm}-{own.seed}"
    write_whole(folder / SETTINGS_FILE, own.to_yaml())
    for step, value in enumerate(gold):
        rates = {f"hack/{kind}": 0.25 for kind in HACKS}
        revision = "a" if step < rewrite else "b"
        row = {"kind": "train", "step": step, "revision": revision, "normalized": 0.5, "gold": value, **rates}
        append_row(folder / METRICS, row)
        said = values[step] if values else {}
        append_row(folder / METRICS, {"kind": "trainer", "step": step + 1, "step_time": 2.0, **said})
    for i, row in enumerate(meta):
        append_row(folder / METRICS, {"kind": "meta", "step": 10 * i + 12, "reason": "", "revision": "a", **row})
    store = Store(folder / STORE)
    attempt = store.begin_attempt(resumed_step=0, now=datetime(2026, 1, 1, tzinfo=UTC))
    store.adopt(attempt, 0, FIRST)
    if meta:
        proposals = (ProposalRecord(WORSE, False), ProposalRecord(WORSE, False), ProposalRecord(BETTER, True))
        record = MetaStepRecord(10, 12, FIRST.id, BETTER, "adopted", "", proposals=proposals)
        calls = [CallRecord("", role="meta", prompt_tokens=70, completion_tokens=30), CallRecord("", role="gate")]
        store.append_meta_step(attempt, record, calls)
    store.close()
    write_whole(folder / RESULT, json.dumps(summarize_run(own, folder)))
    return folder


def flat(final: float, steps: int = STEPS) -> list[float]:
    """Gold 0.2 but for the last ten steps."""
    return [0.2] * (steps - 10) + [final] * 10


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """mpo and metapo under three seeds, iter0 under one; expert is unfinished."""
    out = tmp_path / "runs"
    for seed, mpo, metapo in ((1, 0.50, 0.60), (2, 0.60, 0.80), (3, 0.70, 0.685)):
        make_run(out, settings("mpo", seed), flat(mpo))
        make_run(out, settings("metapo", seed), flat(metapo), GATED)
    make_run(out, settings("iter0", 1), flat(0.1))
    make_run(out, settings("expert", 1), flat(0.3))
    (out / "expert-1" / RESULT).unlink()
    return out


def page(*folders: Path) -> str:
    return write_evidence(folders, folders[0].parent / "evidence.md").read_text()


def lines(text: str, title: str) -> dict[tuple[str, ...], tuple[str, ...]]:
    """The tables below a heading, by the first cell of a line (the first such line) and by its first two."""
    below = text.split(f"## {title}\n")[1].split("\n## ")[0]
    rows = [tuple(cell.strip() for cell in row.strip("|").split("|")) for row in re.findall(r"^\|.*\|$", below, re.M)]
    return {row[:1]: row[1:] for row in reversed(rows)} | {row[:2]: row[2:] for row in rows}


def test_quality_is_mean_spread_and_each_seed(runs: Path) -> None:
    found = lines(page(runs), "Quality")
    assert found["mpo",] == (
        "3",
        "0.200",
        "0.600",
        "0.600",
        "0.100",
        "1: 0.500, 2: 0.600, 3: 0.700",
        "not measured",
        "0.500",
    )
    assert found["iter0",][0] == "one seed"
    assert found["iter0",][4] == ""


def test_paired_differences_and_their_word(runs: Path) -> None:
    text = page(runs)
    assert lines(text, "Does the gate help?")["metapo", "mpo"] == (
        "3",
        "+0.095",
        "-0.015 to +0.200",
        "1: +0.100, 2: +0.200, 3: -0.015",
        "can't be told",
    )
    assert lines(text, "Quality")["mpo", "metapo"][1:3] == ("-0.095", "-0.200 to +0.015")
    helps = lines(text, "Does an evolving rubric help?")
    assert helps["mpo", "iter0"] == ("one seed", "+0.400", "", "1: +0.400", "can't be told")
    assert "which is\n3 under the questions below" in text


def test_a_difference_of_one_sign_gets_its_word(runs: Path) -> None:
    for seed in (1, 2, 3):
        make_run(runs, settings("null-rewrite", seed), flat(0.1 * seed))
    found = lines(page(runs), "Is it only the moving target?")
    assert found["mpo", "null-rewrite"] == (
        "3",
        "+0.400",
        "+0.400 to +0.400",
        "1: +0.400, 2: +0.400, 3: +0.400",
        "better",
    )


def test_a_rubric_refined_before_training_stands_beside_those_written_by_hand(runs: Path) -> None:
    for seed, refined in ((1, 0.40), (2, 0.50), (3, 0.30)):
        make_run(runs, settings("autoprompt", seed), flat(refined))
    for seed in (1, 2, 3, 4, 5):
        make_run(runs, settings("oracle", seed), flat(0.2))
    text = page(runs)
    assert "differs from arm to arm, from one to 5" in text
    quality = lines(text, "Quality")
    assert (quality["autoprompt",][0], quality["oracle",][0]) == ("3", "5")
    found = lines(text, "Is it enough to refine the rubric before training?")
    assert found["autoprompt", "oracle"] == (
        "3",
        "+0.200",
        "+0.100 to +0.300",
        "1: +0.200, 2: +0.300, 3: +0.100",
        "better",
    )
    assert lines(text, "Does an evolving rubric help?")["metapo", "autoprompt"][1] == "+0.295"


def test_runs_of_other_lengths_are_not_paired(runs: Path) -> None:
    make_run(runs, settings("oracle", 1, 30), flat(0.1, 30))
    assert lines(page(runs), "Does an evolving rubric help?")["mpo", "oracle"][0] == "none"


def test_requirements_are_met_or_not(runs: Path) -> None:
    found = lines(page(runs), "What is required")
    seeds = "; 3 seeds, fewer than the 5 asked for"
    assert found["metapo's mean final gold is at least 0.65",] == (f"0.695{seeds}", "met")
    assert found["the goal: it is at least 0.75",] == (f"0.695{seeds}", "not met")
    below = found["metapo's final gold is not more than 0.02 below mpo's on any seed",]
    assert below == (f"worst difference -0.015 (seed 3){seeds}", "met")
    assert found["the gate accepts no padded proposal",] == ("", "not run")


def test_the_worst_seed_decides(runs: Path) -> None:
    make_run(runs, settings("mpo", 4), flat(0.7))
    make_run(runs, settings("metapo", 4), flat(0.67))
    found = lines(page(runs), "What is required")
    asked = "metapo's final gold is not more than 0.02 below mpo's on any seed"
    assert found[asked,][0].startswith("worst difference -0.030 (seed 4)")
    assert found[asked,][1] == "not met"


@pytest.mark.parametrize(("fall", "ratio", "met"), [(0.1, "ratio 0.25", "met"), (0.2, "ratio 0.50", "not met")])
def test_dips_with_and_without_the_gate(tmp_path: Path, fall: float, ratio: str, met: str) -> None:
    for arm, depth in (("flawed-gate", fall), ("flawed-nogate", 0.4)):
        make_run(tmp_path / "runs", settings(arm, 1), [0.6] * 45 + [0.6 - depth] * 15)
    text = page(tmp_path / "runs")
    asked = "the worst dip in gold after step 40 of flawed-gate is less than half of flawed-nogate's"
    found, verdict = lines(text, "What is required")[asked,]
    assert ratio in found
    assert found.endswith("; one seed, fewer than the 5 asked for")
    assert verdict == met
    assert lines(text, "A flawed meta model")["flawed-gate",] == (f"{fall:.3f}", f"1: {fall:.3f}")
    none = "0 of 0 accepted, 0 adopted"
    assert f"| flawed-gate | {none} | {none} | {none} |" in text
    assert lines(text, "What is required")["the gate accepts no vacuous proposal",][1] == "can't be told"


async def test_flawed_proposals_that_the_gate_accepted_are_told(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "runs", SETTINGS, flat(0.5))
    dropped, padded = [await conversation(FlawedMeta(flaw=1, seed=3), flawed(f)) for f in (Flaw.DROPPED, Flaw.PADDED)]
    proposals = ProposalRecord(written(dropped), True), ProposalRecord(written(padded), False)
    store = Store(folder / STORE)
    attempt = store.begin_attempt(resumed_step=0, now=datetime(2026, 1, 1, tzinfo=UTC))
    store.adopt(attempt, 0, PARENT)
    store.append_meta_step(attempt, record([*dropped, *padded], *proposals, child=written(dropped)))
    store.close()
    text = page(tmp_path / "runs")
    found = lines(text, "What is required")
    assert found["the gate accepts no dropped proposal",] == (
        "1 of 1 accepted; one seed, fewer than the 5 asked for",
        "not met",
    )
    assert found["the gate accepts no padded proposal",][1] == "met"
    assert found["the gate accepts no vacuous proposal",][1] == "can't be told"
    assert "- seed 3, the meta step after step 10: dropped, of 4 criteria where its parent has 9; adopted\n" in text


def test_what_meta_steps_did_and_cost(runs: Path) -> None:
    text = page(runs)
    assert lines(text, "What meta steps did")["metapo",] == ("3", "3.0", "1.0", "3.0", "2.0", "1.0")
    assert lines(text, "Cost")["metapo",] == ("3.0", "1.0", "1.0", "100", "12.0", "3.00", "120.0", "2.44%")
    assert lines(text, "Cost")["mpo",][-1] == "0.00%"
    assert ("iter0",) not in lines(text, "Cost")


def test_the_value_head_before_at_and_after_a_change_of_rubric(tmp_path: Path) -> None:
    """Medians over both runs: at step 30 the rewards jump by 4, and then the values follow half way."""
    fits = {"value/explained": 0.8, "value/bias": 0.1, "value/score_sd": 0.5, "loss/value_avg": 0.02}
    jump = {"value/explained": -3.0, "value/bias": -4.0, "value/score_sd": 2.0, "loss/value_avg": 8.0}
    half = {"value/explained": 0.2, "value/bias": -2.0, "value/score_sd": 2.0, "loss/value_avg": 2.0}
    rows = [fits] * 30 + [jump] + [half] * 29
    for seed in (1, 2):
        make_run(tmp_path / "runs", settings("mpo-raw-ppo", seed), flat(0.5), rewrite=30, values=rows)
    constant = {"value/bias": 0.0, "value/score_sd": 0.0, "loss/value_avg": 0.0}
    make_run(tmp_path / "runs", settings("iter0-ppo", 1), flat(0.5), values=[constant] * STEPS)
    make_run(tmp_path / "runs", settings("mpo", 1), flat(0.5))
    found = lines(page(tmp_path / "runs"), "Under PPO: the value head")
    assert found["mpo-raw-ppo",] == (
        "2",
        "2",
        "0.50; 0.80 → -3.00 → 0.20",
        "0.60; 0.20 → 2.00 → 1.00",
        "1.01; 0.02 → 8 → 2",
    )
    assert found["iter0-ppo",] == ("one seed", "0", "none", "none", "0"), "nothing to explain where rewards are equal"
    assert ("mpo",) not in found


def test_onset_is_where_judge_and_gold_part(tmp_path: Path) -> None:
    make_run(tmp_path / "runs", settings("iter0", 1), [0.5] * 30 + [0.3] * 30)
    make_run(tmp_path / "runs", settings("iter0", 2), [0.3] * 60)
    # Half of the smoothed gap's rise of 0.2 is reached when three of five steps lie beyond the fall.
    found = lines(page(tmp_path / "runs"), "Hacking")["iter0",]
    assert found[1] == "1: 32, 2: none"
    assert found[2:] == ("25.0%",) * len(HACKS)


def test_it_says_what_it_is_and_what_is_missing(runs: Path) -> None:
    text = page(runs)
    assert f"metapo world evidence {runs} --out {runs.parent / 'evidence.md'}\n" in text
    assert "metapo world compare --arms iter0,mpo,metapo --seeds 1,2,3 --steps 60 --out runs\n" in text
    assert "It is no evidence about large models." in text
    assert "expert, seed 1 (60 steps done)" in text
    assert "null-rewrite-oracle" in text.split("Not run: ")[1]
    assert "other settings" not in text


def test_seeds_used_for_tuning_are_marked(runs: Path) -> None:
    text = page(runs)
    found = lines(text, "What was run")
    assert (found["iter0",][1], found["mpo",][1]) == (r"1\*", r"1\*, 2, 3\*")
    assert "\n\\* Used while the world was tuned: 1, 3. Its constants" in text


def test_without_seeds_used_for_tuning_none_is_marked(tmp_path: Path) -> None:
    make_run(tmp_path / "runs", settings("iter0", 51), flat(0.5))
    text = page(tmp_path / "runs")
    assert lines(text, "What was run")["iter0",][1] == "51"
    assert "tuned" not in text


def test_runs_with_other_settings_are_named(runs: Path) -> None:
    make_run(runs, settings("oracle", 4).model_copy(update={"reward": "raw_sum"}), flat(0.4))
    assert "which the\ncommands below don't repeat:\noracle, seed 4.\n" in page(runs)


def test_folders_count_together_and_give_the_same_bytes(runs: Path, tmp_path: Path) -> None:
    apart = tmp_path / "more"
    (apart).mkdir()
    (runs / "iter0-1").rename(apart / "iter0-1")
    first = page(runs, apart)
    assert lines(first, "Does an evolving rubric help?")["mpo", "iter0"][0] == "one seed"
    assert "--arms iter0 --seeds 1 --steps 60 --out more\n" in first
    assert page(runs, apart) == first


def test_a_run_counts_once(runs: Path, tmp_path: Path) -> None:
    make_run(tmp_path / "more", settings("mpo", 2), flat(0.9))
    with pytest.raises(RunError, match="both hold mpo under seed 2"):
        page(runs, tmp_path / "more")


def test_no_mean_is_taken_of_runs_of_different_lengths(runs: Path) -> None:
    make_run(runs, settings("mpo", 9, 30), flat(0.5, 30))
    with pytest.raises(RunError, match="60 and 30 steps"):
        page(runs)


def test_without_a_finished_run_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="metapo world compare --out"):
        page(tmp_path / "runs")


def test_the_command_writes_the_page(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "docs" / "evidence.md"
    done = CliRunner().invoke(main, ["world", "evidence", str(runs), "--out", str(out)], catch_exceptions=False)
    assert done.output == f"Evidence: {out}\n"
    assert out.read_text().startswith("# Evidence from the offline world\n")


# --- its parts


def test_every_arm_speaks_to_a_question() -> None:
    named = [arm for question in QUESTIONS for pair in question.pairs for arm in pair]
    assert set(named) <= set(ARMS)
    assert set(with_sources(named)) == set(ARMS)


def test_no_question_asks_twice() -> None:
    pairs = [pair for question in QUESTIONS for pair in question.pairs]
    assert len(pairs) == len(set(pairs))
    assert all(arm != against for arm, against in pairs)


@pytest.mark.parametrize(
    ("gold", "dip"),
    [
        ([0.5] * 60, 0.0),
        ([0.5] * 50 + [0.2] * 10, 0.3),
        ([0.5] * 50 + [0.0] + [0.5] * 9, 0.1),
        ([0.5] * 30 + [0.2] * 30, 0.3),
        ([0.5] * 20 + [0.2] * 5 + [0.5] * 35, 0.0),
        ([0.1] * 50 + [0.9] * 10, 0.0),
        ([0.5] * 41, None),
        ([], None),
    ],
)
def test_worst_dip(gold: list[float], dip: float | None) -> None:
    assert worst_dip(list(enumerate(gold))) == (dip if dip is None else pytest.approx(dip))
