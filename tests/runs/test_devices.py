"""GPUs of one machine, with pretended ones: which a run may use, and that no two runs are on one."""

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from conftest import LIMIT, ROOT, Project, wait_for
from dlsweep.config.sweep import expand_config, load_sweep
from dlsweep.errors import ConfigError
from dlsweep.locks import is_held
from dlsweep.runs import nvidia
from dlsweep.runs.devices import (
    KNOWN,
    VISIBLE,
    Found,
    Usable,
    complaints,
    find_devices,
    find_usable,
    locks_folder,
    take_slot,
    visible_devices,
)
from dlsweep.runs.stopping import Stop
from dlsweep.tasks import torch_setup
from dlsweep.tasks.function import Libraries
from dlsweep.tasks.job import Job
from dlsweep.tasks.torch_setup import select_device
from dlsweep.workflow.gpus import Gpus

# As the driver names them: a whole GPU, and one divided in two.
WHOLE = "GPU-5c89852c-d268-c3f3-1b07-005d5ae1dc3f"
PARTS = ["MIG-c7384736-a75d-5afc-978f-d2f1294409fd", "MIG-a28ad590-3fda-56dd-84fc-0a0b96edc58d"]

# NVIDIA's management library with pretended devices, as far as it is used: one lost GPU, one whole, one divided.
PYNVML = f"""
import time
NVML_DEVICE_MIG_ENABLE = 1
class NVMLError(Exception): pass
def nvmlInit(): pass
def nvmlSystemGetDriverVersion(): return "470.57"
def nvmlDeviceGetCount(): return 3
def nvmlDeviceGetHandleByIndex(i):
    if i == 0: raise NVMLError("GPU is lost")
    return i
def nvmlDeviceGetUUID(device): return {{1: {WHOLE!r}, 20: {PARTS[0]!r}, 22: {PARTS[1]!r}}}[device]
def nvmlDeviceGetMigMode(gpu):
    if gpu == 1: raise NVMLError("Not Supported")
    return [1, 1]
def nvmlDeviceGetMaxMigDeviceCount(gpu): return 7
def nvmlDeviceGetMigDeviceHandleByIndex(gpu, i):
    if i not in (0, 2): raise NVMLError("Not Found")
    return 20 + i
"""


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a pretended driver; whatever its nvidia-smi prints is nobody's business."""
    folder = tmp_path / "driver"
    folder.mkdir()
    (folder / "nvidia-smi").write_text("#!/bin/sh\necho garbage; sleep 1000\n")
    (folder / "nvidia-smi").chmod(0o755)
    (folder / "pynvml.py").write_text(PYNVML)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    for name in (KNOWN, VISIBLE):
        monkeypatch.delenv(name, raising=False)
    return folder


def test_the_driver_is_asked(driver: Path):
    assert find_devices() == Found([WHOLE, *PARTS], "", "470.57")
    (driver / "pynvml.py").write_text(PYNVML.replace("def nvmlInit(): pass", "def nvmlInit(): raise NVMLError('so?')"))
    assert find_devices() == Found([], "NVMLError: so?")


def test_a_driver_that_hangs_is_not_waited_for(driver: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(nvidia.SECONDS, "driver", 1.0)
    (driver / "pynvml.py").write_text(PYNVML.replace("def nvmlInit(): pass", "def nvmlInit(): time.sleep(1000)"))
    assert find_devices() == Found([], "no answer within 1 s")


def test_gpus_that_torch_cannot_use_are_named_at_the_start_and_limit_nothing(project: Project, driver: Path):
    """torch is real here: it finds no driver. So the sweep is on the CPU, and says so."""
    asked = driver / "asked"
    counted = f"def nvmlInit(): open({str(asked)!r}, 'a').write('x')"
    (driver / "pynvml.py").write_text(PYNVML.replace("def nvmlInit(): pass", counted))
    assert "NVIDIA" not in (planned := project.snakemake("-n", "small")).stderr and planned.returncode == 0
    assert not (project.folder / ".snakemake" / "gpus.json").exists()
    asked.unlink()
    done = project.snakemake("small", cores=4)
    assert done.returncode == 0, done.stderr
    (warning,) = [line for line in done.stderr.splitlines() if line.startswith("warning: torch")]
    assert f"torch {torch.__version__} cannot use the 3 NVIDIA GPUs here: " in warning and "driver" in warning
    assert "CUDA_VISIBLE_DEVICES= snakemake" in done.stderr
    assert {record["provenance"]["device_slot"] for record in project.records().values()} == {None}
    assert asked.read_text() == "x"  # once a start, whatever the number of runs
    quiet = project.run("env", f"{VISIBLE}=", "snakemake", "--cores", "4", "small", "--forcerun", "train")
    assert quiet.returncode == 0 and "NVIDIA" not in quiet.stderr, quiet.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch's answers are pretended here")
def test_what_torch_says_of_each_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    answers: dict = {}
    asked = []

    def ask(what: str, environment: dict[str, str]) -> dict:
        asked.append({name: environment.get(name) for name in ("CUDA_DEVICE_ORDER", VISIBLE)})
        return answers

    monkeypatch.setattr(nvidia, "ask", ask)
    monkeypatch.delenv(VISIBLE, raising=False)
    found, cache = Found(["GPU-a", "GPU-b"], "", "550"), tmp_path / "gpus.json"

    # One is too old for this torch, the other is taken.
    answers = {"version": "2.14", "devices": [["", "no kernel image"], ["GPU-b", ""]], "error": ""}
    usable = find_usable(found, cache)
    assert usable.names == ["GPU-b"] and not cache.exists()
    assert complaints(found, usable) == ["warning: torch 2.14 cannot use the GPU GPU-a: no kernel image"]
    assert asked[-1] == {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", VISIBLE: "GPU-a,GPU-b"}

    # The driver is too old: torch says it of each, or of all.
    too_old = "driver too old"
    for devices, error in ([["", too_old], ["", too_old]], ""), ([], too_old):
        answers = {"version": "2.14", "devices": devices, "error": error}
        usable = find_usable(found, cache)
        first, advice = complaints(found, usable)
        assert first == "warning: torch 2.14 cannot use the 2 NVIDIA GPUs here: driver too old"
        assert "driver" in advice and usable.names == []

    # All is well: that is remembered, for this driver. Of a divided GPU CUDA shows one part.
    answers = {"version": "2.14", "devices": [["GPU-a", ""]], "error": ""}
    assert find_usable(found, cache).names == found.names
    n_asked = len(asked)
    assert find_usable(found, cache) == Usable(found.names, {}) and len(asked) == n_asked
    find_usable(Found(found.names, "", "560"), cache)
    assert len(asked) == n_asked + 1

    # CUDA works without the management library.
    missing = Found([], "LibraryNotFound")
    answers = {"version": "2.14", "devices": [["GPU-c", ""], ["GPU-d", ""]], "error": ""}
    assert find_usable(missing, cache).names == ["GPU-c", "GPU-d"]
    assert asked[-1][VISIBLE] is None


@pytest.mark.parametrize(
    ("cuda", "expected"),
    [
        (None, [WHOLE, *PARTS]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("1,0", [PARTS[0], WHOLE]),
        ("0,7,1", [WHOLE]),  # CUDA reads up to the first that is not there
        (f"{WHOLE}", [WHOLE]),
        ("GPU-5c89", [WHOLE]),
        (f"{PARTS[1]}, 0", [PARTS[1], WHOLE]),
        ("MIG-", []),  # of two devices, so of none
        (f"0,{WHOLE}", []),  # the same device twice
    ],
)
def test_visible_devices(monkeypatch: pytest.MonkeyPatch, cuda: str | None, expected: list[str]):
    monkeypatch.setenv(KNOWN, ",".join([WHOLE, *PARTS]))
    monkeypatch.delenv(VISIBLE, raising=False)
    if cuda is not None:
        monkeypatch.setenv(VISIBLE, cuda)
    assert visible_devices() == expected


HOLDER = """
import os, sys, time
from dlsweep.runs.devices import take_slot
with take_slot(int(sys.argv[1]), n_devices=int(sys.argv[3])) as slot:
    print("took", slot, os.environ["CUDA_VISIBLE_DEVICES"], time.monotonic(), flush=True)
    time.sleep(float(sys.argv[2]))
    print("left", slot, time.monotonic(), flush=True)
"""


def hold(
    tmp_path: Path, per_device: int, seconds: float, n_devices: int = 1, devices: str = "a,b"
) -> subprocess.Popen[str]:
    scripts = str(ROOT / "scripts")
    environment = {**os.environ, KNOWN: devices, "TMPDIR": str(tmp_path), "PYTHONPATH": scripts}
    command = [sys.executable, "-c", HOLDER, str(per_device), str(seconds), str(n_devices)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("per_device", [1, 2])
def test_a_slot_has_one_holder_at_a_time(tmp_path: Path, per_device: int):
    holders = [hold(tmp_path, per_device, 0.2) for _ in range(6)]
    spans: dict[str, list[tuple[float, float]]] = {}
    for holder in holders:
        out = holder.communicate(timeout=LIMIT)[0].split()
        _, slot, device, start, _, _, end = out
        assert device == slot.partition("/")[0]
        spans.setdefault(slot, []).append((float(start), float(end)))
    assert sum(map(len, spans.values())) == 6
    assert set(spans) <= {f"{device}/{slot}" for device in "ab" for slot in range(per_device)}
    for times in map(sorted, spans.values()):
        assert all(end <= start for (_, end), (start, _) in itertools.pairwise(times))


def test_a_killed_holder_frees_its_slot(tmp_path: Path):
    first, second = hold(tmp_path, 1, 600), hold(tmp_path, 1, 600)
    taken = {holder.stdout.readline().split()[1] for holder in (first, second)}
    assert taken == {"a/0", "b/0"}  # the second run goes to the empty device
    waiting = hold(tmp_path, 1, 0)
    time.sleep(1)
    assert waiting.poll() is None
    first.send_signal(signal.SIGKILL)
    assert waiting.communicate(timeout=LIMIT)[0].split()[1] in taken
    second.kill()
    for holder in (first, second):
        holder.communicate(timeout=LIMIT)


def test_the_emptiest_gpu_comes_first(tmp_path: Path):
    first = [hold(tmp_path, 2, 60) for _ in range(4)]
    slots = {holder.stdout.readline().split()[1]: holder for holder in first}
    assert set(slots) == {"a/0", "a/1", "b/0", "b/1"}
    for slot in ("a/1", "b/0", "b/1"):
        slots[slot].kill()
        slots[slot].communicate(timeout=LIMIT)
    after = [hold(tmp_path, 2, 60)]
    taken = [after[0].stdout.readline().split()[1]]
    after.append(hold(tmp_path, 2, 60))
    taken.append(after[1].stdout.readline().split()[1])
    for holder in (slots["a/0"], *after):
        holder.kill()
        holder.communicate(timeout=LIMIT)
    assert taken[0] == "b/0" and taken[1] in ("a/1", "b/1")


def test_runs_that_need_several_gpus_do_not_wait_for_each_other_for_ever(tmp_path: Path):
    """Each wants two of three, beside runs that want one; no GPU has two holders at a time."""
    holders = [hold(tmp_path, 1, 0.2, n_devices=1 + i % 2, devices="a,b,c") for i in range(8)]
    spans: dict[str, list[tuple[float, float]]] = {}
    n_slots = []
    for holder in holders:
        _, slots, visible, start, _, _, end = holder.communicate(timeout=LIMIT)[0].split()
        assert visible == ",".join(slot.removesuffix("/0") for slot in slots.split(","))
        n_slots.append(slots.count("/"))
        for slot in slots.split(","):
            spans.setdefault(slot, []).append((float(start), float(end)))
    assert n_slots == [1, 2] * 4
    for times in map(sorted, spans.values()):
        assert all(end <= start for (_, end), (start, _) in itertools.pairwise(times))


def test_a_run_that_needs_several_gpus_keeps_what_comes_free(tmp_path: Path):
    """Else runs that need one would overtake it as long as there are any. Killed, it frees what it has collected."""
    first, second = hold(tmp_path, 1, 600), hold(tmp_path, 1, 600)
    for holder in (first, second):
        holder.stdout.readline()
    several = hold(tmp_path, 1, 600, n_devices=2)
    first.kill()
    first.communicate(timeout=LIMIT)
    locks = next(tmp_path.glob("dlsweep-devices-*"))
    wait_for(lambda: sum(is_held(path) for path in locks.glob(".?.0.lock")) >= 2)
    late = hold(tmp_path, 1, 0)
    time.sleep(1)
    assert late.poll() is None
    several.kill()
    assert late.communicate(timeout=LIMIT)[0].startswith("took")
    second.kill()
    for holder in (second, several):
        holder.communicate(timeout=LIMIT)


@pytest.mark.parametrize(
    ("devices", "visible", "message"),
    [
        ("a,b", None, "to have 3 GPUs, but here it can use 2 (a, b)"),
        ("a,b,c", "0,1", "to have 3 GPUs, but here it can use 2 (a, b)"),
        (",".join([WHOLE, *PARTS]), None, f"but here it can use 1 ({WHOLE}); parts of a divided GPU do not count"),
        ("", None, "but here it can use none"),
    ],
)
def test_more_gpus_than_there_are_is_one_message(
    monkeypatch: pytest.MonkeyPatch, devices: str, visible: str | None, message: str
):
    monkeypatch.setenv(KNOWN, devices)
    monkeypatch.delenv(VISIBLE, raising=False)
    if visible:
        monkeypatch.setenv(VISIBLE, visible)
    with pytest.raises(ConfigError, match=re.escape(message)), take_slot(n_devices=3):
        pass
    monkeypatch.setenv(VISIBLE, "")  # the user means the CPU
    with take_slot(n_devices=3) as slot:
        assert slot is None


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to give a folder to somebody else")
def test_a_foreign_folder_of_locks_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    expected = tmp_path / f"dlsweep-devices-{os.getuid()}"
    assert locks_folder() == expected == locks_folder()
    os.chown(expected, 12345, -1)
    second = expected.with_name(expected.name + "-1")
    second.symlink_to("/etc")
    assert locks_folder() == expected.with_name(expected.name + "-2")
    os.chown(expected, os.getuid(), -1)
    expected.chmod(0o777)  # anybody could lock the slots
    assert locks_folder() == expected.with_name(expected.name + "-2")


# The first run waits for the second, where MEET names a folder.
MEET = """
import os, pathlib, sys, time
from torch import nn

class Net(nn.Sequential):
    def __init__(self, in_shape, n_classes):
        super().__init__(nn.Flatten(), nn.Linear(64, n_classes))
        if "MEET" in os.environ and "--check" not in " ".join(sys.argv):
            here = pathlib.Path(os.environ["MEET"])
            (here / str(os.getpid())).touch()
            while len(list(here.iterdir())) < 2:
                time.sleep(0.05)
"""


def test_a_sweep_uses_every_device(project: Project, monkeypatch: pytest.MonkeyPatch):
    (project.folder / "meet.py").write_text(MEET)
    few = {"model": "meet:Net", "figures": [], "grid": {"lr": [0.1, 0.2, 0.3, 0.4]}}
    project.configure({"defaults": {"epochs": 2, "train_size": 200}, "experiments": {"a": few}})
    monkeypatch.delenv(VISIBLE, raising=False)
    without = project.snakemake("a")
    assert without.returncode == 0, without.stderr
    assert {record["provenance"]["device_slot"] for record in project.records().values()} == {None}

    outcomes = project.outcomes()
    monkeypatch.setenv(KNOWN, "a,b,c")
    monkeypatch.setenv(VISIBLE, "1,2")
    (project.folder / "met").mkdir()
    monkeypatch.setenv("MEET", "met")
    done = project.snakemake("a", "--forceall", cores=4)
    assert done.returncode == 0, done.stderr
    log = max((project.folder / ".snakemake" / "log").iterdir(), key=lambda path: path.stat().st_mtime).read_text()
    assert 'gpu=Resource("gpu", 2)' in log  # of four runs that the cores allow, two at once
    slots = Counter(record["provenance"]["device_slot"] for record in project.records().values())
    assert set(slots) == {"b/0", "c/0"}
    assert {record["provenance"]["threads"] for record in project.records().values()} == {1}
    assert project.outcomes() == outcomes


@pytest.mark.parametrize(
    ("given", "main", "nodes", "limit"),
    [
        ({}, True, None, 6),  # snakemake --cores: three devices for two runs each
        ({"gpu": 1}, True, None, 1),  # the user's own --resources gpu=1
        ({}, True, 100, None),  # a cluster: this machine's devices are not those of the jobs
        ({}, False, 1, 6),  # inside a cluster's job
    ],
)
def test_runs_at_once(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, int], main: bool, nodes: int | None, limit: int | None
):
    monkeypatch.setenv(KNOWN, "a,b,c")
    monkeypatch.delenv(VISIBLE, raising=False)
    sweep = expand_config({"jobs_per_gpu": 2, "experiments": {"a": {}}})
    settings = SimpleNamespace(nodes=nodes)
    workflow = SimpleNamespace(is_main_process=main, resource_settings=settings, global_resources=dict(given))
    Gpus(sweep.jobs_per_gpu).limit(workflow)
    assert workflow.global_resources.get("gpu") == limit


@pytest.mark.parametrize("key", ["jobs_per_gpu", "gpus_per_run"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True, "two", None])
def test_numbers_of_gpus_are_checked(key: str, value: object):
    with pytest.raises(ConfigError, match=key):
        expand_config({key: value, "experiments": {"a": {}}})
    schema = json.loads((ROOT / "schemas/config.schema.json").read_text())
    assert schema["properties"][key]["minimum"] == 1


def test_several_gpus_for_the_built_in_training_are_refused():
    with pytest.raises(ConfigError, match=r"^gpus_per_run: 2 is for a task of your own .*uses one GPU$"):
        expand_config({"gpus_per_run": 2, "experiments": {"a": {}}})
    with pytest.raises(ConfigError, match=r"^gpus_per_run: 2 does not go with jobs_per_gpu: 3"):
        expand_config({"gpus_per_run": 2, "jobs_per_gpu": 3, "experiments": {"a": {}}})


OWN_AND_BUILT_IN = {
    "gpus_per_run": 2,
    "experiments": {
        "mine": {"train": "mine:train", "objective": "val_mae", "grid": {"lr": [0.1, 0.2]}},
        "built_in": {"lr": 0.1},
    },
}


def test_a_run_asks_for_the_gpus_that_it_has(project: Project, monkeypatch: pytest.MonkeyPatch):
    """The built-in training has one, whatever the config says of the others; a cluster's jobs ask for as many."""
    monkeypatch.delenv(VISIBLE, raising=False)
    (project.folder / "mine.py").write_text("def train(run, *, lr: float = 0.1): ...\n")
    project.configure(OWN_AND_BUILT_IN)

    def asked_for(*arguments: str) -> list[int]:
        dry = project.run("snakemake", "-n", "--until", "train", "--workflow-profile", "none", *arguments)
        assert dry.returncode == 0, dry.stderr
        return sorted(int(number) for number in re.findall(r"\bgpu=(\d+)", dry.stdout + dry.stderr))

    assert asked_for("--cores", "2") == [0, 0, 0]  # no GPU here
    slurm = ("--profile", "profiles/slurm")
    assert asked_for(*slurm) == [1, 2, 2]
    assert asked_for(*slurm, "--config", "gpus_per_run=1") == [1, 1, 1]
    contradiction = project.run("snakemake", "-n", *slurm, "--set-resources", "train:gpu=0")
    assert "error: gpus_per_run: 2 does not go with the cluster's profile" in contradiction.stderr
    monkeypatch.setenv(KNOWN, "a,b,c")
    assert asked_for("--cores", "2") == [1, 2, 2]


def test_each_run_has_its_gpus_and_sees_no_other(project: Project, monkeypatch: pytest.MonkeyPatch):
    """A function and a command, each with four of five: one after the other. The built-in training has one of them."""
    monkeypatch.delenv(VISIBLE, raising=False)
    monkeypatch.setenv(KNOWN, "a,b,c,d,e")
    (project.folder / "mine.py").write_text(
        "import os\n"
        "def train(run, *, lr: float = 0.1):\n"
        "    (run.folder / 'gpus').write_text(os.environ['CUDA_VISIBLE_DEVICES'])\n"
        "    return {'val_loss': lr, 'devices': [str(device) for device in run.devices]}\n"
    )
    command = "echo $CUDA_VISIBLE_DEVICES > {results}/gpus; echo '{{\"val_loss\": 1}}' > {metrics}"
    experiments = {
        "function": {"train": "mine:train", "figures": []},
        "command": {"command": command, "figures": []},
        "built_in": {"epochs": 1, "train_size": 100, "figures": []},
    }
    project.configure({"gpus_per_run": 4, "experiments": experiments})
    done = project.snakemake(*experiments, cores=4)
    assert done.returncode == 0, done.stderr
    slots = {record["exp_name"]: record["provenance"]["device_slot"] for record in project.records().values()}
    assert all(len(set(slots[name].split(","))) == 4 for name in ("function", "command")), slots
    assert slots["built_in"] in [f"{name}/0" for name in "abcde"]
    for name in ("function", "command"):
        (seen,) = (project.results / "files").glob(f"{name}-*/gpus")
        assert seen.read_text().strip() == slots[name].replace("/0", "")
    (function,) = (record for name, record in project.records().items() if name.startswith("function"))
    assert function["final"]["devices"] == ["cpu"]  # torch sees none of the pretended ones


def test_torchrun_has_a_process_for_each_gpu(project: Project, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(VISIBLE, raising=False)
    monkeypatch.setenv(KNOWN, "a,b")
    shutil.copytree(ROOT / "examples/torchrun", project.folder / "examples/torchrun")
    file = "examples/torchrun/torchrun.yaml"
    digest = next(iter(load_sweep([project.folder / file]).experiments["torchrun"].settings))
    done = project.snakemake(f"results/torchrun-{digest}.json", "--configfile", file)
    assert done.returncode == 0, done.stderr
    (record,) = project.records().values()
    assert record["status"] == "finished" and len(record["epochs"]) == 20 and record["final"]["test_mse"] < 1
    (log,) = (project.results / "logs").glob("torchrun-*.log")
    assert "2 processes, this one on cpu" in log.read_text()
    assert record["provenance"]["device_slot"] == "a/0,b/0"


def test_more_gpus_than_the_machine_has_end_a_start_before_it_starts(project: Project, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(VISIBLE, raising=False)
    (project.folder / "mine.py").write_text("def train(run, *, lr: float = 0.1): ...\n")
    project.configure(OWN_AND_BUILT_IN)
    monkeypatch.setenv(KNOWN, "a")
    done = project.snakemake("mine")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "error: gpus_per_run: a run is to have 2 GPUs, but here it can use 1 (a)" in done.stderr
    assert not project.results.exists()
    monkeypatch.setenv(KNOWN, "a,b")
    done = project.snakemake("mine", "--resources", "gpu=1")
    assert "error: --resources gpu=1: is too little for gpus_per_run: 2" in done.stderr
    assert not project.results.exists()


def test_one_gpu_of_several_is_the_one_that_is_seeded(monkeypatch: pytest.MonkeyPatch):
    """What torch seeds and saves is the current device's, which is the first unless one says so."""
    current: list[int] = []
    monkeypatch.setattr(torch, "zeros", lambda size, device: None)
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    assert select_device("cuda:1") == torch.device("cuda:1") and current == [1]
    assert select_device("cuda") == torch.device("cuda") and select_device("cpu") == torch.device("cpu")
    assert current == [1]


def test_all_gpus_of_a_run_are_seeded_and_go_on_as_they_were(monkeypatch: pytest.MonkeyPatch):
    """Dropout on the second GPU draws from that GPU's own generator. Here generators on the CPU stand for all."""
    generators = [torch.Generator() for _ in range(4)]
    cuda = [torch.device(f"cuda:{i}") for i in range(4)]
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: [one.manual_seed(seed) for one in generators])
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: generators[device.index].get_state())
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: generators[device.index].set_state(state))
    monkeypatch.setattr(torch_setup, "select_device", lambda name: torch.device("cuda"))
    monkeypatch.setattr(torch_setup, "set_deterministic", lambda: None)
    job = Job({}, "", None, Path("run.pt"), Stop(), lambda epochs: None, slot="a/0,b/0,c/0,d/0")
    libraries = Libraries(job, seed=1)

    def draw() -> list[float]:
        return [torch.rand(1, generator=one).item() for one in generators]

    libraries.seed("initialization")
    assert libraries.devices() == cuda
    first, states, drawn = draw(), libraries.get_states(), draw()
    assert first != drawn
    libraries.set_states(states)
    assert draw() == drawn
    libraries.seed("initialization")
    assert draw() == first


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
@pytest.mark.parametrize("device", ["cuda:1", "cuda", "gpu", "cpu:x"])
def test_a_device_that_is_not_there_is_one_message(device: str):
    with pytest.raises(ConfigError, match=f"^--device: {device} cannot be used here .*; allowed: auto, cpu, cuda, mps"):
        select_device(device)
