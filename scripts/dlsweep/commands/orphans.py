"""`sweep.py orphans`: records that no setting of the config names, and the folders of searches that changed since."""

import contextlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dlsweep.config.course import FOLDER, STOPPED
from dlsweep.config.paths import (
    card_file,
    files_folder,
    predictions_file,
    running_folder,
    split_name,
    state_file,
    weights_file,
)
from dlsweep.config.sweep import Sweep
from dlsweep.errors import ConfigError, RecordError
from dlsweep.files import read_json
from dlsweep.locks import take
from dlsweep.results.named import find_orphans
from dlsweep.results.records import clear_run


def list_orphans(
    sweep: Sweep, results: Path, configs: list[str], overrides: Mapping[str, Any], delete: bool, unknown: bool
) -> int:
    """List the records and searches that no config names; with --delete, delete them.

    With a search go the checkpoints of its runs that were stopped, as far as no config names these.

    Configs that were started in this folder count as they were then, and this one as it is now. Nothing is deleted
    where there are records that none of them is known to have named ever, unless --unknown says so.
    """
    found = find_orphans(sweep, results, configs, overrides)
    of_unknown = [*found.unknown, *(f"{FOLDER}/{name}" for name in found.unknown_searches)]
    if delete and of_unknown and not unknown:
        kinds = "records or searches" if found.unknown_searches else "records"
        raise ConfigError(
            f"{results}: nothing is deleted: of {len(of_unknown)} {kinds}, such as {of_unknown[0]}, it is"
            " not known which config named them; start each config that you still use once, or add --unknown to delete"
            " them too"
        )
    names = sorted(found.dropped + found.unknown)
    for name in names:
        print(results / name)
        if delete:
            (results / name).unlink()
            exp_name, digest = split_name(Path(name)) or ("", "")
            shutil.rmtree(files_folder(results, exp_name, digest), ignore_errors=True)
            for file in (weights_file, card_file, state_file, predictions_file):
                file(results, exp_name, digest).unlink(missing_ok=True)
    searches = sorted(found.searches + found.unknown_searches)
    for name in searches:
        folder = results / FOLDER / name
        print(folder)
        if delete:
            _clear_stopped(results, folder, found.runs)
            shutil.rmtree(folder)
    told = f" ({len(of_unknown)} of them, it is not known which config ever did)" if of_unknown else ""
    what = "; deleted" if delete else "; --delete deletes them" if names or searches else ""
    also = f" and {len(searches)} {'search' if len(searches) == 1 else 'searches'}" if searches else ""
    print(f"{len(names)} records{also} are named by no config{told}{what}")
    return 0


def _clear_stopped(results: Path, folder: Path, named: set[str]) -> None:
    """Delete the checkpoints of the runs of a search that have no record, if no config names them."""
    for path in sorted(folder.glob("*-*.json")):
        with contextlib.suppress(RecordError, KeyError, TypeError):
            content = read_json(path)
            digest = content["hash"]
            if content["status"] not in STOPPED or digest in named:
                continue
            if lock := take(running_folder(results) / f"{digest}.lock"):
                with lock:
                    clear_run(results, digest)
