"""Whether the page of a large sweep is small and quick enough: python benchmarks/page.py [N]

A person runs this before a release. It makes the page of N finished runs (10,000) of 20 epochs, opens it in headless
Chromium without a network, and fails where it is larger or slower than promised. The records are those of growth.py.
"""

from __future__ import annotations

import random
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "scripts"))

import common
from growth import config, record
from selenium import webdriver

from dlsweep.config.paths import record_name
from dlsweep.config.sweep import load_sweep
from dlsweep.files import write_json

MOST_BYTES, MOST_SECONDS = 15e6, 3.0
FIRST_PAINT = "return performance.getEntriesByName('first-contentful-paint')[0].startTime / 1000"
USED = """
const began = performance.now(), done = arguments[0];
setFilter({lr: '0.01..1'});
requestAnimationFrame(() => requestAnimationFrame(() => done((performance.now() - began) / 1000)));
"""


def page(n: int) -> tuple[Path, float]:
    """Return the page of `n` runs, and the CPU seconds that it took to make it."""
    folder = common.pipeline(config(n))
    results, plan, generator = folder / "results", folder / "plan.json", random.Random(0)
    results.mkdir()
    sweep = load_sweep([folder / "config.yaml"])
    for exp_name, digest, setting in sweep.records():
        write_json(results / record_name(exp_name, digest), record(exp_name, setting, generator), sync=False)
    write_json(plan, sweep.plan("results").to_json())
    common.wall([sys.executable, "scripts/aggregate.py", str(plan)], folder)
    _, seconds, _ = common.measure([sys.executable, "scripts/page.py", str(plan), "config.yaml"], folder)
    return results / "report.html", seconds


def opened(html: Path) -> tuple[float, float]:
    """Return the seconds until the page is painted first, and those until all of it has followed a filter."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in ("--headless", "--no-sandbox", "--disable-gpu", "--window-size=1280,1000"):
        options.add_argument(argument)
    browser = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        browser.get(html.as_uri())
        painted = browser.execute_script(FIRST_PAINT)
        browser.get("about:blank")
        browser.get(f"{html.as_uri()}#explore?exp=growth")  # the charts are drawn once they are in sight
        return painted, browser.execute_async_script(USED)
    finally:
        browser.quit()


def main() -> int:
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    html, seconds = page(n)
    painted, followed = opened(html)
    size = html.stat().st_size
    print(f"{n} runs: {size / 1e6:.1f} MB, made in {seconds:.1f} s of CPU time, painted after {painted:.2f} s,")
    print(f"table and charts follow a filter in {followed:.2f} s")
    shutil.rmtree(html.parents[1])
    is_good = size < MOST_BYTES and painted < MOST_SECONDS
    print("as promised" if is_good else f"more than {MOST_BYTES / 1e6:g} MB or {MOST_SECONDS:g} s")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
