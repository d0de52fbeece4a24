"""Which GPU a run takes on its machine: a slot of a device, held by a file lock that ends with its holder.

NVIDIA's devices are found through `nvidia-smi`, whole ones and the parts of a divided one (MIG). Loads no torch.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

VISIBLE = "CUDA_VISIBLE_DEVICES"
PRETENDED = "DLSWEEP_DEVICES"  # names of devices to pretend, separated by commas: how a machine without one tests this
POLL_SECONDS = 0.2


def present_devices() -> list[str]:
    """Return the names (UUIDs) of this machine's CUDA devices, in the driver's order."""
    if PRETENDED in os.environ:
        return [name for name in os.environ[PRETENDED].split(",") if name]
    if not shutil.which("nvidia-smi"):
        return []
    listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True)
    return parse_listed(listed.stdout) if listed.returncode == 0 else []


def parse_listed(text: str) -> list[str]:
    """Return the UUIDs that `nvidia-smi --list-gpus` names; a divided GPU's parts stand for it."""
    devices: list[str] = []
    whole = ""
    for uuid in re.findall(r"\(UUID: ([^)\s]+)\)", text):
        if uuid.startswith("MIG-") and whole:
            devices.remove(whole)
            whole = ""
        if not uuid.startswith("MIG-"):
            whole = uuid
        devices.append(uuid)
    return devices


def visible_devices() -> dict[str, str]:
    """Return the devices that this process may use: how CUDA_VISIBLE_DEVICES names each, and its own name.

    As CUDA reads it: indices, or UUIDs or their beginnings, up to the first that is not there; empty hides all.
    """
    present = present_devices()
    if VISIBLE not in os.environ:
        return {name: name for name in present}
    visible: dict[str, str] = {}
    for token in os.environ[VISIBLE].split(","):
        name = token.strip()
        if name.isdecimal():
            matching = present[int(name) : int(name) + 1]
        else:
            matching = [device for device in present if name and device.startswith(name)]
        if len(matching) != 1:
            break
        visible[name] = matching[0]
    return visible


@contextlib.contextmanager
def take_slot(per_device: int = 1, cancelled: Callable[[], bool] = lambda: False) -> Iterator[str | None]:
    """Hold a slot of one visible device, and let CUDA see that device alone; to be called before CUDA starts.

    Yields the slot's name, or None where no device is visible. `per_device` runs share a device, the emptiest
    first; 0 takes none. Waits for a free slot; raises filelock.Timeout where `cancelled` says so meanwhile.
    """
    devices = visible_devices() if per_device else {}
    if not devices:
        yield None
        return
    folder = Path(tempfile.gettempdir()) / f"dlsweep-devices-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    # SLURM keeps its jobs' devices apart, and may count them anew in each job; only runs in one job may meet.
    job = os.environ.get("SLURM_JOB_ID", "")
    slots = {
        f"{name}/{slot}": (token, FileLock(folder / f"{job}.{name}.{slot}.lock"))
        for slot in range(per_device)
        for token, name in devices.items()
    }
    while not (taken := next((slot for slot, (_, lock) in slots.items() if _lock_now(lock)), None)):
        if cancelled():
            raise Timeout(str(folder))
        time.sleep(POLL_SECONDS)
    token, lock = slots[taken]
    try:
        os.environ[VISIBLE] = token
        yield taken
    finally:
        lock.release()


def _lock_now(lock: FileLock) -> bool:
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return False
    return True
