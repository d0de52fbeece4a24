"""Never twice, never lost: real sweeps, broken in every way we could think of, and started again."""

import contextlib
import copy
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from conftest import LIMIT, SMALL, Project, wait_for

pytestmark = pytest.mark.faults

N_KILLS = int(os.environ.get("KILLS", 5))  # before a release: KILLS=100

# Some seconds of training each, with everything in play that a checkpoint must hold.
LONG = {
    "defaults": {"train_size": 800, "batch_size": 8, "epochs": 20, "n_layer": 2, "hid_dim": 32},
    "experiments": {
        "long": {
            "settings": [
                {"optimizer": "adam", "dropout": 0.3, "batch_norm": True, "lr_schedule": "cosine"},
                {"optimizer": "momentum", "log_gradients": True, "test_weights": "best"},
                {"optimizer": "rmsprop", "lr": 0.001, "precision": "bf16", "warmup_epochs": 2},
                {"model": "cnn", "n_block": 1, "channels": 4, "random_crop": 1, "cutout": 2, "epochs": 8},
            ],
            "seeds": 2,
            "figures": [],
        },
        "short": {"epochs": 1, "seeds": 2, "figures": []},
    },
}


N_RUNS = 10


class Sweep:
    """A Snakemake in a process group of its own, on `project`."""

    def __init__(self, project: Project, *arguments: str) -> None:
        self.output = project.folder / "snakemake.log"
        with self.output.open("a") as log:
            self.process = subprocess.Popen(
                ("snakemake", "--cores", "2", *arguments),
                cwd=project.folder,
                env=project.environment(),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def runs(self) -> list[psutil.Process]:
        """The training processes."""
        try:
            children = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        return [child for child in children if is_training(child)]

    def wait_for_runs(self, count: int = 1) -> list[psutil.Process]:
        wait_for(lambda: len(self.runs()) >= count or self.process.poll() is not None)
        return self.runs()


def is_training(process: psutil.Process) -> bool:
    """Say whether a process is a run, asks the warm trainer for one, or is that trainer."""
    try:
        return any(part.endswith("scripts/train.py") or "dlsweep.runs.warm" in part for part in process.cmdline())
    except psutil.Error:
        return False


def processes_in(folder: Path) -> list[psutil.Process]:
    """Every living process that works in the folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def stamps(project: Project) -> dict[str, tuple[int, bytes]]:
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in project.results.glob("*-*.json")}


def positions(project: Project) -> dict[str, tuple[int, int]]:
    """How far the checkpoint of each run is: epoch and step."""
    found = {}
    for path in (project.results / "running").glob("*.pt"):
        try:
            progress = torch.load(path, weights_only=True)["progress"]
        except FileNotFoundError:  # the run has just finished
            continue
        found[path.stem] = (progress["epoch"], progress["step"])
    return found


def modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


@pytest.fixture
def long_project(tmp_path: Path) -> Iterator[Project]:
    project = Project(tmp_path)
    project.configure(LONG)
    yield project
    for process in processes_in(tmp_path):  # of a test that failed
        process.kill()


def test_many_kills(long_project: Project, tmp_path_factory: pytest.TempPathFactory, record_property: Callable):
    """The sweep is extended while it is killed, so that no machine is too fast to be killed that often."""
    project, chance, seeds = long_project, random.Random(0), 1
    started = note_starts(project)
    assert project.snakemake("short").returncode == 0  # records that are there before the first kill
    before = stamps(project)
    kills: Counter[str] = Counter()
    changed = repeated = resumed_earlier = 0
    reached: dict[str, tuple[int, int]] = {}
    lost_seconds = []
    while kills.total() < N_KILLS or not reached:
        while 2 + 4 * seeds - len(before) < 4:
            seeds += 1
        config = copy.deepcopy(LONG)
        config["experiments"]["long"]["seeds"] = seeds
        project.configure(config)
        started.write_text("")
        sweep = Sweep(project, "--retries", "1000")
        for _ in range(chance.choice([0, 0, 3, 5])):
            sweep.wait_for_runs()
            wait_for_moment(sweep, project, chance)
            runs = sweep.runs()
            if runs:
                lost_seconds += kill_run(chance.choice(runs), project)
                kills["a run"] += 1
        kind = chance.choice(["snakemake", "the whole group"])
        wait_for_moment(sweep, project, chance)
        over = sweep.process.poll() is not None
        if kind == "snakemake":
            sweep.process.kill()
        else:
            with contextlib.suppress(ProcessLookupError):  # where it is over
                os.killpg(sweep.process.pid, signal.SIGKILL)
        sweep.process.wait(LIMIT)
        kills[kind] += not over

        now = stamps(project)
        changed += sum(now.get(name) != stamp for name, stamp in before.items())
        repeated += sum(name.removesuffix(".json").split("-")[1] in started.read_text() for name in before)
        here = positions(project)
        resumed_earlier += sum(here[run] < reached[run] for run in here if run in reached)
        before, reached = now, {**reached, **here}
    finished_before = len(before)
    sweep = Sweep(project)
    assert sweep.process.wait(timeout=LIMIT) == 0, sweep.output.read_text()[-5000:]

    reference = Project(tmp_path_factory.mktemp("undisturbed"))
    reference.configure(config)
    done = reference.snakemake("long", "short")
    assert done.returncode == 0, done.stdout + done.stderr
    undisturbed = reference.outcomes()
    lost = len(undisturbed.keys() - project.records().keys())
    differing = sum(project.outcomes().get(name) != outcome for name, outcome in undisturbed.items())
    resumed = [record["timing"]["resumed"] for record in project.records().values()]
    counted = ", ".join(f"{count} of {kind}" for kind, count in kills.items())
    record_property(
        "faults",
        f"kill -9: {kills.total()} ({counted}) over a sweep of {len(undisturbed)} runs, which went on from a"
        f" checkpoint {sum(resumed)} times; {finished_before} records were there before the last start;"
        f" records lost = {lost}, records changed = {changed}, records unlike the undisturbed sweep's = {differing},"
        f" finished runs repeated = {repeated}, checkpoints that went back = {resumed_earlier},"
        f" work lost by the kill of a run that had written a checkpoint ({len(lost_seconds)} times): at most"
        f" {max(lost_seconds, default=0.0):.2f} s",
    )
    assert (lost, changed, differing, repeated, resumed_earlier) == (0, 0, 0, 0, 0)
    assert sum(resumed) > 0 and finished_before >= 2
    assert not list((project.results / "running").iterdir())
    assert not list(project.folder.rglob("*.tmp"))
    assert not processes_in(project.folder)
    assert stamps(project).items() >= before.items()


def note_starts(project: Project) -> Path:
    """Have each process that is started to train write its command line, a line each, into the file returned."""
    started = project.folder / "started.txt"
    script = project.folder / "scripts" / "train.py"
    first = 'if __name__ == "__main__":  # before anything else is loaded\n'
    note = f"    import sys\n    open({str(started)!r}, 'a').write(' '.join(sys.argv) + chr(10))\n"
    assert first in script.read_text()
    script.write_text(script.read_text().replace(first, first + note))
    return started


def wait_for_moment(
    sweep: Sweep, project: Project, chance: random.Random, checkpoints: tuple[str, ...] = ("*.pt",)
) -> None:
    """Wait for a random moment: while processes start, or shortly after a run has written its next checkpoint."""
    if chance.random() < 0.5:
        time.sleep(chance.uniform(0, 1))
        return
    asked = time.time()
    running = project.results / "running"

    def is_newer() -> bool:
        return any(modified(path) > asked for pattern in checkpoints for path in running.glob(pattern))

    wait_for(lambda: is_newer() or sweep.process.poll() is not None)
    time.sleep(chance.uniform(0, 0.3))


def kill_run(run: psutil.Process, project: Project) -> list[float]:
    """Kill a run; return how old the checkpoint was that it had written itself, if any: the work that is lost."""
    for path in (project.results / "running").glob("*.json"):
        try:
            record = json.loads(path.read_text())
            if record["provenance"]["pid"] == run.pid:
                created = run.create_time()
                run.kill()
                written = modified(project.results / "running" / f"{record['hash']}.pt")
                return [time.time() - written] if written > created else []
        except (psutil.Error, FileNotFoundError):
            continue
    with contextlib.suppress(psutil.Error):
        run.kill()
    return []


def lengthen(project: Project) -> None:
    """Have no run of the long experiment end before it is stopped."""
    config = copy.deepcopy(LONG)
    for setting in config["experiments"]["long"]["settings"]:
        setting["epochs"] = 1000
    project.configure(config)


def test_signals_stop_a_sweep(long_project: Project):
    """Ctrl-C in a terminal reaches the whole group; the others only Snakemake."""
    project = long_project
    lengthen(project)
    moments = [
        (signal.SIGINT, lambda sweep: os.killpg(sweep.process.pid, signal.SIGINT)),
        (signal.SIGINT, lambda sweep: sweep.process.send_signal(signal.SIGINT)),
        (signal.SIGTERM, lambda sweep: sweep.process.send_signal(signal.SIGTERM)),
        (signal.SIGHUP, lambda sweep: sweep.process.send_signal(signal.SIGHUP)),
    ]
    for number, send in moments:
        before, asked = positions(project), time.time()
        sweep = Sweep(project)
        wait_for(lambda asked=asked: any(modified(p) > asked for p in (project.results / "running").glob("*.pt")))
        assert sweep.process.poll() is None
        send(sweep)
        assert sweep.process.wait(timeout=LIMIT) != 0
        assert not processes_in(project.folder), number.name
        records = [json.loads(path.read_text()) for path in (project.results / "running").glob("*.json")]
        assert records and {record["status"] for record in records} == {"interrupted"}
        assert all(record["error"].startswith("stopped by SIG") for record in records)
        assert all(position >= before.get(run, (0, 0)) for run, position in positions(project).items())
        assert "start again to go on" in sweep.output.read_text()
    assert project.planned()["train"] == N_RUNS - len(project.records())  # and no --unlock is asked for


def test_a_run_stops_with_its_snakemake(long_project: Project):
    lengthen(long_project)
    sweep = Sweep(long_project)
    wait_for(lambda: any((long_project.results / "running").glob("*.pt")))
    sweep.process.kill()
    sweep.process.wait(LIMIT)
    wait_for(lambda: not processes_in(long_project.folder))
    records = [json.loads(path.read_text()) for path in (long_project.results / "running").glob("*.json")]
    assert records and {record["status"] for record in records} == {"interrupted"}


def test_two_at_once(long_project: Project):
    """Another start of a living sweep is refused; other configs, the shared settings and `partial` are not."""
    project = long_project
    few = {**LONG["experiments"]["long"], "seeds": 1}
    project.configure({**LONG, "experiments": {"long": few}})
    project.configure({**LONG, "experiments": {"other": few, "long": few}}, "other.yaml")
    first, other = Sweep(project), Sweep(project, "--configfile", "other.yaml")  # both prepare the same data
    first.wait_for_runs()
    refused = project.snakemake()
    assert refused.returncode != 0
    assert f"another Snakemake is at work on this sweep (process {first.process.pid}" in refused.stderr
    partial = project.snakemake("partial")
    assert partial.returncode == 0, partial.stdout + partial.stderr
    assert first.process.wait(timeout=LIMIT) == 0
    assert other.process.wait(timeout=LIMIT) == 0
    records = project.records()
    assert len(records) == 8
    trained = {(record["provenance"]["pid"], record["provenance"]["started"]) for record in records.values()}
    assert len(trained) == 4, "a setting was trained twice"
    for folder in (project.results, project.results / "other"):
        assert "<html" in (folder / "report.html").read_text()
    assert not list(project.folder.rglob("*.tmp"))
    assert project.planned() == {} == project.planned("--configfile", "other.yaml")


BROKEN_MODELS = """
import ctypes
import os
import torch


class Huge(torch.nn.Module):
    def __init__(self, in_shape, n_classes):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.empty(10**15))


class NoGpuMemory(torch.nn.Linear):
    def __init__(self, in_shape, n_classes):
        super().__init__(1, 1)

    def forward(self, x):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")


class Buggy(NoGpuMemory):
    def forward(self, x):
        return x.no_such_method()


class Killed(NoGpuMemory):
    def forward(self, x):
        os.kill(os.getpid(), 9)


class Leaves(NoGpuMemory):
    def forward(self, x):
        os._exit(0)


class Crashes(NoGpuMemory):
    def forward(self, x):
        ctypes.string_at(0)


class NotFinite(torch.nn.Linear):
    def __init__(self, in_shape, n_classes):
        super().__init__(64, n_classes)

    def forward(self, x):
        return super().forward(x.flatten(1)) * float("inf")
"""


def test_each_failure_is_told_and_stops_only_itself(project: Project):
    (project.folder / "broken.py").write_text(BROKEN_MODELS)
    names = ["mlp", "Huge", "NoGpuMemory", "Buggy", "Killed", "Leaves", "Crashes", "NotFinite"]
    models = [name if name == "mlp" else f"broken:{name}" for name in names]
    project.configure(
        {
            "defaults": {"epochs": 2, "train_size": 200, "batch_size": 50},
            "experiments": {"models": {"grid": {"model": models}, "figures": []}},
        }
    )
    done = project.snakemake()
    assert done.returncode != 0
    assert sorted(record["status"] for record in project.records().values()) == ["diverged", "finished"]
    table = done.stderr[done.stderr.index("models model=") :]
    assert "6 of 8 runs are not finished (6 failed); start again to go on" in table
    lines = table.splitlines()
    causes = {lines[i].split('"')[1]: lines[i + 1] for i in range(0, 24, 4)}
    assert "out of memory: lower batch_size (now 50)" in causes["broken:Huge"]
    assert "out of GPU memory: lower batch_size (now 50)" in causes["broken:NoGpuMemory"]
    assert "AttributeError: 'Tensor' object has no attribute 'no_such_method'" in causes["broken:Buggy"]
    assert "killed by signal 9 (SIGKILL)" in causes["broken:Killed"]
    assert "ended itself with exit status 0, without a word" in causes["broken:Leaves"]
    assert "killed by signal 11 (SIGSEGV)" in causes["broken:Crashes"]
    place = next(i for i, line in enumerate(lines) if "broken:Buggy" in line)
    log = project.folder / lines[place + 2].split()[-1]
    assert "Traceback" in log.read_text() and "broken.py" in log.read_text()
    by_hand = project.run("sh", "-c", lines[place + 3].split("by hand: ")[1])
    assert by_hand.returncode == 1 and "no_such_method" in by_hand.stderr

    # What is finished can be had, and says how much is missing.
    partial = project.snakemake("partial")
    assert partial.returncode == 0
    assert "2 of 8 records; 6 missing" in partial.stdout + partial.stderr
    assert len((project.results / "partial" / "summary.csv").read_text().splitlines()) == 1 + 2


# A step takes as long as NAP says.
SLOW = """
import os
import time
import torch


class Slow(torch.nn.Module):
    def __init__(self, in_shape, n_classes):
        super().__init__()
        self.layer = torch.nn.Linear(64, n_classes)

    def forward(self, x):
        if self.training:
            time.sleep(float(os.environ["NAP"]))
        return self.layer(x.flatten(1))
"""


def test_a_time_limit_writes_a_checkpoint_and_ends_what_hangs(project: Project):
    (project.folder / "slow.py").write_text(SLOW)
    project.run("python", "scripts/prepare.py", "--dataset=digits", "--output=results/data/digits.pt")
    train = ("python", "scripts/train.py", "--data=results/data/digits.pt", "--model=slow:Slow")

    def run(nap: float, *options: str) -> subprocess.CompletedProcess[str]:
        return project.run("env", f"NAP={nap}", *train, *options)

    before = time.monotonic()
    assert run(0, "--epochs=1", "--results=other").returncode == 0
    minutes = round(2 * (time.monotonic() - before) / 60 + 0.05, 2)  # some steps on any machine
    limited = run(0.1, "--epochs=200", f"--time-limit={minutes}")
    assert limited.returncode == 124
    assert f"stopped by its time limit of {minutes * 60:g} s; the checkpoint is written" in limited.stderr

    hung = run(1000, "--epochs=200", f"--time-limit={minutes}")
    assert hung.returncode == 124
    assert "in forward" in hung.stderr and "hung: no step ended within its time limit" in hung.stderr
    (running,) = (project.results / "running").glob("*.json")
    assert json.loads(running.read_text())["status"] == "failed"

    assert run(0, "--epochs=200").returncode == 0
    (record,) = project.records().values()
    assert record["timing"]["resumed"] > 0


@pytest.fixture
def small_disk(project: Project) -> Iterator[Project]:
    """A project whose results are on a small disk of their own."""
    project.results.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", project.results], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    yield project
    subprocess.run(["umount", project.results], check=True)


def test_a_full_or_read_only_disk(small_disk: Project):
    project = small_disk
    own = own_tasks(1)["experiments"]
    search = {"method": "halving", "n": 2, "eta": 2, "lr": {"log_uniform": [0.01, 0.1]}}
    find = {**own["function"], "epochs": 2, "search": search}
    few = {"grid": {"lr": [0.01, 0.1], "act": ["relu", "tanh"]}, "figures": [], **SMALL["defaults"]}
    write_own_tasks(project)
    project.configure({"experiments": {"small": few, "find": find}})
    assert project.snakemake().returncode == 0
    (decision,) = project.results.glob("search/find-*/1.json")
    decided = decision.read_bytes()
    for path in (decision, decision.with_name("1-0.json"), *project.results.glob("find-*.json")):
        path.unlink()  # the search is to go on while the disk is full
    shutil.rmtree(project.results / "logs")  # Snakemake deletes each log before its job, which would make room
    before = stamps(project)
    more = {**few, "grid": {"lr": [0.01, 0.1, 0.2], "act": ["relu", "tanh"]}}
    project.configure({"experiments": {"small": more, "find": find, **own}})

    filler = project.results / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(b"0" * 4096):
                pass
        except OSError:
            pass
    full = project.snakemake()
    assert full.returncode != 0
    assert "the disk is full" in full.stderr and "Traceback" not in full.stderr
    assert stamps(project) == before and not decision.exists()
    filler.unlink()

    subprocess.run(["mount", "-o", "remount,ro", project.results], check=True)
    read_only = project.snakemake()
    assert read_only.returncode != 0
    assert "Write-protected output files" in read_only.stderr and "Traceback" not in read_only.stderr
    subprocess.run(["mount", "-o", "remount,rw", project.results], check=True)

    assert project.snakemake("--until", "train", "search_slot").returncode == 0
    assert len(project.records()) == 6 + 3 + 1
    assert decision.read_bytes() == decided
    assert stamps(project).items() >= before.items()
    assert not list(project.results.rglob("*.tmp"))


def test_only_what_is_new_is_planned(project: Project, tmp_path: Path):
    """The config is edited while the sweep runs, and then everything else happens that must repeat no run."""
    sweep = Sweep(project)
    wait_for(lambda: bool(project.records()))
    project.configure(
        """# the same four runs in another order and spelling, a default made explicit, and two new ones
experiments:
    small:
        momentum: 0
        grid: {act: [tanh, 'relu'], lr: [1e-1, 0.2, "0.01"]}
defaults: {hid_dim: 8.0, n_layer: 1, train_size: 200, epochs: 2}
"""
    )
    assert sweep.process.wait(timeout=LIMIT) == 0
    assert len(project.records()) == 4

    moved = tmp_path.with_name("moved")
    tmp_path.rename(moved)
    project.folder = moved
    chance = random.Random(0)
    for path in [*(moved / "scripts").rglob("*.py"), *(moved / "rules").iterdir(), moved / "Snakefile"]:
        path.write_text("\n\n" + path.read_text() + "\n")
    for path in project.results.rglob("*"):
        os.utime(path, (time.time() - chance.uniform(0, 1e7),) * 2)
    planned = project.planned()
    assert planned["train"] == 2
    assert planned.keys() <= {"train", "plan", "aggregate", "report", "html", "all"}
    assert len(project.records()) == 4


# -- tasks of one's own --------------------------------------------------------------------------------------------

# An epoch takes as long as PACE says.
OWN_FUNCTION = """
import os
import random
import time
import torch

def train(run, lr: float = 0.1, seed: int = 0, epochs: int = 12):
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    kept = {"sum": 0.0}
    run.restore(model=model, optimizer=optimizer, kept=kept)
    x = torch.randn(32, 4)
    for epoch in run.epochs(epochs):
        loss = model(x).square().mean() + run.rng("noise").normal()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        kept["sum"] += random.random()
        run.log(train_mse=loss)
        (run.folder / f"{epoch}").touch()
        time.sleep(float(os.environ.get("PACE", 0.15)))
    return {"test_mse": kept["sum"]}
"""
OWN_PROGRAM = """
import json, os, pathlib, random, sys, time
metrics, folder, seed = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3])
saved = folder / "state"
epoch, draw = 0, random.Random(seed)
if saved.exists():
    epoch, state = json.loads(saved.read_text())
    draw.setstate((state[0], tuple(state[1]), state[2]))
while epoch < 12:
    epoch += 1
    with open(metrics, "a") as file:
        print(json.dumps({"epoch": epoch, "val_mae": draw.random()}), file=file)
    new = folder / "new"
    new.write_text(json.dumps([epoch, draw.getstate()]))
    new.replace(saved)
    time.sleep(float(os.environ.get("PACE", 0.15)))
with open(metrics, "a") as file:
    print(json.dumps({"test_mae": draw.random()}), file=file)
"""
OWN_SCRIPT = """
for i in 1 2 3 4 5 6; do echo "{\\"val_mae\\": $i$2}" >> $1; sleep 0.1; done
echo "{\\"test_mae\\": $2}" >> $1
"""


def own_tasks(seeds: int) -> dict[str, Any]:
    """A function, a command that goes on from its checkpoint, and one that begins anew."""
    commands = {
        "program": f"{sys.executable} program.py {{metrics}} {{checkpoint}} {{seed}}",
        "script": "sh script.sh {metrics} {seed}",
    }
    experiments: dict[str, Any] = {"function": {"train": "mine:train", "objective": "train_mse", "report": "test_mse"}}
    experiments |= {name: {"command": text, "objective": "val_mae"} for name, text in commands.items()}
    return {"experiments": {name: {**spec, "seeds": seeds, "figures": []} for name, spec in experiments.items()}}


def write_own_tasks(project: Project) -> None:
    (project.folder / "mine.py").write_text(OWN_FUNCTION)
    (project.folder / "program.py").write_text(OWN_PROGRAM)
    (project.folder / "script.sh").write_text(OWN_SCRIPT)


def test_many_kills_of_own_tasks(
    long_project: Project,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable,
):
    """A function and commands are killed and stopped, warm and cold, and end as undisturbed ones do."""
    project, chance, seeds = long_project, random.Random(1), 1
    monkeypatch.setenv("PACE", "0.5")
    write_own_tasks(project)
    started = note_starts(project)
    kills: Counter[str] = Counter()
    before: dict[str, tuple[int, bytes]] = {}
    changed = repeated = starts = 0
    kept: set[str] = set()  # what left a checkpoint to go on from
    while kills.total() < max(4, N_KILLS // 3) or kept != {"*.pt", "*.checkpoint/state"}:
        while 3 * seeds - len(before) < 3:
            seeds += 1
        project.configure(own_tasks(seeds))
        started.write_text("")
        starts += 1
        monkeypatch.setenv("DLSWEEP_WARM", "0") if starts % 2 else monkeypatch.delenv("DLSWEEP_WARM", raising=False)
        sweep = Sweep(project, "--retries", "1000", "--until", "train")
        for _ in range(3):
            sweep.wait_for_runs()
            wait_for_moment(sweep, project, chance, ("*.pt", "*.checkpoint/state"))
            if runs := [run for run in sweep.runs() if "dlsweep.runs.warm" not in " ".join(run.cmdline())]:
                number = chance.choice([signal.SIGKILL, signal.SIGTERM])
                with contextlib.suppress(psutil.Error):
                    chance.choice(runs).send_signal(number)
                    kills[f"{number.name} of a run"] += 1
        over = sweep.process.poll() is not None
        kind = chance.choice(["snakemake", "the whole group"])
        with contextlib.suppress(ProcessLookupError):
            if kind == "snakemake":
                sweep.process.kill()
            else:
                os.killpg(sweep.process.pid, signal.SIGKILL)
        sweep.process.wait(LIMIT)
        kills[f"SIGKILL of {kind}"] += not over
        wait_for(lambda: not processes_in(project.folder))  # nor any program of a command
        kept |= {left for left in ("*.pt", "*.checkpoint/state") if list(project.results.glob(f"running/{left}"))}
        now = stamps(project)
        changed += sum(now.get(name) != stamp for name, stamp in before.items())
        repeated += sum(name.removesuffix(".json").split("-")[1] in started.read_text() for name in before)
        before = now
    monkeypatch.setenv("PACE", "0")
    sweep = Sweep(project, "--until", "train")
    assert sweep.process.wait(timeout=LIMIT) == 0, sweep.output.read_text()[-5000:]

    reference = Project(tmp_path_factory.mktemp("undisturbed"))
    write_own_tasks(reference)
    reference.configure(own_tasks(seeds))
    done = reference.snakemake("--until", "train")
    assert done.returncode == 0, done.stdout + done.stderr
    undisturbed, records = reference.outcomes(), project.records()
    differing = sum(project.outcomes().get(name) != outcome for name, outcome in undisturbed.items())
    resumed = Counter(record["exp_name"] for record in records.values() if record["timing"]["resumed"])
    counted = ", ".join(f"{count} x {kind}" for kind, count in kills.items())
    record_property(
        "faults",
        f"own tasks: {counted}, over a sweep of {len(undisturbed)} runs of a function and two commands, warm and cold;"
        f" {resumed.total()} of them went on from a checkpoint;"
        f" records lost = {len(undisturbed.keys() - records.keys())}, records changed = {changed},"
        f" records unlike the undisturbed sweep's = {differing}, finished runs repeated = {repeated}",
    )
    assert (changed, repeated, differing) == (0, 0, 0)
    assert resumed["function"] and resumed["program"] and not resumed["script"]
    assert not list((project.results / "running").iterdir())
    files = {path.name: len(list(path.iterdir())) for path in (project.results / "files").iterdir()}
    assert files == {name.removesuffix(".json"): 12 for name in records if name.startswith("function-")}
