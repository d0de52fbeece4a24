"""The examples of training code of one's own: each makes the record that its plain script says, interrupted or not."""

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT, Project, outcome
from dlsweep.config.course import slot_file
from dlsweep.config.sweep import load_sweep

sys.path.insert(0, str(ROOT / "benchmarks"))
import lines  # benchmarks/lines.py

EXAMPLES = [example.folder for example in lines.EXAMPLE_LIST]
SEARCH = "examples/lstm/search.yaml"
INTERRUPTED = ["course", "lstm", "graphs", "text", "contrastive", "lightning", "accelerate"]
RESULT = r"\w+=.+: "  # what a plain script prints of the first setting that it has trained

FORKS = """
import contextlib, json, multiprocessing, os, re, runpy, signal, sys
import accelerate, pytorch_lightning, sklearn.datasets, sklearn.ensemble, torch

class Output:
    def __init__(self, file, stop_at): self.file, self.stop_at = file, stop_at
    def __getattr__(self, name): return getattr(self.file, name)
    def write(self, text):
        self.file.write(text)
        if self.stop_at and re.match(self.stop_at, text):
            self.file.flush()
            os.kill(os.getpid(), signal.SIGTERM)

def work(words, log, stop_at):
    sys.argv = words
    with open(log, "a") as file, contextlib.redirect_stdout(Output(file, stop_at)):
        runpy.run_path(words[0], run_name="__main__")

for one in json.load(sys.stdin):
    process = multiprocessing.get_context("fork").Process(target=work, args=one)
    process.start()
    process.join()
    print(process.exitcode)
"""
"""Scripts, each in a process of its own that has the libraries loaded; it is told to stop when it prints something."""


def first_setting(example: str) -> tuple[str, dict]:
    """The name of an example's first record, and its setting."""
    exp_name, digest, setting = next(iter(load_sweep([f"examples/{example}/{example}.yaml"]).records()))
    return f"{exp_name}-{digest}.json", dict(setting)


def prepare(folder: Path) -> Project:
    project = Project(folder)
    shutil.copytree(ROOT / "examples", folder / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    return project


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # where the modules of the examples are found


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Those of the first run of each example and of the search, all from one start of Snakemake."""
    project = prepare(tmp_path_factory.mktemp("examples"))
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(ROOT)
        targets = [f"results/{first_setting(example)[0]}" for example in EXAMPLES]
        course = load_sweep([SEARCH]).experiments["lstm_search"].course
    assert course
    files = [f"examples/{example}/{example}.yaml" for example in EXAMPLES]
    done = project.snakemake(*targets, slot_file("results", course.name, 0, 0), "--configfile", *files, SEARCH)
    assert done.returncode == 0, done.stdout + done.stderr
    return project.results


@pytest.fixture(scope="module")
def records(results: Path) -> dict[str, dict]:
    return {path.name: json.loads(path.read_text()) for path in results.glob("*-*.json")}


@pytest.fixture(scope="module")
def again(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], dict[str, dict]]:
    """What each plain script prints, and the records of runs that were stopped in their third epoch and went on.

    "resumed" are the metrics of a program that does five epochs, is started again for twenty, and goes on.
    """
    project = prepare(tmp_path_factory.mktemp("again"))
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(ROOT)
        settings = {example: first_setting(example)[1] for example in EXAMPLES}
    plain = [example for example in EXAMPLES if example not in ("unchanged", "awk")]
    scripts: list[tuple[list[str], str, str | None]]
    scripts = [([f"examples/{example}/plain.py"], f"{example}.txt", RESULT) for example in plain]
    for example in INTERRUPTED:
        options = [f"--{key.replace('_', '-')}={value}" for key, value in settings[example].items()]
        train = ["scripts/train.py", f"--exp-name={example}", *options]
        scripts += [(train, f"{example}.log", "epoch 3/"), (train, f"{example}.log", None)]
    program = ["examples/argparse/train.py", "--out=resumed", "--checkpoint=."]
    scripts += [([*program, f"--epochs={n}"], "argparse.log", None) for n in (5, 20)]
    done = project.run(sys.executable, "-c", FORKS, stdin=json.dumps(scripts))
    assert done.returncode == 0, done.stderr
    codes = list(map(int, done.stdout.split()))
    assert codes[len(plain) :] == [143, 0] * len(INTERRUPTED) + [0, 0], done.stderr
    said = {example: (project.folder / f"{example}.txt").read_text() for example in plain}
    said["unchanged"] = said["argparse"]
    said["awk"] = project.run("awk", "-f", "examples/awk/plain.awk").stdout
    said["resumed"] = (project.folder / "resumed").read_text()
    return said, project.records()


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_record_is_what_the_plain_script_says(records: dict[str, dict], again: tuple, example: str):
    name, setting = first_setting(example)
    said = again[0]
    record = records[name]
    assert record["status"] == "finished"
    if "command" in setting:
        *epochs, last = said[example].splitlines()
        assert len(record["epochs"]) == len(epochs)
        names, values = last.split()[::2], last.split()[1::2]
        assert dict(zip(names, map(float, values), strict=True)).items() <= record["final"].items()
        return
    assert len(record["epochs"]) == (0 if example == "scikit_learn" else setting.get("epochs", 10))
    swept = next(line for line in said[example].splitlines() if re.match(RESULT, line))
    label, _, result = swept.partition(": ")
    assert all(str(setting[key]) == value for key, value in (part.split("=") for part in label.split()))
    if example == "course":
        assert result == f"test accuracy {100 * record['final']['test_acc']:.2f} %"
    else:
        assert ast.literal_eval(result).items() <= record["final"].items()


@pytest.mark.parametrize("example", INTERRUPTED)
def test_an_interrupted_run_ends_as_an_undisturbed_one(records: dict[str, dict], again: tuple, example: str):
    name, _ = first_setting(example)
    record = again[1][name]
    assert record["timing"]["resumed"] == 1
    assert outcome(record) == outcome(records[name])


def test_a_search_pauses_a_function_as_it_is(results: Path):
    (slot,) = results.glob("search/lstm_search-*/0-0.json")
    found = json.loads(slot.read_text())
    assert found["status"] == "pruned" and len(found["record"]["epochs"]) == 1
    assert found["value"] == found["record"]["epochs"][0]["val_mae"]


def test_a_program_goes_on_from_its_checkpoint(again: tuple):
    *epochs, last = map(json.loads, again[0]["resumed"].splitlines())
    assert [epoch["epoch"] for epoch in epochs if "epoch" in epoch] == list(range(1, 21))  # each once
    assert f"test_loss {last['test_loss']} test_error {last['test_error']}" == again[0]["argparse"].splitlines()[-1]


def test_the_page_counts_the_lines_that_differ():
    page = (ROOT / "docs/how-to/examples.md").read_text()
    for table in lines.tables():
        assert table in page, f"python benchmarks/lines.py has another table:\n{table}"


def test_the_notebook_changes_by_fifteen_lines_at_most():
    folder = ROOT / "examples/course"
    changed = subprocess.run(
        ["git", "diff", "--no-index", "--numstat", folder / "plain.py", folder / "train.py"],
        capture_output=True,
        text=True,
    )
    assert int(changed.stdout.split()[0]) <= 15
