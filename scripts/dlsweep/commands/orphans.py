"""`sweep.py orphans`: records that no setting of the config names."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dlsweep.config.paths import files_folder, predictions_file, split_name, weights_file
from dlsweep.config.sweep import Sweep
from dlsweep.errors import ConfigError
from dlsweep.results.named import find_orphans


def list_orphans(
    sweep: Sweep, results: Path, configs: list[str], overrides: Mapping[str, Any], delete: bool, unknown: bool
) -> int:
    """List the records that no config names; with --delete, delete them.

    Configs that were started in this folder count as they were then, and this one as it is now. Nothing is deleted
    where there are records that none of them is known to have named ever, unless --unknown says so.
    """
    found = find_orphans(sweep, results, configs, overrides)
    if delete and found.unknown and not unknown:
        raise ConfigError(
            f"{results}: nothing is deleted: of {len(found.unknown)} records, such as {found.unknown[0]}, it is"
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
            weights_file(results, exp_name, digest).unlink(missing_ok=True)
            predictions_file(results, exp_name, digest).unlink(missing_ok=True)
    told = f" ({len(found.unknown)} of them, it is not known which config ever did)" if found.unknown else ""
    what = "; deleted" if delete else "; --delete deletes them" if names else ""
    print(f"{len(names)} records are named by no config{told}{what}")
    return 0
