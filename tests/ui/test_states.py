"""What the page says when there is nothing, not yet anything, nobody, or not enough leave."""

from pathlib import Path

from tests.ui.browser import Page
from tests.ui.conftest import Site, showing
from tests.ui.runs import N_STEPS, add_step, make_run

PORT = 18_923


def test_a_run_that_has_only_begun_says_what_will_come(page: Page) -> None:
    page.open("#/run/empty")
    page.says("No step is done yet")
    page.open("#/rollouts/empty")
    page.says("No rollout yet")
    page.open("#/meta/empty")
    page.says("No meta step yet")
    page.open("#/acts/empty")
    page.says("No revision waits", "Nobody has decided anything")
    page.open("#/rubric/empty")
    page.says("1 revision", "The first revision, in full")


def test_unknown_runs_and_rollouts_are_told(page: Page) -> None:
    page.open("#/run/gone")
    page.says("No run named gone", "essay, hostile, empty")
    page.open("#/rollout/essay/1-train-99-0")
    page.says("has no rollout", where="[role=alert]")


def test_while_an_answer_is_awaited_the_page_says_so(page: Page) -> None:
    page.driver.execute_cdp_cmd("Network.enable", {})
    slow = {"offline": False, "latency": 1500, "downloadThroughput": -1, "uploadThroughput": -1}
    page.driver.execute_cdp_cmd("Network.emulateNetworkConditions", slow)
    page.open("#/run/essay")
    page.says("Reading the runs", where="[role=status]")
    page.driver.execute_cdp_cmd("Network.emulateNetworkConditions", slow | {"latency": 0})
    page.says("Judge score and real quality")


def test_new_steps_appear_by_themselves(browser: Page, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "essay")
    with showing([folder]) as server:
        browser.base = server.url + "/"
        browser.open("#/run/essay?smooth=1")
        browser.says("live", f"at step {N_STEPS - 1}")
        add_step(folder, N_STEPS)
        browser.says(f"at step {N_STEPS}", f"step {N_STEPS + 1} of 200")


def test_a_server_that_is_gone_is_told_and_met_again(browser: Page, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "essay")
    with showing([folder], PORT) as server:
        browser.base = server.url + "/"
        browser.open("#/run/essay?smooth=1")
        browser.says("live", f"at step {N_STEPS - 1}")
    browser.says("Not connected since", "what you see may be old")
    browser.says("Judge score and real quality")  # what was there stays
    browser.click(".lost button", "Now")
    browser.says("Not connected since", "Judge score and real quality")
    add_step(folder, N_STEPS)
    with showing([folder], PORT):
        browser.says("live", f"at step {N_STEPS}")
        browser.until(lambda: "Not connected" not in browser.text(), "the notice is gone")
    browser.complaints()


def test_the_token_is_asked_for_or_taken_from_the_address(browser: Page, folders: Path) -> None:
    with showing([folders / "essay"], token="open sesame") as server:
        browser.base = server.url + "/"
        browser.open("#/run/essay")
        browser.says("This server asks for its token")
        browser.one("input[type=password]").send_keys("open sesame")
        browser.click("button", "Go on")
        browser.says("Judge score and real quality", "live")
        browser.run("sessionStorage.clear()")
        browser.open("#token=open%20sesame")
        browser.says("Judge score and real quality")
        assert "sesame" not in browser.run("return location.href")
    browser.complaints()


def test_where_people_may_only_look_there_is_nothing_to_press(browser: Page, folders: Path) -> None:
    with showing([folders / "essay"], can_act=False) as server:
        browser.base = server.url + "/"
        browser.open("#/acts/essay")
        browser.says("Nothing can be decided here", "1 revision waiting")
        assert browser.all("form.act") == []


def test_the_page_obeys_a_strict_policy(page: Page, site: Site) -> None:
    page.open("#/run/essay")
    page.says("Judge score and real quality")
    blocked = page.driver.execute_async_script(
        "const done = arguments[0];"
        "document.addEventListener('securitypolicyviolation', e => done(e.violatedDirective));"
        "const s = document.createElement('script'); s.textContent = 'window.hacked = 1'; document.body.append(s);"
    )
    assert blocked.startswith("script-src")
    assert page.run("return window.hacked") is None
    page.complaints()
