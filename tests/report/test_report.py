"""results/report.html, made by a real sweep and by invented tables, and used in Chromium without a network."""

import base64
import csv
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import pandas as pd
import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from conftest import ROOT, Project
from dlsweep.config.labels import setting_labels
from dlsweep.config.paths import record_name
from dlsweep.config.plan import Plan
from dlsweep.config.sweep import expand_config
from dlsweep.report.page.build import write_page
from dlsweep.report.page.data import MOST_NUMBERS
from dlsweep.report.pages import as_rst
from dlsweep.results.columns import all_columns
from dlsweep.results.leaderboard import leaderboard
from dlsweep.results.tables import write_tables
from dlsweep.tasks.classification.steps import steps_per_epoch
from fake import fake_sweep

pytestmark = pytest.mark.flaky(reruns=2)  # a browser that is slow to draw beside other tests; told in the summary

QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--window-size=1280,1000"),
)

SWEEP = {
    "defaults": {"epochs": 3, "n_layer": 3, "hid_dim": 16},
    "experiments": {
        "lrs": {"question": "How large a step?", "grid": {"lr": [0.05, 0.5, 1e6]}, "seeds": 2},  # the last diverge
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
    driver.execute_cdp_cmd("Network.enable", {})
    offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    driver.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    yield driver
    driver.quit()


class Page:
    """A page in the browser, as a reader uses it."""

    def __init__(self, browser: webdriver.Chrome, html: Path) -> None:
        self.browser, self.address = browser, html.as_uri()
        browser.get_log("browser")
        self.open()

    def open(self, fragment: str = "") -> None:
        self.browser.get("about:blank")  # an address that differs in its fragment only is not loaded
        self.browser.get(self.address + fragment)

    def js(self, code: str, *arguments: Any) -> Any:
        return self.browser.execute_script(code, *arguments)

    def find(self, css: str) -> Any:
        found = self.browser.find_element(By.CSS_SELECTOR, css)
        self.js("arguments[0].scrollIntoView({block: 'center'})", found)
        return found

    def text(self, css: str = "body") -> str:
        return self.find(css).text

    def click(self, css: str) -> None:
        self.find(css).click()

    def type(self, css: str, text: str) -> None:
        self.find(css).clear()
        self.find(css).send_keys(text)

    def choose(self, css: str, value: str) -> None:
        choose = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('change'))"
        self.js(choose, self.find(css), value)

    def cells(self, css: str) -> list[list[str]]:
        """The text of every cell of some rows."""
        rows = f"[...document.querySelectorAll('{css}')]"
        return self.js(f"return {rows}.map(row => [...row.cells].map(cell => cell.textContent))")

    def column(self, name: str) -> list[str]:
        """What the run table shows in a column."""
        heads, *rows = self.cells("#runs tr:not(thead tr + tr)")
        heads = [head.rstrip(" \u2191\u2193") for head in heads]
        return [row[heads.index(name)] for row in rows]

    def waits_for(self, expected: Any, found: Callable[[], Any]) -> None:
        """The page draws a moment after it is used."""
        end = time.monotonic() + 100
        while found() != expected and time.monotonic() < end:
            time.sleep(0.05)
        assert found() == expected

    def shows(self, words: str) -> None:
        """How many runs are shown, as the page says it above the table."""
        self.waits_for(words, lambda: self.js("return byId('shown').textContent").split(";")[0])

    def drag(self, css: str, begin: tuple[float, float], end: tuple[float, float]) -> None:
        """Drag between two points of a chart, given in its pixels."""
        chart = self.find(css)
        left, top = chart.size["width"] / 2, chart.size["height"] / 2
        steps = ActionChains(self.browser)
        for part in (0, 0.5, 1):
            x, y = (a + part * (b - a) for a, b in zip(begin, end, strict=True))
            steps.move_to_element_with_offset(chart, x - left, y - top)
            if part == 0:
                steps.click_and_hold()
        steps.release().perform()

    def has_chart(self, name: str, n: int) -> None:
        """A chart draws so many things: lines, points, curves."""
        count = {
            "parallel": "charts.get('parallel').getOption().series[0].data.length",
            "scatter": "charts.get('scatter').getOption().series[0].data.length",
            "curves": "drawnRuns.get('curves').length",
        }[name]
        self.find(f"#{name}")
        self.waits_for(n, lambda: self.js(f"return charts.has('{name}') ? {count} : -1"))

    def is_sound(self) -> None:
        """No error was logged, nothing was asked of any network, and nothing is wider than the window."""
        assert [entry for entry in self.browser.get_log("browser") if entry["level"] == "SEVERE"] == []
        asked = self.js("return performance.getEntriesByType('resource').map(entry => entry.name)")
        assert [url for url in asked if not url.startswith(("data:", "blob:"))] == []
        assert self.js("return document.documentElement.scrollWidth <= innerWidth")


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A small sweep that is finished; no test changes it."""
    project = Project(tmp_path_factory.mktemp("swept"))
    project.configure(SWEEP)
    done = project.snakemake()
    assert done.returncode == 0, done.stdout + done.stderr
    return project


@pytest.fixture
def page(swept: Project, browser: webdriver.Chrome) -> Iterator[Page]:
    page = Page(browser, swept.results / "report.html")
    yield page
    page.is_sound()


# -- what it says ----------------------------------------------------------------------------------------------------


def accuracies(project: Project, lr: float) -> list[float]:
    runs = [run for run in project.records().values() if run["exp_name"] == "lrs" and run["setting"]["lr"] == lr]
    return [run["final"]["test_acc"] for run in runs]


def test_the_first_screen_says_question_answer_and_how_sure_it_is(page: Page, swept: Project):
    records = swept.records()
    n_diverged = sum(record["status"] == "diverged" for record in records.values())
    assert n_diverged
    first, second = (mean(accuracies(swept, lr)) for lr in (0.5, 0.05))
    (one,) = [record["final"]["test_acc"] for record in records.values() if record["exp_name"] == "one"]

    overview = page.text("#answers")
    assert page.browser.title == "lrs and one" and "What 7 runs found" in overview
    assert f"All 7 runs are done, {n_diverged} diverged" in overview
    rows = page.js("return [...document.querySelectorAll('table.answers tbody tr')].map(row => row.innerText)")
    assert len(rows) == 2, "the experiments in the config's order"
    for words in ("How large a step?", "lr=0.5", f"{first:.3f} [", "diverged"):
        assert words in rows[0]
    assert f"{one:.3f}" in rows[1]

    text = page.text("#exp-lrs")
    for words in ("6 runs of 3 settings", f"Best: lr=0.5, test accuracy {first:.3f} [", f"{second:.3f}", "1 diverged"):
        assert words in text
    image = page.find("#exp-lrs .finding figure img")
    assert image.is_displayed() and int(image.get_property("naturalWidth")) > 300
    assert not page.browser.find_elements(By.CSS_SELECTOR, "#exp-one figure"), "it has no figures"

    page.click("#exp-lrs details summary")
    captions = page.text("#exp-lrs details")
    for words in (
        "Does it over-fit? Loss over the epochs In no of 4 runs val loss ends more than 10% above its lowest.",
        "loss curves: curves over the epochs",
    ):
        assert words in captions, captions
    page.click("#exp-lrs details:last-of-type summary")
    board = page.text("#exp-lrs details:last-of-type")
    assert "1 lr=0.5 2 " in board and f" {first:.4f} [" in board and f"3 lr=1e+06 2 ({n_diverged} diverged)" in board

    assert "hid_dim: 16" in page.text("#config") and "snakemake --cores" in page.text("#config")
    command = next(record["provenance"]["command"] for record in records.values() if record["exp_name"] == "one")
    for words in (records.popitem()[1]["provenance"]["torch"], command):
        assert words in page.text("#provenance")
    assert "Every run is finished." in page.text("#failures")


def test_the_page_is_made_once_and_again_where_it_was_deleted(swept: Project):
    assert swept.has_nothing_to_do()
    html = swept.results / "report.html"
    before = html.read_bytes()
    html.unlink()
    assert swept.planned() == {"html": 1, "all": 1}
    assert swept.snakemake("html").returncode == 0
    assert html.read_bytes() == before, "the same tables make the same page"


def test_snakemakes_own_report_is_there_for_those_who_ask(swept: Project):
    done = swept.snakemake("--report", "own.html", "--report-stylesheet", "report/style.css")
    assert done.returncode == 0, done.stdout + done.stderr
    text = (swept.folder / "own.html").read_text()
    for words in ("config and provenance", "leaderboard", "accuracy curves", "7 of 7 runs in 2 experiments are done"):
        assert words in text


def test_the_page_of_what_is_finished(project: Project, browser: webdriver.Chrome):
    project.configure(
        {**SWEEP, "experiments": {"mixed": {"grid": {"model": ["mlp", "no_such_module:Net"]}, "lr": 0.1}}}
    )
    done = project.snakemake("--config", "defaults={epochs: 1}")
    assert done.returncode != 0 and not (project.results / "report.html").exists()
    done = project.snakemake("partial", "--config", "defaults={epochs: 1}")
    assert done.returncode == 0, done.stdout + done.stderr
    page = Page(browser, project.results / "partial" / "report.html")
    assert "1 of 2 runs are done, 1 failed" in page.text("#answers")
    assert page.find("#exp-mixed figure img").is_displayed()
    assert "defaults={" in page.text("#config")
    assert "there is no module 'no_such_module'" in page.text("#failures")
    page.is_sound()


# -- what can be done with it ----------------------------------------------------------------------------------------


def test_the_run_table_sorts_filters_searches_and_groups_over_seeds(page: Page, swept: Project):
    page.open("#explore?exp=lrs")
    page.shows("6 runs")
    assert page.column("lr")[:2] == ["0.5", "0.5"], "the best first"
    page.click("#runs thead th:nth-child(2) button")
    page.waits_for(["0.05", "0.05", "0.5", "0.5", "1000000", "1000000"], lambda: page.column("lr"))
    page.click("#runs thead th:nth-child(2) button")
    page.waits_for(["1000000", "1000000", "0.5", "0.5", "0.05", "0.05"], lambda: page.column("lr"))

    page.type("#runs input[data-column=lr]", "<1")
    page.shows("4 runs of 6")
    page.type("#runs input[data-column=lr]", "0.1..1|1e6")
    page.shows("4 runs of 6")
    page.type("#runs input[data-column=lr]", "nonsense")
    page.waits_for("true", lambda: page.find("#runs input[data-column=lr]").get_attribute("aria-invalid"))
    page.shows("6 runs")
    page.click("#chips button")
    page.waits_for("", lambda: page.find("#runs input[data-column=lr]").get_property("value"))

    page.type("#search", "lr=0.05 seed=1")
    page.shows("1 run of 6")
    page.click("#reset")
    page.shows("6 runs")

    page.click("#grouped")
    page.shows("3 settings with 6 runs")
    assert page.column("runs") == ["2", "2", "2"]
    first, second = accuracies(swept, 0.5)
    assert page.column("test accuracy")[0].startswith(f"{mean([first, second]):.4f} ± ")
    page.choose("#experiment", "one")
    page.shows("1 run")
    page.has_chart("scatter", 1)
    page.has_chart("curves", 1)


def test_curves_are_means_with_bands_while_grouped_and_over_what_was_spent(page: Page, swept: Project):
    page.open("#explore?exp=lrs&group=1&over=updates&curve=val_loss")
    page.has_chart("curves", 2)  # every run of the third setting diverged
    assert "2 best of 3 settings" in page.text("#curves-note") and "2 runs that diverged" in page.text("#curves-note")
    assert "lr=0.5" in page.text("#curves-note"), "the colours have names"
    epochs = pd.read_csv(swept.results / "epochs.csv")
    summary = pd.read_csv(swept.results / "summary.csv").query("exp_name == 'lrs' and lr == 0.5")
    losses = epochs[epochs["hash"].isin(summary["hash"])].groupby("epoch")["val_loss"]
    steps = steps_per_epoch(1150, 64)  # 1,797 images, of which 20 % are tested and 20 % of the rest are for validation
    mean, band = page.js("const {series} = charts.get('curves').getOption(); return [series[0].data, series[2].data]")
    assert [x for x, _ in mean] == [steps, 2 * steps, 3 * steps]
    assert [y for _, y in mean] == pytest.approx(list(losses.mean()), rel=1e-3)
    assert [ends[1:] for ends in band] == pytest.approx(losses.agg(["min", "max"]).to_numpy(), rel=1e-3)
    page.choose("#over", "elapsed")
    axis = "charts.get('curves').getOption().xAxis[0].name"
    page.waits_for("training time (s)", lambda: page.js(f"return {axis}"))
    page.click("#runs tbody tr:nth-child(2) input")  # a setting, with all of its runs
    page.has_chart("curves", 1)
    page.click("#runs tbody tr:nth-child(1) input")
    page.has_chart("curves", 2)
    lr, accuracy = (
        next(row for row in page.cells("#compare tr") if row[0] == name) for name in ("lr", "test accuracy")
    )
    assert lr == ["lr", "0.5", "0.05"] and all("±" in text for text in accuracy[1:]), "settings are compared as such"
    assert "seed" not in [row[0] for row in page.cells("#compare tr")]
    page.click("#grouped")
    page.has_chart("curves", 4)


def test_curves_that_end_or_are_thinned_differently_have_a_mean_all_the_same(page: Page):
    """By hand: until the first ends, and between the points of a curve that is thinned otherwise."""
    longer, shorter = [[10, 0.2, 1], [30, 0.6, 3], [50, 1.0, 5]], [[20, 0.4, 1], [40, 0.4, 2], [60, 0.5, 3]]
    found = page.js("return meanCurve(arguments[0])", [longer, shorter])
    assert np.array(found) == pytest.approx(np.array([[15, 0.3, 0.2, 0.4], [30, 0.4, 0.4, 0.4], [45, 0.55, 0.5, 0.6]]))


def test_a_brush_filters_every_view(page: Page):
    page.open("#explore?exp=lrs")
    page.has_chart("parallel", 6)
    page.has_chart("curves", 4)  # those that diverged have none
    page.find("#parallel")
    height = page.js("return charts.get('parallel').getHeight()")
    page.drag("#parallel", (60, height * 0.45), (60, height - 20))  # two of the three values of the first axis, lr
    page.shows("4 runs of 6")
    assert set(page.column("lr")) == {"0.05", "0.5"}
    page.has_chart("curves", 4)
    page.has_chart("scatter", 4)
    page.drag("#parallel", (60, 50), (60, 54))  # the next drag takes it away where it is tiny
    page.shows("6 runs")

    x = page.js("return charts.get('scatter').convertToPixel({xAxisIndex: 0}, 0.05)")
    height = page.js("return charts.get('scatter').getHeight()")
    page.drag("#scatter", (x - 4, 16), (x + 20, height - 50))
    page.shows("2 runs of 6")
    page.has_chart("curves", 2)
    assert set(page.column("lr")) == {"0.05"}
    axis = "charts.get('parallel').getModel().getComponent('parallelAxis', 0)"
    assert page.js(f"return {axis}.activeIntervals.length") == 1, "the box is a brush of that axis too"
    ActionChains(page.browser).move_to_element(page.find("#scatter")).double_click().perform()
    page.shows("6 runs")


def test_a_run_that_is_pointed_at_stands_out_in_every_view(page: Page):
    page.open("#explore?exp=lrs")
    page.has_chart("curves", 4)  # those that diverged have none
    lit = "return lit.map(([id]) => id)"
    ActionChains(page.browser).move_to_element(page.find("#runs tbody tr:nth-child(2)")).perform()
    page.waits_for(["parallel", "scatter", "curves"], lambda: page.js(lit))
    page.find("#scatter")
    point = "charts.get('scatter').getOption().series[0].data[0].value"
    at = page.js(f"return charts.get('scatter').convertToPixel({{xAxisIndex: 0, yAxisIndex: 0}}, {point})")
    size = page.find("#scatter").size
    chart = page.browser.find_element(By.ID, "scatter")
    ActionChains(page.browser).move_to_element_with_offset(
        chart, at[0] - size["width"] / 2, at[1] - size["height"] / 2
    ).perform()
    run = page.js("return drawnRuns.get('scatter')[0]")
    near = "[...document.querySelectorAll('#runs tr.near')]"
    page.waits_for([run], lambda: page.js(f"return {near}.flatMap(row => row.runs)"))


def test_what_is_far_off_stretches_neither_axes_nor_colours(browser: webdriver.Chrome, tmp_path: Path):
    grid = {"lr": [{"logspace": [0.001, 0.1, 20]}], "n_layer": [1, 2, 64]}
    plan = expand_config({"experiments": {"far": {"grid": grid, "figures": []}}}).plan(str(tmp_path))
    values = np.linspace(0.90, 0.96, 60)
    values[:3] = 0.1
    metrics = {"val_acc": values, "tested_val_acc": values, "test_acc": values, "test_loss": 1 - values}
    page = Page(browser, invented(plan, tmp_path, metrics, curves(60, 2, "val_acc")))
    page.open("#explore?exp=far")
    page.has_chart("parallel", 60)
    axes = page.js("return parallelAxes.map(({ column, axis }) => [column.name, axis.type, axis.text(axis.min ?? 1)])")
    assert [name for name, *_ in axes] == ["lr", "n_layer", "tested_val_acc", "test_acc"]
    assert [kind for _, kind, _ in axes] == ["log", "category", "value", "value"]
    assert axes[1][2].startswith("2") and axes[3][2] == "≤ 0.903"
    colours = "const paint = coloursBy(COLUMNS.get('test_acc'), scope); return new Set(scope.slice(3).map(paint)).size"
    assert page.js(colours) > 50
    height = page.js("return charts.get('parallel').getHeight()")
    right = page.js("return charts.get('parallel').getWidth()") - 90
    page.drag("#parallel", (right, height - 60), (right, height - 15))  # to the end, which holds the far ones too
    page.waits_for(True, lambda: page.js("return state.filters.get('test_acc')?.startsWith('..') ?? false"))
    page.waits_for(True, lambda: page.js("return [0, 1, 2].every(run => shown.includes(run))"))
    page.is_sound()


def test_ticked_runs_are_compared_exported_and_linked(page: Page, swept: Project, tmp_path: Path):
    page.open("#explore?exp=lrs")
    assert "Tick two runs or more" in page.text("#compare")
    page.click("#runs tbody tr:nth-child(1) input")
    page.click("#runs tbody tr:nth-child(3) input")
    page.shows("6 runs, 2 ticked")
    rows = page.cells("#compare tr")
    assert ["lr", "0.5", "0.05"] in rows and "hid_dim" not in [row[0] for row in rows], "only where they differ"
    assert any(row[0] == "test accuracy" for row in rows)
    assert len(page.browser.find_elements(By.CSS_SELECTOR, "#compare td.winner")) > 3
    page.has_chart("curves", 2)
    page.choose("#curve", "train_loss")
    axis = "charts.get('curves').getOption().yAxis[0].name"
    page.waits_for("train loss (nats)", lambda: page.js(f"return {axis}").rstrip("\u200b"))
    chart = page.find("#curves")
    ActionChains(page.browser).move_to_element(chart).perform()
    page.waits_for(2, lambda: len(page.browser.find_elements(By.CSS_SELECTOR, "#curves .tip div")))
    page.choose("#over", "elapsed")
    page.waits_for("training time (s)", lambda: page.js(f"return {axis.replace('y', 'x')}").rstrip("\u200b"))

    page.browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    page.click("#export")
    page.waits_for(True, lambda: (tmp_path / "sweep-runs.csv").exists())
    with (tmp_path / "sweep-runs.csv").open(newline="") as file:
        exported = list(csv.DictReader(file))
    records = swept.records()
    assert [float(run["lr"]) for run in exported] == [0.5, 0.05]
    for run in exported:
        record = records[record_name("lrs", run["hash"])]
        assert float(run["test_acc"]) == pytest.approx(record["final"]["test_acc"], rel=1e-5)

    fragment = page.js("return location.hash")
    page.open(fragment)
    page.shows("6 runs, 2 ticked")
    page.waits_for("train_loss", lambda: page.find("#curve").get_property("value"))
    assert page.find("#over").get_property("value") == "elapsed"
    page.open("#explore?exp=lrs&f.lr=<1&sort=-lr&group=1&q=relu")
    page.shows("2 settings with 4 runs of 6")
    assert page.column("lr") == ["0.5", "0.05"]
    for broken in ("#explore?exp=no_such&f.no=1&sort=x&pick=a:b&curve=zz", "#explore?%E0%A4%A", "#explore?f.lr=((("):
        page.open(broken)
        page.shows("6 runs")


def test_the_page_works_from_the_keyboard(page: Page):
    page.open("#explore?exp=lrs")
    page.shows("6 runs")
    keys = ActionChains(page.browser)
    keys.send_keys("/").send_keys("lr=0.5 ").perform()
    page.shows("2 runs of 6")
    page.js("byId('runs').tBodies[0].querySelector('input').focus()")
    ActionChains(page.browser).send_keys(Keys.SPACE).send_keys(Keys.ARROW_DOWN).send_keys(Keys.SPACE).perform()
    page.shows("2 runs of 6, 2 ticked")
    page.js("byId('runs').tHead.querySelector('button').focus()")
    ActionChains(page.browser).send_keys(Keys.ENTER).perform()
    page.waits_for("ascending", lambda: page.js("return byId('runs').tHead.rows[0].cells[1].ariaSort"))
    unnamed = "e => !(e.ariaLabel || e.labels?.length || e.textContent)"
    assert page.js(f"return [...document.querySelectorAll('input, select, button')].filter({unnamed}).length") == 0


def test_the_page_is_readable_in_the_dark_in_a_narrow_window_and_on_paper(page: Page):
    chrome = page.browser.execute_cdp_cmd
    dark = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    narrow = {"width": 400, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    try:
        chrome("Emulation.setEmulatedMedia", dark)
        chrome("Emulation.setDeviceMetricsOverride", narrow)
        page.open("#explore?exp=lrs")
        page.has_chart("curves", 4)  # those that diverged have none
        assert page.js("return document.documentElement.scrollWidth <= innerWidth")
        ink, paper = page.js("return [css('--ink'), getComputedStyle(document.body).backgroundColor]")
        assert brightness(paper) < 60 < brightness(ink)
        assert page.js("return charts.get('curves').getOption().textStyle.color") == ink
        chrome("Emulation.setEmulatedMedia", {"media": "print", **dark})
        assert page.js("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert page.js("return getComputedStyle(byId('explore')).display") == "none"
        cell, bar = "table.answers td", ".shares span"  # paper is narrower than a window, but no phone
        style = "const of = getComputedStyle(document.querySelector(arguments[0])); return of[arguments[1]]"
        assert page.js(style, cell, "display") == "table-cell" and page.js(style, bar, "printColorAdjust") == "exact"
        printed = base64.b64decode(chrome("Page.printToPDF", {"printBackground": True})["data"])
        assert printed.startswith(b"%PDF") and page.js("return document.querySelector('.experiment details').open")
    finally:
        chrome("Emulation.setEmulatedMedia", {"media": "", "features": []})
        chrome("Emulation.clearDeviceMetricsOverride", {})


def brightness(color: str) -> float:
    if color.startswith("#"):
        return mean(int(color[i : i + 2], 16) for i in (1, 3, 5))
    return mean(float(part) for part in color[4:-1].split(","))


# -- what it must hold ------------------------------------------------------------------------------------------------


def invented(plan: Plan, folder: Path, metrics: dict[str, np.ndarray], epochs: pd.DataFrame) -> Path:
    """Write the tables of a plan whose runs all have finished, and its page."""
    rows = []
    for exp_name, experiment in plan.experiments.items():
        labels = setting_labels(experiment.settings, experiment.varies)
        rows += [
            {"exp_name": exp_name, "hash": digest, "label": labels[digest], **setting, "status": "finished"}
            for digest, setting in experiment.settings.items()
        ]
    folder.mkdir(parents=True, exist_ok=True)
    for row in rows:
        record = {"exp_name": row["exp_name"], "provenance": {"command": "python train.py", "host": "here"}}
        (folder / record_name(row["exp_name"], row["hash"])).write_text(json.dumps(record))
    summary = pd.DataFrame(rows).assign(**metrics, train_seconds=1.0, device="cpu", outdated=None)
    summary.to_csv(folder / "summary.csv", index=False)
    leaderboard(summary, all_columns(plan)).to_csv(folder / "leaderboard.csv", index=False)
    of = summary.iloc[epochs["run"]].reset_index(drop=True)
    epochs.drop(columns="run").assign(exp_name=of["exp_name"], hash=of["hash"]).to_csv(
        folder / "epochs.csv", index=False
    )
    write_page(plan, folder, folder / "report.html", [], {})
    return folder / "report.html"


def curves(n_runs: int, n_epochs: int, *names: str) -> pd.DataFrame:
    run, epoch = (part.ravel() for part in np.mgrid[0:n_runs, 1 : n_epochs + 1])
    return pd.DataFrame({"run": run, "epoch": epoch, **dict.fromkeys(names, 1 - 1 / (epoch + run % 7))})


def test_a_page_of_thousands_of_runs(browser: webdriver.Chrome, tmp_path: Path):
    n = 4_000
    sample = {"n": n, "seed": 1, "lr": {"log_uniform": [1e-3, 1]}, "hid_dim": {"int_uniform": [8, 512]}}
    plan = expand_config({"experiments": {"search": {"sample": sample, "figures": []}}}).plan(str(tmp_path))
    values = np.random.default_rng(0).uniform(0.1, 0.99, n)
    metrics = {"val_acc": values, "tested_val_acc": values, "test_acc": values - 0.01, "test_loss": 1 - values}
    names = ("train_loss", "train_acc", "val_loss", "val_acc", "lr", "seconds")
    html = invented(plan, tmp_path, metrics, curves(n, 30, *names))
    assert html.stat().st_size < 10e6
    page = Page(browser, html)
    assert page.js("return performance.getEntriesByName('first-contentful-paint').length") == 1
    page.shows(f"{n} runs")
    page.has_chart("scatter", n)
    page.has_chart("curves", 20)
    assert f"thinned to {MOST_NUMBERS // (n * (len(names) + 1))} points" in page.text("#curves-note")
    assert "are drawn, evenly chosen" in page.text("#parallel-note")
    page.type("#runs input[data-column=lr]", "0.1..1")
    n_large = sum(0.1 <= setting["lr"] <= 1 for setting in plan.settings.values())
    page.shows(f"{n_large} runs of {n}")
    page.click("#pager button:last-of-type")
    page.waits_for(f"13 to 24 of {n_large}", lambda: page.js("return byId('pager').childNodes[2].textContent"))
    page.is_sound()


def test_a_page_of_a_sweep_of_which_no_run_is_finished(browser: webdriver.Chrome, tmp_path: Path):
    plan = expand_config({"experiments": {"later": {"grid": {"lr": [0.1, 1]}}}}).plan(str(tmp_path))
    write_tables(plan, tmp_path, partial=True)
    write_page(plan, tmp_path, tmp_path / "report.html", [], {})
    page = Page(browser, tmp_path / "report.html")
    assert "0 of 2 runs are done, 2 new" in page.text("#answers")
    assert "No run is finished." in page.text("#exp-later") and "No run is finished." in page.text("#explore")
    page.is_sound()


def test_settings_over_several_data_sets_are_on_the_page(browser: webdriver.Chrome, tmp_path: Path):
    grid = {"dataset": ["digits", "mnist"], "lr": [0.001, 0.03, 1]}
    several = {"grid": grid, "seeds": 2, "figures": []}
    config = {"defaults": {"epochs": 2}, "experiments": {"several": several, "one": {"lr": 0.1, "figures": []}}}
    plan = fake_sweep(config, tmp_path / "results")
    write_tables(plan, tmp_path)
    write_page(plan, tmp_path, tmp_path / "report.html", [], {})
    page = Page(browser, tmp_path / "report.html")
    best = pd.read_csv(tmp_path / "aggregates.csv").iloc[0]
    assert "over 2 data sets: lr=0.03" in page.text("table.answers")
    text = page.text(".over-data")
    for words in (
        "Over 2 data sets together",
        f"First: lr=0.03, interquartile mean {best['iqm']:.3f} [",
        "1.00 [1.00, 1.00]",
    ):
        assert words in text
    rows = page.cells(".over-data tbody tr")
    assert [row[0] for row in rows] == ["lr=0.03", "lr=0.001", "lr=1"] and rows[2][1] == "4 (4 diverged)"
    assert len(page.browser.find_elements(By.CSS_SELECTOR, ".profiles polyline")) == 3
    page.is_sound()


OWN = """
def train(run, *, name: str = "a", lr: float = 0.1, seed: int = 0):
    return {}
"""
HOSTILE = [
    "</script><script>hacked = 1</script>",
    "<img src=x onerror='hacked = 1'>",
    'a|b, "c" {d} 100 % \\ =1+1',
    "ü 訓練 😀",
    "__proto__",
]


def test_own_metrics_and_hostile_names_are_shown_as_they_are(
    browser: webdriver.Chrome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hostile_training.py").write_text(OWN)
    config = {
        "metrics": {"speed": {"better": "max", "unit": "</b>"}},
        "defaults": {"train": "hostile_training:train", "objective": "val_mae"},
        "experiments": {"own": {"question": HOSTILE[0], "grid": {"name": HOSTILE, "lr": [0.1, 0.2]}, "figures": []}},
    }
    plan = expand_config(config).plan("results")
    n = len(plan.settings)
    errors = np.linspace(5, 1, n)  # the last is the best
    metrics = {"tested_val_mae": errors, "val_mae": errors, "test_mae": errors + 1, "speed": errors}
    page = Page(browser, invented(plan, tmp_path / "results", metrics, curves(n, 3, "val_mae", "speed")))
    assert "test MAE 2" in page.text("#exp-own")
    assert HOSTILE[0] in page.text("#exp-own h2")
    page.shows(f"{n} runs")
    assert page.js("return DATA.experiments[0].better") == "min"
    page.has_chart("parallel", n)
    page.has_chart("scatter", n)
    page.has_chart("curves", n)
    page.choose("#curve", "speed")
    for name in HOSTILE:
        text = page.js("return exactly(arguments[0])", name)
        page.js("setFilter({name: arguments[0]})", text)
        page.shows(f"2 runs of {n}")
        assert set(page.column("name")) == {name}
        fragment = page.js("return location.hash")
        page.open(fragment)
        page.shows(f"2 runs of {n}")
    page.js("setFilter({name: ''}); tick(shown, true)")
    page.waits_for(9, lambda: page.js("return document.querySelectorAll('#compare thead tr > *').length"))
    chart = page.find("#curves")
    ActionChains(browser).move_to_element(chart).perform()
    assert page.js("return typeof hacked") == "undefined"
    assert page.js("return document.scripts.length") == 3
    assert page.js("return Object.getOwnPropertyNames(Object.prototype).length") == 12, "no name has become a property"
    page.is_sound()


def test_a_caption_may_hold_any_text(tmp_path: Path):
    """Snakemake takes a caption for a Jinja template of reStructuredText."""
    from docutils.core import publish_parts
    from jinja2 import Environment

    html = "<p>lr_ *2* `x` |y| {{ z }} {% raw %} &lt;b&gt;</p>\n<p>.. note::</p>"
    rendered = Environment().from_string(as_rst(html)).render()
    assert publish_parts(rendered, writer="html")["body"].replace("&#123;", "{").split() == html.split()
