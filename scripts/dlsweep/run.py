"""One run from its command line to its record: lock, twin, training, provenance."""

from __future__ import annotations

import argparse
import datetime
import functools
import os
import platform
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from filelock import FileLock

from .hyperparameters import ConfigError, Setting, setting_hash
from .records import (
    SCHEMA_VERSION,
    Record,
    RecordError,
    read_record,
    record_name,
    running_folder,
    write_json,
)


def run_setting(options: argparse.Namespace, setting: Setting, command: str) -> int:
    """Make the record of one setting; return the exit status.

    A lock per setting keeps two processes from training it at once; the later one then finds the record.
    Raises ConfigError where the setting has another hash than the one asked for, RecordError where the record
    is there already but cannot be trusted: it is the user's to move or delete.
    """
    digest = setting_hash(setting)
    if options.hash and options.hash != digest:
        raise ConfigError(f"--hash: {options.hash} is not this setting's hash, which is {digest}")
    path = options.results / record_name(options.exp_name, digest)
    running = running_folder(options.results)
    running.mkdir(parents=True, exist_ok=True)
    with FileLock(running / f"{digest}.lock"):
        if path.exists():  # Snakemake removes it before it makes it again, so somebody else just made it
            read_record(path)
            print(f"{path}: is finished; delete it to make it again")
            return 0
        twin = find_twin(options.results, digest)
        if twin:
            print(f"{path}: the same setting as {record_name(twin['exp_name'], digest)}, which is finished")
            write_json(path, {**twin, "exp_name": options.exp_name})
        else:
            status = train(options, setting, digest, path, command)
            if status:
                return status
        for leftover in running.glob(f"*{digest}.*"):
            if leftover.suffix != ".lock":
                leftover.unlink()
    (running / f"{digest}.lock").unlink(missing_ok=True)
    return 0


def find_twin(results: Path, digest: str) -> Record | None:
    """Return a good finished record of the same setting, of whichever experiment."""
    for candidate in sorted(results.glob(f"*-{digest}.json")):
        try:
            return read_record(candidate)
        except RecordError as error:
            print(f"warning: {error}; not used", file=sys.stderr)
    return None


def train(options: argparse.Namespace, setting: Setting, digest: str, path: Path, command: str) -> int:
    """Train, and write the record; return 0, or 128 + the signal that interrupted the run."""
    start, started = time.perf_counter(), _now()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic only with it
    import torch

    from .data import load_splits
    from .training import Interrupted, Trainer, select_device

    torch.set_num_threads(options.threads)
    device = select_device(options.device)
    stopped: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, lambda received, frame: stopped.append(received))

    running_record = running_folder(options.results) / path.name
    record = {"schema_version": SCHEMA_VERSION, "exp_name": options.exp_name, "hash": digest, "setting": setting}
    provenance = {**describe_machine(command, device), "started": started}

    def write_running(status: str, epochs: list[dict[str, Any]], **more: Any) -> None:
        content = {**record, "status": status, "epochs": epochs, "provenance": provenance, **more}
        write_json(running_record, content, sync=False)

    def on_epoch(epochs: list[dict[str, Any]]) -> None:
        last = epochs[-1]
        print(
            f"epoch {last['epoch']}/{setting['epochs']}  train loss {last['train_loss']:.4f} acc"
            f" {last['train_acc']:.4f}  val loss {last['val_loss']:.4f} acc {last['val_acc']:.4f}"
            f"  {last['seconds']:.2f} s",
            flush=True,
        )
        write_running("running", epochs)

    epochs: list[dict[str, Any]] = []
    try:
        write_running("running", epochs)
        data = load_splits(options.data, setting)
        checkpoint = running_record.with_suffix(".pt")
        trainer = Trainer(setting, data, device, checkpoint, lambda: bool(stopped), on_epoch)
        trainer.load_checkpoint()
        epochs = trainer.progress.epochs
        outcome = trainer.run()
    except Interrupted:
        write_running("interrupted", epochs)
        print(f"stopped by signal {stopped[0]}; the checkpoint is written", file=sys.stderr)
        return 128 + stopped[0]
    except Exception as error:
        write_running("failed", epochs, error=f"{type(error).__name__}: {error}")
        raise
    seconds = trainer.progress.train_seconds
    timing = {
        "total_seconds": time.perf_counter() - start,
        "train_seconds": seconds,
        "samples_per_second": len(trainer.train_y) * len(trainer.progress.epochs) / seconds,
        "resumed": trainer.progress.resumed,
    }
    write_json(path, {**record, **outcome, "timing": timing, "provenance": {**provenance, "finished": _now()}})
    print(f"{outcome['status']}: test accuracy {outcome['final']['test_acc']}  {path}")
    return 0


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def describe_machine(command: str, device: Any) -> dict[str, Any]:
    """Return the provenance of a run on this machine: command, code, versions, device, host."""
    import torch

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type} {platform.machine()}"
    commit, dirty = git_state()
    return {
        "command": command,
        "git_commit": commit,
        "git_dirty": dirty,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": name,
        "threads": torch.get_num_threads(),
        "host": socket.gethostname(),
        "pid": os.getpid(),
    }


@functools.cache
def git_state() -> tuple[str | None, bool | None]:
    """Return the commit of the working directory and whether it has changes; None where git does not know."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True, timeout=20).stdout

    try:
        return git("rev-parse", "HEAD").strip(), bool(git("status", "--porcelain", "--untracked-files=no").strip())
    except (OSError, subprocess.SubprocessError):
        return None, None
