"""What NVIDIA's driver and torch say of this machine's GPUs. Either may hang, so each is asked in a process of its own.

`python nvidia.py driver` and `python nvidia.py torch` print one line of JSON.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SIGNS = ("/dev/nvidiactl", "/proc/driver/nvidia", "/dev/dxg")  # of a driver, the last in Windows' Linux
SECONDS = {"driver": 20.0, "torch": 120.0}  # what an answer may take


def has_driver() -> bool:
    """Say whether there is any sign of NVIDIA's driver, without asking it."""
    return any(map(os.path.exists, SIGNS)) or shutil.which("nvidia-smi") is not None


def ask(what: str, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the answer of "driver" or "torch" (see below); {"error": why} where there is none."""
    # -P: the names of the modules beside this one are not for what it imports.
    command = [sys.executable, "-P", str(Path(__file__)), what]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        out, error = process.communicate(timeout=SECONDS[what])
    except subprocess.TimeoutExpired:
        process.kill()  # and not waited for: inside a driver that hangs, even this does not end it
        return {"error": f"no answer within {SECONDS[what]:g} s"}
    try:
        answer: dict[str, Any] = json.loads(out.splitlines()[-1])
    except (ValueError, IndexError):
        return {"error": (error.strip().splitlines() or [f"exit status {process.returncode}"])[-1]}
    return answer


def _driver() -> dict[str, Any]:
    """The driver's version, and the names (UUIDs) of the GPUs in the order of the PCI bus.

    A divided GPU (MIG) is its parts. One that this process may not use, or that is lost, is left out.
    """
    import pynvml

    pynvml.nvmlInit()
    names: list[str] = []
    for index in range(pynvml.nvmlDeviceGetCount()):
        try:
            gpu = pynvml.nvmlDeviceGetHandleByIndex(index)
            names += [pynvml.nvmlDeviceGetUUID(device) for device in _parts(pynvml, gpu)]
        except pynvml.NVMLError:
            continue
    return {"version": pynvml.nvmlSystemGetDriverVersion(), "devices": names}


def _parts(pynvml: Any, gpu: Any) -> list[Any]:
    """The parts of a GPU that is divided, else the GPU itself."""
    try:
        divided = pynvml.nvmlDeviceGetMigMode(gpu)[0] == pynvml.NVML_DEVICE_MIG_ENABLE
    except pynvml.NVMLError:  # an older kind, which cannot be divided
        divided = False
    if not divided:
        return [gpu]
    parts = []
    for index in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(gpu)):
        try:
            parts.append(pynvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, index))
        except pynvml.NVMLError:  # no such part
            continue
    return parts


def _torch() -> dict[str, Any]:
    """torch's version, and for each GPU that it sees its name and why it cannot be used; or why it sees none."""
    import torch

    def trouble(device: str) -> str:
        try:
            return "" if torch.zeros(1, device=device).item() == 0 else "wrong result"
        except Exception as error:  # of many kinds: a build without CUDA, an old driver, no kernel for this GPU
            return " ".join(str(error).split())

    devices = []
    for index in range(torch.cuda.device_count()):
        error = trouble(f"cuda:{index}")
        name = "" if error else f"GPU-{torch.cuda.get_device_properties(index).uuid}"
        devices.append([name, error])
    return {"version": torch.__version__, "devices": devices, "error": "" if devices else trouble("cuda")}


if __name__ == "__main__":
    try:
        answer = {"driver": _driver, "torch": _torch}[sys.argv[1]]()
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer))
