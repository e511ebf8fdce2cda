"""A page in Chromium, driven as a person would: by what it says, by its labels, by keys."""

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.command import Command
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
WAIT_S = 30.0
DESKTOP, PHONE = (1280, 900), (375, 812)


@contextmanager
def chromium(downloads: Path) -> Iterator["Page"]:
    """A browser of its own, with an empty profile."""
    options = Options()
    options.binary_location = str(CHROMIUM)
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--lang=en"):
        options.add_argument(flag)
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = Service(DRIVER, log_output=subprocess.DEVNULL)
    driver = webdriver.Chrome(options=options, service=service)
    try:
        yield Page(driver)
    finally:
        driver.execute(Command.QUIT)
        if process := service.process:  # asked to end by itself, it may take a minute
            process.kill()
            process.communicate()
            service.process = None


class Page:
    """The one tab of a browser."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver
        self.base = ""

    # --- going and looking

    def open(self, address: str) -> None:
        """Load the page anew at an address after its base; the tab forgets what the last test left in it."""
        self.driver.get("about:blank")
        self.driver.get(self.base + address)

    def size(self, width: int, height: int) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def prefers(self, **features: str) -> None:
        listed = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": listed})

    def run(self, script: str, *args: Any) -> Any:
        return self.driver.execute_script(script, *args)

    def text(self, selector: str = "body") -> str:
        """What a reader sees there; "" where there is no such thing."""
        return str(self.run("return document.querySelector(arguments[0])?.innerText ?? ''", selector))

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str, text: str = "") -> WebElement:
        """The first that can be seen, with that text in it; waited for."""

        def found() -> WebElement | None:
            shown = (one for one in self.all(selector) if one.is_displayed() and text in one.text)
            return next(shown, None)

        return self.until(found, f"{selector} with {text!r}")

    def until(self, found: Callable[[], Any], what: str) -> Any:
        """What `found` returns as soon as it is truthy."""
        last = time.monotonic() + WAIT_S
        while True:
            try:
                if result := found():
                    return result
            except StaleElementReferenceException:
                pass
            if time.monotonic() > last:
                raise AssertionError(f"never came: {what}. The page says:\n{self.text()[:2000]}")
            time.sleep(0.05)

    def says(self, *texts: str, where: str = "body") -> None:
        """Waits until the page says all of these, whatever the case and the white space."""
        for text in texts:
            words = " ".join(text.lower().split())
            self.until(lambda words=words: words in " ".join(self.text(where).lower().split()), f"{text!r} in {where}")

    # --- doing

    def click(self, selector: str, text: str = "") -> None:
        element = self.one(selector, text)
        self.run("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def press(self, *keys: str) -> None:
        for key in keys:
            webdriver.ActionChains(self.driver).send_keys(key).perform()

    def field(self, label: str, within: str = "main") -> WebElement:
        """The field with that label."""
        script = """return [...document.querySelectorAll(arguments[1] + ' label')]
            .find(l => l.innerText.trim().startsWith(arguments[0]))?.querySelector('input, select, textarea')"""
        found: WebElement = self.until(lambda: self.run(script, label, within), f"a field {label!r}")
        return found

    def fill(self, label: str, text: str, within: str = "main") -> None:
        field = self.field(label, within)
        field.send_keys(Keys.CONTROL, "a")
        field.send_keys(text)

    def choose(self, label: str, text: str, within: str = "main") -> None:
        """The first option that begins with `text`; waited for."""

        def option() -> bool:
            field = Select(self.field(label, within))
            for one in field.options:
                if one.text.startswith(text):
                    field.select_by_visible_text(one.text)
                    return True
            return False

        self.until(option, f"an option {text!r} of {label!r}")

    # --- judging

    def complaints(self) -> list[str]:
        """What the browser complained of since last asked, requests that were refused on purpose left out."""
        entries = self.driver.get_log("browser")
        return [
            e["message"] for e in entries if e["level"] == "SEVERE" and "Failed to load resource" not in e["message"]
        ]

    def overflow(self) -> list[str]:
        """What sticks out to the right, so that the page would have to be moved sideways."""
        found: list[str] = self.run(
            """const wide = document.documentElement.clientWidth;
            if (document.documentElement.scrollWidth <= wide) return [];
            return [...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > wide + 1)
              .map(e => e.tagName + '.' + e.className).slice(0, 5);"""
        )
        return found

    def violations(self) -> list[str]:
        """What axe-core calls serious or critical, one line each."""
        if not self.run("return window.axe !== undefined"):
            # by the debugger: the page's own policy lets no other script run
            source = (Path(__file__).parent / "axe.min.js").read_text()
            self.driver.execute_cdp_cmd("Runtime.evaluate", {"expression": source, "silent": True})
        found: list[dict[str, Any]] = self.driver.execute_async_script(
            "const done = arguments[arguments.length - 1];"
            "const failed = e => done([{impact: 'serious', id: String(e), nodes: []}]);"
            "axe.run({resultTypes: ['violations']}).then(r => done(r.violations), failed);"
        )
        serious = [one for one in found if one["impact"] in ("serious", "critical")]
        return [
            f"{one['id']}: {node['html'][:160]} {json.dumps([c.get('message') for c in node['any']])[:300]}"
            for one in serious
            for node in one["nodes"] or [{"html": "", "any": []}]
        ]
