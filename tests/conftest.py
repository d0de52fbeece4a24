"""A small project folder in which tests run the real pipeline."""

import compileall
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

os.environ.setdefault("OMP_NUM_THREADS", "1")  # as the runs themselves; more threads than cores wait for each other

# What ignores these, as under nohup or in a shell's background, passes that on to the sweeps that tests stop with them.
for number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, lambda number, frame: None)

ROOT = Path(__file__).parent.parent
PARTS = ("Snakefile", "rules", "scripts", "profiles", "envs", "report")

LIMIT = 900.0
"""Seconds that a command or a wait may take, ten times what any takes on two cores: it ends what hangs."""

SMALL = {
    "defaults": {"epochs": 2, "train_size": 200, "n_layer": 1, "hid_dim": 8},
    "experiments": {"small": {"grid": {"lr": [0.01, 0.1], "act": ["relu", "tanh"]}}},
}


class Project:
    """A copy of the pipeline in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for part in PARTS:
            if (ROOT / part).is_dir():
                shutil.copytree(ROOT / part, folder / part)  # compiled: many processes load it
            elif (ROOT / part).exists():
                shutil.copy(ROOT / part, folder / part)

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def configure(self, config: dict | str, name: str = "config.yaml") -> None:
        text = config if isinstance(config, str) else yaml.safe_dump(config, sort_keys=False)
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    def environment(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {**os.environ, "PATH": path, "PYTHONDONTWRITEBYTECODE": "1"}

    def run(self, *command: str, timeout: float = LIMIT, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment(),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def snakemake(self, *arguments: str, cores: int = 2, timeout: float = LIMIT) -> subprocess.CompletedProcess[str]:
        return self.run("snakemake", "--cores", str(cores), *arguments, timeout=timeout)

    def start(self, *arguments: str, cores: int = 1) -> subprocess.Popen[bytes]:
        """Start Snakemake in a process group of its own, for `kill_group`; nobody hears what it says."""
        return subprocess.Popen(
            ["snakemake", "--cores", str(cores), *arguments],
            cwd=self.folder,
            env=self.environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def planned(self, *arguments: str) -> dict[str, int]:
        """The number of jobs per rule that a dry run would do."""
        done = self.snakemake("-n", "--quiet=rules", *arguments)
        assert done.returncode == 0, done.stderr
        text = done.stdout + done.stderr
        counts = {}
        for line in text.splitlines():
            words = line.split()
            if len(words) == 2 and words[1].isdigit() and words[0] != "total":
                counts[words[0]] = int(words[1])
        return counts

    def has_nothing_to_do(self, *arguments: str) -> bool:
        """Start again; say whether that has written nothing, as every job does. How it is told is Snakemake's."""
        before = written(self.results)
        done = self.snakemake(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return written(self.results) == before

    def records(self) -> dict[str, dict]:
        return {path.name: json.loads(path.read_text()) for path in sorted(self.results.glob("*-*.json"))}

    def outcomes(self) -> dict[str, str]:
        """Each record without what is allowed to differ between two runs of one setting."""
        return {name: outcome(record) for name, record in self.records().items()}


def kill_group(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(LIMIT)


def wait_for(condition: Callable[[], object], pause: float = 0.05) -> None:
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end, f"waited {LIMIT:.0f} s in vain"
        time.sleep(pause)


def written(folder: Path) -> dict[Path, int]:
    """When each file of a folder was written last. Every job writes one at least, its log."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def outcome(record: dict) -> str:
    kept = {key: value for key, value in record.items() if key not in ("timing", "provenance")}
    kept["epochs"] = [{k: v for k, v in epoch.items() if k != "seconds"} for epoch in record["epochs"]]
    return json.dumps(kept, sort_keys=True)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path)
    project.configure(SMALL)
    return project


def pytest_configure(config: pytest.Config) -> None:
    """Compile the pipeline once, for all copies of it."""
    if not hasattr(config, "workerinput"):
        compileall.compile_dir(ROOT / "scripts", quiet=1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slow groups first, so that the workers end together."""
    items.sort(key=lambda item: not (item.get_closest_marker("slurm") or item.get_closest_marker("faults")))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the fault tests counted."""
    for report in (report for reports in terminalreporter.stats.values() for report in reports):
        for name, text in getattr(report, "user_properties", []):
            if name == "faults" and report.when == "call":
                terminalreporter.write_line(text)


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What to put into LD_PRELOAD for a file system that can do less: see shim.c."""
    if not shutil.which("gcc"):
        pytest.skip("the shim needs gcc")
    library = tmp_path_factory.mktemp("shim") / "shim.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, Path(__file__).with_name("shim.c"), "-ldl"], check=True)
    return str(library)
