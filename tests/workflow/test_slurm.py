"""Sweeps through a real SLURM on this machine, whole and with parts failing, against the same sweeps run locally."""

import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml

from conftest import LIMIT, ROOT, Project, wait_for
from dlsweep.config.sweep import expand_config
from fake import follow
from test_faults import own_tasks, write_own_tasks

# Daemons of another program, killed on a machine that is busy with other tests: a rerun is told in the summary.
pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("slurm"), pytest.mark.flaky(reruns=1)]

STATE = Path("/var/lib/dlsweep-slurm")

# A Snakemake that asks each second what its jobs do. The plugin's own pauses grow by ten seconds after each answer.
IMPATIENT = """
import asyncio, sys
from snakemake.cli import main
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

RemoteExecutor.sleep = lambda self: asyncio.sleep(1)
sys.exit(main())
"""
SNAKEMAKE = (sys.executable, "-c", IMPATIENT)
PROFILE = ("--profile", "profiles/slurm", "--slurm-init-seconds-before-status-checks", "1")

SWEEP = {
    "defaults": {"epochs": 1, "train_size": 100, "n_layer": 1, "hid_dim": 8},
    "experiments": {"a": {"figures": [], "grid": {"lr": [0.01, 0.1]}, "seeds": 2}},
}

# A run of at least 30 seconds on the cluster and of no time locally, with the same numbers.
SLOW_NET = """
import os, time
from torch import nn

class Net(nn.Sequential):
    def __init__(self, in_shape, n_classes):
        super().__init__(nn.Flatten(), nn.Linear(in_shape[1] * in_shape[2], n_classes))

    def forward(self, x):
        time.sleep(float(os.environ.get("PACE", 0)))
        return super().forward(x)
"""
SLOW = {
    "defaults": {"model": "slow_net:Net", "epochs": 200, "train_size": 64, "batch_size": 32},
    "experiments": {"slow": {"figures": [], "grid": {"lr": [0.01, 0.02, 0.05]}}},
}
PACE = "0.05"

BUSY = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"


@pytest.fixture(scope="session")
def slurm() -> Iterator[None]:
    started = subprocess.run([ROOT / "tests/slurm/start"], capture_output=True, text=True, timeout=LIMIT)
    if started.returncode:
        message = (started.stderr.strip().splitlines() or ["tests/slurm/start failed"])[-1]
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    yield
    if "started" in started.stdout:
        subprocess.run([ROOT / "tests/slurm/stop"], check=True)


@pytest.fixture
def cluster(slurm: None, project: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """A project whose runs take the pretended GPU that SLURM gives them."""
    monkeypatch.setenv("DLSWEEP_DEVICES", "gpu0,gpu1")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    yield project
    command("scancel", "--me")
    subprocess.run([ROOT / "tests/slurm/start"], check=True, capture_output=True)  # what a test that failed left dead


def command(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, timeout=LIMIT, check=True).stdout


until = functools.partial(wait_for, pause=0.2)


def locally(tmp_path: Path, config: dict) -> dict[str, str]:
    """The outcomes of the sweep run on this machine, without SLURM."""
    (tmp_path / "local").mkdir()
    project = Project(tmp_path / "local")
    project.configure(config)
    (project.folder / "slow_net.py").write_text(SLOW_NET)
    done = project.snakemake(*config["experiments"])
    assert done.returncode == 0, done.stderr
    return project.outcomes()


@pytest.fixture(scope="module")
def local_outcomes(slurm: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return locally(tmp_path_factory.mktemp("reference"), SWEEP)


@pytest.mark.parametrize(
    ("arguments", "submissions", "busy"),
    [
        ((), 4, True),
        (("a", "--slurm-array-jobs", "train"), 1, False),
        (("a", "--groups", "train=runs", "--group-components", "runs=2"), 2, True),
    ],
    ids=["plain", "array", "groups"],
)
def test_a_sweep(
    cluster: Project,
    local_outcomes: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: tuple[str, ...],
    submissions: int,
    busy: bool,
):
    cluster.configure(SWEEP)
    if busy:  # the controller is too busy to answer the first submission
        sbatch = tmp_path / "bin" / "sbatch"
        sbatch.parent.mkdir()
        first = f"mkdir {tmp_path}/busy && echo {BUSY} >&2 && exit 1"
        sbatch.write_text(f'#!/bin/sh\n{first}\nexec /usr/bin/sbatch "$@"\n')
        sbatch.chmod(0o755)
        monkeypatch.setenv("PATH", str(sbatch.parent), prepend=os.pathsep)
    done = cluster.run(*SNAKEMAKE, *PROFILE, *arguments, timeout=LIMIT)
    assert done.returncode == 0, done.stdout + done.stderr
    log = "".join(path.read_text() for path in (cluster.folder / ".snakemake" / "log").iterdir())
    assert log.count("has been submitted with SLURM jobid") + log.count("Submitted array job") == submissions
    assert (tmp_path / "busy").is_dir() == ("Trying to restart job" in log) == busy
    assert "profiles/slurm and workflow specific profile profiles/default" in done.stderr
    assert cluster.outcomes() == local_outcomes
    slots = {record["provenance"]["device_slot"] for record in cluster.records().values()}
    assert slots == {"gpu0/0", "gpu1/0"}  # those that SLURM gave
    assert cluster.planned("a") == {}


def test_a_sweep_in_one_job(cluster: Project, local_outcomes: dict[str, str]):
    """A SLURM job of a whole node is a box of GPUs: Snakemake itself runs in it."""
    cluster.configure(SWEEP)
    job = ("sbatch", "--wait", "--gpus=2", "--cpus-per-task=2", "--signal=B:TERM@120", "--requeue")
    done = cluster.run(*job, "--wrap", "exec snakemake --cores 2 a", timeout=LIMIT)
    assert done.returncode == 0, "".join(path.read_text() for path in cluster.folder.glob("slurm-*.out"))
    assert cluster.outcomes() == local_outcomes
    assert {record["provenance"]["device_slot"] for record in cluster.records().values()} == {"gpu0/0", "gpu1/0"}


def test_a_job_asks_for_the_gpus_of_its_run(cluster: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The profile says gpu: 1, the config how many: SLURM gives the job both. So it is with the slots of a search.

    That is decided where Snakemake runs, as it is without SLURM.
    """
    (cluster.folder / "mine.py").write_text("def train(run, *, lr: float = 0.1): return {'val_loss': lr}\n")
    mine = {"train": "mine:train", "figures": []}
    search = {"method": "tpe", "n": 2, "startup": 1, "parallel": 1, "lr": {"log_uniform": [0.01, 0.1]}}
    config = {"gpus_per_run": 2, "experiments": {"mine": mine, "find": {**mine, "search": search}}}
    cluster.configure(config)
    done = cluster.run(*SNAKEMAKE, "mine", "find", *PROFILE, timeout=LIMIT)
    assert done.returncode == 0, done.stdout + done.stderr
    records = cluster.records()
    assert [record["provenance"]["device_slot"] for record in records.values()] == ["gpu0/0,gpu1/0"] * 3
    monkeypatch.chdir(cluster.folder)
    course = expand_config(config).experiments["find"].course
    assert course
    runs = follow(course, tmp_path / "followed", lambda setting: setting["lr"])
    assert records.keys() == {f"find-{digest}.json" for digest in runs} | {
        path.name for path in cluster.results.glob("mine-*")
    }
    decision = f"search/{course.name}/1.json"
    assert (cluster.results / decision).read_bytes() == (tmp_path / "followed" / decision).read_bytes()


def test_a_slot_that_an_earlier_start_still_makes_is_waited_for(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """As a run is: in the queue, without a GPU. A part of an array is told by the array."""
    (project.folder / "mine.py").write_text("def train(run, *, lr: float = 0.1, epochs: int = 2): ...\n")
    search = {"method": "halving", "n": 3, "eta": 2, "lr": {"log_uniform": [0.01, 0.1]}}
    config = {"experiments": {"find": {"train": "mine:train", "search": search, "figures": []}}}
    project.configure(config)
    monkeypatch.chdir(project.folder)
    course = expand_config(config).experiments["find"].course
    assert course
    queue = "".join(
        f"{job}|rule_search_slot_wildcards_{course.name}_0_{i}|$PWD\\n" for i, job in enumerate(("7", "8_[3-4]"))
    )
    commands = {"squeue": f'printf "{queue}"', "sbatch": 'echo "$@" >>submitted.txt; exit 1'}
    (tmp_path / "bin").mkdir()
    for name, line in commands.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    done = project.run(*SNAKEMAKE, *PROFILE, "--retries", "0")
    assert "2 runs are in SLURM jobs of an earlier start; new ones wait for the end of " in done.stdout
    submitted = (project.folder / "submitted.txt").read_text().splitlines()
    waits = {
        line.partition(f"{course.name}_0_")[2][0]: line.partition("afterany:")[2].partition(" ")[0]
        for line in submitted
    }
    assert waits == {"0": "7", "1": "8", "2": ""}, submitted
    assert all("--signal=TERM@120" in line for line in submitted)


def test_a_run_that_fails_does_not_stop_the_others_of_its_group(project: Project, monkeypatch: pytest.MonkeyPatch):
    """The Snakemake that does a group, in a job of the cluster, reads no profile."""
    fails = "def train(run, *, lr: float = 0.1): return {'val_loss': 1 / (lr > 0.2)}\n"
    (project.folder / "mine.py").write_text(fails)
    config = {"experiments": {"a": {"train": "mine:train", "grid": {"lr": [0.1, 0.2, 0.3]}, "figures": []}}}
    project.configure(config)
    monkeypatch.chdir(project.folder)
    group = [f"train:exp=a,hash={digest}" for _, digest, _ in expand_config(config).records()]
    options = ("--workflow-profile", "none", "--mode", "remote", "--nolock", "--force", "--allowed-rules", "train")
    done = project.snakemake(*options, "--target-jobs", *group, cores=1)
    assert done.returncode == 1
    assert [record["setting"]["lr"] for record in project.records().values()] == [0.3], done.stderr
    assert "2 of 3 runs are not finished (2 failed)" in done.stderr


def test_each_option_has_one_profile():
    """Snakemake reads both profiles on a cluster, so what holds everywhere stands in the default one alone."""
    default, slurm = (
        yaml.safe_load((ROOT / f"profiles/{name}/config.yaml").read_text()) for name in ("default", "slurm")
    )
    assert not default.keys() & slurm.keys()


def test_every_fault_at_once(cluster: Project, tmp_path: Path, request: pytest.FixtureRequest):
    """Each record is made once and is the local sweep's, whatever happens to jobs, daemons and Snakemake."""
    expected = locally(tmp_path, SLOW)
    cluster.configure(SLOW)
    (cluster.folder / "slow_net.py").write_text(SLOW_NET)
    host = command("hostname", "--short").strip()
    environment = {**cluster.environment(), "PACE": PACE}

    def start() -> subprocess.Popen[str]:
        log = (cluster.folder / "snakemake.log").open("a")
        call = [*SNAKEMAKE, *PROFILE]
        process = subprocess.Popen(call, cwd=cluster.folder, env=environment, stdout=log, stderr=log, text=True)
        request.addfinalizer(process.kill)
        return process

    def jobs() -> dict[str, tuple[str, str]]:
        """The hash of each job and its state, by job."""
        lines = command("squeue", "--me", "--noheader", "--format=%i|%k|%T").splitlines()
        found = (line.split("|") for line in lines)
        return {job: (comment.rpartition("_")[2], state) for job, comment, state in found}

    def running() -> list[str]:
        return [job for job, (_, state) in jobs().items() if state == "RUNNING"]

    def trained(digest: str) -> str:
        log = next((cluster.results / "logs").glob(f"slow-{digest}.log"), None)
        return log.read_text() if log else ""

    def training() -> bool:
        return sum("epoch" in trained(jobs()[job][0]) for job in running()) == 2

    def at_once() -> None:
        """SLURM lets a job that it starts again wait two minutes; not here."""
        for job, (_, state) in jobs().items():
            if state == "PENDING":
                subprocess.run(["scontrol", "update", f"jobid={job}", "starttime=now"], capture_output=True)

    first = start()
    until(training)
    requeued, cancelled = running()
    digests = {job: digest for job, (digest, _) in jobs().items()}

    # The user requeues one job and cancels the other: both go on from their checkpoints, one in a new job.
    command("scontrol", "requeue", requeued)
    command("scancel", cancelled)
    until(lambda: "checkpoint is written" in trained(digests[requeued]) + trained(digests[cancelled]))
    until(lambda: requeued in jobs() and jobs()[requeued][1] == "PENDING")
    at_once()
    until(lambda: "continuing at epoch" in trained(digests[requeued]))

    # The controller dies; jobs and Snakemake do not mind. It writes its state down some seconds after a submission.
    until(lambda: len(jobs()) == 3)
    time.sleep(10)
    os.kill(int((STATE / "slurmctld.pid").read_text()), signal.SIGKILL)
    time.sleep(2)
    command("slurmctld")
    until(lambda: subprocess.run(["scontrol", "ping"], capture_output=True).returncode == 0)
    assert first.poll() is None

    # The node fails under its jobs: SLURM starts them again, and Snakemake leaves it to it.
    until(lambda: len(running()) == 2)
    lost = running()
    os.kill(int((STATE / "slurmd.pid").read_text()), signal.SIGKILL)
    for process in psutil.process_iter(["name"]):
        if process.info["name"] == "slurmstepd":
            for part in (process, *process.children(recursive=True)):
                part.kill()
    command("scontrol", "update", f"nodename={host}", "state=down", "reason=test")
    until(lambda: not running())
    command("slurmd")
    subprocess.run(["scontrol", "update", f"nodename={host}", "state=resume"])  # refused where it came up by itself
    at_once()
    until(lambda: set(lost) <= set(running()))

    # Snakemake is killed and started again while its jobs run: none of them is trained a second time.
    until(training)
    before = set(jobs())
    first.kill()
    first.wait(LIMIT)
    second = start()
    waits_for: dict[str, str] = {}  # what each new job waits for when it is first seen; later that may be over

    def submitted() -> bool:
        for job in set(jobs()) - before - waits_for.keys():
            waits_for[job] = command("squeue", "--noheader", f"--jobs={job}", "--format=%E")
        return len(waits_for) == 3

    until(submitted)
    assert all("afterany" in dependency for dependency in waits_for.values()), waits_for
    assert "3 runs are in SLURM jobs of an earlier start" in (cluster.folder / "snakemake.log").read_text()
    made: dict[str, bytes] = {}  # times and provenance included
    while second.poll() is None:
        at_once()
        for path in cluster.results.glob("slow-*.json"):
            assert made.setdefault(path.name, path.read_bytes()) == path.read_bytes()
        time.sleep(0.5)
    assert second.returncode == 0, (cluster.folder / "snakemake.log").read_text()
    assert cluster.outcomes() == expected
    resumed = {record["hash"]: record["timing"]["resumed"] for record in cluster.records().values()}
    assert resumed[digests[requeued]] >= 2 and resumed[digests[cancelled]] >= 1
    assert not command("squeue", "--me", "--noheader")


def test_own_tasks_are_requeued(cluster: Project, tmp_path: Path, request: pytest.FixtureRequest):
    """A function and a program whose jobs are requeued and cancelled go on, and end as they do without SLURM."""
    tasks = own_tasks(1)
    del tasks["experiments"]["script"]  # it has no checkpoint
    pause = 'time.sleep(float(os.environ.get("PACE", 0.15)))'
    gate = 'while epoch == 3 and not os.path.exists("both"): time.sleep(0.1)'  # no run ends before both have begun
    (tmp_path / "local").mkdir()
    local = Project(tmp_path / "local")
    for project in (local, cluster):
        write_own_tasks(project)
        for name, indent in (("mine.py", 8), ("program.py", 4)):
            text = (project.folder / name).read_text()
            assert pause in text
            (project.folder / name).write_text(text.replace(pause, f"{pause}\n{' ' * indent}{gate}"))
        project.configure(tasks)
    (local.folder / "both").touch()
    assert local.snakemake("--until", "train").returncode == 0

    log = (cluster.folder / "snakemake.log").open("w")
    call = [*SNAKEMAKE, *PROFILE, "--until", "train"]
    environment = {**cluster.environment(), "PACE": "1"}
    process = subprocess.Popen(call, cwd=cluster.folder, env=environment, stdout=log, stderr=log)
    request.addfinalizer(process.kill)

    def jobs() -> list[str]:
        return command("squeue", "--me", "--noheader", "--format=%i").split()

    def said(words: str) -> int:
        return sum(words in path.read_text() for path in (cluster.results / "logs").glob("*.log"))

    until(lambda: said("epoch 2") == 2)
    requeued, cancelled = jobs()
    command("scontrol", "requeue", requeued)
    command("scancel", cancelled)
    (cluster.folder / "both").touch()
    while process.poll() is None:
        for job in jobs():  # SLURM lets a job that it starts again wait two minutes; not here
            subprocess.run(["scontrol", "update", f"jobid={job}", "starttime=now"], capture_output=True)
        time.sleep(0.5)
    assert process.returncode == 0, (cluster.folder / "snakemake.log").read_text()
    assert cluster.outcomes() == local.outcomes()
    assert [record["timing"]["resumed"] for record in cluster.records().values()] == [1, 1]
