"""Import results that follow the lecture's convention, so that nobody's old results are lost.

The convention: `<exp>-<hex>.json`, where hex are the first 6 or all 40 digits of sha1(str(setting)); flat JSON with
the setting's keys beside `train_losses`, `val_losses`, `train_accs`, `val_accs` (one number per epoch, accuracy in
percent) and `train_acc`, `val_acc`, `test_acc`. What it means here is in KEYS below and in
docs/how-to/old-results.md.
"""

import datetime
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from dlsweep.config.files import shown
from dlsweep.config.hyperparameters import HYPERPARAMETERS, check_value
from dlsweep.config.identity import Setting, resolve, setting_hash
from dlsweep.config.names import nearest
from dlsweep.config.paths import record_name
from dlsweep.config.sweep import SAFE_NAME
from dlsweep.errors import ConfigError, RecordError
from dlsweep.files import strict, write_json
from dlsweep.results.records import known_epoch, record_fault
from dlsweep.results.schema import SCHEMA_VERSION, Record

FILE_NAME = re.compile(r"(?P<exp_name>.+)-(?P<hex>[0-9a-f]{6}|[0-9a-f]{40})\.json")
LECTURE_CURVES = ("train_losses", "val_losses", "train_accs", "val_accs")
LECTURE_RESULTS = (*LECTURE_CURVES, "train_acc", "val_acc", "test_acc")
LECTURE_DATASET = "cifar10"
ASSUMED = ("dataset", "train_size", "val_size", "split_seed", "seed")
"""What the convention does not say, and is taken to be the default, or the lecture's data set."""
SHAPE_KEYS = ("in_dim", "in_channels", "out_dim")
SHAPES = {
    **dict.fromkeys(("cifar10", "svhn"), (3072, 3, 10)),
    "cifar100": (3072, 3, 100),
    **dict.fromkeys(("mnist", "fashion_mnist", "kmnist"), (784, 1, 10)),
    "digits": (64, 1, 10),
}


def _same(key: str) -> Callable[[Any], Setting]:
    return lambda value: {key: value}


KEYS: Mapping[str, Callable[[Any], Setting]] = {
    "optim": lambda value: {"optimizer": str(value).lower()},
    "model_code": lambda value: {"model": str(value).lower()},
    "l2": _same("weight_decay"),
    "train_batch_size": _same("batch_size"),
    "epoch": _same("epochs"),
    "use_bn": _same("batch_norm"),
    # The lecture's model has xavier_normal weights and biases of 0.01.
    "use_xavier": lambda value: {"init": "xavier_normal", "bias_init": 0.01} if value is True else {"init": "default"},
    "test_batch_size": lambda value: {},  # decides no result
}
"""The convention's keys that have another name or meaning here; our own names are taken as they are."""


def import_results(folder: Path, results: Path, setting: Iterable[tuple[str, Any]]) -> int:
    """Import a folder of results that follow the lecture's convention, and report what cannot be taken over.

    The folder is only read, and no record that is there is overwritten.
    """
    given = {key: check_value(key, value) for key, value in setting}
    if not folder.is_dir():
        raise ConfigError(f"{folder}: is not a folder")
    results.mkdir(parents=True, exist_ok=True)
    paths = sorted(folder.glob("*.json"))
    assumed: dict[str, Any] = {}
    n_left = 0
    for path in paths:
        try:
            record = convert(path, given)
            imported = record["provenance"]["imported"]
            assumed.update(imported["assumed"])
            target = results / record_name(record["exp_name"], record["hash"])
            if target.exists():
                print(f"{path.name}: {target} is there already; left as it is")
                continue
            write_json(target, record)
            unchecked = (
                "" if imported["sha1_checked"] else "; its name is not the sha1 of its keys, which are unchecked"
            )
            print(f"{path.name}: imported as {target}{unchecked}")
        except (ConfigError, RecordError) as error:
            n_left += 1
            print(f"{path.name}: not imported: {error}")
    print(f"{len(paths) - n_left} of {len(paths)} files are records now")
    if assumed:
        said = " ".join(f"{key}={shown(value)}" for key, value in assumed.items())
        print(f"What the files do not say is taken as {said}; --setting KEY=VALUE says otherwise")
    return 1 if n_left else 0


def convert(path: Path, given: Setting) -> Record:
    """Return the record of one file.

    `given` are hyper-parameters of all files that they do not say themselves. Raises ConfigError naming the key
    that cannot be mapped.
    """
    name = FILE_NAME.fullmatch(path.name)
    if name is None:
        raise ConfigError("is not named <exp>-<6 or 40 hexadecimal digits>.json")
    content = _read(path)
    original = {key: value for key, value in content.items() if key not in LECTURE_RESULTS}
    if original.get("exp_name", name["exp_name"]) != name["exp_name"] or not SAFE_NAME.fullmatch(name["exp_name"]):
        raise ConfigError(f"exp_name: {shown(original.get('exp_name'))} does not fit the file's name")
    epochs = _epochs(content)
    setting, assumed = _setting(original, given, len(epochs))
    digest = setting_hash(setting)
    checked = hashlib.sha1(str(original).encode()).hexdigest().startswith(name["hex"])
    modified = datetime.datetime.fromtimestamp(path.stat().st_mtime, datetime.UTC).isoformat(timespec="seconds")
    losses = [epoch["val_loss"] for epoch in epochs]
    tested = "test_acc" in content and math.isfinite(losses[-1])  # with NaN for weights it is the share of class 0
    finite = all(math.isfinite(epoch[key]) for epoch in epochs for key in ("train_loss", "val_loss"))
    best = min(range(len(losses)), key=lambda i: losses[i] if math.isfinite(losses[i]) else math.inf)
    record: Record = {
        "schema_version": SCHEMA_VERSION,
        "exp_name": name["exp_name"],
        "hash": digest,
        "setting": setting,
        "status": "finished" if finite else "diverged",
        "epochs": epochs,
        "final": {
            "test_loss": None,
            "test_acc": _fraction(content["test_acc"], "test_acc") if tested else None,
            "best_epoch": best + 1 if math.isfinite(losses[best]) else None,
            "best_val_loss": losses[best],
            "best_val_acc": epochs[best]["val_acc"] if math.isfinite(losses[best]) else None,
        },
        "model": {"n_parameters": None},
        "timing": {"total_seconds": None, "train_seconds": None, "samples_per_second": None, "resumed": 0},
        "provenance": {
            "command": f"python scripts/sweep.py import {path.parent}",
            "imported": {"file": path.name, "sha1_checked": checked, "assumed": assumed, "original": original},
            "finished": modified,
        },
    }
    record = strict(record)
    record["epochs"] = [known_epoch(epoch) for epoch in record["epochs"]]
    fault = record_fault(record, Path(record_name(record["exp_name"], digest)))
    if fault:
        raise ConfigError(f"the record {fault}")
    return record


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))  # NaN is allowed here: a loss that diverged
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"is not JSON ({error})") from None
    if not isinstance(content, dict):
        raise ConfigError("is not a mapping of names to values")
    if "schema_version" in content:
        raise ConfigError("schema_version: it is a record already")
    return content


def _epochs(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The epochs of a record from the convention's lists."""
    lists = {key: content.get(key) for key in LECTURE_CURVES}
    for key, values in lists.items():
        good = isinstance(values, list) and all(type(value) in (int, float) for value in values)
        if not good or not values:
            raise ConfigError(f"{key}: {shown(values)} is not allowed; allowed: a list with a number for each epoch")
    lengths = {key: len(values) for key, values in lists.items() if isinstance(values, list)}
    if len(set(lengths.values())) > 1:
        raise ConfigError(
            f"{', '.join(LECTURE_CURVES)}: the lists must be equally long; they have {list(lengths.values())} values"
        )
    return [
        {
            "epoch": i,
            "train_loss": train_loss,
            "train_acc": _fraction(train_acc, "train_accs"),
            "val_loss": val_loss,
            "val_acc": _fraction(val_acc, "val_accs"),
            "lr": None,
            "seconds": None,
        }
        for i, (train_loss, val_loss, train_acc, val_acc) in enumerate(zip(*lists.values(), strict=True), start=1)
    ]


def _fraction(percent: Any, key: str) -> float:
    if type(percent) not in (int, float) or not 0 <= percent <= 100:
        raise ConfigError(f"{key}: {shown(percent)} is not allowed; allowed: a percentage from 0 to 100")
    return float(percent) / 100


def _setting(original: Mapping[str, Any], given: Setting, n_epochs: int) -> tuple[Setting, Setting]:
    """Return the complete setting of a file's keys, and what of it neither the file nor `given` says."""
    values: dict[str, Any] = {}
    said_by: dict[str, str] = {}
    for key, value in original.items():
        if key not in ("exp_name", *SHAPE_KEYS):
            for name, mapped in _mapped(key, value).items():
                if values.setdefault(name, mapped) != mapped:
                    raise ConfigError(f"{key}: {shown(value)} contradicts {said_by[name]}")
                said_by[name] = key
    if values.get("epochs", n_epochs) != n_epochs:
        raise ConfigError(f"{said_by['epochs']}: {values['epochs']} does not fit the {n_epochs} epochs in the lists")
    known = {**given, **values, "epochs": n_epochs}
    is_mlp = known.get("model", HYPERPARAMETERS["model"].default) == "mlp"
    if said_by.get("batch_norm") == "use_bn" and values["batch_norm"] and is_mlp:
        known.setdefault("batch_norm_position", "after")  # so does the lecture's MLP; its VGG normalizes before
    setting = resolve({"dataset": LECTURE_DATASET, **known})
    for name, key in said_by.items():
        if name not in setting and name != "bias_init" and not _is_neutral(name, values[name]):
            raise ConfigError(f"{key}: {shown(original[key])} does not apply to the other keys, such as the model")
    _check_shape(original, setting["dataset"])
    return setting, {key: setting[key] for key in ASSUMED if key not in known}


def _mapped(key: str, value: Any) -> Setting:
    """Our hyper-parameters and normalised values for one key and value of the convention."""
    if key not in KEYS and key not in HYPERPARAMETERS:
        raise ConfigError(f"{key}: has no counterpart here.{nearest(key, (*KEYS, *HYPERPARAMETERS))}")
    mapped = KEYS[key](value) if key in KEYS else {key: value}
    try:
        return {name: check_value(name, item) for name, item in mapped.items()}
    except ConfigError as error:
        raise ConfigError(f"{key}: {shown(value)} cannot be mapped: {error}") from None


def _is_neutral(name: str, value: Any) -> bool:
    return bool(value == HYPERPARAMETERS[name].default)


def _check_shape(original: Mapping[str, Any], dataset: str) -> None:
    """Compare the numbers of inputs and outputs, which a setting leaves to the data set."""
    for key, expected in zip(SHAPE_KEYS, SHAPES.get(dataset, ()), strict=False):
        if key in original and original[key] != expected:
            hint = "--setting dataset=... says which data set the files are of"
            raise ConfigError(f"{key}: {shown(original[key])} does not fit {dataset}, which has {expected}; {hint}")
