"""The file from which an interrupted run goes on: when it is written, and what becomes of one that does not fit.

A task gives the state that it needs and takes it back; all else is done here, for every task. Where torch is loaded the
file is torch's, else a pickle; neither can execute anything when it is read.
"""

from __future__ import annotations

import io
import pickle
import sys
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dlsweep.errors import ConfigError
from dlsweep.files import write_atomic

SECONDS = 0.5  # at least, between two checkpoints: what a killed run may lose
SHARE = 20  # the last checkpoint is as many times its own cost ago, so that they cost 5 % of the time at most

_UNLIKE = {
    "hash": "is of another setting, {there}",
    "torch": "is of torch {there}, not {here}",
    "device": "is of a {there} device, not {here}",
    "data": "is of other data, {there}, not {here}",
    "code": "is of another version of your code",
    "init_from": "began with other weights of init_from",
}
"""What a checkpoint was made with, and what to say where that is another one now."""


class Interrupted(BaseException):
    """The run was asked to stop; its text says what is saved. Like Ctrl-C, it is no error that a task may catch."""


def unlike(there: Mapping[str, Any], here: Mapping[str, str | None]) -> str:
    """Say in what a checkpoint was made with something else than the run, or nothing; None is not known."""
    for key, value in here.items():
        if there[key] != value and (key == "hash" or None not in (there[key], value)):
            shown = there[key][:12] if key == "hash" else there[key]
            return _UNLIKE[key].format(here=value, there=shown)
    return ""


class Checkpoint:
    """The checkpoint of one run. `should_stop` is asked whenever one could be written.

    The task says in `made_with`, before anything else, what the run is made with, by the names of `_UNLIKE`. `kept` is
    the file in which the state at the end of the run is kept, if it is.
    """

    def __init__(self, path: Path, should_stop: Callable[[], bool] = lambda: False, kept: Path | None = None) -> None:
        self.path, self.should_stop, self.kept = path, should_stop, kept
        self.made_with: Mapping[str, str | None] = {}
        self._last, self._cost = time.perf_counter(), 0.0

    def load(self, misfit: Callable[[dict[str, Any]], str], place: Any = "cpu") -> dict[str, Any] | None:
        """Return the state to go on from; None where there is none that fits, saying why.

        One that was made with anything else does not fit, nor one of which `misfit` says what is wrong. Its file is
        moved aside. `place` says where its tensors are to be, as torch.load takes it.
        """
        if not self.path.exists():
            return None
        state, fault = _fitting(self.path, self.made_with, misfit, place)
        if fault:
            self.refuse(fault)
        return state

    def load_kept(self, path: Path, digest: str, misfit: Callable[[dict[str, Any]], str]) -> dict[str, Any] | None:
        """Return the state in which another run of this code on these data has ended, kept in `path`; else say why not.

        `digest` is the hash of its setting. Its file stays as it is.
        """
        state, fault = _fitting(path, {**self.made_with, "hash": digest}, misfit, "cpu")
        if fault:
            print(f"{path} {fault}; it is not continued", flush=True)
        return state

    def refuse(self, fault: str) -> None:
        """Move the file aside, and say why."""
        aside = self.path.with_suffix(".pt.bad")
        self.path.replace(aside)
        print(f"warning: {self.path} {fault}; moved to {aside.name}, training starts from the beginning", flush=True)

    def save_if_due(self, state: Callable[[], dict[str, Any]]) -> None:
        """Write a checkpoint where it is time for one. Raises Interrupted, after writing one, where the run is to stop.

        Raises OSError where the disk is full.
        """
        if self.should_stop():
            self.save(state())
            raise Interrupted("the checkpoint is written")
        now = time.perf_counter()
        if now - self._last >= max(SHARE * self._cost, SECONDS):
            self.save(state())
            self._last = time.perf_counter()
            self._cost = self._last - now

    def keep(self, state: Callable[[], dict[str, Any]]) -> None:
        """Write the state in which the run ends, where it is to be kept. Raises OSError where the disk is full."""
        if self.kept:
            self.kept.parent.mkdir(parents=True, exist_ok=True)
            self.save(state(), self.kept)

    def save(self, state: dict[str, Any], path: Path | None = None) -> None:
        """Write a checkpoint, whole or not at all, to its own file or another.

        Raises OSError where the disk is full.
        """
        path = path or self.path
        content = {**self.made_with, **state}
        if torch := sys.modules.get("torch"):
            buffer = io.BytesIO()
            torch.save(content, buffer)
            write_atomic(path, buffer.getvalue())
        else:
            write_atomic(path, pickle.dumps(content))


def _fitting(
    path: Path, made_with: Mapping[str, str | None], misfit: Callable[[dict[str, Any]], str], place: Any
) -> tuple[dict[str, Any] | None, str]:
    """Return a state, and why it does not fit; one of the two is nothing."""
    try:
        state = _read(path, place)
        fault = _fault(state, made_with) or misfit(state)
    except Exception as error:  # torch raises many kinds for a torn file
        fault = f"cannot be read ({type(error).__name__})"
    if fault:
        return None, fault
    return {key: value for key, value in state.items() if key not in made_with}, ""


def _fault(state: Any, made_with: Mapping[str, str | None]) -> str:
    if not isinstance(state, dict) or not made_with.keys() <= state.keys():
        return "has another form than this version writes"
    return unlike(state, made_with)


def _read(path: Path, place: Any) -> Any:
    data = path.read_bytes()
    if data.startswith(b"PK"):  # torch writes a zip file
        import torch

        return torch.load(io.BytesIO(data), map_location=place, weights_only=True)
    return _Plain(io.BytesIO(data)).load()


class _Plain(pickle.Unpickler):
    """Reads numbers, text and containers of them, and nothing that could execute anything."""

    def find_class(self, module: str, name: str) -> Any:
        allowed = {
            ("collections", "OrderedDict"): OrderedDict,
            ("collections", "Counter"): Counter,
            ("builtins", "complex"): complex,
            ("builtins", "bytearray"): bytearray,
            ("builtins", "set"): set,
        }
        if (module, name) not in allowed:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed")
        return allowed[module, name]


# -- what a state may hold -----------------------------------------------------------------------------------------

_PLAIN = (type(None), bool, int, float, complex, str, bytes, bytearray)
_ARRAY = "a NumPy array"  # key of what stands for one


def pack(value: Any, name: str) -> Any:
    """Return a state of the user's as a checkpoint can hold it; NumPy's arrays and numbers become bytes.

    Raises ConfigError naming the place, from `name` on, where there is anything that would have to be executed.
    """
    if type(value) in _PLAIN:
        return value
    if isinstance(value, dict):
        kind = type(value) if type(value) in (OrderedDict, Counter) else dict
        keys = [pack(key, f"the key {key!r} of {name}") for key in value]
        items = [pack(item, f"{name}[{key!r}]") for key, item in value.items()]
        return _like(value, kind(dict(zip(keys, items, strict=True))))
    if type(value) in (list, tuple, set):
        return type(value)(pack(item, f"{name}[{i}]") for i, item in enumerate(value))
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    if numpy and isinstance(value, (numpy.ndarray, numpy.generic)) and not value.dtype.hasobject:
        buffer = io.BytesIO()
        numpy.save(buffer, value, allow_pickle=False)
        return {_ARRAY: buffer.getvalue(), "is_scalar": isinstance(value, numpy.generic)}
    if torch and isinstance(value, torch.Size):
        return tuple(value)
    if torch and isinstance(value, (torch.Tensor, torch.dtype, torch.device)):
        return value
    raise ConfigError(
        f"{name} is a {type(value).__name__}, which a checkpoint cannot hold; allowed: numbers, text, bytes, tensors,"
        " NumPy arrays, and lists, tuples, sets and dicts of them"
    )


def unpack(value: Any) -> Any:
    """Return what `pack` was given."""
    if isinstance(value, dict):
        if _ARRAY in value:
            import numpy

            array = numpy.load(io.BytesIO(value[_ARRAY]), allow_pickle=False)
            return array[()] if value["is_scalar"] else array
        return _like(value, type(value)({key: unpack(item) for key, item in value.items()}))
    if type(value) in (list, tuple, set):
        return type(value)(unpack(item) for item in value)
    return value


def _like(value: dict[Any, Any], made: dict[Any, Any]) -> dict[Any, Any]:
    """Give a mapping the versions that torch notes beside those of its own modules."""
    if isinstance(value, OrderedDict) and hasattr(value, "_metadata"):
        made._metadata = value._metadata  # type: ignore[attr-defined]
    return made
