"""What the page weighs, and how long a browser takes from the address to the first chart, on a run of 100,000 rollouts.

Chromium starts with an empty cache for each repeat. The times are the page's own clock: from the beginning of
navigation to the first drawn canvas, and to the end of the last answer that the view asked for.
"""

import argparse
import gzip
import shutil
import subprocess
import tempfile
from importlib.resources import files
from pathlib import Path
from statistics import median

from bench.ui.__main__ import serving
from bench.ui.made import make
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.wait import WebDriverWait

REPEATS = 5
DRAWN = """
const c = document.querySelector('.chart canvas');
if (!c || !c.width) return null;
const drawn = c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(v => v);
return drawn ? performance.now() : null;
"""
ANSWERED = "return Math.max(...performance.getEntriesByType('resource').map(e => e.responseEnd))"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rollouts", type=int, default=100_000)
    parser.add_argument("--run", type=Path, help="a run folder to look at in place of a made one")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    args = parser.parse_args()
    weigh()
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        print("the time to the first chart needs a browser: apt-get install chromium chromium-driver")
        return
    with tempfile.TemporaryDirectory() as folder:
        run = args.run or make(Path(folder) / "run", args.rollouts)
        with serving(run) as (url, _):
            timed = [first_chart(f"{url}/#/run/{run.name}", chromium, driver) for _ in range(args.repeats)]
    for name, values in zip(("first chart", "last answer"), zip(*timed, strict=True), strict=True):
        print(f"{name}: {median(values):.0f} ms (median of {len(values)}, {min(values):.0f} to {max(values):.0f})")


def weigh() -> None:
    for name in ("index.html", "app.css", "app.js"):
        data = (files("metapo") / "ui" / name).read_bytes()
        print(f"{name:<12}{len(data) / 1000:>8.1f} kB{len(gzip.compress(data)) / 1000:>8.1f} kB compressed")


def first_chart(address: str, chromium: str, driver: str) -> tuple[float, float]:
    """Milliseconds to the first chart, and to the last answer."""
    options = Options()
    options.binary_location = chromium
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(flag)
    service = Service(driver, log_output=subprocess.DEVNULL)
    browser = webdriver.Chrome(options=options, service=service)
    try:
        browser.get(address)
        drawn = WebDriverWait(browser, 60, poll_frequency=0.02).until(lambda b: b.execute_script(DRAWN))
        return float(drawn), float(browser.execute_script(ANSWERED))
    finally:
        browser.close()
        service.process.kill()


if __name__ == "__main__":
    main()
