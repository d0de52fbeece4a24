"""The weights that a run starts from, `init_from`: where their file is, and which version it has.

Loads neither torch nor pandas.
"""

from __future__ import annotations

import json
from pathlib import Path

from dlsweep.config.files import own_path
from dlsweep.config.paths import HASH, hash_in, record_name, weights_file
from dlsweep.errors import ConfigError
from dlsweep.results.records import list_records

KEY = "dlsweep"  # of the metadata of a file of weights


def weights_file_of(results: Path, value: str) -> Path | None:
    """Return the file of weights that `init_from` names; None where it is not there."""
    if not HASH.fullmatch(value):
        return path if (path := own_path(value)).is_file() else None
    folder = weights_file(results, "", value).parent
    return next(iter(sorted(folder.glob(f"*-{value}.safetensors"))), None)


def find_weights_file(results: Path, value: str) -> Path:
    """Return the file of weights that `init_from` names.

    Raises ConfigError where it is not there, saying what to do.
    """
    if path := weights_file_of(results, value):
        return path
    digest = hash_in(value)
    names = [exp_name for exp_name, other in list_records(results) if other == digest]
    if names:
        record = results / record_name(names[0], digest)
        raise ConfigError(
            f"init_from: the weights of {record} are not kept; to make them: python scripts/sweep.py weights"
            f" {digest[:12]}"
        )
    if HASH.fullmatch(value):
        raise ConfigError(f"init_from: {value}: {results} has no weights of such a run, and no record of it")
    raise ConfigError(f"init_from: {value}: no such file")


def weights_digest(path: Path) -> str | None:
    """Return 12 hex digits that change with the weights of a file, as it says itself; None where it does not."""
    try:
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        return str(json.loads(header["__metadata__"][KEY])["sha1"])[:12]
    except (OSError, ValueError, KeyError, TypeError, OverflowError, MemoryError):
        return None
