"""Locks on file systems with and without `flock`: one holder at a time, and none that is dead."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import LIMIT, ROOT, Project, wait_for
from dlsweep import locks
from test_faults import Sweep, processes_in

WITHOUT = [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP]

COUNT = """
import sys, time
from pathlib import Path
from dlsweep.locks import acquire
count = Path("count")
for _ in range(int(sys.argv[1])):
    with acquire(Path("a.lock")):
        number = int(count.read_text())
        time.sleep(0.001)
        count.write_text(str(number + 1))
"""
HOLD = """
import sys, time
from pathlib import Path
from dlsweep.locks import acquire
with acquire(Path("a.lock")):
    print("held", flush=True)
    time.sleep(600)
"""


def python(folder: Path, code: str, *arguments: str, **options) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "scripts")}
    return subprocess.Popen([sys.executable, "-c", code, *arguments], cwd=folder, env=environment, text=True, **options)


@pytest.fixture(params=[0, errno.ENOLCK], ids=["flock", "lease"])
def flock(request: pytest.FixtureRequest, shim: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """With `flock` and without, in this process and in those that it starts."""
    if request.param:
        monkeypatch.setenv("LD_PRELOAD", shim)
        monkeypatch.setenv("SHIM_FLOCK", str(request.param))
        monkeypatch.setattr(locks.fcntl, "flock", no_flock)
    return request.param


def no_flock(*_: object) -> None:
    raise OSError(errno.ENOLCK, "No locks available")


def test_one_holds_it_at_a_time(flock: int, tmp_path: Path):
    (tmp_path / "count").write_text("0")
    processes = [python(tmp_path, COUNT, "40") for _ in range(4)]
    assert [process.wait(timeout=LIMIT) for process in processes] == [0] * 4
    assert (tmp_path / "count").read_text() == "160"
    assert {path.name for path in tmp_path.iterdir()} == {"a.lock", "count"}


def test_a_killed_holder_holds_nothing(flock: int, tmp_path: Path):
    path = tmp_path / "a.lock"
    with python(tmp_path, HOLD, stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline() == "held\n"
        assert locks.take(path) is None and locks.is_held(path)
        assert f"process {process.pid} on " in locks.holder(path)
        with pytest.raises(locks.Busy):
            locks.acquire(path, timeout=0.2)
        process.send_signal(signal.SIGSTOP)  # it lives, and may go on
        assert locks.take(path) is None
        process.kill()
        wait_for(lambda: not locks.is_held(path))
    lock = locks.take(path)
    assert lock and locks.is_held(path)
    lock.release()
    assert not locks.is_held(path) and not locks.is_held(tmp_path / "none.lock")
    assert not list(tmp_path.glob("*-lease"))


def test_a_process_is_told_from_another_of_its_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(locks.fcntl, "flock", no_flock)
    host, space = locks._here()
    leases = tmp_path / "a-lease"
    leases.mkdir()
    with python(tmp_path, "import sys; sys.stdin.read()", stdin=subprocess.PIPE) as process:
        (leases / f"{host}~{space}~{process.pid}~{locks._start(process.pid)}~0").touch()
        assert locks.is_held(tmp_path / "a.lock") and locks.take(tmp_path / "a.lock") is None
        (leases / f"{host}~{space}~{process.pid}~1~1").touch()  # of an earlier process
        process.kill()
        wait_for(lambda: locks._start(process.pid) == "ended")  # a zombie: nobody has waited for it yet
        assert not locks.is_held(tmp_path / "a.lock")
    with locks.acquire(tmp_path / "a.lock", timeout=5):
        assert len(list(leases.iterdir())) == 1


def test_a_lease_of_another_machine_counts_until_it_is_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "a.lock"
    (tmp_path / "a-lease").mkdir()
    other = tmp_path / "a-lease" / "elsewhere~1~17~1700000000~ab"
    other.touch()
    for without in (False, True):  # also where only the other machine has no locks
        if without:
            monkeypatch.setattr(locks.fcntl, "flock", no_flock)
        assert locks.take(path) is None and locks.is_held(path)
        assert "process 17 on elsewhere" in locks.holder(path)
    os.utime(other, (time.time() - locks.STALE_SECONDS - 1,) * 2)
    assert not locks.is_held(path)
    with locks.acquire(path):
        assert not other.exists()


def test_a_lock_of_another_machine_that_cannot_be_seen_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(locks.fcntl, "flock", no_flock)
    path = tmp_path / "a.lock"
    path.write_text("process 17 on elsewhere since 2026-01-01 00:00:00\n")
    with pytest.raises(OSError, match=r"process 17 on elsewhere.*No locks available.*delete this file.*a\.lock"):
        locks.take(path)
    path.write_text("")  # released
    with locks.acquire(path):
        pass


def test_who_loses_a_lease_to_another_machine_ends(flock: int, tmp_path: Path):
    if not flock:
        pytest.skip("a flock cannot be lost")
    code = HOLD.replace("with acquire", "from dlsweep import locks; locks.HEARTBEAT_SECONDS = 0.1\nwith acquire")
    process = python(tmp_path, code, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout and process.stdout.readline() == "held\n"
    (lease,) = (tmp_path / "a-lease").iterdir()
    before = lease.stat().st_mtime_ns
    wait_for(lambda: lease.stat().st_mtime_ns > before)
    lease.unlink()
    assert "another machine has taken this lock" in process.communicate(timeout=LIMIT)[1]
    assert process.returncode == 1


@pytest.mark.faults
def test_a_sweep_without_file_locks_is_killed_and_goes_on(project: Project, shim: str, monkeypatch: pytest.MonkeyPatch):
    defaults = {"epochs": 60, "train_size": 800, "batch_size": 8, "n_layer": 1, "hid_dim": 8}
    project.configure({"defaults": defaults, "experiments": {"some": {"grid": {"lr": [0.01, 0.1]}, "figures": []}}})
    undisturbed = project.snakemake("some")
    assert undisturbed.returncode == 0, undisturbed.stderr
    expected = project.outcomes()
    for path in project.results.glob("some-*.json"):
        path.unlink()

    monkeypatch.setenv("LD_PRELOAD", shim)
    for number in WITHOUT[:2]:
        monkeypatch.setenv("SHIM_FLOCK", str(number))
        kill_a_sweep(project, "some")
    monkeypatch.setenv("SHIM_FLOCK", str(WITHOUT[2]))
    done = project.snakemake("some")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no file locks" in done.stdout and "Traceback" not in done.stdout + done.stderr
    assert project.outcomes() == expected
    assert not list((project.results / "running").iterdir())


def kill_a_sweep(project: Project, target: str) -> None:
    """Kill a sweep with all its processes once it has written a checkpoint; no run is shown as running after that."""
    started = time.time()
    sweep = Sweep(project, target)
    wait_for(lambda: written_since(project, started) or sweep.process.poll() is not None)
    assert f"process {sweep.process.pid} on" in locks.holder(project.folder / ".snakemake" / "results.lock")
    os.killpg(sweep.process.pid, signal.SIGKILL)
    sweep.process.wait(LIMIT)
    wait_for(lambda: not processes_in(project.folder))
    (shown,) = json.loads(project.run("python", "scripts/sweep.py", "show", "--json").stdout)
    assert "interrupted" in shown["states"] and "running" not in shown["states"], shown


def written_since(project: Project, moment: float) -> bool:
    return any(path.stat().st_mtime > moment for path in (project.results / "running").glob("*.pt"))
