"""The warm trainer: one process per sweep that has processes ready which have imported all that training needs.

Loading torch and the rest takes seconds, a run of a small model takes tenths of one. Snakemake starts the trainer
(`start`), tells its jobs where it is, and `scripts/train.py` hands its run over (handover.py). The process that does
the run is like one of the run's own: it has the arguments, environment, working directory, standard streams, limits
and signals of the job that asked for it, and its record is the same, bit for bit.

On Linux the trainer has loaded all itself, and forks a process a run (`Forks`). Elsewhere a process that has loaded
torch cannot be forked safely: Metal, Accelerate and Objective-C do not allow it. There the trainer keeps processes that
have loaded all, and that do one run after another (`Spares`).

No run depends on the trainer: where there is none, or it is gone, or does not answer, train.py trains by itself.
The trainer ends with its Snakemake, however that ends: it reads the end of a pipe that only Snakemake has open.
A run ends, with its checkpoint, when the job that asked for it or Snakemake does, for the same reason.

The trainer itself never computes: forks of a process that has used CUDA or a thread pool do not work.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import gc
import importlib.util
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
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlsweep.runs.handover import EXITED, NO_MEMORY, SIGNALLED, VARIABLE, WAIT
from dlsweep.runs.preload import TASKS, load_task, without_collector

_environment = dict(os.environb)  # as this process started: torch adds to it
_added: dict[bytes, bytes] = {}  # to the environment, by what the user's code imports: a run by itself has it too

SPARES = "spares"  # value of the variable: no forks, as on macOS
PREFIX = "dlsweep-"  # of the folder of a trainer's socket
MOST_BYTES = 90  # of the folder's path: with "/socket" it must be shorter than 104 bytes on macOS, 108 on Linux
PR_SET_PDEATHSIG = 1  # of linux/prctl.h: the signal that a process gets when its parent ends
GRACE = 120.0  # seconds in which a run that has lost its job must have written its checkpoint
GOODBYE = 5.0  # seconds in which a job that knows how its run ended must have ended too
# A cluster sends these to every process of a job; they are for the runs.
IGNORED = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
JEMALLOC = "jemalloc_bg_thd"  # the name of its thread, on Linux
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


def start(files: Iterable[Path] = ()) -> subprocess.Popen[bytes] | None:
    """Start a trainer for the jobs of this process; return its process. It ends with this one.

    It also loads what these files of the user's begin by importing, but none of the files.
    Where it cannot be started (no place for its socket, no sockets, no more processes), say so, and return None.
    """
    if os.name != "posix" or os.environ.get(VARIABLE) == "0":
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
        role = "Forks" if sys.platform == "linux" and way != SPARES else "Spares"
        trainer = subprocess.Popen(
            _command(role, listening.fileno(), folder, *files),
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


def _command(role: str, *arguments: object) -> list[str]:
    """A Python that looks for modules where a run by itself does, in the folder of train.py, and then calls `main`."""
    scripts = str(Path(__file__).parents[2])
    code = f"import sys; sys.path.insert(0, {scripts!r}); from dlsweep.runs.warm import main; main()"
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


# -- in the trainer's process --------------------------------------------------------------------------------------


class Trainer:
    """Has a process do each run that is handed over, and reports how it ended, until Snakemake ends."""

    def __init__(self, listening: socket.socket) -> None:
        self.listening = listening
        self.runs: dict[int, socket.socket] = {}  # by the process that does it, the connection to its job
        self.memory_kills = _memory_kills()
        self.poll = select.poll()
        self.events: dict[int, Callable[[], None]] = {}  # what to do where a descriptor can be read
        self.woken, self.wake = os.pipe()

    def serve(self, folder: Path) -> None:
        """Serve until Snakemake ends."""
        os.set_blocking(self.wake, False)
        signal.set_wakeup_fd(self.wake)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        self.watch(self.woken, self.report)
        self.watch(self.listening.fileno(), lambda: self.begin(self.listening.accept()[0]))
        self.poll.register(sys.stdin.fileno(), select.POLLIN)
        (folder / "ready").touch()
        while sys.stdin.fileno() not in (ready := [descriptor for descriptor, _ in self.poll.poll()]):
            for descriptor in ready:
                if event := self.events.get(descriptor):
                    event()
        shutil.rmtree(folder, ignore_errors=True)

    def watch(self, descriptor: int, event: Callable[[], None]) -> None:
        """Call `event` whenever there is something to read."""
        self.poll.register(descriptor, select.POLLIN)
        self.events[descriptor] = event

    def forget(self, descriptor: int) -> None:
        """Do not watch it any more."""
        self.poll.unregister(descriptor)
        del self.events[descriptor]

    def report(self) -> None:
        """Tell each job whose run's process has ended how it ended."""
        os.read(self.woken, 4096)
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                process, code = ended[0], os.waitstatus_to_exitcode(ended[1])
                if connection := self.runs.pop(process, None):
                    before, self.memory_kills = self.memory_kills, _memory_kills()
                    short = NO_MEMORY if self.memory_kills > before else 0
                    with connection, contextlib.suppress(OSError):  # a run that could, has said so itself
                        _send(connection, EXITED + code if code >= 0 else SIGNALLED + short - code)
                self.end(process, code)

    def begin(self, connection: socket.socket) -> None:
        """Let a process do the run of the job on the other side."""
        raise NotImplementedError

    def end(self, process: int, code: int) -> None:
        """A process has ended."""


class Forks(Trainer):
    """The trainer has loaded everything, and forks a process for each run."""

    def __init__(self, listening: socket.socket) -> None:
        super().__init__(listening)
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGCONT)  # were it stopped, it would not see Snakemake's end

    def begin(self, connection: socket.socket) -> None:
        process = os.fork()
        if not process:
            signal.set_wakeup_fd(-1)
            for other in (self.listening, *self.runs.values()):
                other.close()
            os.close(self.woken)
            os.close(self.wake)
            status = 1
            try:
                status = do_run(connection, os.dup(sys.stdin.fileno()), forked=True)[0]
            finally:
                os._exit(status)
        self.runs[process] = connection


@dataclass
class Spare:
    """A process of `Spares`, and the channel on which it gets its runs."""

    process: subprocess.Popen[bytes]
    channel: socket.socket
    loaded: bool = False


class Spares(Trainer):
    """The trainer loads nothing. It has as many processes that have as there are runs at once; each does many.

    One that has ended after a run (`is_as_new` says why) is replaced ahead of the next run.
    """

    def __init__(self, listening: socket.socket, files: Iterable[str]) -> None:
        super().__init__(listening)
        self.files = files
        self.spares: dict[int, Spare] = {}
        self.idle: list[int] = []
        self.waiting: list[socket.socket] = []  # jobs, for a process that loads
        self.add()

    def add(self) -> None:
        """Start a process."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            command = _command("spare", theirs.fileno(), "", *self.files)
            process = subprocess.Popen(command, pass_fds=[theirs.fileno()])  # stdin is the pipe of Snakemake
        self.spares[process.pid] = Spare(process, ours)
        self.watch(ours.fileno(), lambda: self.hear(process.pid))

    def begin(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            _send(connection, WAIT)
        self.waiting.append(connection)
        self.assign()

    def assign(self) -> None:
        """Give the jobs that wait to processes that are idle; have as many start as are wanting."""
        for connection in [connection for connection in self.waiting if _has_ended(connection)]:
            self.waiting.remove(connection)
            connection.close()
        while self.waiting and self.idle:
            process = self.idle.pop()
            with contextlib.suppress(OSError):  # where it has just ended
                socket.send_fds(self.spares[process].channel, [b"."], [self.waiting[0].fileno()])
                self.runs[process] = self.waiting.pop(0)
        loading = sum(not spare.loaded for spare in self.spares.values())
        ready_soon = sum(map(_has_ended, self.runs.values()))
        for _ in range(len(self.waiting) - loading - ready_soon):
            self.add()

    def hear(self, process: int) -> None:
        """A process says that it is ready for the next run, or has ended."""
        spare = self.spares[process]
        try:
            has_ended = not spare.channel.recv(1)
        except BlockingIOError:  # it was another one that had this descriptor
            return
        except OSError:
            has_ended = True
        if has_ended:
            self.forget(spare.channel.fileno())
            return
        spare.loaded = True
        if connection := self.runs.pop(process, None):
            connection.close()
        self.idle.append(process)
        self.assign()

    def end(self, process: int, code: int) -> None:
        spare = self.spares.pop(process)
        spare.process.returncode = code
        if spare.channel.fileno() in self.events:
            self.forget(spare.channel.fileno())
        spare.channel.close()
        if process in self.idle:
            self.idle.remove(process)
        if spare.loaded:
            self.add()
        elif self.waiting:  # nor would the next one be able to load: that job does its run by itself
            self.waiting.pop(0).close()


def _has_ended(connection: socket.socket) -> bool:
    """Say whether the job on the other side has ended."""
    try:
        return not connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True


def _memory_kills() -> int:
    """Return how many processes the system has killed for lack of memory since it started; 0 where nobody knows."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def _send(connection: socket.socket, number: int) -> None:
    connection.sendall(number.to_bytes(4, "big"))


# -- in the process of a run ---------------------------------------------------------------------------------------


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
        _send(connection, 1)
        status = _main()
        still_wanted = watch.stop()
        _send(connection, status)
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

        Modules of one's own may keep anything; a compiled model is found again; CUDA stays on its GPU.
        """
        for thread in threading.enumerate():
            if thread is not threading.main_thread():
                thread.join(GOODBYE)  # the timer of a time limit takes a moment to end
        return (
            {name.partition(".")[0] for name in sys.modules} <= known
            and not (compiler and compiler.counters["frames"])
            and not torch.cuda.is_initialized()
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
    _send(connection, os.getpid())
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
    is_alike = os.fsencode(os.path.realpath(sys.prefix)) == prefix and _starts_alike(variables)
    if not is_alike or not _has_limits(int(job), int(priority), limits, forked):
        for stream in streams:
            os.close(stream)
        _send(connection, 0)
        return False
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

    return relevant(variables) == relevant(_environment)


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
    spec = importlib.util.spec_from_file_location("dlsweep.train_script", Path(__file__).parents[2] / "train.py")
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


def main() -> None:
    """Be a trainer, Forks or Spares, or one of the spares.

    The arguments are the role, the descriptor of the trainer's socket or of the spare's channel, the trainer's folder,
    and files of the user's.
    """
    role, descriptor, folder, *files = sys.argv[1:]
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    if role != "Spares" and not preload(files):
        os.execve(sys.executable, _command(role, descriptor, folder), _environment)
    connection = socket.socket(fileno=int(descriptor))
    if role == "spare":
        do_runs(connection)
    elif role == "Forks":
        Forks(connection).serve(Path(folder))
    else:
        Spares(connection, files).serve(Path(folder))
