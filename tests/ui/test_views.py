"""Each view, as a reader meets it."""

from pathlib import Path

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from tests.ui.browser import Page
from tests.ui.conftest import Site
from tests.ui.runs import N_STEPS, PER_STEP, QUOTE


def test_the_first_run_opens_by_itself(page: Page) -> None:
    page.open("")
    page.says("Judge score and real quality", "training", "live")
    assert page.run("return location.hash") == "#/run/essay"
    assert page.driver.title == "Run · essay · metapo"


def test_a_run_shows_its_figures(page: Page) -> None:
    page.open("#/run/essay")
    page.says("Judge score", "Real quality", "Gap", "KL", "Flagged", "Unscored", "Cost", where=".tiles")
    charts = ["Judge score and real quality", "Reward", "KL from the reference", "Length, words", "Flagged as hacks"]
    page.says(*charts, "Judge failures", "Cost of judging so far", where="main")
    page.says("0 in every step: groups without contrast", "the reason 4", "waits", where="main")
    drawn = page.run(
        "return [...document.querySelectorAll('.chart canvas')].map(c => new Set("
        "c.getContext('2d').getImageData(0, 0, c.width, c.height).data).size)"
    )
    assert len(drawn) >= 8
    assert all(n_values > 8 for n_values in drawn), "an empty canvas"


def test_values_stand_under_the_pointer_and_follow_the_arrow_keys(page: Page) -> None:
    page.open("#/run/essay?smooth=1")
    plot = page.one(".plot")
    ActionChains(page.driver).move_to_element_with_offset(plot, 0, 0).perform()
    page.until(lambda: "at step" not in page.text(".legend .at"), "a value under the pointer")
    page.run("arguments[0].focus()", plot)
    page.press(Keys.HOME)
    page.until(lambda: plot.get_attribute("aria-valuenow") == "0", "the first step")
    page.press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert plot.get_attribute("aria-valuetext") == "step 3: judge 0.425, real quality 0.25, monitor 0.3"


def test_dragging_zooms_all_charts_and_the_address_holds_it(page: Page) -> None:
    page.open("#/run/essay")
    plot = page.one(".plot")
    ActionChains(page.driver).move_to_element_with_offset(plot, -200, 0).click_and_hold().move_by_offset(
        300, 0
    ).release().perform()
    page.until(lambda: "steps=" in page.run("return location.hash"), "a range in the address")
    low, high = (int(end) for end in page.run("return location.hash").partition("steps=")[2].split("-"))
    assert 0 < low < high < N_STEPS - 1
    page.until(lambda: {p.get_attribute("aria-valuemin") for p in page.all(".plot")} == {str(low)}, "all zoomed")
    page.click("button", "show all")
    page.until(lambda: "steps=" not in page.run("return location.hash"), "the whole range")


def test_smoothing_is_chosen(page: Page) -> None:
    page.open("#/run/essay")
    page.choose("Smoothing", "11")
    page.until(lambda: "smooth=11" in page.run("return location.hash"), "the window in the address")


def test_runs_are_laid_over_one_another(page: Page) -> None:
    page.open("#/run/essay")
    page.click("button", "Lay runs over this one")
    page.run("[...document.querySelectorAll('.sheet label')].find(l => l.innerText.includes('hostile')).click()")
    page.says("essay: judge", "hostile: judge", "hostile: real quality", where=".legend")
    assert "with=hostile" in page.run("return location.hash")


def test_any_other_figure_has_a_chart(page: Page) -> None:
    page.open("#/run/essay")
    page.choose("Add a chart", "trainer: entropy")
    page.says("trainer: entropy")


def test_a_figure_and_its_data_are_taken_along(page: Page, tmp_path: Path) -> None:
    page.driver.execute_cdp_cmd("Page.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    page.open("#/run/essay")
    page.says("real quality")
    for name in ("Data as CSV", "Figure as SVG", "Figure as PNG"):
        page.click(".chart .dots")
        page.click(".sheet button", name)
    files = {
        kind: page.until(lambda kind=kind: next(tmp_path.glob(f"*.{kind}"), None), f"a file {kind}")
        for kind in ("csv", "svg", "png")
    }
    rows = files["csv"].read_text().splitlines()
    assert rows[0] == '"step","judge","real quality","monitor"'
    assert rows[4] == "3,0.425,0.25,0.3"
    assert len(rows) == 1 + N_STEPS
    assert files["svg"].read_text().count("<polyline") == 6
    page.until(lambda: files["png"].read_bytes()[:4] == b"\x89PNG", "a picture")


def test_a_chart_has_a_table_of_its_numbers(page: Page) -> None:
    page.open("#/run/essay")
    page.click(".chart .dots")
    page.click(".sheet button", "Show the numbers")
    page.says("step", "real quality", "0.425", where=".numbers")


def test_the_lineage_is_a_tree_with_the_reason_and_the_gate(page: Page) -> None:
    page.open("#/rubric/essay")
    page.says("4 revisions", "in force", "earlier", "rejected", "waiting", where=".tree, .side")
    page.says("Why: the reason 4", "fresh", "64", "+25", "the found", where=".detail")
    page.says("since 4", where=".detail .diff ins")
    page.click(".tree a", "rejected")
    page.says("Why: the reason 8", "failed", where=".detail")


def test_any_two_revisions_are_compared_word_by_word(page: Page) -> None:
    page.open("#/rubric/essay")
    page.says("What changed from")
    first = page.run("return [...document.querySelectorAll('.detail select')[0].options].map(o => o.value)")
    page.open(f"#/rubric/essay?from={first[2]}&to={first[3]}")
    page.says("since", where=".diff")
    assert {e.text for e in page.all(".diff del")} == {"8"}
    assert {e.text for e in page.all(".diff ins")} == {"12"}
    page.click("label", "Show what stayed the same too")
    page.says("the instruction", where=".diff")


def test_each_criterion_has_a_history(page: Page) -> None:
    page.open("#/rubric/essay")
    page.says("Pass rate", "the criterion position", "%", where=".criteria")
    page.choose("Measure", "Correlation", ".criteria")
    page.says("Correlation with the rest", where=".criteria .chart")


def test_rollouts_are_listed_newest_first(page: Page) -> None:
    page.open("#/rollouts/essay")
    page.says(f"step {N_STEPS - 1} · no. {PER_STEP - 1}", "the screen", "too short", where=".window")
    page.says(f"{N_STEPS * PER_STEP} shown, all there are")


@pytest.mark.parametrize(
    ("label", "value", "n_found"),
    [
        ("Text", "3/4", 1),
        ("From step", "10", 16),
        ("Reward from", "0.6", 0),
        ("Flag", "too short", 12),
        ("Kind", "unscored", 3),
        ("Kind", "screened", 12),
    ],
)
def test_rollouts_are_filtered(page: Page, label: str, value: str, n_found: int) -> None:
    page.open("#/rollouts/essay")
    page.says("all there are")
    page.run("document.querySelector('.narrow-only')?.click()")
    (page.fill if label in ("Text", "From step", "Reward from") else page.choose)(label, value)
    page.says(f"{n_found} shown, all there are" if n_found else "No rollout is like that")


def test_rollouts_are_filtered_by_verdict_and_revision(page: Page) -> None:
    page.open("#/rollouts/essay")
    page.choose("Criterion", "style")
    page.choose("its verdict", "2 points")
    page.says("36 shown, all there are")
    revision = page.run(
        "return [...document.querySelectorAll('.filters select')]"
        ".find(s => /from step/.test(s.innerText)).options[2].value"
    )
    page.open(f"#/rollouts/essay?revision={revision}")
    page.says(f"{(N_STEPS - 4) * PER_STEP} shown, all there are")


def test_a_rollout_shows_verdicts_and_marks_the_evidence(page: Page) -> None:
    page.open("#/rollouts/essay")
    page.click(".rollout-row", "no. 1")
    page.says("Reward", "Judge, 0 to 1", "Monitor", where=".tiles")
    page.says("🦊 It is clear", "the reference", "too short: the flag detail", where=".reading")
    page.says("3 verdicts", "the rationale", "the level", "not found in the completion", where=".reading")
    assert [mark.text for mark in page.all("mark")] == [QUOTE]
    page.click("summary", "call to judges")
    page.says("the reply", "the endpoint")
    page.click("summary", "opinion")
    page.says("the other judge")
    page.says("its group", "no. 0", "no. 3")


def test_the_same_prompt_is_read_across_steps_and_side_by_side(page: Page) -> None:
    page.open("#/rollouts/essay")
    page.click(".rollout-row", "no. 1")
    page.click("a", "the same one across steps")
    page.says("the prompt 0", "48 rollouts", "Mean reward on this prompt")
    page.all(".rows input[name=b]")[7].click()
    page.says("Left", "Right", "the rationale", where=".two")


def test_two_revisions_are_read_side_by_side(page: Page) -> None:
    page.open("#/pairs/essay")
    page.says("2 prompts", "the prompt 0", "Left rollout", "Right rollout")
    page.says("the level 1", where=".two")
    page.says("since 4", where=".two section:nth-child(2)")


def test_a_meta_step_is_read_from_samples_to_gate(page: Page) -> None:
    page.open("#/meta/essay/4")
    page.says("3 meta steps", "adopted", "rejected", "waiting", where=".side")
    page.says("It began because: the trigger", "the ending", where=".detail")
    page.says("3 samples", "2 analyze", "2 refine", "1 merge", "1 gate", where=".pipeline")
    page.says("chosen because: the sample why", "Proposal 1", "accepted", where=".detail")
    page.click(".exchange summary", "sample 1")
    page.says("What was asked", "the analyze prompt", "What came back", "the analyze reply")


def test_what_people_did_is_on_the_page(page: Page) -> None:
    page.open("#/acts/essay")
    page.says("1 revision waiting", "If approved", "the act why", "the who", "not yet taken by the run")
    page.click("summary", "the ann")
    page.says("the anchor prompt", "the better", "the worse")


def test_a_view_can_be_linked_and_gone_back_to(page: Page, site: Site) -> None:
    page.open("#/rubric/essay")
    page.says("4 revisions")
    page.click(".tree a", "rejected")
    page.says("Why: the reason 8")
    there = page.run("return location.href")
    page.driver.back()
    page.says("Why: the reason 4")
    page.open(there.removeprefix(page.base))
    page.says("Why: the reason 8")
