"""results/report.html, made by a real sweep and opened in Chromium without a network."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from statistics import mean

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from conftest import ROOT, Project
from dlsweep.report.pages import as_rst

pytestmark = pytest.mark.flaky(reruns=2)  # a browser that is slow to draw beside other tests; told in the summary

QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--window-size=1600,1000"),
)

SWEEP = {
    "defaults": {"epochs": 2, "n_layer": 3, "hid_dim": 16},
    "experiments": {
        "lrs": {"grid": {"lr": [0.05, 0.5, 1e6]}, "seeds": 2},  # runs of the last diverge
        "one": {"lr": 0.1, "figures": []},
    },
}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    installed = subprocess.run([ROOT / ".ci" / "install-chromium"], capture_output=True, text=True)
    if installed.returncode:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(installed.stderr)
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in (*QUIET, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    driver.implicitly_wait(10)
    driver.execute_cdp_cmd("Network.enable", {})
    offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    driver.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    yield driver
    driver.quit()


def click(browser: webdriver.Chrome, text: str) -> None:
    browser.find_element(By.XPATH, f"//div[@id='app']//a[normalize-space()='{text}']").click()


def row(browser: webdriver.Chrome, name: str) -> tuple[WebElement, WebElement]:
    """The buttons of one result of the open category: see it, read about it."""
    path = f"//div[@id='app']//tr[td[normalize-space()='{name}']]//a"
    see, read = browser.find_elements(By.XPATH, path)
    return see, read


def page(browser: webdriver.Chrome, name: str) -> str:
    """The text of an HTML result."""
    row(browser, name)[0].click()
    browser.switch_to.frame(browser.find_element(By.TAG_NAME, "iframe"))
    text = browser.find_element(By.TAG_NAME, "body").text
    browser.switch_to.default_content()
    return text


def categories(browser: webdriver.Chrome) -> dict[str, list[str]]:
    found = browser.execute_script("return categories")
    labels = browser.execute_script("return Object.fromEntries(Object.entries(results).map(([k, v]) => [k, v.labels]))")
    return {name: sorted(labels[path]["result"] for path in paths["Other"]) for name, paths in found.items()}


def test_the_report_of_a_sweep(project: Project, browser: webdriver.Chrome):
    project.configure(SWEEP)
    done = project.snakemake()
    assert done.returncode == 0, done.stdout + done.stderr
    html = project.results / "report.html"
    records = project.records()
    accuracies = [
        [r["final"]["test_acc"] for r in records.values() if r["exp_name"] == "lrs" and r["setting"]["lr"] == lr]
        for lr in (0.05, 0.5)
    ]
    n_diverged = sum(r["status"] == "diverged" for r in records.values())
    assert n_diverged
    (best,) = [r["final"]["test_acc"] for r in records.values() if r["exp_name"] == "one"]

    browser.get(html.as_uri())
    assert categories(browser) == {
        "lrs": ["accuracy", "accuracy curves", "leaderboard", "loss curves"],
        "one": ["leaderboard"],
        "config and provenance": ["config", "provenance"],
    }
    overview = browser.find_element(By.CLASS_NAME, "prose").text
    assert f"7 of 7 runs in 2 experiments are done, {n_diverged} diverged" in overview
    assert f"lrs 6 lr=0.5 {mean(accuracies[1]):.4f} [" in overview
    assert f"one 1 baseline {best:.4f}" in overview

    click(browser, "lrs")
    for name in ("accuracy", "accuracy curves", "loss curves"):
        row(browser, name)[0].click()
        image = browser.find_element(By.CSS_SELECTOR, "#app .grow img")
        assert image.is_displayed() and int(image.get_property("naturalWidth")) > 600
        shown, window = image.rect, browser.execute_script("return [innerWidth, innerHeight]")
        assert shown["x"] >= 0 and shown["x"] + shown["width"] <= window[0], name
        assert shown["y"] >= 0 and shown["y"] + shown["height"] <= window[1], name
    leaderboard = page(browser, "leaderboard")
    for rank, lr, values in ((1, 0.5, accuracies[1]), (2, 0.05, accuracies[0])):
        assert f"{rank} lr={lr} 2 " in leaderboard and f" {mean(values):.4f} [" in leaderboard
    assert f"3 lr=1e+06 2 ({n_diverged} diverged)" in leaderboard
    row(browser, "accuracy")[1].click()
    caption = browser.find_element(By.CSS_SELECTOR, "#app .prose-invert").text
    finding = f"lr=0.5, with test accuracy {mean(accuracies[1]):.3f} ["
    for words in (finding, "6 runs of 3 settings", "2 seeds", f"{n_diverged} diverged"):
        assert words in caption

    browser.refresh()
    click(browser, "config and provenance")
    assert "hid_dim: 16" in page(browser, "config")
    provenance = page(browser, "provenance")
    command = next(r["provenance"]["command"] for r in records.values() if r["exp_name"] == "one")
    for words in (records.popitem()[1]["provenance"]["torch"], "snakemake", command):
        assert words in provenance

    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    asked = browser.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert [url for url in asked if not url.startswith(("data:", "blob:"))] == []

    # Made once; made again by the same command where it was deleted, and nothing else with it.
    assert project.has_nothing_to_do()
    html.unlink()
    assert project.planned() == {"html": 1, "all": 1}
    assert project.snakemake("html").returncode == 0
    assert html.exists()


def test_the_report_of_what_is_finished(project: Project, browser: webdriver.Chrome):
    project.configure(
        {**SWEEP, "experiments": {"mixed": {"grid": {"model": ["mlp", "no_such_module:Net"]}, "lr": 0.1}}}
    )
    done = project.snakemake("--config", "defaults={epochs: 1}")
    assert done.returncode != 0 and not (project.results / "report.html").exists()
    done = project.snakemake("partial", "--config", "defaults={epochs: 1}")
    assert done.returncode == 0, done.stdout + done.stderr
    browser.get((project.results / "partial" / "report.html").as_uri())
    assert "1 of 2 runs in 1 experiments are done, 1 failed" in browser.find_element(By.CLASS_NAME, "prose").text
    click(browser, "mixed")
    row(browser, "accuracy")[0].click()
    assert browser.find_element(By.CSS_SELECTOR, "#app .grow img").is_displayed()
    browser.refresh()
    click(browser, "config and provenance")
    assert "defaults={" in page(browser, "config")
    assert "there is no module 'no_such_module'" in page(browser, "provenance")
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_a_caption_may_hold_any_text(tmp_path: Path):
    """Snakemake takes a caption for a Jinja template of reStructuredText."""
    from docutils.core import publish_parts
    from jinja2 import Environment

    html = "<p>lr_ *2* `x` |y| {{ z }} {% raw %} &lt;b&gt;</p>\n<p>.. note::</p>"
    rendered = Environment().from_string(as_rst(html)).render()
    assert publish_parts(rendered, writer="html")["body"].replace("&#123;", "{").split() == html.split()
