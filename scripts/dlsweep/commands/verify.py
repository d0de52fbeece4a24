"""Check every record of a results folder, and say how to redo those that cannot be trusted."""

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dlsweep.config.files import snakemake_options
from dlsweep.config.paths import record_name, running_folder
from dlsweep.config.sweep import Sweep
from dlsweep.errors import RecordError
from dlsweep.results.records import list_records, read_record
from dlsweep.results.versions import find_outdated


def verify_records(sweep: Sweep, results: Path, configs: list[str], overrides: Mapping[str, Any]) -> int:
    """Check all records: JSON, schema, name, hash against setting, epochs, finite values. Delete nothing."""
    wanted = {(exp_name, digest) for exp_name, digest, _ in sweep.records()}
    redo: list[str] = []
    foreign: list[str] = []
    count = 0
    for exp_name, digest in list_records(results):
        count += 1
        path = results / record_name(exp_name, digest)
        try:
            read_record(path)
        except RecordError as error:
            print(error)
            (redo if (exp_name, digest) in wanted else foreign).append(str(path))
    for path in sorted(running_folder(results).glob("*.bad")):
        print(f"{path}: a checkpoint that was not used; its run's log says why")
    print(f"{count} records, {len(redo) + len(foreign)} of them cannot be trusted")
    for line in find_outdated(sweep, results).lines(configs, overrides):
        print(line)
    if redo:
        config = snakemake_options(configs, overrides)
        print("redo them:", shlex.join(["snakemake", "--cores", "4", *config, "--forcerun", *redo]))
    if foreign:
        print(f"no setting of {', '.join(configs)}, so verify them with their config, or:", file=sys.stderr)
        print(shlex.join(["rm", *foreign]), file=sys.stderr)
    return 1 if redo or foreign else 0
