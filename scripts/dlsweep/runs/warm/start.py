"""Start and end the trainer: what Snakemake's process does."""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from dlsweep.runs.warm.handover import VARIABLE

# Values of the variable, by a person: 0 for no trainer, spares for no forks, as on macOS; contexts for that, and for
# processes that start CUDA once and do all their runs on the same GPU.
OFF, SPARES, CONTEXTS = "0", "spares", "contexts"
PREFIX = "dlsweep-"  # of the folder of a trainer's socket
MOST_BYTES = 90  # of the folder's path: with "/socket" it must be shorter than 104 bytes on macOS, 108 on Linux
THREADS = ("OMP", "GOTO", "OPENBLAS", "MKL", "VECLIB_MAXIMUM", "NUMEXPR")  # what Snakemake sets for each job


def start(files: Iterable[Path] = ()) -> subprocess.Popen[bytes] | None:
    """Start a trainer for the jobs of this process; return its process. It ends with this one.

    It also loads what these files of the user's begin by importing, but none of the files.
    Where it cannot be started (no place for its socket, no sockets, no more processes), say so, and return None.
    """
    if os.name != "posix" or os.environ.get(VARIABLE) == OFF:
        return None
    folder = ""
    try:
        _clear()
        folder = _new_folder()
        return _start(folder, os.environ.get(VARIABLE), files)
    except OSError as error:
        print(f"no warm trainer, so each run loads torch by itself: {error}", file=sys.stderr, flush=True)
        if folder:
            shutil.rmtree(folder, ignore_errors=True)
        return None


def _start(folder: str, way: str | None, files: Iterable[Path]) -> subprocess.Popen[bytes]:
    environment = {**os.environ, **{f"{name}_NUM_THREADS": "1" for name in THREADS}}  # NumPy's would start at import
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{folder}/socket")
        listening.listen(1024)
        role = "Forks" if sys.platform == "linux" and way not in (SPARES, CONTEXTS) else "Spares"
        trainer = subprocess.Popen(
            python_command(role, listening.fileno(), folder, *files),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,  # what is wrong with it is wrong with a run by itself too, which says so
            env=environment,
            pass_fds=[listening.fileno()],
            start_new_session=True,  # Ctrl-C in the terminal is for Snakemake and its jobs
        )
    os.environ[VARIABLE] = folder
    atexit.register(stop, trainer, folder)
    return trainer


def python_command(role: str, *arguments: object) -> list[str]:
    """A Python that looks for modules where a run by itself does, in the folder of train.py, and then calls `main`."""
    scripts = str(Path(__file__).parents[3])
    code = f"import sys; sys.path.insert(0, {scripts!r}); from dlsweep.runs.warm.trainer import main; main()"
    return [sys.executable, "-P", "-c", code, role, *map(str, arguments)]


def _new_folder() -> str:
    """A folder that only this user may enter, with a path that is short enough for a socket."""
    folder = tempfile.mkdtemp(prefix=PREFIX)
    if len(os.fsencode(folder)) > MOST_BYTES:
        Path(folder).rmdir()
        folder = tempfile.mkdtemp(prefix=PREFIX, dir="/tmp")
    return folder


def _clear() -> None:
    """Remove the folders of trainers that were killed together with their Snakemake, as a cluster does it."""
    for folder in {path for parent in (tempfile.gettempdir(), "/tmp") for path in Path(parent).glob(f"{PREFIX}*")}:
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(f"{folder}/socket")
        except ConnectionRefusedError:  # nobody listens any more
            shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            continue  # another user's, or no trainer's


def remark(trainer: subprocess.Popen[bytes] | None) -> str:
    """Return what there is to say of a trainer that ended before its Snakemake; nothing of any other."""
    if trainer is None or trainer.poll() is None:
        return ""
    return f"the warm trainer ended early (exit status {trainer.returncode}), so runs have loaded torch by themselves"


def stop(trainer: subprocess.Popen[bytes], folder: str) -> None:
    """End the trainer, also one that hangs. It has nothing to save."""
    trainer.kill()
    trainer.wait()
    shutil.rmtree(folder, ignore_errors=True)
