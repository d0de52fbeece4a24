"""The states in which finished runs have ended, kept so that more epochs need not begin from nothing."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from dlsweep.config.identity import Setting, setting_hash
from dlsweep.config.paths import split_name, state_file
from dlsweep.config.tasks import is_built_in


class Kept(NamedTuple):
    """The state of a run of so many epochs, and the hash of its setting."""

    n_epochs: int
    digest: str
    path: Path


def shorter_runs(results: Path, setting: Setting) -> list[Kept]:
    """Return the kept states of runs that differ from a setting in fewer epochs alone, that of the longest first."""
    if not is_built_in(setting):
        return []
    folder = state_file(results, "", "").parent
    there = {parts[1]: path for path in folder.glob("*.pt") if (parts := split_name(path.with_suffix(".json")))}
    if not there:
        return []
    found = []
    for n_epochs in range(setting["epochs"] - 1, 0, -1):
        digest = setting_hash({**setting, "epochs": n_epochs})
        if digest in there:
            found.append(Kept(n_epochs, digest, there[digest]))
    return found
