"""Have a process do each run that is handed over: what the trainer itself does. It never computes."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from dlsweep.runs.warm.handover import EXITED, NO_MEMORY, SIGNALLED, WAIT
from dlsweep.runs.warm.start import python_command
from dlsweep.runs.warm.worker import ENVIRONMENT, IGNORED, do_run, do_runs, preload, send

PR_SET_PDEATHSIG = 1  # of linux/prctl.h: the signal that a process gets when its parent ends


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
                        send(connection, EXITED + code if code >= 0 else SIGNALLED + short - code)
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
            command = python_command("spare", theirs.fileno(), "", *self.files)
            process = subprocess.Popen(command, pass_fds=[theirs.fileno()])  # stdin is the pipe of Snakemake
        self.spares[process.pid] = Spare(process, ours)
        self.watch(ours.fileno(), lambda: self.hear(process.pid))

    def begin(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            send(connection, WAIT)
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


def main() -> None:
    """Be a trainer, Forks or Spares, or one of the spares.

    The arguments are the role, the descriptor of the trainer's socket or of the spare's channel, the trainer's folder,
    and files of the user's.
    """
    role, descriptor, folder, *files = sys.argv[1:]
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    if role != "Spares" and not preload(files):
        os.execve(sys.executable, python_command(role, descriptor, folder), ENVIRONMENT)
    connection = socket.socket(fileno=int(descriptor))
    if role == "spare":
        do_runs(connection)
    elif role == "Forks":
        Forks(connection).serve(Path(folder))
    else:
        Spares(connection, files).serve(Path(folder))
