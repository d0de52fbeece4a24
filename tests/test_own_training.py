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
from dlsweep.config.sweep import load_sweep

sys.path.insert(0, str(ROOT / "benchmarks"))
import lines  # benchmarks/lines.py

EXAMPLES = [example.folder for example in lines.EXAMPLE_LIST]

PLAIN = """
import contextlib, io, json, runpy, sys
said = {}
names = sys.argv[1:]
for name in names:
    sys.argv = [name]
    with contextlib.redirect_stdout(io.StringIO()) as output:
        runpy.run_path(f"examples/{name}/plain.py", run_name="__main__")
    said[name] = output.getvalue()
print(json.dumps(said))
"""
"""All plain scripts in one process, which loads torch once."""

INTERRUPT = """
import os, runpy, signal, sys
class Output:
    def __init__(self, output): self.output = output
    def __getattr__(self, name): return getattr(self.output, name)
    def write(self, text):
        if text.startswith("epoch 3/"): os.kill(os.getpid(), signal.SIGTERM)
        return self.output.write(text)
sys.stdout = Output(sys.stdout)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""A run that is told to stop in its third epoch."""


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
def records(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    """The first record of each example, all from one start of Snakemake."""
    project = prepare(tmp_path_factory.mktemp("examples"))
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(ROOT)
        targets = [f"results/{first_setting(example)[0]}" for example in EXAMPLES]
    files = [f"examples/{example}/{example}.yaml" for example in EXAMPLES]
    done = project.snakemake(*targets, "--configfile", *files)
    assert done.returncode == 0, done.stdout + done.stderr
    return project.records()


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each plain script prints."""
    project = prepare(tmp_path_factory.mktemp("plain"))
    done = project.run(sys.executable, "-c", PLAIN, *(set(EXAMPLES) - {"unchanged", "awk"}))
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    awk = project.run("awk", "-f", "examples/awk/plain.awk")
    return {**said, "unchanged": said["argparse"], "awk": awk.stdout}


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_record_is_what_the_plain_script_says(records: dict[str, dict], said: dict[str, str], example: str):
    name, setting = first_setting(example)
    record = records[name]
    assert record["status"] == "finished"
    if "command" in setting:
        *epochs, last = said[example].splitlines()
        assert len(record["epochs"]) == len(epochs)
        names, values = last.split()[::2], last.split()[1::2]
        assert dict(zip(names, map(float, values), strict=True)).items() <= record["final"].items()
        return
    assert len(record["epochs"]) == (0 if example == "scikit_learn" else setting.get("epochs", 10))
    swept = next(line for line in said[example].splitlines() if re.match(r"\w+=", line))
    label, _, result = swept.partition(": ")
    assert all(str(setting[key]) == value for key, value in (part.split("=") for part in label.split()))
    if example == "course":
        assert result == f"test accuracy {100 * record['final']['test_acc']:.2f} %"
    else:
        assert ast.literal_eval(result).items() <= record["final"].items()


@pytest.mark.parametrize("example", ["course", "lstm", "lightning", "accelerate"])
def test_an_interrupted_run_ends_as_an_undisturbed_one(records: dict[str, dict], tmp_path: Path, example: str):
    project = prepare(tmp_path)
    name, setting = first_setting(example)
    train = [
        "scripts/train.py",
        f"--exp-name={example}",
        *(f"--{key.replace('_', '-')}={value}" for key, value in setting.items()),
    ]
    stopped = project.run(sys.executable, "-c", INTERRUPT, *train)
    assert stopped.returncode == 143, stopped.stderr
    assert not project.records()
    done = project.run(sys.executable, *train)
    assert done.returncode == 0, done.stderr
    record = project.records()[name]
    assert record["timing"]["resumed"] == 1
    assert outcome(record) == outcome(records[name])


def test_a_program_goes_on_from_its_checkpoint(said: dict[str, str], tmp_path: Path):
    for epochs in ("5", "20"):
        options = ["--epochs", epochs, "--out", tmp_path / "metrics", "--checkpoint", tmp_path]
        subprocess.run([sys.executable, ROOT / "examples/argparse/train.py", *options], check=True)
    *_, last = (json.loads(line) for line in (tmp_path / "metrics").read_text().splitlines())
    assert f"test_loss {last['test_loss']} test_error {last['test_error']}" == said["argparse"].splitlines()[-1]


def test_the_page_counts_the_lines_that_differ():
    page = (ROOT / "docs/examples.md").read_text()
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
