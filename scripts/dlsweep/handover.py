"""Hand a run over to the warm trainer of its sweep (warm.py): the first thing that every run does.

This costs every run, so it imports next to nothing: `socket`, `signal` or `typing` would cost as much as all the rest.
"""

import _signal
import _socket
import os
import sys

VARIABLE = "DLSWEEP_WARM"  # the folder of the trainer's socket; 0 switches it off
PATIENCE = 120.0  # seconds for a trainer that still starts; past it the run goes on in its own process
READY_PATIENCE = 10.0  # the same for one that has started: it answers in milliseconds
FORWARDED = ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGTSTP", "SIGCONT")


def hand_over() -> None:
    """Let the warm trainer do this run, and end with its exit status; return where there is none, or none any more.

    The trainer forks a process, which gets this one's arguments, environment, working directory, standard streams
    and signals. It ends when this process does.
    """
    folder = os.environ.get(VARIABLE, "0")
    if folder == "0":
        return
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
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
        os._exit(_receive(connection))  # nothing is open here, and the interpreter's own way out costs milliseconds
    except OSError:  # neither the run nor the trainer is there any more
        if received:
            os._exit(128 + received[-1])
    for number, handler in before.items():
        _signal.signal(number, handler)


def _connect(connection: _socket.socket, folder: str) -> int:
    """Connect to the trainer and return the process that it has forked for this run."""
    at = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        connection.settimeout(READY_PATIENCE if os.access("ready", os.F_OK, dir_fd=at) else PATIENCE)
        connection.connect(f"/proc/self/fd/{at}/socket")  # a socket's own path is limited to 107 bytes
    finally:
        os.close(at)
    return _receive(connection)


def _send_process(connection: _socket.socket) -> None:
    """Send all that the run takes over; the rest it reads from /proc."""
    umask = os.umask(0o077)
    os.umask(umask)
    head = [os.fsencode(sys.prefix), os.fsencode(os.getcwd()), b"%d" % os.getpid(), b"%d" % umask]
    arguments = [os.fsencode(argument) for argument in sys.argv]
    environment = [b"%b=%b" % item for item in os.environb.items()]
    message = b"\0".join([*head, b"%d" % len(arguments), *arguments, *environment])
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
