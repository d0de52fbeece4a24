"""The warm trainer: a run that is handed over is like one in its own process, and nothing depends on the trainer."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import LIMIT, ROOT, Project, outcome, wait_for
from dlsweep.runs.devices import take_slot
from dlsweep.runs.warm import start as trainer
from dlsweep.tasks.own_code import first_imports

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the tests look at processes in /proc")

# How the trainer works on Linux, and elsewhere: there it and its processes do without what only Linux has.
WAYS = ("", "spares")
WITHOUT_LINUX = """
import os, sys
if "dlsweep.runs.warm" in " ".join(sys.orig_argv) or "train.py" in " ".join(sys.orig_argv):
    import builtins, pathlib, resource
    for module, names in {os: ["O_PATH", "sched_getaffinity", "sched_setaffinity"], resource: ["prlimit"]}.items():
        for name in names:
            delattr(module, name)
    def hidden(open):
        def refuse(path, *arguments, **options):
            if str(path).startswith("/proc"):
                raise FileNotFoundError(path)
            return open(path, *arguments, **options)
        return refuse
    for module, name in ((os, "open"), (builtins, "open"), (pathlib.Path, "read_bytes")):
        setattr(module, name, hidden(getattr(module, name)))
"""

# CUDA as a run on a GPU would start it, where there is none.
PRETENDED_CUDA = """
import builtins, os, sys
load, started = builtins.__import__, []
def is_initialized():
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("a", "b"):
        started.append(True)
    return bool(started)
def pretend(*arguments, **options):
    module = load(*arguments, **options)
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    if hasattr(cuda, "empty_cache"):
        builtins.__import__ = load
        cuda.is_initialized, cuda.device_count, cuda.empty_cache = is_initialized, lambda: 1, lambda: None
    return module
if "dlsweep.runs.warm" in " ".join(sys.orig_argv):
    builtins.__import__ = pretend
"""

LONG = ("--epochs=1000000", "--hid-dim=8")

SNAKEMAKE = """
import os, sys, time
sys.path.insert(0, "scripts")
from dlsweep.runs.warm import start as warm
trainer = warm.start()
print(os.environ["DLSWEEP_WARM"], trainer.pid, flush=True)
sys.stdin.read()
"""

# A model that says what its process is like: all that a job gives to a process of its own.
PROBE = """
import json, os, resource, signal, sys, threading
import torch
mask = os.umask(0); os.umask(mask)
print("probe", json.dumps({
    "argv": sys.argv, "cwd": os.getcwd(), "path": sys.path[:2], "environment": dict(os.environ), "umask": mask,
    "files": resource.getrlimit(resource.RLIMIT_NOFILE), "nice": os.nice(0),
    "cpus": sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
    "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])), "threads": torch.get_num_threads(),
    "handlers": {n: str(signal.getsignal(n)) for n in (signal.SIGUSR2, signal.SIGCHLD, signal.SIGPIPE)},
    "streams": [os.readlink(f"/proc/self/fd/{n}") for n in (0, 1, 2)], "rng": torch.get_rng_state().sum().item(),
    "stdout": [sys.stdout.encoding, sys.stdout.line_buffering], "bad_fork": torch.cuda._is_in_bad_fork(),
}))
print("parent", os.getppid(), flush=True)
class Net(torch.nn.Sequential):
    def __init__(self, in_shape, n_classes):
        super().__init__(torch.nn.Flatten(), torch.nn.Linear(64, n_classes))
"""


class Warm(Project):
    """A project with prepared data, and a stand-in for a Snakemake that has started its trainer."""

    def __init__(self, folder: Path, way: str = "", world: str | None = None) -> None:
        super().__init__(folder)
        self.way = way
        (folder / "elsewhere").mkdir()
        world = (WITHOUT_LINUX if way else "") if world is None else world
        (folder / "elsewhere" / "sitecustomize.py").write_text(world)
        (folder / "probe.py").write_text(PROBE)
        done = self.run("python", "scripts/prepare.py", "--dataset=digits", "--output=results/data/digits.pt")
        assert done.returncode == 0, done.stderr
        self.start()

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "PYTHONPATH": str(self.folder / "elsewhere")}

    def start(self) -> None:
        command = [sys.executable, "-c", SNAKEMAKE]
        environment = {**self.environment(), "DLSWEEP_WARM": self.way}
        pipe = subprocess.PIPE
        self.snakemake_process = subprocess.Popen(
            command, cwd=self.folder, env=environment, stdin=pipe, stdout=pipe, text=True
        )
        assert self.snakemake_process.stdout
        sockets, trainer = self.snakemake_process.stdout.readline().split()
        self.sockets, self.trainer = Path(sockets), int(trainer)
        wait_for((self.sockets / "ready").exists)

    def stop(self) -> None:
        self.snakemake_process.kill()
        self.snakemake_process.wait(LIMIT)

    def train(self, *options: str, warm: bool = True, prefix: str = "") -> subprocess.Popen[str]:
        """Start a run, in the way that Snakemake's shell does."""
        environment = {**self.environment(), "DLSWEEP_WARM": str(self.sockets) if warm else "0", "OMP_NUM_THREADS": "1"}
        command = f"{prefix} exec python scripts/train.py --data=results/data/digits.pt {' '.join(options)}"
        return subprocess.Popen(
            ["bash", "-c", command],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def long_run(self, exp_name: str, warm: bool = True) -> tuple[subprocess.Popen[str], int]:
        """Start a run that has no end; return its job and the process that trains, once it does."""
        job = self.train(*LONG, f"--exp-name={exp_name}", f"--seed={int.from_bytes(exp_name.encode()[:3])}", warm=warm)
        found: list[int] = []

        def trains() -> bool:
            for path in self.results.glob(f"running/{exp_name}-*.json"):
                record = json.loads(path.read_text())
                found.extend([record["provenance"]["pid"]] if record["epochs"] else [])
            return bool(found)

        wait_for(trains)
        return job, found[0]

    def has_checkpoint(self, exp_name: str) -> bool:
        (path,) = self.results.glob(f"running/{exp_name}-*.json")
        digest = path.stem.rpartition("-")[2]
        return json.loads(path.read_text())["status"] == "interrupted" and (path.parent / f"{digest}.pt").exists()


def is_gone(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def finish(job: subprocess.Popen[str]) -> tuple[int, str]:
    text, _ = job.communicate(timeout=LIMIT)
    return job.returncode, text


@pytest.fixture(scope="module", params=WAYS, ids=("forks", "spares"))
def shared(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Warm]:
    project = Warm(tmp_path_factory.mktemp("warm"), request.param)
    yield project
    project.stop()


def test_a_run_is_like_one_in_its_own_process(shared: Warm):
    said, records = {}, {}
    limits = "" if shared.way else "ulimit -n 512; renice -n 3 $$ >/dev/null;"
    for warm in (True, False):
        status, text = finish(
            shared.train(
                "--model=probe:Net",
                "--epochs=2",
                "--exp-name=alike",
                warm=warm,
                prefix=f"umask 027; export EXTRA=1; {limits}",
            )
        )
        assert status == 0, text
        said[warm] = {line.split(" ", 1)[0]: line.split(" ", 1)[1] for line in text.splitlines()}
        (path,) = shared.results.glob("alike-*.json")
        records[warm] = outcome(json.loads(path.read_text()))
        path.unlink()
    assert int(said[True]["parent"]) == shared.trainer != int(said[False]["parent"])
    warm, own = (json.loads(said[which]["probe"]) for which in (True, False))
    for process in (warm, own):
        process["environment"].pop("DLSWEEP_WARM", None)
        process["environment"].pop("TORCHINDUCTOR_CACHE_DIR", None)  # torch sets it while it is loaded
        process["streams"] = [stream.partition("[")[0] for stream in process["streams"]]
    assert warm == own
    assert records[True] == records[False]


def test_the_exit_status_is_the_runs_own(shared: Warm):
    status, text = finish(shared.train("--lr=-1"))
    assert (status, text[:10]) == (1, "error: lr:")
    assert finish(shared.train("--no-such-option"))[0] == 2
    job, process = shared.long_run("killed")
    os.kill(process, signal.SIGKILL)
    assert finish(job)[0] == 128 + signal.SIGKILL


def test_a_signal_reaches_the_run(shared: Warm):
    job, process = shared.long_run("stopped")
    assert process != job.pid
    job.send_signal(signal.SIGTERM)
    assert finish(job)[0] == 128 + signal.SIGTERM
    wait_for(lambda: is_gone(process))
    assert shared.has_checkpoint("stopped")


def test_a_run_ends_with_its_job(shared: Warm):
    job, process = shared.long_run("lost")
    job.kill()
    wait_for(lambda: is_gone(process))
    assert shared.has_checkpoint("lost")


@pytest.mark.parametrize("prefix", ["export PYTHONHASHSEED=1;", "ulimit -n 512;", "renice -n 3 $$ >/dev/null;"])
def test_what_a_process_cannot_take_over_trains_by_itself(shared: Warm, prefix: str):
    other = ("--model=probe:Net", "--exp-name=other", f"--seed={len(prefix)}")
    status, text = finish(shared.train(*other, "--epochs=1", prefix=prefix))
    assert status == 0, text
    forks_take_it_over = not shared.way and "PYTHON" not in prefix
    assert (f"parent {shared.trainer}" in text) == forks_take_it_over


def test_one_process_does_many_runs_and_none_after_what_may_have_left_a_trace(shared: Warm):
    """Bit for bit as in a process of its own, whatever the process has done before."""
    if not shared.way:
        pytest.skip("a fork does one run")
    ordinary = ("--epochs=2", "--train-size=300", "--time-limit=240")
    runs = {
        "mlp": (*ordinary, "--dropout=0.3", "--random-crop=1"),
        "cnn": (*ordinary, "--model=cnn", "--optimizer=adam", "--test-weights=best"),
        "threads": (*ordinary, "--threads=2"),
        "half": (*ordinary, "--precision=bf16", "--log-gradients=true"),
        "diverged": (*ordinary, "--lr=1e6"),
        "wrong": (*ordinary, "--lr=-1"),
        "after-wrong": ordinary,
        "own": (*ordinary, "--model=probe:Net"),
        "after-own": (*ordinary, "--seed=7"),
    }
    with socket.socket(socket.AF_UNIX) as connection:  # as another Snakemake that looks whether this trainer lives
        connection.connect(f"{shared.sockets}/socket")
    processes, records = {}, {}
    for warm in (True, False):
        for name, options in runs.items():
            status, text = finish(shared.train(*options, f"--exp-name={name}", warm=warm))
            assert status == (name == "wrong"), text
            for path in shared.results.glob(f"{name}-*.json"):
                record = json.loads(path.read_text())
                processes[name, warm] = record["provenance"]["pid"]
                records[name, warm] = outcome(record)
                path.unlink()
    for name in runs.keys() - {"wrong"}:
        assert records[name, True] == records[name, False], name
    assert len({processes[name, True] for name in ("mlp", "cnn", "threads", "half", "diverged")}) == 1
    assert len({processes[name, True] for name in ("mlp", "after-wrong", "after-own")}) == 3
    assert processes["own", True] == processes["after-wrong", True]


def test_a_process_that_has_started_cuda_does_its_next_run_on_the_same_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("DLSWEEP_DEVICES", "a,b")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = tmp_path / "project"
    folder.mkdir()
    project = Warm(folder, "contexts", PRETENDED_CUDA)
    found = {}

    def run(name: str, *options: str, prefix: str = "") -> None:
        status, text = finish(project.train("--epochs=1", f"--exp-name={name}", *options, prefix=prefix))
        assert status == 0, text
        (path,) = project.results.glob(f"{name}-*.json")
        provenance = json.loads(path.read_text())["provenance"]
        found[name] = provenance["device_slot"], provenance["pid"]

    try:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "a")
        with take_slot():
            monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
            run("first")
        run("second", "--seed=1")  # a is free again, and would be the first to take
        run("other", "--seed=2", prefix="export CUDA_VISIBLE_DEVICES=a;")
        run("other-again", "--seed=3", prefix="export CUDA_VISIBLE_DEVICES=a;")
    finally:
        project.stop()
    assert found["first"] == found["second"] and found["first"][0] == "b/0"
    for name in ("other", "other-again"):
        assert found[name][0] == "a/0" and found[name][1] != found["first"][1]


def test_no_trainer_is_needed(shared: Warm, tmp_path: Path):
    """A trainer that is gone, and one that is not there at all."""
    project = Warm(tmp_path, shared.way)
    try:
        # One that hangs: the run that finds out waits for it, the next one does not.
        os.kill(project.trainer, signal.SIGSTOP)
        assert finish(project.train("--epochs=1", "--exp-name=hung"))[0] == 0
        assert not (project.sockets / "socket").exists()
        # Snakemake ends, also a trainer that hangs.
        assert project.snakemake_process.stdin
        project.snakemake_process.stdin.close()
        project.snakemake_process.wait(LIMIT)
        assert is_gone(project.trainer)
        assert not project.sockets.exists()
        assert finish(project.train("--epochs=1", "--exp-name=gone"))[0] == 0
        assert len(list(project.results.glob("*-*.json"))) == 2

        # One that is killed: the run that it has begun goes on, the next one trains by itself.
        project.start()
        job, process = project.long_run("going")
        os.kill(project.trainer, signal.SIGKILL)
        wait_for(lambda: is_gone(project.trainer))
        assert finish(project.train("--epochs=1", "--exp-name=next"))[0] == 0
        assert not is_gone(process)
        # Everything ends with Snakemake, however that ends; and this one's trainer is not the shared one.
        project.snakemake_process.kill()
        wait_for(lambda: is_gone(process))
        assert finish(job)[0] == 128 + signal.SIGTERM
        assert not is_gone(shared.trainer)

        # One that is stopped ends with Snakemake too, when that is killed; where it forks, that is on Linux.
        if shared.way:
            return
        project.start()
        os.kill(project.trainer, signal.SIGSTOP)
        project.snakemake_process.kill()
        wait_for(lambda: is_gone(project.trainer))
        assert not project.sockets.exists()

        # One that is killed together with Snakemake leaves its folder, which the next one removes.
        project.start()
        left = project.sockets
        os.kill(project.trainer, signal.SIGKILL)
        project.stop()
        wait_for(lambda: is_gone(project.trainer))
        assert left.exists()
        project.start()
        assert not left.exists() and shared.sockets.exists()
    finally:
        project.stop()


def test_the_trainer_never_computes(shared: Warm):
    """Forks of a process that has used CUDA or a thread pool do not work."""
    code = """
import os, sys
sys.path.insert(0, "scripts")
import torch
def refuse(*arguments, **options):
    raise AssertionError("the trainer asked for CUDA")
for module, name in ((torch.cuda, "is_available"), (torch.cuda, "device_count"), (torch.cuda, "_lazy_init"),
                     (torch._C, "_cuda_getDeviceCount"), (torch._C, "_cuda_init")):
    if hasattr(module, name):
        setattr(module, name, refuse)
from dlsweep.runs.warm import worker as warm
warm.preload()
print(len(os.listdir("/proc/self/task")))
"""
    done = shared.run("env", "OPENBLAS_NUM_THREADS=1", sys.executable, "-c", code)
    assert done.stdout.strip() == "1", done.stderr


LIBRARY = """
import os, random, threading, time
os.environ["LIBRARY"] = "is here"
random.random()  # as some do
process = os.getpid()
"""
# What the function draws while its module is imported, and after, and what the library has left in the environment.
MINE = """
import random
import library
import os
first = random.random()
def train(run, *, lr: float = 0.1):
    print("library", library.process, "run", os.getpid(), "parent", os.getppid(), flush=True)
    return {"val_loss": lr, "first": first, "then": random.random(), "variable": os.environ.get("LIBRARY")}
"""
PROCESSES = re.compile(r"library (\d+) run (\d+) parent (\d+)")


def test_what_the_users_code_begins_by_importing_is_loaded_once(project: Project, monkeypatch: pytest.MonkeyPatch):
    (project.folder / "elsewhere").mkdir()
    monkeypatch.setenv("PYTHONPATH", str(project.folder / "elsewhere"))
    library = project.folder / "elsewhere" / "library.py"
    library.write_text(LIBRARY)
    (project.folder / "mine.py").write_text(MINE)
    project.configure({"experiments": {"mine": {"train": "mine:train", "grid": {"lr": [0.1, 0.2]}, "figures": []}}})
    done = project.snakemake("--until", "train")
    assert done.returncode == 0, done.stderr
    logs = [path.read_text() for path in project.results.glob("logs/mine-*.log")]
    libraries, runs, parents = map(set, zip(*(PROCESSES.findall(log)[0] for log in logs), strict=True))
    assert len(runs) == 2 and len(libraries) == 1 and libraries == parents  # the trainer has loaded it
    warm = project.outcomes()

    def by_hand() -> list[str]:
        """What a run by hand says of its processes. Its record is that of the sweep."""
        shutil.rmtree(project.results)
        options = ("--train=mine:train", "--exp-name=mine", "--lr=0.2")
        done = project.run(sys.executable, "scripts/train.py", *options)
        assert done.returncode == 0, done.stderr
        assert len(project.records()) == 1 and project.outcomes().items() <= warm.items()
        return PROCESSES.findall(done.stdout)[0]

    monkeypatch.setenv("DLSWEEP_WARM", "0")
    library_in, run, _ = by_hand()
    assert library_in == run
    # A library that starts a thread, which a fork would not have: the trainer does without the library.
    library.write_text(f"{LIBRARY}threading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n")
    monkeypatch.setenv("DLSWEEP_WARM", "")
    monkeypatch.chdir(project.folder)
    process = trainer.start([Path("mine.py")])
    assert process
    try:
        library_in, run, parent = by_hand()
    finally:
        trainer.stop(process, os.environ["DLSWEEP_WARM"])
    assert library_in == run and int(parent) == process.pid


@pytest.mark.parametrize(
    ("text", "n"),
    [
        ("'''Doc.'''\nfrom __future__ import annotations\nimport numpy as np, torch\nfrom json import *", 3),
        ("import numpy\nimport os\nos.environ['A'] = '1'\nimport json", 2),  # which a library may read
        ("import json\ntry:\n    import numpy\nexcept ImportError:\n    pass", 1),
        ("import json\nimport helpers\nimport numpy", 1),  # the user's own
        ("import json\nimport yaml", 1),  # a module of this name is beside the config
        ("import json\nfrom folder.part import f", 1),
        ("import json\nfrom . import f", 1),
        ("import json\nimport there_is_no_such_module", 1),
        ("import json\nimport", 0),
        ("import train", 0),  # it is no module of the user's, but this project's script
    ],
)
def test_only_installed_modules_are_loaded_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, n: int):
    (tmp_path / "beside/folder").mkdir(parents=True)
    for name in ("helpers", "beside/yaml", "beside/folder/part"):
        (tmp_path / f"{name}.py").write_text("")
    (tmp_path / "mine.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "train", raising=False)  # of another test, as is a folder with its train.py
    monkeypatch.setattr(sys, "path", [str(ROOT / "scripts"), *sys.path])
    monkeypatch.setenv("DLSWEEP_CONFIG_FOLDERS", str(tmp_path / "beside"))
    assert len(list(first_imports(Path("mine.py")))) == n


def test_a_sweep_is_the_same_with_and_without_it_and_as_a_group(project: Project):
    (project.folder / "probe.py").write_text(PROBE)
    base = {"model": "probe:Net", "epochs": 2, "train_size": 200}
    project.configure({"experiments": {"small": {**base, "grid": {"lr": [0.01, 0.1]}, "figures": []}}})
    assert project.run("env", "DLSWEEP_WARM=0", "snakemake", "--cores", "2").returncode == 0
    own, parents = project.outcomes(), set()
    jobs = [f"train:exp=small,hash={name[6:46]}" for name in own]
    # What runs inside a job of a cluster is a Snakemake that another one starts in this way.
    group = ("--target-jobs", *jobs, "--mode", "remote", "--no-hooks", "--nolock")
    for arguments in ([f"results/{name}" for name in own], group):
        for path in [*project.results.glob("small-*.json"), *project.results.glob("logs/small-*.log")]:
            path.unlink()
        done = project.snakemake(*arguments)
        assert done.returncode == 0, done.stderr
        assert project.outcomes() == own
        logs = [path.read_text() for path in project.results.glob("logs/small-*.log")]
        (parent,) = {line for log in logs for line in log.splitlines() if line.startswith("parent")}
        parents.add(parent)
        assert not processes_in(project.folder)
    assert len(logs) == len(parents) == 2


def test_it_is_started_only_for_several_runs(project: Project):
    started = project.folder / "started.txt"
    (project.folder / "sitecustomize.py").write_text(
        f"import sys\nwith open({str(started)!r}, 'a') as file:\n    print(*sys.orig_argv, file=file)\n"
    )
    project.configure({"experiments": {"small": {"epochs": 1, "grid": {"seed": [0, 1]}, "figures": []}}})

    def starts_it(*arguments: str) -> bool:
        started.unlink(missing_ok=True)
        done = project.run("env", f"PYTHONPATH={project.folder}", "snakemake", "--cores", "2", *arguments)
        assert done.returncode == 0, done.stderr
        return "dlsweep.runs.warm" in started.read_text()

    assert not starts_it("-n")
    assert not starts_it("--lint")
    assert starts_it("small")
    assert not starts_it("small")
    project.configure({"experiments": {"small": {"epochs": 1, "grid": {"seed": [0, 1, 2]}, "figures": []}}})
    assert not starts_it("small")  # one run


REFUSE = """
import socket
def bind(self, path):
    raise PermissionError(1, "refused")
socket.socket.bind = bind
"""
DIE = """
import sys
if any("dlsweep.runs.warm" in word for word in sys.orig_argv):
    sys.exit("no torch")
"""


def test_a_sweep_goes_on_where_it_cannot_start_or_ends_early(project: Project):
    """Its socket is refused; then it dies before it answers. One line says so."""
    project.configure({"experiments": {"small": {"epochs": 1, "grid": {"seed": [0, 1]}, "figures": []}}})
    lines = {REFUSE: "no warm trainer, so each run loads torch by itself", DIE: "the warm trainer ended early"}
    for code, line in lines.items():
        (project.folder / "sitecustomize.py").write_text(code)
        done = project.run("env", f"PYTHONPATH={project.folder}", "snakemake", "--cores", "2", "small")
        assert done.returncode == 0, done.stderr
        assert done.stderr.count(line) == 1, done.stderr
        assert len(project.records()) == 2
        shutil.rmtree(project.results)


def test_what_lies_in_the_temporary_folder_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / f"{trainer.PREFIX}file").write_text("")
    (tmp_path / f"{trainer.PREFIX}link").symlink_to("nowhere")
    (tmp_path / f"{trainer.PREFIX}empty").mkdir()
    (tmp_path / f"{trainer.PREFIX}folder" / "socket").mkdir(parents=True)
    (tmp_path / f"{trainer.PREFIX}text").mkdir()
    (tmp_path / f"{trainer.PREFIX}text" / "socket").write_text("")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    trainer._clear()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    monkeypatch.setenv("DLSWEEP_WARM", "")
    assert trainer.start() is None


def processes_in(folder: Path) -> list[str]:
    """The command lines of the processes that work in a folder."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and (process / "cwd").readlink().is_relative_to(folder):
                found.append((process / "cmdline").read_text())
        except OSError:
            continue
    return found
