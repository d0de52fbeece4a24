"""Records made again: the old one stays until the new one replaces it, whatever flag asked and whatever happens."""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from conftest import LIMIT, Project, wait_for

# Its runs take no time, or as long as PACE says.
MODEL = """
import os, time
from torch import nn

class Net(nn.Sequential):
    def __init__(self, in_shape, n_classes):
        super().__init__(nn.Flatten(), nn.Linear(in_shape[0] * in_shape[1] * in_shape[2], n_classes))

    def forward(self, x):
        if self.training:
            time.sleep(float(os.environ.get("PACE", 0)))
        return super().forward(x)
"""
CONFIG = {
    "defaults": {"model": "net:Net", "dataset": "npz", "data_path": "mine.npz", "epochs": 40, "batch_size": 64},
    "experiments": {
        "one": {"grid": {"lr": [0.01, 0.1]}, "figures": []},
        "two": {"lr": 0.1, "figures": []},  # the twin of one of the others
    },
}


def write_data(project: Project, seed: int) -> None:
    chance = np.random.default_rng(seed)
    splits = {f"x_{split}": chance.random((200, 6, 6), dtype=np.float32) for split in ("train", "test")}
    labels = {f"y_{split}": chance.integers(0, 3, 200) for split in ("train", "test")}
    np.savez(project.folder / "mine.npz", **splits, **labels)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A finished sweep; `copied` gives each test a copy of it."""
    project = Project(tmp_path_factory.mktemp("finished"))
    project.configure(CONFIG)
    (project.folder / "net.py").write_text(MODEL)
    write_data(project, 0)
    done = project.snakemake()
    assert done.returncode == 0, done.stderr
    assert len(project.records()) == 3
    return project


@pytest.fixture
def copied(finished: Project, tmp_path: Path) -> Project:
    shutil.copytree(finished.folder, tmp_path, dirs_exist_ok=True)
    copy = object.__new__(Project)
    copy.folder = tmp_path
    return copy


def contents(project: Project) -> dict[str, tuple[int, int, bytes]]:
    """Each record's file: which one it is, when it was changed, what it holds."""
    paths = project.results.glob("*-*.json")
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes()) for path in paths}


def requests(project: Project) -> list[Path]:
    return sorted(project.results.glob("running/*.redo"))


@contextlib.contextmanager
def started(project: Project, *arguments: str, pace: str = "0.1") -> Iterator[subprocess.Popen[str]]:
    """A Snakemake in a process group of its own, which is killed in the end."""
    environment = {**project.environment(), "PACE": pace}
    command = ("snakemake", "--cores", "2", *arguments)
    with (project.folder / "snakemake.log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=project.folder, env=environment, stdout=log, stderr=log, text=True, start_new_session=True
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(LIMIT)


def test_a_forced_start_that_is_killed_loses_no_record_and_is_gone_on_with(copied: Project):
    before, outcomes = contents(copied), copied.outcomes()
    with started(copied, "-F"):
        wait_for(lambda: list(copied.results.glob("running/*.pt")))
    assert contents(copied) == before
    assert len(requests(copied)) == 3

    planned = copied.planned()
    assert planned["train"] == 3 and planned["aggregate"] == 1
    done = copied.snakemake()  # nothing of -F on the command line
    assert done.returncode == 0, done.stderr
    assert "3 records are made again, as an earlier start was asked to" in done.stdout + done.stderr
    assert copied.outcomes() == outcomes
    assert not contents(copied).items() & before.items()
    records = copied.records().values()
    assert len({record["provenance"]["started"] + str(record["provenance"]["pid"]) for record in records}) == 2
    assert sum(record["timing"]["resumed"] for record in records) > 0
    assert not list((copied.results / "running").iterdir())
    assert copied.planned() == {}


def test_a_forced_record_is_trained_and_not_copied_from_its_twin(copied: Project):
    before = contents(copied)
    (twin,) = (name for name in before if name.startswith("two-"))
    done = copied.snakemake("--forcerun", f"results/{twin}")
    assert done.returncode == 0, done.stderr
    after = contents(copied)
    assert {name for name in before if before[name] != after[name]} == {twin}
    assert "--exp-name=two" in copied.records()[twin]["provenance"]["command"]
    assert not list((copied.results / "running").iterdir())


def test_a_forced_record_that_fails_stays(copied: Project):
    before = contents(copied)
    name = sorted(before)[0]
    source = (copied.folder / "net.py").read_text()
    broken = source.replace(
        "if self.training:", "assert len(x) < 64  # fewer are tried before a run\n        if self.training:"
    )
    (copied.folder / "net.py").write_text(broken)
    done = copied.snakemake("--forcerun", f"results/{name}")
    assert done.returncode != 0
    assert contents(copied) == before
    assert "1 of 3 runs are not finished (1 failed); 1 of them have their old record until then" in done.stderr

    requests(copied)[0].unlink()  # taken back
    assert copied.planned().get("train", 0) == 0
    (copied.folder / "net.py").write_text(source)
    assert copied.snakemake().returncode == 0
    assert contents(copied) == before


# -- every flag ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def untouched(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy of the finished sweep that no flag may change."""
    folder = tmp_path_factory.mktemp("untouched")
    shutil.copytree(finished.folder, folder, dirs_exist_ok=True)
    copy = object.__new__(Project)
    copy.folder = folder
    return copy


def files(project: Project) -> dict[str, bytes]:
    paths = (path for path in project.results.rglob("*") if path.is_file() and "logs" not in path.parts)
    return {str(path.relative_to(project.results)): path.read_bytes() for path in sorted(paths)}


@pytest.mark.parametrize(
    "flags",
    [
        "-n -F",
        "--touch",
        "--touch -F",
        "--touch --forcerun train",
        "--summary -F",
        "--detailed-summary -F",
        "--list-rules",
        "--list-untracked -F",
        "--list-changes input",
        "--delete-all-output -n",
        "--delete-temp-output",
        "--unlock -F",
        "--cleanup-metadata results/summary.csv",
        "--cleanup-shadow",
        "--batch all=1/2",
        "--until train",
        "--report report.zip",
        "--dag -F",
        "--lint",
        "--forcerun prepare",
        "--omit-from train -F",  # the last: it makes the plan again, and leaves out the tables that follow
    ],
)
def test_no_flag_loses_a_record_unasked(untouched: Project, finished: Project, flags: str):
    records = {name: (inode, text) for name, (inode, _, text) in contents(untouched).items()}
    data = next(untouched.results.glob("data/*.pt")).stat().st_mtime_ns
    done = untouched.snakemake(*flags.split())
    assert done.returncode == 0, done.stderr
    assert {name: (inode, text) for name, (inode, _, text) in contents(untouched).items()} == records
    assert {name for name, text in files(finished).items() if files(untouched).get(name) != text} == set(), done.stderr
    assert files(untouched).keys() == files(finished).keys()
    assert requests(untouched) == []
    said = done.stdout + done.stderr
    if "--touch" in flags and "-F" in flags:
        assert "Touched" in said and "Done" not in said
    if flags == "--forcerun prepare":
        assert next(untouched.results.glob("data/*.pt")).stat().st_mtime_ns > data
        assert "finished records stay" in said


def test_no_flag_names_files_that_are_not_there(finished: Project, tmp_path: Path):
    project = Project(tmp_path)
    project.configure(CONFIG)
    for name in ("net.py", "mine.npz"):
        shutil.copy(finished.folder / name, tmp_path)
    for flags in ("--touch", "--batch all=1/2", "--until train"):
        done = project.snakemake(*flags.split())
        assert done.returncode == 0, done.stderr
        (said,) = (line for line in done.stdout.splitlines() if line.startswith(("Done", "Touched")))
        assert "report.html" not in said and "summary.csv" not in said
        if "--touch" not in flags:
            assert f"Done, as far as {flags.split()[0]} goes: {len(project.records())} of 3 runs are finished" in said
    assert len(project.records()) == 3  # --until train leaves out no twin


def test_what_is_deleted_when_all_output_is_to_be(copied: Project):
    left_alone = {"net.py", "mine.npz", "config.yaml"}
    weights = {path: path.read_bytes() for path in copied.results.glob("weights/*.safetensors")}
    assert {path.name.partition("-")[0] for path in weights} == {"one", "two"} and len(weights) == 2
    assert copied.snakemake("--delete-all-output").returncode == 0
    kept = {path for path in copied.results.rglob("*") if path.is_file()}
    assert {path: path.read_bytes() for path in weights} == weights
    notes = {"logs", "data", "named", ".checked", "weights", "predictions"}  # of the data, their lock
    assert {path.parent.name for path in kept} <= notes, kept
    assert not list(copied.results.glob("data/*.pt"))
    assert left_alone <= {path.name for path in copied.folder.iterdir()}


# -- data ----------------------------------------------------------------------------------------------------------


def test_a_forced_record_is_trained_on_the_data_as_they_are_now(copied: Project):
    """The prepared data are gone, then the file that they come from has changed."""
    before, outcomes = contents(copied), copied.outcomes()
    name = sorted(before)[0]
    for path in copied.results.glob("data/*.pt"):
        path.unlink()
    (copied.folder / "mine.npz").rename(copied.folder / "elsewhere")
    assert copied.snakemake("--forcerun", f"results/{name}").returncode != 0
    assert contents(copied) == before
    (copied.folder / "elsewhere").rename(copied.folder / "mine.npz")
    assert copied.snakemake().returncode == 0  # the request is still open
    after = contents(copied)
    assert [other for other in before if after[other] != before[other]] == [name]
    assert copied.outcomes() == outcomes

    write_data(copied, 1)
    assert not copied.planned().keys() & {"train", "prepare"}  # the tables say that the data have changed
    assert copied.snakemake("--forceall").returncode == 0
    digests = {record["provenance"]["data"] for record in copied.records().values()}
    assert len(digests) == 1
    assert not copied.outcomes().items() & outcomes.items()
