"""The trained weights of runs: which are kept, and their files.

`results/weights/<exp>-<hash>.safetensors` holds the tensors of a model's `state_dict` under their own names and, in its
metadata, what is needed to use them, as JSON. Reading one executes nothing. The file is there whole or not at all.

`results/weights/.<exp>.jsonl` is the journal of an experiment: a line for each run that has ended, and one for each
best run that its leaderboard has named. From it a run learns whether it is the best so far without reading records.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlsweep.config.keep import Keep
from dlsweep.config.metrics import metric_column
from dlsweep.config.objectives import standard_objective
from dlsweep.config.paths import split_name, weights_file
from dlsweep.config.replicates import REPLICATES
from dlsweep.config.sweep import SAFE_NAME
from dlsweep.errors import ConfigError, RecordError
from dlsweep.files import copy_file, write_atomic
from dlsweep.locks import Lock, acquire
from dlsweep.results.init_from import KEY
from dlsweep.results.measured import tested_value
from dlsweep.results.records import list_records
from dlsweep.results.schema import Record
from dlsweep.results.statistics import rank

if TYPE_CHECKING:
    from torch import Tensor

VERSION = 1
SUFFIX = ".safetensors"

# -- which are kept ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ended:
    """A run of an experiment that has ended, as its journal has it.

    `group` is the same for the runs that repeat one setting; `value` is what they are selected by, None where
    there is none. `kept` says as what its weights were kept: best, all or ""; only those kept as best are cleared.
    """

    hash: str
    group: str
    metric: str
    better: str
    n_runs: int
    place: int
    value: float | None
    diverged: bool
    kept: str = ""


def keep_weights(results: Path, record: Record, keep: Keep, write: Callable[[Path], bool]) -> None:
    """Write the weights of a run that has ended, where they are to be kept, and note the run.

    `write` writes them to a file, and says whether there are any. Of a sweep that keeps the best, those are kept that
    may still turn out to be: the best run of the best setting so far, and that of each setting of which runs are still
    to come.
    """
    if keep.which == "none":
        return
    exp_name = record["exp_name"]
    path = weights_file(results, exp_name, record["hash"])
    path.parent.mkdir(parents=True, exist_ok=True)
    run = _ended(record, keep)
    with _lock(results, exp_name):
        ended = _read_journal(results, exp_name)[0]
        others = [other for other in ended if other.hash != run.hash]
        if (keep.which in ("all", "shared") or run.hash in _may_be_best([*others, run])) and write(path):
            run = replace(run, kept="all" if keep.which == "all" else "best")
        elif any(other.hash == run.hash and other.kept == "best" for other in ended):
            path.unlink(missing_ok=True)  # it was made again, and is the best no more
        _note(results, exp_name, asdict(run))


def add_weights(results: Path, record: Record, source: Path) -> None:
    """Keep weights that were made after their run had ended, a copy of `source`; which run is the best stays known."""
    exp_name, digest = record["exp_name"], record["hash"]
    path = weights_file(results, exp_name, digest)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _lock(results, exp_name):
        runs, named = _read_journal(results, exp_name)
        copy_file(source, path)
        for run in runs:
            if run.hash == digest:
                _note(results, exp_name, asdict(replace(run, kept="all")))
        if named:
            _note(results, exp_name, {"best": named})


def _ended(record: Record, keep: Keep) -> Ended:
    metric, better = keep.metric, keep.better
    if not metric:  # of a run by hand
        objective = standard_objective(record["setting"])
        metric, better = objective.metric, objective.better
    value, diverged = tested_value(record, metric), record["status"] == "diverged"
    return Ended(record["hash"], group_of(record), metric, better, keep.n_runs, keep.place, value, diverged)


def group_of(record: Record) -> str:
    """Return 12 hex digits that the repetitions of a setting share: runs of the same code, on the same data."""
    made = [record["provenance"].get(key) for key in ("code", "data")]
    made += [started_from] if (started_from := record["provenance"].get("init_from")) else []
    setting = {key: value for key, value in record["setting"].items() if key not in REPLICATES}
    return hashlib.sha1(json.dumps([setting, made], sort_keys=True).encode()).hexdigest()[:12]


def _may_be_best(runs: list[Ended]) -> set[str]:
    """The hashes of the best run of each setting that may be the best: of those that are complete only one is."""
    groups: defaultdict[str, list[Ended]] = defaultdict(list)
    for run in runs:
        groups[run.group].append(run)
    complete = {name for name, group in groups.items() if 0 < group[0].n_runs <= len(group)}
    best = _best([run for run in runs if run.group in complete])
    incomplete = (_best(group) for name, group in groups.items() if name not in complete)
    return {run.hash for run in (best, *incomplete) if run}


def _best(runs: list[Ended]) -> Ended | None:
    """The best run of the best setting, as the leaderboard has it, of those that are measured by the last metric."""
    if not runs:
        return None
    runs = sorted((run for run in runs if run.metric == runs[-1].metric), key=lambda run: run.place)
    within, better = metric_column(runs[0].metric).within, runs[0].better or "max"

    def first(among: list[Ended], by: str) -> str:
        return rank(((getattr(run, by), run.value, run.diverged) for run in among), better, within)[0].label

    known = [run for run in runs if run.value is not None and not run.diverged] or runs
    group = next(
        one.label
        for one in rank(((run.group, run.value, run.diverged) for run in runs), better, within)
        if one.label in {run.group for run in known}
    )
    digest = first([run for run in runs if run.group == group], "hash")
    return next(run for run in runs if run.hash == digest)


def best_hash(results: Path, exp_name: str) -> str | None:
    """Return the hash of an experiment's best run: as its leaderboard says or, where runs came since, as they do.

    None where nothing is known of it.
    """
    runs, named = _read_journal(results, exp_name)
    best = _best(runs)
    return named or (best.hash if best else None)


def clear_weights(
    results: Path, exp_name: str, digests: set[str], best: Callable[[set[str]], str | None]
) -> str | None:
    """Keep of an experiment's weights only the best run's, and note which run that is; return its hash.

    Those of runs other than `digests` stay, and those that were not kept as the best. `best` says which run is the best
    of some. Where its weights are not there, those of the best that has any stay.
    """
    if not _journal(results, exp_name).exists() and not any(
        weights_file(results, exp_name, d).exists() for d in digests
    ):
        return None
    with _lock(results, exp_name):
        runs, named = _read_journal(results, exp_name)
        there = {run.hash for run in runs if weights_file(results, exp_name, run.hash).exists()}
        found = best(digests)
        stays = found if found in there else best(there & digests)
        for run in runs:
            if run.kept == "best" and run.hash in digests - {stays}:
                weights_file(results, exp_name, run.hash).unlink(missing_ok=True)
        if found and found != named:
            _note(results, exp_name, {"best": found})
        return found


def _journal(results: Path, exp_name: str) -> Path:
    return weights_file(results, exp_name, "").with_name(f".{exp_name}.jsonl")


def _lock(results: Path, exp_name: str) -> Lock:
    return acquire(weights_file(results, exp_name, "").with_name(f".{exp_name}.lock"))


def _note(results: Path, exp_name: str, line: Mapping[str, Any]) -> None:
    """Add a line. It begins with a line break, since a process may have been killed while it wrote the last."""
    with _journal(results, exp_name).open("ab") as file:
        file.write(b"\n" + json.dumps(line).encode())


def _read_journal(results: Path, exp_name: str) -> tuple[list[Ended], str | None]:
    """The runs of the journal, each as it ended last, and the best run that a leaderboard has named since."""
    runs: dict[str, Ended] = {}
    named = None
    for line in _lines(_journal(results, exp_name)):
        if set(line) == {"best"}:
            named = str(line["best"])
            continue
        try:
            run = Ended(**line)
        except TypeError:
            continue
        runs.pop(run.hash, None)
        runs[run.hash], named = run, None
    return list(runs.values()), named


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        text = path.read_text(errors="replace")
    except FileNotFoundError:
        return
    for line in text.splitlines():
        try:
            content = json.loads(line)
        except ValueError:  # a process was killed while it wrote it
            continue
        if isinstance(content, dict):
            yield content


# -- their files ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Weights:
    """The tensors of a run under their own names, and what is needed to use them, which JSON can hold."""

    tensors: Mapping[str, Tensor]
    about: Mapping[str, Any]


def write_weights(path: Path, weights: Weights) -> None:
    """Write a file of weights, whole or not at all. Raises OSError naming it."""
    from safetensors.torch import save

    tensors = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in weights.tensors.items()}
    about = {"version": VERSION, **weights.about, "sha1": _sha1(tensors)}
    write_atomic(path, save(tensors, {"format": "pt", KEY: json.dumps(about)}))


def read_weights(path: Path) -> Weights:
    """Return the content of a file of weights, on the CPU, and not as a view of the file, which may change.

    Raises RecordError, naming the file, where it is torn, edited, or something else, ConfigError where it is not there.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {}).get(KEY, "null"))
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118  # it is no mapping
    except FileNotFoundError:
        raise ConfigError(f"{path}: is not there") from None
    except (SafetensorError, ValueError) as error:
        what = "is empty" if path.stat().st_size == 0 else f"is torn, or no file of weights ({error})"
        raise RecordError(f"{path}: {what}") from None
    if not isinstance(about, dict) or not isinstance(about.get("setting"), dict):
        raise RecordError(f"{path}: was not written by this pipeline, so nothing says what the weights are of")
    if about.get("version") != VERSION:
        raise RecordError(f"{path}: has version {about.get('version')}, which this pipeline cannot read")
    if about.get("sha1") != _sha1(tensors):
        raise RecordError(f"{path}: has weights that were changed since it was written")
    if path.stem.rpartition("-")[2] != about.get("hash"):
        raise RecordError(f"{path}: is named unlike the run whose weights it has, {about.get('hash')}")
    return Weights(tensors, about)


def find_weights(results: Path, which: str) -> Path:
    """Return the file of weights of an experiment's best run, or of the run whose hash begins with `which`.

    The path of such a file is taken as well. Raises ConfigError where it is not there, saying how to get it.
    """
    if which.endswith(SUFFIX) and Path(which).exists():
        return Path(which)
    there = {parts: path for path in list_weights(results) if (parts := split_name(path.with_suffix(".json")))}
    experiments = sorted({exp_name for exp_name, _ in there})
    best = best_hash(results, which) if SAFE_NAME.fullmatch(which) else None
    if best:
        if (which, best) not in there:
            raise ConfigError(_not_kept(f"{which}: the weights of its best run, {best[:12]},", best))
        return there[which, best]
    if which in experiments:
        listed = ", ".join(digest[:12] for exp_name, digest in list(there)[:5] if exp_name == which)
        raise ConfigError(f"{which}: which run is its best is not known; there are weights of {listed}")
    prefix = Path(which).name.removesuffix(".json").removesuffix(SUFFIX).rpartition("-")[2].lower()
    found = {digest: path for (_, digest), path in there.items() if digest.startswith(prefix)}
    if len(found) > 1:
        listed = ", ".join(digest[:12] for digest in found)
        raise ConfigError(f"{which}: {len(found)} hashes begin so: {listed}")
    if found:
        return next(iter(found.values()))
    recorded = sorted({digest for _, digest in list_records(results) if digest.startswith(prefix)})
    if len(recorded) == 1:
        raise ConfigError(_not_kept(f"{which}: the weights of this run", recorded[0]))
    known = f"; experiments with weights: {', '.join(experiments)}" if experiments else "; none are kept there"
    raise ConfigError(f"{which}: is no experiment of {results} and no run's hash begins so{known}")


def _not_kept(what: str, digest: str) -> str:
    return f"{what} were not kept; to make them: python scripts/sweep.py weights {digest[:12]}"


def list_weights(results: Path) -> list[Path]:
    """Return the files of weights in a results folder."""
    return sorted(weights_file(results, "", "").parent.glob(f"*{SUFFIX}"))


def _sha1(tensors: Mapping[str, Tensor]) -> str:
    import torch

    sha1 = hashlib.sha1()
    for name, tensor in sorted(tensors.items()):
        sha1.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        sha1.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return sha1.hexdigest()
