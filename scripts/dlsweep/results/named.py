"""Which records the configs name that were started in this folder, so that nobody deletes what another one needs.

`results/plan/named/<digest>.json` holds what a config named when it was last started, by whatever target or flag, and
what it has dropped since. A config is its files with the changes of --config: the same files with other changes name
other records, and count for themselves.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlsweep.config.course import FOLDER as SEARCHES
from dlsweep.config.paths import record_name
from dlsweep.config.plan import read_plan
from dlsweep.config.sweep import Sweep
from dlsweep.errors import RecordError
from dlsweep.files import read_json, write_json
from dlsweep.results.records import list_records

Names = set[tuple[str, str]]
REMEMBERED = ("records", "dropped", "searches", "dropped_searches")
NAMING_KEYS = ("name", "defaults", "experiments")  # of a config; the others decide no record's name


def _memory(results: Path, configs: Iterable[str], overrides: Mapping[str, Any]) -> Path:
    files = [os.path.relpath(path) for path in configs]
    changes = {key: value for key, value in overrides.items() if key in NAMING_KEYS}
    digest = hashlib.sha1(json.dumps([files, changes], sort_keys=True).encode()).hexdigest()[:12]
    return _folder(results) / f"{digest}.json"


def _folder(results: Path) -> Path:
    return results / "plan" / "named"


def remember(sweep: Sweep, results: Path, configs: Iterable[str], overrides: Mapping[str, Any]) -> None:
    """Note which records a sweep names. Raises OSError where that cannot be written."""
    path = _memory(results, configs, overrides)
    before: dict[str, Any] = {}
    with contextlib.suppress(RecordError):  # none yet, or torn
        before = read_json(path)
    names, searches = {(exp_name, digest) for exp_name, digest, _ in sweep.records()}, _searches(sweep)
    dropped = (_names(before, "records") | _names(before, "dropped")) - names
    content = {
        "configs": [str(config) for config in configs],
        "overrides": dict(overrides),
        "records": _by_experiment(names),
        "dropped": _by_experiment(dropped),
        "searches": sorted(searches),
        "dropped_searches": sorted({*before.get("searches", []), *before.get("dropped_searches", [])} - searches),
    }
    if any(before.get(key, []) != content[key] for key in REMEMBERED):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, content)


def _by_experiment(names: Names) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for exp_name, digest in sorted(names):
        found.setdefault(exp_name, []).append(digest)
    return found


def _names(content: Mapping[str, Any], key: str) -> Names:
    return {(exp_name, digest) for exp_name, digests in content.get(key, {}).items() for digest in digests}


@dataclass(frozen=True)
class Orphans:
    """The names of the records that no config names; `unknown` are those that none is known to have named ever.

    `searches` and `unknown_searches` are the same of the folders of searches, `runs` the hashes of all that are named.
    """

    dropped: list[str]
    unknown: list[str]
    searches: list[str]
    unknown_searches: list[str]
    runs: set[str]


def find_orphans(sweep: Sweep, results: Path, configs: Iterable[str], overrides: Mapping[str, Any]) -> Orphans:
    """Find the records that neither this sweep names, as it is now, nor any other one, when it was last started.

    The only record of a setting that the sweep has under another experiment's name is left out: that one is copied
    instead of trained again. Raises RecordError where what was noted cannot be read.
    """
    present = set(list_records(results))
    memories = {path: read_json(path) for path in sorted(_folder(results).glob("*.json"))}
    own = _memory(results, configs, overrides)
    named = {(exp_name, digest) for exp_name, digest, _ in sweep.records()} | _in_plans(sweep, results)
    for path, memory in memories.items():
        if path != own:
            named |= _names(memory, "records")
    to_copy = {digest for _, digest in named - present} - {digest for _, digest in named & present}
    left = {record for record in present - named if record[1] not in to_copy}
    known = {name for memory in memories.values() for key in ("records", "dropped") for name in _names(memory, key)}
    dropped, unknown = ([record_name(*record) for record in sorted(part)] for part in (left & known, left - known))
    folder = results / SEARCHES
    ours = _searches(sweep).union(*(memory.get("searches", []) for path, memory in memories.items() if path != own))
    stale = {path.name for path in folder.iterdir() if path.is_dir()} - ours if folder.is_dir() else set()
    ever = {name for memory in memories.values() for key in REMEMBERED[2:] for name in memory.get(key, [])}
    return Orphans(dropped, unknown, sorted(stale & ever), sorted(stale - ever), {digest for _, digest in named})


def _searches(sweep: Sweep) -> set[str]:
    return {experiment.course.name for experiment in sweep.experiments.values() if experiment.course}


def _in_plans(sweep: Sweep, results: Path) -> Names:
    """The records named by the plans of the other sweeps in the same folder: before names were noted, those told."""
    own = Path(sweep.tables(str(results)))
    return {
        record
        for path in (*results.glob("plan/*.json"), *results.glob("*/plan/*.json"))
        if path.parent.parent != own
        for record in read_plan(path).records()
    }
