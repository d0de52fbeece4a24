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
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dlsweep.errors import ConfigError
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
    return [] if are_hidden() else select_visible(find_devices().names)


def are_hidden() -> bool:
    """Say whether all devices are hidden, to train on the CPU. Then the driver need not be asked."""
    return os.environ.get(VISIBLE, "all").strip() in ("", "-1")


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


_had: list[str] = []  # the devices of the last run of this process


def has_context() -> bool:
    """Say whether a run of this process has started CUDA, which cannot see other devices from then on."""
    torch = sys.modules.get("torch")
    return torch is not None and torch.cuda.is_initialized()


@contextlib.contextmanager
def take_slot(
    per_device: int = 1, cancelled: Callable[[], bool] = lambda: False, n_devices: int = 1
) -> Iterator[str | None]:
    """Hold a slot of one visible device, or `n_devices` whole ones, and let CUDA see these alone.

    To be called before CUDA starts; where an earlier run of this process has started it, the device is that one's.
    Yields the slot's name (of several devices those of all, separated by commas), or None where no device is visible.
    `per_device` runs share a device; the one with the most free slots comes first. 0 takes none. Waits for what is
    free; raises locks.Busy where `cancelled` says so meanwhile, ConfigError where this process may not use so many
    devices at all.
    """
    present = find_devices() if per_device and not are_hidden() else Found([])
    devices = select_visible(present.names)
    if per_device and n_devices > 1 and not are_hidden():
        devices = whole(devices)
        refuse_too_few(n_devices, devices, present.error)
    if not devices:
        yield None
        return
    if has_context():
        devices = [device for device in devices if device in _had]
    folder = locks_folder()
    # SLURM keeps its jobs' devices apart, and may count them anew in each job; only runs in one job may meet.
    job = os.environ.get("SLURM_JOB_ID", "")
    with contextlib.ExitStack() as held:
        taken: dict[str, str] = {}  # the slot of each device
        with contextlib.ExitStack() as queue:
            if n_devices > 1:
                # One run at a time collects devices as they come free, and keeps them. So no two that hold a part each
                # wait for each other, and runs that need one device do not overtake it for ever.
                queue.enter_context(acquire(folder / f"{job}.several.lock", cancelled=cancelled))
            while len(taken) < n_devices:
                free = [device for device in devices if device not in taken]
                if found := _take_one(folder, job, free, per_device):
                    device, slot, lock = found
                    taken[device] = f"{device}/{slot}"
                    held.enter_context(lock)
                elif cancelled():
                    raise Busy(str(folder))
                else:
                    time.sleep(POLL_SECONDS)
        in_order = [device for device in devices if device in taken]
        os.environ[VISIBLE] = ",".join(in_order)
        _had[:] = in_order
        yield ",".join(taken[device] for device in in_order)


def whole(devices: Sequence[str]) -> list[str]:
    """Return the devices without the parts of divided GPUs (MIG): CUDA shows a process one part at most."""
    return [device for device in devices if not device.startswith("MIG-")]


def refuse_too_few(n_devices: int, devices: Sequence[str], why: str = "") -> None:
    """Raise ConfigError where a run is to have more devices than there are whole ones; `why` the driver names none."""
    if n_devices <= len(devices):
        return
    there = f"{len(devices)} ({', '.join(devices)})" if devices else "none"
    reason = f". The NVIDIA driver does not name its GPUs: {why}" if why else ""
    raise ConfigError(
        f"gpus_per_run: a run is to have {n_devices} GPUs, but here it can use {there}; parts of a divided GPU do not"
        f" count{reason}. Lower it, or train on the CPU: CUDA_VISIBLE_DEVICES= snakemake ..."
    )


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
