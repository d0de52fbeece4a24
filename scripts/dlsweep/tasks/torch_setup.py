"""How torch is set up for a run: its device, its arithmetic, its seeds."""

from __future__ import annotations

import platform
import sys
from typing import Any

import torch

from dlsweep.errors import ConfigError


def select_device(name: str = "auto") -> torch.device:
    """Return the device: for auto cuda where there is one, mps on a Mac, else the CPU.

    One of several (cuda:1) becomes the current one: seeds, random states and what a model itself puts on the GPU are
    that one's. Raises ConfigError where torch cannot compute on it.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type != "cpu":
            torch.zeros(1, device=device)
            if device.index is not None:
                torch.get_device_module(device).set_device(device.index)
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # AssertionError: a build without CUDA
        reason = str(error).strip().split("\n")[0]
        raise ConfigError(f"--device: {name} cannot be used here ({reason}); allowed: auto, cpu, cuda, mps") from None
    return device


def warn_of_cpu(slot: str | None, device: torch.device) -> None:
    """Say where a run that holds a GPU trains on the CPU: one by hand or on a cluster has only this."""
    if slot and device.type == "cpu":
        print(f"warning: torch cannot use the GPU of {slot}: this run trains on the CPU", file=sys.stderr)


def seed_all(seed: int, *devices: torch.device) -> None:
    """Seed what draws without a generator of its own. torch.manual_seed also looks for every other device.

    Several devices are all the GPUs that this process sees.
    """
    torch.default_generator.manual_seed(seed)
    if len(devices) > 1:
        torch.cuda.manual_seed_all(seed)
    elif devices[0].type != "cpu":
        torch.get_device_module(devices[0]).manual_seed(seed)


def set_deterministic() -> None:
    """Have torch compute the same each time, as far as it can; it warns of what it cannot."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # we read none
    torch.backends.cudnn.benchmark = False


def get_random_states(*devices: torch.device) -> dict[str, Any]:
    """Return the states of the generators that draw where none is given."""
    if len(devices) > 1:
        on_device: Any = [torch.cuda.get_rng_state(device) for device in devices]
    else:
        on_device = torch.get_device_module(devices[0]).get_rng_state() if devices[0].type != "cpu" else None
    return {"rng": torch.get_rng_state(), "device_rng": on_device}


def set_random_states(states: dict[str, Any], *devices: torch.device) -> None:
    """Set what `get_random_states` has returned."""
    torch.set_rng_state(states["rng"])
    if isinstance(states["device_rng"], list):
        for state, device in zip(states["device_rng"], devices, strict=False):  # the run may have more GPUs now
            torch.cuda.set_rng_state(state, device)
    elif states["device_rng"] is not None:
        torch.get_device_module(devices[0]).set_rng_state(states["device_rng"])


def describe(device: torch.device) -> dict[str, Any]:
    """Return what a record's `provenance` says of torch and its device."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type} {platform.machine()}"
    return {"torch": torch.__version__, "device": name, "threads": torch.get_num_threads()}
