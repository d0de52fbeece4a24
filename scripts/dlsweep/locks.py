"""Locks between processes: one at a time holds a lock, on every machine that sees its file; it ends with its holder.

A lock is a `flock` on its file. Some network and FUSE file systems have none (ENOSYS, ENOLCK, EOPNOTSUPP). There it is
a lease: each process that wants the lock puts a file of its own into a folder beside the lock's file, and has it if no
other living process has one there; of two that meet, both step back and try again. The name of that file says which
process it is: host, number, start. On the same host a process that is gone is seen at once, and its lease counts no
more; one of another host counts until its file, which its holder touches every few seconds, is `STALE_SECONDS` old.
So nobody ever removes the lease of a living process of its own host, and who loses a lease to another host ends.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import fcntl
import math
import os
import random
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

POLL_SECONDS = 0.05
HEARTBEAT_SECONDS = 10.0
STALE_SECONDS = 120.0  # the clocks of machines that share a folder must agree better than that
BUSY = {errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES}
NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}

_chance = random.SystemRandom()  # apart from the generators that runs seed


class Busy(Exception):
    """The lock is held by another process, and was so for as long as it was waited for."""


class Lock:
    """A lock that this process holds until it is released, or until the process ends, however it ends."""

    def __init__(self, path: Path, descriptor: int | None, lease: Path | None = None) -> None:
        self.path, self.lease = path, lease
        self._descriptor = descriptor
        self._released = threading.Event()
        if lease:
            threading.Thread(target=self._keep_alive, args=(lease,), daemon=True).start()

    def release(self) -> None:
        """Let others have it."""
        self._released.set()
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, 0)  # names nobody any more
            os.close(self._descriptor)  # releases it
            self._descriptor = None
        if self.lease:
            _remove(self.lease)

    def _keep_alive(self, lease: Path) -> None:
        while not self._released.wait(HEARTBEAT_SECONDS):
            try:
                with lease.open("r+b") as file:
                    file.write(_now().encode())
            except FileNotFoundError:
                if not self._released.is_set():
                    print(
                        f"error: {self.path}: another machine has taken this lock, since it heard nothing of this"
                        f" process for {STALE_SECONDS:g} s; it goes on with the work",
                        file=sys.stderr,
                        flush=True,
                    )
                    os._exit(1)
            except OSError:
                continue  # a file system that is away may come back

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *_: Any) -> None:
        self.release()


def acquire(path: Path, timeout: float = math.inf, cancelled: Callable[[], bool] = lambda: False) -> Lock:
    """Wait for a lock and return it.

    Raises Busy after `timeout` seconds, or where `cancelled` says so, and OSError, naming the file, where no lock can
    be had that is safe.
    """
    deadline = time.monotonic() + timeout
    while not (lock := take(path)):
        if cancelled() or time.monotonic() > deadline:
            raise Busy(str(path))
        time.sleep(_chance.uniform(POLL_SECONDS, 3 * POLL_SECONDS))  # not in step with another that waits
    return lock


def take(path: Path) -> Lock | None:
    """Return the lock, or None where another process holds it. Raises OSError as `acquire` does."""
    try:
        descriptor = _open(path)
    except OSError as error:
        raise OSError(error.errno, f"cannot be locked: {error.strerror}", str(path)) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if error.errno in BUSY:
            return None
        if error.errno in NO_LOCKS:
            return _take_lease(path, error)
        raise OSError(error.errno, f"cannot be locked: {error.strerror}", str(path)) from None
    if not _is_at(descriptor, path) or _others(path):  # removed by its last holder; or held where there is no flock
        os.close(descriptor)
        return None
    with contextlib.suppress(OSError):  # it is for people, and for machines that cannot see the lock itself
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()} since {_now()}\n".encode())
    return Lock(path, descriptor)


def is_held(path: Path) -> bool:
    """Say whether a living process holds a lock. Raises OSError, naming the file, where that cannot be known."""
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno in BUSY and error.filename is None:  # of flock, not of opening the file
            return True
        if error.errno not in NO_LOCKS:
            raise
    return any(_lives(lease) for lease in _leases(path))


def holder(path: Path) -> str:
    """Say who holds a lock, for a message."""
    for lease in _leases(path):
        if _lives(lease):
            host, _, process, _, _ = lease.name.split("~")
            text = f"process {process} on {host}, which touched {lease} {_age(lease):.0f} s ago"
            return text if host == _here()[0] else f"{text}; once it is {STALE_SECONDS:g} s old, it counts no more"
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return "a process that has just ended"


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except PermissionError:  # another user's
        return os.open(path, os.O_RDONLY)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _now() -> str:
    return datetime.datetime.now().isoformat(" ", timespec="seconds")


# -- leases ----------------------------------------------------------------------------------------------------------


def _take_lease(path: Path, why: OSError) -> Lock | None:
    """Take the lock without `flock`, which failed for the reason `why`."""
    _refuse_what_cannot_be_seen(path, why)
    if _others(path):
        return None
    name = "~".join((*_here(), str(os.getpid()), _start(os.getpid()), f"{_chance.getrandbits(32):x}"))
    lease = _folder(path) / name
    lease.parent.mkdir(exist_ok=True)
    try:
        lease.touch(exist_ok=False)
    except FileNotFoundError:  # who was there last has removed the folder
        return None
    if _others(path, lease):
        _remove(lease)
        return None
    return Lock(path, None, lease)


def _refuse_what_cannot_be_seen(path: Path, why: OSError) -> None:
    """Raise OSError where a process of another machine may hold the lock in the way that this machine lacks."""
    try:
        found = re.match(r"process (\d+) on (\S+) since", path.read_text(errors="replace"))
    except FileNotFoundError:
        return
    if found and not (found[2] == socket.gethostname() and not _is_alive(int(found[1]))):
        raise OSError(
            why.errno,
            f"may be held by {found[0].removesuffix(' since')}, but this machine cannot see it, for lack of file locks"
            f" on this file system ({why.strerror}); if no such process is at work, delete this file",
            str(path),
        )


def _folder(path: Path) -> Path:
    return path.with_name(f"{path.stem}-lease")


def _leases(path: Path) -> Iterator[Path]:
    with contextlib.suppress(FileNotFoundError):
        for entry in list(os.scandir(_folder(path))):
            if entry.name.count("~") == 4:
                yield Path(entry.path)


def _others(path: Path, mine: Path | None = None) -> bool:
    """Say whether another living process wants or has the lease; remove those of dead ones."""
    found = False
    for lease in _leases(path):
        if lease == mine:
            continue
        if _lives(lease):
            found = True
        else:
            _remove(lease)
    return found


def _lives(lease: Path) -> bool:
    host, space, process, start, _ = lease.name.split("~")
    if (host, space) != _here():
        return _age(lease) < STALE_SECONDS
    return _is_alive(int(process), start)


def _age(lease: Path) -> float:
    try:
        return time.time() - lease.stat().st_mtime
    except FileNotFoundError:
        return math.inf


def _remove(lease: Path) -> None:
    with contextlib.suppress(OSError):
        lease.unlink(missing_ok=True)
        lease.parent.rmdir()  # unless others are in it


def _here() -> tuple[str, str]:
    """Host and, where containers share its name, the space in which process numbers count."""
    try:
        space = re.sub(r"\D", "", os.readlink("/proc/self/ns/pid"))  # noqa: PTH115
    except OSError:
        space = ""
    return re.sub(r"[^A-Za-z0-9.-]", "_", socket.gethostname()), space


def _is_alive(process: int, start: str = "") -> bool:
    """Say whether a process, which started then, is still there; where that cannot be seen, it is taken to be."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's
    now = _start(process)
    return now != "ended" and (not now or not start or now == start)


def _start(process: int) -> str:
    """Return when a process started, as no change of the clock changes it; "" where that cannot be seen."""
    try:
        state, *rest = Path(f"/proc/{process}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return "ended" if state in "ZX" else rest[18]  # in ticks since the machine started: see man 5 proc
    except (OSError, ValueError, IndexError):
        pass
    import psutil

    try:
        found = psutil.Process(process)
        return "ended" if found.status() == psutil.STATUS_ZOMBIE else f"{found.create_time():.0f}"
    except psutil.Error:
        return ""
