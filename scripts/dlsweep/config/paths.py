"""Where records, data and what belongs to a run are found."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

from dlsweep.config.identity import Setting
from dlsweep.config.registry import entry
from dlsweep.config.tasks import is_built_in

HASH = re.compile("[0-9a-f]{40}")
FOLDERS = ("data", "figures", "files", "logs", "partial", "plan", "predictions", "running", "search", "weights")
"""The folders in results/ that all sweeps share: none is named so, since its tables would be there."""


def record_name(exp_name: str, digest: str) -> str:
    """Return the name of a record: `<exp>-<hash>.json`."""
    return f"{exp_name}-{digest}.json"


def running_folder(results: Path) -> Path:
    """Return the folder of checkpoints and running records, which Snakemake never deletes."""
    return results / "running"


def files_folder(results: Path, exp_name: str, digest: str) -> Path:
    """Return the folder of the files that belong to a record, where its task has written any."""
    return results / "files" / f"{exp_name}-{digest}"


def predictions_file(results: Path, exp_name: str, digest: str) -> Path:
    """Return the file of what a record's run predicted on the test split (results/predictions.py)."""
    return results / "predictions" / f"{exp_name}-{digest}.npz"


def weights_file(results: Path, exp_name: str, digest: str) -> Path:
    """Return the file of the weights of a run, where they are kept."""
    return results / "weights" / f"{exp_name}-{digest}.safetensors"


def state_file(results: Path, exp_name: str, digest: str) -> Path:
    """Return the file of all that a finished run needs to be continued, where it is kept (`keep_state: true`)."""
    return weights_file(results, exp_name, digest).with_suffix(".pt")


def card_file(results: Path, exp_name: str, digest: str) -> Path:
    """The page that says what a run's weights are of."""
    return weights_file(results, exp_name, digest).with_suffix(".md")


def init_from(setting: Setting) -> str | None:
    """Return what a setting of the built-in training says of `init_from`; None where it says nothing."""
    return setting.get("init_from") if is_built_in(setting) else None


def hash_in(init_from: str) -> str:
    """Return the hash of the run that `init_from` names; "" where it is a file that is named otherwise."""
    parts = split_name(Path(init_from).with_suffix(".json"))
    return init_from if HASH.fullmatch(init_from) else parts[1] if parts else ""


def split_name(path: Path) -> tuple[str, str] | None:
    """Return (exp_name, hash) of a record's file name, or None where it is no record's name."""
    exp_name, dash, digest = path.name.removesuffix(".json").rpartition("-")
    is_record = path.suffix == ".json" and dash and exp_name and HASH.fullmatch(digest)
    return (exp_name, digest) if is_record else None


# -- files and commands --------------------------------------------------------------------------------------------


DATA_KEYS = ("dataset", "dataset_args", "data_path", "target", "series", "image_size", "loss")
"""The hyper-parameters that decide what is prepared; of the loss only the kind of targets that it takes."""


def data_name(setting: Setting) -> str:
    """Return the name of the prepared data set that a setting reads: one file for all its splits; "" for none."""
    if not is_built_in(setting):
        return ""
    name: str = setting["dataset"].replace(":", ".")
    keys = [key for key in ("dataset_args", "data_path", "target", "image_size") if key in setting]
    keys += ["series"] if setting.get("series") else []
    source = {key: setting[key] for key in keys}
    targets = entry("loss", setting.get("loss", "cross_entropy")).targets
    if targets != "classes":
        source["targets"] = targets
    if source:
        name += "-" + hashlib.sha1(json.dumps(source, sort_keys=True).encode()).hexdigest()[:12]
    return name


def data_file(results: str, setting: Setting) -> str:
    """Return the prepared data set that a setting reads; "" for none: only the built-in task reads one."""
    name = data_name(setting)
    return f"{results}/data/{name}.pt" if name else ""
