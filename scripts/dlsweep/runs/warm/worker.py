"""Do runs: what the processes do that have loaded all."""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib.util
import os
import resource
import select
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dlsweep.runs.devices import KNOWN, VISIBLE, has_context
from dlsweep.runs.preload import TASKS, load_task, without_collector
from dlsweep.runs.warm.handover import VARIABLE
from dlsweep.runs.warm.start import CONTEXTS

ENVIRONMENT = dict(os.environb)  # as this process started: torch adds to it
_keeps_context = os.environ.get(VARIABLE) == CONTEXTS
_asked: list[bytes] = []  # what the last run here was told of GPUs
_added: dict[bytes, bytes] = {}  # to the environment, by what the user's code imports: a run by itself has it too

GRACE = 120.0  # seconds in which a run that has lost its job must have written its checkpoint
GOODBYE = 5.0  # seconds in which a job that knows how its run ended must have ended too
# A cluster sends these to every process of a job; they are for the runs.
IGNORED = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
JEMALLOC = "jemalloc_bg_thd"  # the name of its thread, on Linux
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


def do_run(connection: socket.socket, snakemake: int, forked: bool) -> tuple[int, bool]:
    """Become the process that asked, do its run, and tell it how that ended: the trainer may be gone by then.

    Returns the exit status, and whether its job has ended and left nobody who would end this process.
    """
    status = 1
    with connection, contextlib.suppress(OSError):  # the job that asked is gone
        try:
            if not _become(connection, forked):
                return 0, True
        except OSError:  # no job at all, but another Snakemake that looks for trainers that are left (`_clear`)
            return 0, True
        watch = Watch(connection.fileno(), snakemake)
        send(connection, 1)
        status = _main()
        still_wanted = watch.stop()
        send(connection, status)
        if not forked:
            connection.settimeout(GOODBYE)  # once the job has ended, it can send no signal any more
            return status, still_wanted and not connection.recv(1)
    return status, False


def do_runs(channel: socket.socket) -> None:
    """Do one run after another, in a process that has loaded all."""
    import torch

    known = {name.partition(".")[0] for name in sys.modules} | sys.stdlib_module_names
    compiler = sys.modules.get("torch._dynamo.utils")
    rng = torch.get_rng_state()
    snakemake, nowhere = os.dup(sys.stdin.fileno()), os.open(os.devnull, os.O_RDWR)

    def is_as_new() -> bool:
        """Say whether the last run has left nothing that the next one could notice.

        Modules of one's own may keep anything; a compiled model is found again; CUDA stays on its GPU, which is wanted
        where the next run is to get that one too.
        """
        for thread in threading.enumerate():
            if thread is not threading.main_thread():
                thread.join(GOODBYE)  # the timer of a time limit takes a moment to end
        return (
            {name.partition(".")[0] for name in sys.modules} <= known
            and not (compiler and compiler.counters["frames"])
            and (not torch.cuda.is_initialized() or (_keeps_context and torch.cuda.device_count() == 1))
            and threading.active_count() == 1
        )

    status, alone = 0, True
    while status == 0 and alone and is_as_new():
        for stream in range(3):
            os.dup2(nowhere, stream)
        for number in (*IGNORED, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.SIG_IGN)
        torch.set_rng_state(rng)
        gc.collect()
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()  # for the other runs of that GPU
        channel.sendall(b".")
        ready, _, _ = select.select([channel.fileno(), snakemake], [], [])
        if snakemake in ready:
            break
        _, descriptors, _, _ = socket.recv_fds(channel, 1, 1)
        if not descriptors:  # the trainer has ended
            break
        status, alone = do_run(socket.socket(fileno=descriptors[0]), snakemake, forked=False)
    os._exit(status)


def _main() -> int:
    try:
        status: int = _script().main()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        status = 1
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    return status


def _become(connection: socket.socket, forked: bool) -> bool:
    """Take over everything a process has of its own; say whether this process can be like the one that asked."""
    connection.settimeout(10)
    send(connection, os.getpid())
    head, streams, _, _ = socket.recv_fds(connection, 4, 3)
    if not head:
        raise ConnectionResetError
    message = b""
    size = int.from_bytes(head, "big")
    while len(message) < size:
        part = connection.recv(size - len(message))
        if not part:
            raise ConnectionResetError
        message += part
    connection.settimeout(None)
    prefix, folder, job, umask, priority, limits, n_arguments, *rest = message.split(b"\0")
    arguments, environment = rest[: int(n_arguments)], rest[int(n_arguments) :]
    variables = dict(variable.split(b"=", 1) for variable in environment)
    asked = _of_gpus(arguments, variables)
    is_alike = os.fsencode(os.path.realpath(sys.prefix)) == prefix and _starts_alike(variables)
    is_alike &= not has_context() or asked == _asked
    if not is_alike or not _has_limits(int(job), int(priority), limits, forked):
        for stream in streams:
            os.close(stream)
        send(connection, 0)
        return False
    _asked[:] = asked
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)
    os.chdir(folder)
    os.umask(int(umask))
    os.environb.clear()
    os.environb.update({**_added, **variables})
    del os.environ[VARIABLE]
    sys.argv = [os.fsdecode(argument) for argument in arguments]
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdout.reconfigure(line_buffering=sys.stdout.isatty())  # type: ignore[union-attr]
    for number in (*IGNORED, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return True


def _starts_alike(variables: dict[bytes, bytes]) -> bool:
    """Say whether Python and its libraries would have started in the same way with this environment."""

    def relevant(environment: dict[bytes, bytes]) -> dict[bytes, bytes]:
        return {
            key: value
            for key, value in environment.items()
            if key.startswith(_READ_AT_START) and not key.endswith(b"_NUM_THREADS")  # run.py sets the threads
        }

    return relevant(variables) == relevant(ENVIRONMENT)


def _of_gpus(arguments: Iterable[bytes], variables: Mapping[bytes, bytes]) -> list[bytes]:
    """Return what of a run's command and environment says which GPU it gets."""
    options = [text for text in arguments if text.startswith((b"--device", b"--jobs-per-gpu", b"--gpus-per-run"))]
    return [*options, *(variables.get(name.encode(), b"") for name in (VISIBLE, KNOWN))]


def _has_limits(job: int, priority: int, limits: bytes, forked: bool) -> bool:
    """Say whether this process has the limits, priority, CPUs and control group of its job; a fork takes them over.

    A process that does more runs could not take all of them back.
    """
    wanted = {number: (soft, hard) for number, soft, hard in (map(int, text.split()) for text in limits.split(b","))}
    try:
        if forked:
            for number, limit in wanted.items():
                resource.setrlimit(number, limit)
            os.setpriority(os.PRIO_PROCESS, 0, priority)
        own = {number: resource.getrlimit(number) for number in wanted}
        if own != wanted or os.getpriority(os.PRIO_PROCESS, 0) != priority:
            return False
        if hasattr(os, "sched_getaffinity"):  # Linux
            if forked:
                os.sched_setaffinity(0, os.sched_getaffinity(job))
            same_cpus = os.sched_getaffinity(0) == os.sched_getaffinity(job)
            return same_cpus and _control_group("self") == _control_group(job)
    except (OSError, ValueError):
        return False
    return True


def _control_group(process: int | str) -> bytes:
    try:
        return Path(f"/proc/{process}/cgroup").read_bytes()
    except FileNotFoundError:
        return b""


class Watch:
    """Has this process write its checkpoint and end when one of these connections does, until it is stopped."""

    def __init__(self, *descriptors: int) -> None:
        self._stopped, self._stop = os.pipe()
        self._has_seen_an_end = False
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # signals are for the main thread
        self._thread = threading.Thread(target=self._end_with, args=(descriptors,), daemon=True)
        self._thread.start()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _end_with(self, descriptors: tuple[int, ...]) -> None:
        poll = select.poll()
        for descriptor in (self._stopped, *descriptors):
            poll.register(descriptor, select.POLLIN)
        if self._stopped in [descriptor for descriptor, _ in poll.poll()]:
            return
        self._has_seen_an_end = True
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE)
        os.kill(os.getpid(), signal.SIGKILL)

    def stop(self) -> bool:
        """Watch no more; say whether none had ended."""
        os.close(self._stop)
        while self._thread.is_alive() and not self._has_seen_an_end:
            self._thread.join(0.1)
        if not self._has_seen_an_end:
            os.close(self._stopped)
        return not self._has_seen_an_end


@functools.cache
def _script() -> Any:
    """Return scripts/train.py under a name of its own: a user's own model may be in a module called train."""
    spec = importlib.util.spec_from_file_location("dlsweep.train_script", Path(__file__).parents[3] / "train.py")
    assert spec and spec.loader
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def preload(files: Iterable[str] = ()) -> bool:
    """Load all that a run of any task needs, without computing anything, and what the user's files import first.

    Return False where an import of theirs has left what a run that is forked cannot have: threads, open files (a GPU's
    too), other values of the environment's variables. Then this process cannot be used.
    """
    from dlsweep.tasks.own_code import import_installed

    for kind in TASKS:
        load_task(kind)
    _script().parser()
    threads, n_open, environment = _threads(), _n_open(), dict(os.environb)
    with without_collector():
        import_installed(map(Path, files))
    _added.update({name: value for name, value in os.environb.items() if name not in environment})
    return _threads() <= threads and _n_open() <= n_open and environment.items() <= os.environb.items()


def _threads() -> int:
    """Return how many threads this process has, also of native code; a fork has jemalloc's again (pyarrow's memory)."""
    try:
        names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    except OSError:
        names = []
    return sum(name != JEMALLOC for name in names) or threading.active_count()


def _n_open() -> int:
    """Return how many files, sockets and devices this process has open."""
    return len(list(Path("/dev/fd").iterdir()))


def send(connection: socket.socket, number: int) -> None:
    connection.sendall(number.to_bytes(4, "big"))
