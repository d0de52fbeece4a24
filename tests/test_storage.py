"""Folders that cannot be synced, and writes that fail: each with its true cause in the table at the end."""

import errno
import json
import os
from pathlib import Path

import pytest

from conftest import Project
from dlsweep.files import write_atomic
from dlsweep.workflow.failures import storage_trouble

FEW = {
    "defaults": {"epochs": 2, "train_size": 200, "n_layer": 1, "hid_dim": 8},
    "experiments": {"few": {"grid": {"lr": [0.01, 0.1]}, "figures": []}},
}


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS])
def test_a_folder_that_cannot_be_synced_holds_records(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    sync, failing = os.fsync, [number]

    def no_folders(descriptor: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):  # noqa: PTH112
            raise OSError(failing[0], os.strerror(failing[0]))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", no_folders)
    write_atomic(tmp_path / "file", b"whole")
    assert (tmp_path / "file").read_bytes() == b"whole"
    failing[0] = errno.EIO  # not every failure means that folders cannot be synced
    with pytest.raises(OSError, match="Input/output error"):
        write_atomic(tmp_path / "file", b"whole")


def test_a_sweep_where_folders_cannot_be_synced(project: Project, shim: str, monkeypatch: pytest.MonkeyPatch):
    project.configure(FEW)
    monkeypatch.setenv("LD_PRELOAD", shim)
    monkeypatch.setenv("SHIM_SYNC_FOLDER", str(errno.EINVAL))
    done = project.snakemake("few")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(project.records()) == 2


def test_a_record_that_cannot_be_written_is_told_as_such(project: Project, shim: str, monkeypatch: pytest.MonkeyPatch):
    """Of the record's own write, whether or not the running record can still be replaced, as at the end of a quota."""
    project.configure(FEW)
    monkeypatch.setenv("LD_PRELOAD", shim)
    monkeypatch.setenv("SHIM_SYNC", str(errno.EIO))
    monkeypatch.setenv("SHIM_PATH", "*/results/few-*.json.tmp")
    told(project, "cannot be written: Input/output error")

    monkeypatch.delenv("SHIM_SYNC")
    monkeypatch.setenv("SHIM_RENAME", str(errno.EDQUOT))
    monkeypatch.setenv("SHIM_PATH", "*few-*.json")  # none of a running record, once it is there
    (project.results / "running").mkdir(exist_ok=True)
    assert list((project.results / "running").glob("few-*.json"))
    told(project, "cannot be written: Disk quota exceeded")
    shown = json.loads(project.run("python", "scripts/sweep.py", "show", "--json").stdout)
    assert shown[0]["states"] == {"failed": 2}

    for variable in ("LD_PRELOAD", "SHIM_RENAME", "SHIM_PATH"):
        monkeypatch.delenv(variable)
    done = project.snakemake("few")
    assert done.returncode == 0 and len(project.records()) == 2, done.stderr
    assert not list((project.results / "running").iterdir())


def told(project: Project, cause: str) -> None:
    done = project.snakemake("few")
    assert done.returncode and "Traceback" not in done.stderr
    table = done.stderr[done.stderr.rindex("few lr=") :]
    assert cause in table and "killed" not in table, table
    assert "2 of 2 runs are not finished (2 failed)" in table
    assert not project.records() and not list(project.results.rglob("*.tmp"))


def test_what_the_results_folder_lacks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert storage_trouble(tmp_path) == "" and not list(tmp_path.iterdir())

    def full(*_: object) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(os, "fsync", full)
    assert "the disk is full (Disk quota exceeded)" in storage_trouble(tmp_path)
