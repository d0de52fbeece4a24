"""The warm trainer: one process per sweep that has imported all that training needs, and forks one process a run.

Loading torch and the rest takes seconds, a run of a small model takes tenths of one. Snakemake starts the trainer
(`start`), tells its jobs where it is, and `scripts/train.py` hands its run over (handover.py). A forked run is like
one in a process of its own: it has the arguments, environment, working directory, standard streams, limits and
signals of the job that asked for it, and its record is the same, bit for bit.

No run depends on the trainer: where there is none, or it is gone, or does not answer, train.py trains by itself.
The trainer ends with its Snakemake, however that ends: it reads the end of a pipe that only Snakemake has open.
A run ends, with its checkpoint, when the job that asked for it or Snakemake does, for the same reason.

The trainer itself never computes: forks of a process that has used CUDA or a thread pool do not work.
Unix sockets, descriptors and /proc as Linux has them are used; elsewhere every run trains in its own process.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import resource
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from .handover import VARIABLE
from .loading import load_training

_environment = dict(os.environb)  # as this process started: torch adds to it

PREFIX = "dlsweep-"  # of the folder of a trainer's socket
PR_SET_PDEATHSIG = 1  # of linux/prctl.h: the signal that a process gets when its parent ends
GRACE = 120.0  # seconds in which a run that has lost its job must have written its checkpoint
# A cluster sends these to every process of a job; they are for the runs.
IGNORED = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
THREADS = ("OMP", "GOTO", "OPENBLAS", "MKL", "VECLIB_MAXIMUM", "NUMEXPR")  # what Snakemake sets for each job
# Variables that Python and the libraries read when they are loaded. Those of CUDA are read later, in the run.
_READ_AT_START = (
    b"PYTHON",
    b"LC_",
    b"LANG",
    b"LD_",
    b"OMP_",
    b"GOMP_",
    b"KMP_",
    b"MKL_",
    b"TORCH",
    b"PYTORCH",
    b"ATEN_",
)


# -- in Snakemake's process ----------------------------------------------------------------------------------------


def start() -> subprocess.Popen[bytes] | None:
    """Start a trainer for the jobs of this process; return its process. It ends with this one."""
    if sys.platform != "linux" or os.environ.get(VARIABLE) == "0":
        return None
    _clear()
    folder = tempfile.mkdtemp(prefix=PREFIX)  # only this user may enter it
    environment = {**os.environ, **{f"{name}_NUM_THREADS": "1" for name in THREADS}}  # NumPy's would start at import
    with socket.socket(socket.AF_UNIX) as listening:
        with _socket_path(folder) as path:
            listening.bind(path)
        listening.listen(1024)
        trainer = subprocess.Popen(
            [sys.executable, "-m", "dlsweep.warm", str(listening.fileno()), folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,  # what is wrong with it is wrong with a run by itself too, which says so
            cwd=Path(__file__).parent.parent,  # where -m looks, as a run by itself looks in the folder of train.py
            env=environment,
            pass_fds=[listening.fileno()],
            start_new_session=True,  # Ctrl-C in the terminal is for Snakemake and its jobs
        )
    os.environ[VARIABLE] = folder
    atexit.register(stop, trainer, folder)
    return trainer


def _clear() -> None:
    """Remove the folders of trainers that were killed together with their Snakemake, as a cluster does it."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with socket.socket(socket.AF_UNIX) as connection:
            try:
                with _socket_path(folder) as path:
                    connection.connect(path)
            except ConnectionRefusedError:  # nobody listens any more
                shutil.rmtree(folder, ignore_errors=True)
            except OSError:
                continue  # another user's


@contextlib.contextmanager
def _socket_path(folder: str | Path) -> Iterator[str]:
    """The socket in a folder, by a short path: a socket's own is limited to 107 bytes."""
    at = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{at}/socket"
    finally:
        os.close(at)


def stop(trainer: subprocess.Popen[bytes], folder: str) -> None:
    """End the trainer, also one that hangs. It has nothing to save."""
    trainer.kill()
    trainer.wait()
    shutil.rmtree(folder, ignore_errors=True)


# -- in the trainer's process --------------------------------------------------------------------------------------


def serve(listening: socket.socket, folder: Path) -> None:
    """Fork a process for each run that is handed over, and report how it ended, until Snakemake ends."""
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGCONT)  # were it stopped, it would not see Snakemake's end
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    poll = select.poll()
    for descriptor in (sys.stdin.fileno(), woken, listening.fileno()):
        poll.register(descriptor, select.POLLIN)
    runs: dict[int, socket.socket] = {}
    (folder / "ready").touch()
    while True:
        events = [descriptor for descriptor, _ in poll.poll()]
        if sys.stdin.fileno() in events:
            break
        if woken in events:
            os.read(woken, 4096)
            _report(runs)
        if listening.fileno() in events:
            connection, _ = listening.accept()
            process = os.fork()
            if not process:
                signal.set_wakeup_fd(-1)
                for other in (listening, *runs.values()):
                    other.close()
                os.close(woken)
                os.close(wake)
                _run(connection)
            runs[process] = connection
    shutil.rmtree(folder, ignore_errors=True)


def _report(runs: dict[int, socket.socket]) -> None:
    """Tell each job whose run has ended how it ended."""
    while runs:
        process, status = os.waitpid(-1, os.WNOHANG)
        if not process:
            return
        code = os.waitstatus_to_exitcode(status)
        with runs.pop(process) as connection, contextlib.suppress(OSError):
            _send(connection, code if code >= 0 else 128 - code)


def _send(connection: socket.socket, number: int) -> None:
    connection.sendall(number.to_bytes(4, "big"))


# -- in the process of a run ---------------------------------------------------------------------------------------


def _run(connection: socket.socket) -> NoReturn:
    """Become the process that asked, do its run, and say how it ended: the trainer may be gone by then."""
    status = 1
    try:
        if _become(connection):
            status = _main()
            _send(connection, status)
    except OSError:
        pass  # the job that asked is gone
    finally:
        os._exit(status)


def _main() -> int:
    import train as script

    try:
        status = script.main()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        status = 1
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    return status


def _become(connection: socket.socket) -> bool:
    """Take over everything a process has of its own; say whether this process can be like the one that asked."""
    connection.settimeout(10)
    _send(connection, os.getpid())
    head, streams, _, _ = socket.recv_fds(connection, 4, 3)
    message = b""
    size = int.from_bytes(head, "big")
    while len(message) < size:
        part = connection.recv(size - len(message))
        if not part:
            raise ConnectionResetError
        message += part
    connection.settimeout(None)
    prefix, folder, job, umask, n_arguments, *rest = message.split(b"\0")
    arguments, environment = rest[: int(n_arguments)], rest[int(n_arguments) :]
    variables = dict(variable.split(b"=", 1) for variable in environment)
    if os.fsencode(sys.prefix) != prefix or not _starts_alike(variables) or not _copy_limits(int(job)):
        _send(connection, 0)
        return False
    os.setpgid(0, 0)
    os.chdir(folder)
    os.umask(int(umask))
    os.environb.clear()
    os.environb.update(variables)
    del os.environ[VARIABLE]
    sys.argv = [os.fsdecode(argument) for argument in arguments]
    snakemake = os.dup(sys.stdin.fileno())
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdout.reconfigure(line_buffering=sys.stdout.isatty())  # type: ignore[union-attr]
    for number in (*IGNORED, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # signals are for the main thread
    threading.Thread(target=_end_with, args=(connection.fileno(), snakemake), daemon=True).start()
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    _send(connection, 1)
    return True


def _starts_alike(variables: dict[bytes, bytes]) -> bool:
    """Say whether Python and its libraries would have started in the same way with this environment."""

    def relevant(environment: dict[bytes, bytes]) -> dict[bytes, bytes]:
        return {
            key: value
            for key, value in environment.items()
            if key.startswith(_READ_AT_START) and not key.endswith(b"_NUM_THREADS")  # run.py sets the threads
        }

    return relevant(variables) == relevant(_environment)


def _copy_limits(job: int) -> bool:
    """Take the limits, priority and CPUs of process `job`; say whether that worked, in the same control group."""
    try:
        for limit in {getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")}:
            resource.setrlimit(limit, resource.prlimit(job, limit))
        os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, job))
        os.sched_setaffinity(0, os.sched_getaffinity(job))
        return Path(f"/proc/{job}/cgroup").read_bytes() == Path("/proc/self/cgroup").read_bytes()
    except (OSError, ValueError):
        return False


def _end_with(*descriptors: int) -> None:
    """Wait for the end of one of these connections; then this process must write its checkpoint and end."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    poll.poll()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os.kill(os.getpid(), signal.SIGKILL)


def preload() -> None:
    """Load all that a run needs, without computing anything."""
    import train as script

    load_training()
    script.parser()


if __name__ == "__main__":
    preload()
    serve(socket.socket(fileno=int(sys.argv[1])), Path(sys.argv[2]))
