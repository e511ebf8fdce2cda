"""Each act, done by hand in the page and read back from the store."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from metapo.store import ActKind, ActRecord, Store
from tests.ui.browser import DESKTOP, Page
from tests.ui.conftest import showing
from tests.ui.runs import make_run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_run(tmp_path / "essay")


@pytest.fixture
def acting(browser: Page, folder: Path) -> Iterator[Page]:
    """The browser at a run of its own, on the page of acts."""
    with showing([folder]) as server:
        browser.base = server.url + "/"
        browser.size(*DESKTOP)
        browser.complaints()
        browser.open("#/acts/essay")
        browser.says("1 revision waiting")
        yield browser
        assert browser.complaints() == []


def newest(folder: Path) -> ActRecord:
    with closing(Store(folder / "store.db")) as store:
        return store.acts()[-1]


def sign(page: Page, within: str, why: str) -> None:
    page.fill("Who", "Ada", within)
    page.fill("Why", why, within)
    page.click(f"{within} button[type=submit]")


def decide(page: Page, what: str, why: str) -> None:
    page.click(".waiting .check", what)
    sign(page, ".waiting", why)


@pytest.mark.parametrize("kind", [ActKind.APPROVE, ActKind.REJECT])
def test_a_waiting_revision_is_approved_or_rejected(acting: Page, folder: Path, kind: ActKind) -> None:
    decide(acting, kind.value, "as it should be")
    acting.says(
        "On record as act 2",
    )
    act = newest(folder)
    assert (act.kind, act.who, act.why) == (kind, "Ada", "as it should be")
    assert act.about
    acting.says("as it should be", "Ada", where="[aria-label='The record']")


def test_a_waiting_revision_is_edited_first(acting: Page, folder: Path) -> None:
    acting.click(".waiting .check", "edit")
    text = acting.one("textarea")
    acting.until(lambda: "the level 2 since 12" in (text.get_attribute("value") or ""), "the rubric")
    acting.run(
        "const t = arguments[0]; t.value = t.value.replace('the level 2 since 12', 'the very best');"
        "t.dispatchEvent(new Event('input', {bubbles: true}))",
        text,
    )
    sign(acting, ".waiting", "said better")
    acting.says("On record as act 2")
    act = newest(folder)
    assert (act.kind, act.who) == (ActKind.EDIT, "Ada")
    assert act.rubric is not None
    assert act.rubric.criteria[0].levels[2].description == "the very best"


def test_a_rubric_that_is_none_is_refused_in_words(acting: Page, folder: Path) -> None:
    acting.click(".waiting .check", "edit")
    text = acting.one("textarea")
    acting.until(lambda: text.get_attribute("value"), "the rubric")
    acting.run(
        "arguments[0].value = 'criteria: none'; arguments[0].dispatchEvent(new Event('input', {bubbles: true}))", text
    )
    sign(acting, ".waiting", "to see what happens")
    acting.says("criteria", where=".told.refused")
    assert (newest(folder).kind, newest(folder).id) == (ActKind.EVOLVE, 1)
    assert acting.field("Why", ".waiting").get_attribute("value") == "to see what happens"


def test_a_criterion_is_pinned(acting: Page, folder: Path) -> None:
    form = "[aria-label='More to do'] .act:first-child"
    acting.choose("Criterion", "the criterion reasons", form)
    sign(acting, form, "it matters")
    acting.says("On record as act 2", where=form)
    act = newest(folder)
    assert (act.kind, act.criterion, act.who) == (ActKind.PIN, "reasons", "Ada")


def test_a_meta_step_is_asked_for(acting: Page, folder: Path) -> None:
    sign(acting, "[aria-label='More to do'] .act:last-child", "the essays got worse")
    acting.says("On record as act 2")
    assert (newest(folder).kind, newest(folder).why) == (ActKind.EVOLVE, "the essays got worse")


def test_a_pair_is_labelled_as_an_anchor(acting: Page, folder: Path) -> None:
    acting.open("#/pairs/essay")
    acting.says("Label this pair as an anchor")
    acting.click(".act .check", "right")
    sign(acting, ".act", "it gives a reason")
    acting.says("1 anchor pinned", where=".act")
    with closing(Store(folder / "store.db")) as store:
        pinned = [anchor for anchor in store.anchors("") if anchor.who == "Ada"]
    assert [anchor.why for anchor in pinned] == ["it gives a reason"]
    assert pinned[0].better != pinned[0].worse
    acting.click(".act .check", "right")
    sign(acting, ".act", "it gives a reason")
    acting.says("known already", where=".act")


def test_who_is_remembered_and_both_fields_are_needed(acting: Page) -> None:
    sign(acting, "[aria-label='More to do'] .act:last-child", "once")
    acting.says("On record as act 2")
    acting.open("#/acts/essay")
    assert acting.field("Who", ".waiting").get_attribute("value") == "Ada"
    assert not acting.one(".waiting button[type=submit]").is_enabled()
