"""Everyone can use it: by keys alone, by a screen reader, on a phone, in the dark."""

import pytest
from selenium.webdriver.common.keys import Keys

from tests.ui.browser import PHONE, Page

VIEWS = {
    "#/run/essay": "Judge score and real quality",
    "#/run/essay?with=hostile": "hostile: judge",
    "#/rubric/essay": "Its criteria over time",
    "#/rollouts/essay": "all there are",
    "#/rollout/essay/1-train-11-1": "Its group",
    "#/pairs/essay": "Label this pair",
    "#/meta/essay/4": "Proposal 1",
    "#/acts/essay": "Pairs of known order",
    "#/run/empty": "No step is done yet",
}


@pytest.mark.parametrize("address", VIEWS)
def test_axe_finds_nothing_serious(page: Page, address: str) -> None:
    page.open(address)
    page.says(VIEWS[address])
    page.run("document.querySelectorAll('main details').forEach(d => d.open = true)")
    light = page.violations()
    page.prefers(prefers_color_scheme="dark")
    assert light + page.violations() == []


@pytest.mark.parametrize("address", [*VIEWS, "#/rollout/hostile/1-train-11-1", "#/acts/hostile", "#/meta/hostile/4"])
def test_a_phone_needs_no_moving_sideways(page: Page, address: str) -> None:
    page.size(*PHONE)
    page.open(address)
    page.says(VIEWS.get(address, "<script>"))
    page.run("document.querySelectorAll('main details').forEach(d => d.open = true)")
    assert page.overflow() == []
    small = page.run(
        "return [...document.querySelectorAll('main *')].filter(e => e.childNodes.length && e.innerText?.trim()"
        " && parseFloat(getComputedStyle(e).fontSize) < 11).map(e => e.outerHTML.slice(0, 80))"
    )
    assert small == []


def test_the_dark_follows_the_system_and_the_button(page: Page) -> None:
    dark = "return getComputedStyle(document.body).backgroundColor"
    page.open("#/run/essay")
    page.says("Judge score and real quality")
    assert page.run(dark) == "rgb(247, 247, 244)"
    page.prefers(prefers_color_scheme="dark")
    assert page.run(dark) == "rgb(19, 22, 25)"
    page.click("#theme")  # light
    assert page.run(dark) == "rgb(247, 247, 244)"
    page.click("#theme")  # dark
    page.prefers(prefers_color_scheme="light")
    page.open("#/rubric/essay")
    page.says("4 revisions")
    assert page.run(dark) == "rgb(19, 22, 25)"
    page.click("#theme")  # as the system has it


def test_all_views_are_walked_by_keys(page: Page) -> None:
    page.open("#/run/essay")
    page.says("Judge score and real quality")
    for key, words in {
        "2": "4 revisions",
        "4": "3 meta steps",
        "5": "1 revision waiting",
        "3": "all there are",
    }.items():
        page.press(key)
        page.says(words)
    page.press("j", "j")
    page.until(lambda: "no. 6" in page.run("return document.activeElement.innerText"), "the second rollout")
    page.press(Keys.ENTER)
    page.says("3 verdicts")
    page.press("j")
    page.says("Rollout at step 11 · no. 5")
    page.press("u")
    page.says("all there are")
    page.press("/")
    page.press("3/4")
    page.says("1 shown, all there are")
    assert page.run("return location.hash").startswith("#/rollouts/essay?text=3")


def test_tab_reaches_everything_with_a_focus_to_be_seen(page: Page) -> None:
    page.open("#/rubric/essay")
    page.says("Its criteria over time", "Means of the last 10 steps", "What changed from", "since 4")
    focusable = page.run(
        "return [...document.querySelectorAll('a[href], button, select, input, summary, [tabindex=\"0\"]')]"
        ".filter(e => e.checkVisibility() && !e.disabled).length"
    )
    reached = set()
    for _ in range(focusable + 5):
        page.press(Keys.TAB)
        seen = page.run(
            "const e = document.activeElement; if (e === document.body) return null;"
            "const s = getComputedStyle(e); window.ids ??= new WeakMap(); window.n ??= 0;"
            "if (!ids.has(e)) ids.set(e, n++); return [ids.get(e), s.outlineStyle, e.outerHTML.slice(0, 90)]"
        )
        if seen is not None:
            reached.add(seen[0])
            assert seen[1] != "none", seen[2]
    assert len(reached) == focusable


def test_the_help_opens_closes_and_switches_the_keys_off(page: Page) -> None:
    page.open("#/run/essay")
    page.says("Judge score and real quality")
    page.press("?")
    page.says("Keys", "next and previous in a list", where="dialog")
    assert page.violations() == []
    page.click("dialog .check")
    page.press(Keys.ESCAPE)
    page.until(lambda: not page.all("dialog"), "the help is closed")
    page.press("2")
    assert page.run("return location.hash").startswith("#/run/")
    page.click("button", "?")
    page.click("dialog .check")
    page.click("dialog button", "Close")
    page.press("2")
    page.says("4 revisions")


def test_whoever_wants_no_motion_gets_none(page: Page) -> None:
    page.prefers(prefers_reduced_motion="reduce")
    page.open("#/run/essay")
    page.says("training")
    moving = page.run("return document.getAnimations().length")
    assert moving == 0
