"""Markup, scripts, direction marks and escape codes in every field: all of it is text."""

import pytest

from tests.ui.browser import Page
from tests.ui.runs import HOSTILE

SEEN = "<script>window.hacked=1</script><img src=x onerror="
VIEWS = {
    "#/run/hostile": ["reason 4", "gate reason"],
    "#/rubric/hostile": ["criterion", "level", "meta model", "reason 4", "trigger", "finding", "found"],
    "#/rollouts/hostile": ["completion", "screen"],
    "#/rollout/hostile/1-train-11-1": [
        "prompt", "completion", "reference", "flag detail", "criterion", "level", "rationale", "quote",
        "other judge", "model", "endpoint", "finish", "reply",
    ],
    "#/rollout/hostile/1-train-8-5": ["failure", "call error"],
    "#/pairs/hostile": ["prompt", "completion", "rationale"],
    "#/meta/hostile/4": [
        "trigger", "ending", "sample why", "analyze prompt", "analyze reply", "refine reply", "merge prompt", "found",
        "meta model",
    ],
    "#/acts/hostile": [
        "reason 12", "level", "who", "act why", "ann", "anchor why", "anchor prompt", "better", "worse",
    ],
}  # fmt: skip


@pytest.mark.parametrize("address", VIEWS)
def test_nothing_is_executed_and_all_is_shown_as_text(page: Page, address: str) -> None:
    page.open(address)
    page.until(lambda: SEEN in page.text(), "the text of the run")
    if address.startswith("#/run/"):
        page.run("document.querySelectorAll('details').forEach(d => d.open = true)")
        page.says("identity", "task")

    def opens_no_more() -> bool:  # what opens may hold what opens, or be on its way
        page.run("document.querySelectorAll('details').forEach(d => d.open = true)")
        shown = page.text().lower()
        return all(f"{field} {SEEN}".lower()[:40] in shown for field in VIEWS[address])

    page.until(opens_no_more, "every field")
    page.says(*(f"{field} {SEEN}" for field in VIEWS[address]))
    page.says("⟨U+202E⟩back⟨U+202C⟩", "␛[31mred␛[0m")
    assert page.run("return window.hacked") is None
    assert page.all("img, iframe, object, embed, body script, a[href^='javascript'], [onerror], [onload]") == []


def test_what_is_typed_and_linked_is_text_too(page: Page) -> None:
    page.open("#/rollouts/essay?text=" + page.run("return encodeURIComponent(arguments[0])", HOSTILE[:120]))
    page.says("No rollout is like that")
    page.open("#/rubric/%3Cimg%20src%3Dx%20onerror%3Dwindow.hacked%3D1%3E")
    page.says("No run named <img src=x onerror=window.hacked=1>")
    assert page.run("return window.hacked") is None


def test_hostile_names_are_text_in_figures_that_are_taken_along(page: Page) -> None:
    page.open("#/rubric/hostile")
    page.says("criterion " + SEEN, where=".criteria")
    page.run(
        "window.made = null; const old = URL.createObjectURL; URL.createObjectURL = b => (window.made = b, old(b))"
    )
    page.click(".criteria .dots")
    page.click(".sheet button", "Figure as SVG")
    svg = page.driver.execute_async_script("window.made.text().then(arguments[0])")
    assert "&lt;script&gt;" in svg
    assert "<script" not in svg
