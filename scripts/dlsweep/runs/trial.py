"""Try the user's own code once before its runs start, on the CPU; nothing keeps what comes of it."""

from __future__ import annotations

import faulthandler
import sys
from pathlib import Path

from dlsweep.config.identity import Setting
from dlsweep.errors import ConfigError
from dlsweep.files import write_atomic
from dlsweep.runs.preload import load_task
from dlsweep.runs.stopping import Stop


def try_model(setting: Setting, data: Path | None, output: Path, threads: int, time_limit: float | None) -> int:
    """Try the model of a setting; write `output` where it works, else one message. Return the exit status.

    Without `data` the class is only imported. `time_limit` is in seconds.
    """
    load_task("classification")
    from dlsweep.tasks.classification.trial import try_once

    faulthandler.enable()
    try:
        with Stop(time_limit).watchdog(lambda reason: None):
            said = try_once(setting, data, threads)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    output.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(output, f"{said}\n".encode())
    print(said)
    return 0
