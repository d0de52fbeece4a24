"""GPUs of one machine, with pretended ones: which a run may use, and that no two runs are on one."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from conftest import SMALL, Project
from dlsweep.devices import PRETENDED, VISIBLE, parse_listed, present_devices, visible_devices
from dlsweep.hyperparameters import ConfigError
from dlsweep.sweep import expand_config
from dlsweep.workflow import Flow

# What nvidia-smi --list-gpus prints: a whole GPU, and one divided in two (from NVIDIA's MIG user guide).
LISTED = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5c89852c-d268-c3f3-1b07-005d5ae1dc3f)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-e86cb44c-6756-fd30-cd4a-1e6da3caf9b0)
  MIG 3g.20gb     Device  0: (UUID: MIG-c7384736-a75d-5afc-978f-d2f1294409fd)
  MIG 3g.20gb     Device  1: (UUID: MIG-a28ad590-3fda-56dd-84fc-0a0b96edc58d)
"""
WHOLE, *PARTS = parse_listed(LISTED)


def test_a_divided_gpu_is_its_parts():
    assert WHOLE == "GPU-5c89852c-d268-c3f3-1b07-005d5ae1dc3f"
    assert PARTS == ["MIG-c7384736-a75d-5afc-978f-d2f1294409fd", "MIG-a28ad590-3fda-56dd-84fc-0a0b96edc58d"]
    assert parse_listed("No devices found.\n") == []


def test_the_driver_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "nvidia-smi").write_text(f'#!/bin/sh\n[ "$1" = --list-gpus ] && cat <<"END"\n{LISTED}END\n')
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv(PRETENDED, raising=False)
    assert present_devices() == [WHOLE, *PARTS]
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho NVIDIA-SMI has failed; exit 9\n")
    assert present_devices() == []


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
    ],
)
def test_visible_devices(monkeypatch: pytest.MonkeyPatch, cuda: str | None, expected: list[str]):
    monkeypatch.setenv(PRETENDED, ",".join([WHOLE, *PARTS]))
    monkeypatch.delenv(VISIBLE, raising=False)
    if cuda is not None:
        monkeypatch.setenv(VISIBLE, cuda)
    assert list(visible_devices().values()) == expected


HOLDER = """
import os, sys, time
from dlsweep.devices import take_slot
with take_slot(int(sys.argv[1])) as slot:
    print("took", slot, os.environ["CUDA_VISIBLE_DEVICES"], time.monotonic(), flush=True)
    time.sleep(float(sys.argv[2]))
    print("left", slot, time.monotonic(), flush=True)
"""


def hold(tmp_path: Path, per_device: int, seconds: float) -> subprocess.Popen[str]:
    scripts = str(Path(__file__).parent.parent / "scripts")
    environment = {**os.environ, PRETENDED: "a,b", "TMPDIR": str(tmp_path), "PYTHONPATH": scripts}
    command = [sys.executable, "-c", HOLDER, str(per_device), str(seconds)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("per_device", [1, 2])
def test_a_slot_has_one_holder_at_a_time(tmp_path: Path, per_device: int):
    holders = [hold(tmp_path, per_device, 0.2) for _ in range(6)]
    spans: dict[str, list[tuple[float, float]]] = {}
    for holder in holders:
        out = holder.communicate(timeout=60)[0].split()
        _, slot, device, start, _, _, end = out
        assert device == slot.partition("/")[0]
        spans.setdefault(slot, []).append((float(start), float(end)))
    assert sum(map(len, spans.values())) == 6
    assert set(spans) <= {f"{device}/{slot}" for device in "ab" for slot in range(per_device)}
    for times in map(sorted, spans.values()):
        assert all(end <= start for (_, end), (start, _) in itertools.pairwise(times))


def test_a_killed_holder_frees_its_slot(tmp_path: Path):
    first, second = hold(tmp_path, 1, 60), hold(tmp_path, 1, 60)
    taken = {holder.stdout.readline().split()[1] for holder in (first, second)}
    assert taken == {"a/0", "b/0"}  # the second run goes to the empty device
    waiting = hold(tmp_path, 1, 0)
    time.sleep(1)
    assert waiting.poll() is None
    first.send_signal(signal.SIGKILL)
    assert waiting.communicate(timeout=60)[0].split()[1] in taken
    second.kill()
    for holder in (first, second):
        holder.communicate()


def test_a_sweep_uses_every_device(project: Project, monkeypatch: pytest.MonkeyPatch):
    project.configure({**SMALL, "experiments": {"a": {"figures": [], "grid": {"lr": [0.1, 0.2, 0.3, 0.4]}}}})
    monkeypatch.delenv(VISIBLE, raising=False)
    without = project.snakemake()
    assert without.returncode == 0, without.stderr
    assert {record["provenance"]["device_slot"] for record in project.records().values()} == {None}

    outcomes = project.outcomes()
    monkeypatch.setenv(PRETENDED, "a,b,c")
    monkeypatch.setenv(VISIBLE, "1,2")
    done = project.snakemake("--forceall", cores=4)
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
    monkeypatch.setenv(PRETENDED, "a,b,c")
    monkeypatch.delenv(VISIBLE, raising=False)
    sweep = expand_config({"jobs_per_gpu": 2, "experiments": {"a": {}}})
    settings = SimpleNamespace(nodes=nodes)
    workflow = SimpleNamespace(is_main_process=main, resource_settings=settings, global_resources=dict(given))
    Flow(sweep, [], {}).limit_gpus(workflow)
    assert workflow.global_resources.get("gpu") == limit


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "two", None])
def test_jobs_per_gpu_is_checked(value: object):
    with pytest.raises(ConfigError, match="jobs_per_gpu"):
        expand_config({"jobs_per_gpu": value, "experiments": {"a": {}}})
    schema = json.loads((Path(__file__).parent.parent / "schemas/config.schema.json").read_text())
    assert schema["properties"]["jobs_per_gpu"]["minimum"] == 1
