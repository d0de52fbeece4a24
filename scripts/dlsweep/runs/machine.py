"""What a run's record says of its machine and its code."""

from __future__ import annotations

import datetime
import functools
import os
import platform
import socket
import subprocess
from typing import Any


def now_text() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def describe_machine(command: str) -> dict[str, Any]:
    """Return the provenance of any run on this machine: command, code, Python, host."""
    commit, dirty = git_state()
    return {
        "command": command,
        "git_commit": commit,
        "git_dirty": dirty,
        "python": platform.python_version(),
        "host": socket.gethostname(),
        "pid": os.getpid(),
    }


@functools.cache
def git_state() -> tuple[str | None, bool | None]:
    """Return the commit of the working directory and whether it has changes; None where git does not know."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True, timeout=20).stdout

    try:
        return git("rev-parse", "HEAD").strip(), bool(git("status", "--porcelain", "--untracked-files=no").strip())
    except (OSError, subprocess.SubprocessError):
        return None, None
