"""Hand a run over to the warm trainer of its sweep (trainer.py): the first thing that every run does.

This costs every run, so it imports next to nothing: `socket`, `signal` or `typing` would cost as much as all the rest.
"""

from __future__ import annotations

import _signal
import _socket
import os
import resource
import sys

VARIABLE = "DLSWEEP_WARM"  # the folder of the trainer's socket; how a person sets it: start.py
PATIENCE = 120.0  # seconds for a process that still loads torch; past it the run goes on in its own process
READY_PATIENCE = 10.0  # for a trainer that has started: it answers in milliseconds
WAIT = 0  # the trainer's answer where a process for this run still starts
SIGNALLED, EXITED, NO_MEMORY = 256, 512, 1024  # added to the number of how a run ended that said nothing itself
FOR_MEMORY = "meanwhile the system has killed a process for lack of memory"
SEE = "see "
"""What a line begins with in the log of a search's slot that names the log of its run."""
FORWARDED = ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGTSTP", "SIGCONT")


def hand_over() -> None:
    """Let the warm trainer do this run, and end with its exit status; return where there is none, or none any more.

    A process of the trainer's gets this one's arguments, environment, working directory, standard streams and signals.
    Its run ends when this process does.
    """
    folder = os.environ.get(VARIABLE, "0")
    if folder == "0":
        return
    try:
        connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        run = _connect(connection, folder)
        _send_process(connection)
        accepted = _receive(connection)
    except OSError as error:
        if isinstance(error, TimeoutError):  # it hangs: the next runs need not wait for it as well
            _forget(folder)
        return
    if not accepted:
        return
    received: list[int] = []

    def forward(number: int, _: object) -> None:
        received.append(number)
        try:
            os.kill(run, _signal.SIGSTOP if number == _signal.SIGTSTP else number)
        except ProcessLookupError:
            return
        if number == _signal.SIGTSTP:
            os.kill(os.getpid(), _signal.SIGSTOP)

    numbers = [getattr(_signal, name) for name in FORWARDED]
    numbers = [number for number in numbers if _signal.getsignal(number) != _signal.SIG_IGN]  # nohup stays nohup
    before = {number: _signal.signal(number, forward) for number in numbers}
    connection.settimeout(None)
    try:
        # nothing is open here, and the interpreter's own way out costs milliseconds
        os._exit(_status(_receive(connection)))
    except OSError:  # neither the run nor the trainer is there any more
        if received:
            os._exit(128 + received[-1])
    for number, handler in before.items():
        _signal.signal(number, handler)


def _status(number: int) -> int:
    """Return the exit status of a run; say in its log how it ended where it could not do so itself."""
    if number < SIGNALLED:
        return number
    code = number % SIGNALLED
    text = f"error: the run ended itself with exit status {code}, without a word\n"
    if number & SIGNALLED:
        names = [name for name in dir(_signal) if name.startswith("SIG") and getattr(_signal, name) == code]
        text = f"error: killed by signal {code} ({' '.join(names) or 'unknown'})"
        text += f"; {FOR_MEMORY}\n" if number & NO_MEMORY else "\n"
    _log(text)
    return 128 + code if number & SIGNALLED else code or 1


def _log(text: str) -> None:
    """Write to standard error or, where that is the log of a slot which names the log of its run, there."""
    here = "/proc/self/fd/2"
    try:
        with open(here if os.path.isfile(here) else os.devnull) as file:
            names = [line[len(SEE) :] for line in file.read().splitlines() if line.startswith(SEE)]
        with open(names[-1], "a") as log:
            log.write(text)
    except (OSError, ValueError, IndexError):
        os.write(2, text.encode())


def _connect(connection: _socket.socket, folder: str) -> int:
    """Connect to the trainer and return the process that it has for this run."""
    connection.settimeout(READY_PATIENCE if os.path.exists(f"{folder}/ready") else PATIENCE)
    connection.connect(f"{folder}/socket")
    process = _receive(connection)
    if process == WAIT:
        connection.settimeout(PATIENCE)
        process = _receive(connection)
    return process


def _send_process(connection: _socket.socket) -> None:
    """Send all that the run takes over."""
    umask = os.umask(0o077)
    os.umask(umask)
    numbers = {getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")}
    limits = [b"%d %d %d" % (number, *resource.getrlimit(number)) for number in sorted(numbers)]
    priority = os.getpriority(os.PRIO_PROCESS, 0)
    prefix = os.path.realpath(sys.prefix)  # the same environment may be reached through a link
    head = [os.fsencode(prefix), os.fsencode(os.getcwd()), b"%d" % os.getpid(), b"%d" % umask, b"%d" % priority]
    arguments = [os.fsencode(argument) for argument in sys.argv]
    environment = [b"%b=%b" % item for item in os.environb.items()]
    message = b"\0".join([*head, b",".join(limits), b"%d" % len(arguments), *arguments, *environment])
    streams = b"".join(number.to_bytes(4, sys.byteorder) for number in (0, 1, 2))
    size = len(message).to_bytes(4, "big")
    connection.sendmsg([size], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, streams)])
    connection.sendall(message)


def _receive(connection: _socket.socket) -> int:
    """Return the next number from the other side."""
    data = connection.recv(4)
    if len(data) < 4:
        raise ConnectionResetError
    return int.from_bytes(data, "big")


def _forget(folder: str) -> None:
    try:
        os.unlink(f"{folder}/socket")
    except OSError:
        pass
