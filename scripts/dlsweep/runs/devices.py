"""Which GPU a run takes on its machine: a slot of a device, held by a file lock that ends with its holder.

NVIDIA's devices are found through its driver, whole ones and the parts of a divided one (MIG). Loads no torch.
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import json
import os
import platform
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dlsweep.locks import Busy, Lock, acquire, take
from dlsweep.runs import nvidia

VISIBLE = "CUDA_VISIBLE_DEVICES"
ORDER = "CUDA_DEVICE_ORDER"
# The names of this machine's devices, separated by commas: a start asks for them once and tells its runs. Set by a
# person it pretends devices: how a machine without one tests this.
KNOWN = "DLSWEEP_DEVICES"
POLL_SECONDS = 0.2
ADVICE = """\
The runs train on the CPU. To use the GPU, update its driver or install the torch that fits it
(https://pytorch.org/get-started), then start again: finished runs are kept. If you mean the CPU, say so:
CUDA_VISIBLE_DEVICES= snakemake ..."""


@dataclass(frozen=True)
class Found:
    """What the driver says: the names of this machine's devices, or why it says none, and its version."""

    names: list[str]
    error: str = ""
    driver: str = ""


def find_devices() -> Found:
    """Ask the driver, where there is one, unless the start of this run has done so."""
    if KNOWN in os.environ:
        return Found([name for name in os.environ[KNOWN].split(",") if name])
    if not nvidia.has_driver():
        return Found([])
    answer = nvidia.ask("driver")
    return Found(answer.get("devices", []), answer.get("error", ""), answer.get("version", ""))


def select_visible(present: Sequence[str]) -> list[str]:
    """Return those of the present devices that CUDA_VISIBLE_DEVICES leaves to this process.

    As CUDA reads it: numbers, or UUIDs or their beginnings, up to the first that is not there; empty hides all, and
    so does a device that appears twice. Numbers count as nvidia-smi does, in the order of the PCI bus.
    """
    if VISIBLE not in os.environ:
        return list(present)
    visible: list[str] = []
    for token in os.environ[VISIBLE].split(","):
        name = token.strip()
        if name.isdecimal():
            matching = list(present[int(name) : int(name) + 1])
        else:
            matching = [device for device in present if name and device.startswith(name)]
        if len(matching) != 1:
            break
        visible += matching
    return visible if len(set(visible)) == len(visible) else []


def visible_devices() -> list[str]:
    """Return the names of the devices that this process may use."""
    hidden = os.environ.get(VISIBLE, "all").strip() in ("", "-1")  # then nobody need be asked
    return [] if hidden else select_visible(find_devices().names)


# -- can torch use them? -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Usable:
    """The devices on which torch has computed, why it cannot on others, and torch's version."""

    names: list[str]
    errors: dict[str, str]  # by name; "" stands for all
    torch: str = ""


def find_usable(found: Found, cache: Path) -> Usable:
    """Let torch compute on each visible device, in another process; return on which it can.

    Where the driver named no device, those are returned that torch finds. That torch can use all of them is kept in
    the file `cache`, for this machine, driver and torch: loading torch takes seconds. A fault is looked for again.
    """
    names = select_visible(found.names)
    spec = importlib.util.find_spec("torch")
    origin = spec.origin if spec and spec.origin else ""
    modified = Path(origin).with_name("version.py").stat().st_mtime if origin else 0
    key = [platform.node(), found.driver, origin, modified, names]
    with contextlib.suppress(OSError, ValueError):
        if names and json.loads(cache.read_text()) == key:
            return Usable(names, {})
    environment = {**os.environ, ORDER: "PCI_BUS_ID", **({VISIBLE: ",".join(names)} if names else {})}
    answer = nvidia.ask("torch", environment)
    devices, error = answer.get("devices", []), answer.get("error", "")
    version = answer.get("version", "")
    if not names:
        return Usable([name for name, fault in devices if not fault], {"": error} if error else {}, version)
    if error:
        return Usable([], {"": error}, version)
    # CUDA shows a process one part of a divided GPU at most; the others are like it.
    errors = {name: fault for name, (_, fault) in zip(names, devices, strict=False) if fault}
    usable = [name for name in names if name not in errors]
    if usable == names:
        with contextlib.suppress(OSError):
            cache.write_text(json.dumps(key))
    elif not usable and len(set(errors.values())) == 1:
        errors = {"": next(iter(errors.values()))}
    return Usable(usable, errors, version)


def complaints(found: Found, usable: Usable) -> list[str]:
    """Say what is wrong with this machine's GPUs, and what to do; nothing where torch can use all of them."""
    n_named = len(select_visible(found.names))
    lines = [f"warning: the NVIDIA driver does not name its GPUs: {found.error}"] if found.error else []
    for name, error in usable.errors.items():
        which = f"the GPU {name}" if name else f"the {n_named or ''} NVIDIA GPUs here".replace("  ", " ")
        lines.append(f"warning: torch {usable.torch} cannot use {which}: {error}")
    if not usable.names:
        lines.append(ADVICE)
    return lines


# -- one for each run ----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def take_slot(per_device: int = 1, cancelled: Callable[[], bool] = lambda: False) -> Iterator[str | None]:
    """Hold a slot of one visible device, and let CUDA see that device alone; to be called before CUDA starts.

    Yields the slot's name, or None where no device is visible. `per_device` runs share a device; the one with the
    most free slots comes first. 0 takes none. Waits for a free slot; raises locks.Busy where `cancelled` says
    so meanwhile.
    """
    devices = visible_devices() if per_device else []
    if not devices:
        yield None
        return
    folder = locks_folder()
    # SLURM keeps its jobs' devices apart, and may count them anew in each job; only runs in one job may meet.
    job = os.environ.get("SLURM_JOB_ID", "")
    while not (taken := _take_one(folder, job, devices, per_device)):
        if cancelled():
            raise Busy(str(folder))
        time.sleep(POLL_SECONDS)
    device, slot, lock = taken
    try:
        os.environ[VISIBLE] = device
        yield f"{device}/{slot}"
    finally:
        lock.release()


def _take_one(folder: Path, job: str, devices: Sequence[str], per_device: int) -> tuple[str, int, Lock] | None:
    """Lock a free slot of the device that has the most of them; None where there is none."""
    with acquire(folder / f"{job}.lock"):  # one looks at a time: for a moment it holds all that is free
        free = {}
        for device in devices:
            locks = [(slot, take(folder / f"{job}.{device}.{slot}.lock")) for slot in range(per_device)]
            free[device] = [(slot, lock) for slot, lock in locks if lock]
        emptiest = max(devices, key=lambda device: len(free[device]))
        taken = (emptiest, *free[emptiest].pop(0)) if free[emptiest] else None
        for _, lock in itertools.chain(*free.values()):
            lock.release()
    return taken


def locks_folder() -> Path:
    """Return this user's folder of locks in the temporary folder, which nobody else can write to.

    A name that somebody else has taken there is passed over. Raises OSError where all are.
    """
    for number in itertools.count():
        suffix = f"-{number}" if number else ""
        folder = Path(tempfile.gettempdir()) / f"dlsweep-devices-{os.getuid()}{suffix}"
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        status = folder.lstat()
        if stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o022:
            return folder
        if number == 99:
            raise PermissionError(f"{folder}: belongs to somebody else, and so do all like it; set TMPDIR")
    raise AssertionError
