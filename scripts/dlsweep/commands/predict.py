"""`sweep.py predict`: what a trained model says of new data, or an experiment's seeds together."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

from dlsweep.commands.weights import prepared_data
from dlsweep.config.metrics import is_number
from dlsweep.config.paths import record_name, weights_file
from dlsweep.config.registry import MEASURES
from dlsweep.errors import ConfigError
from dlsweep.files import write_atomic
from dlsweep.results.records import list_records, read_record
from dlsweep.results.weights import find_weights, group_of

if TYPE_CHECKING:
    from torch import Tensor

    from dlsweep.results.schema import Record
    from dlsweep.tasks.classification.data import Splits
    from dlsweep.tasks.classification.trained import TrainedModel


def predict(results: Path, run: str, data: Path | None, output: Path, ensemble: bool, device: str, trust: bool) -> int:
    """Write what a trained model predicts, as CSV: a row for each input. Without DATA, of the test split of its run."""
    from dlsweep.tasks.classification.data import load_splits
    from dlsweep.tasks.classification.inputs import read_inputs
    from dlsweep.tasks.classification.trained import load_model
    from dlsweep.tasks.torch_setup import select_device

    path = find_weights(results, run)
    paths = _seeds(results, path) if ensemble else [path]
    loaded = [load_model(results, str(one), str(select_device(device)), trust) for one in paths]
    models = [model for model, _ in loaded]
    where = [prepared_data(results, model.setting) for model in models] if ensemble or data is None else []
    splits = [load_splits(Path(file), model.setting) for file, model in zip(where, models, strict=bool(where))]
    if data is None:
        x = splits[0].test_x[:]
        parts = iter([([str(i) for i in range(len(x))], x)])
    else:
        parts = read_inputs(data, models[0])
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_header(models[0], data))
    count = 0
    for names, x in parts:
        found = together(models, x)
        writer.writerows(_row(models[0], name, one) for name, one in zip(names, found.tolist(), strict=True))
        count += len(names)
    write_atomic(output, text.getvalue().encode())
    runs = ", ".join(info.hash[:12] for _, info in loaded)
    print(f"{output}: {count} predictions of {runs}")
    if splits:
        print(_tested(models, splits, [info.record["final"] if info.record else {} for _, info in loaded]))
    return 0


def together(models: list[TrainedModel], x: Tensor) -> Tensor:
    """Return the mean of what models predict of raw data, (N, K): probabilities, or numbers. One model's is its own."""
    import torch

    found = [model.predict(x).cpu() for model in models]
    return found[0] if len(found) == 1 else torch.stack(found).mean(0)


def _seeds(results: Path, path: Path) -> list[Path]:
    """The files of weights of all runs that differ from a run in their seed alone; all must be there."""
    exp_name, _, digest = path.stem.rpartition("-")
    own = results / record_name(exp_name, digest)
    if not own.exists():
        raise ConfigError(f"{own}: is not there, so nothing says which runs differ from it in their seed alone")
    first = read_record(own)
    records = [read_record(results / record_name(*parts)) for parts in list_records(results) if parts[0] == exp_name]
    alike = [one for one in records if _has_other_seed(one, first) and one["status"] != "diverged"]
    alike.sort(key=lambda one: one["setting"]["seed"])
    if len(alike) < 2:
        raise ConfigError(
            f"{exp_name}: there is one run of the setting of {digest[:12]}; an ensemble takes several seeds"
        )
    files = [weights_file(results, exp_name, one["hash"]) for one in alike]
    if missing := [one["hash"][:12] for one, file in zip(alike, files, strict=True) if not file.exists()]:
        raise ConfigError(
            f"{exp_name}: the weights of {len(missing)} of {len(files)} seeds were not kept (save: all does); to make"
            f" them: python scripts/sweep.py weights {' '.join(missing)}"
        )
    return files


def _has_other_seed(one: Record, other: Record) -> bool:
    """Say whether two runs differ in their seed at most: those of other folds have trained on the test split."""
    settings = [{**record["setting"], "seed": None} for record in (one, other)]
    return settings[0] == settings[1] and group_of(one) == group_of(other)


def _header(model: TrainedModel, data: Path | None) -> list[str]:
    first = "file" if data and data.suffix.lower() not in (".npz", ".csv", ".tsv", ".txt", ".parquet") else "row"
    if model.kind == "classes":
        return [first, "class", "probability", *(f"p_{name}" for name in model.classes)]
    if model.kind == "labels":
        return [first, "labels", *(f"p_{name}" for name in model.classes)]
    return [first, *(["prediction"] if model.n_outputs == 1 else [f"prediction_{i}" for i in range(model.n_outputs)])]


def _row(model: TrainedModel, name: str, found: list[float]) -> list[str]:
    values = [f"{value:.9g}" for value in found]  # float32, exactly
    if model.kind == "classes":
        best = max(range(len(found)), key=found.__getitem__)
        return [name, model.classes[best], values[best], *values]
    if model.kind == "labels":
        return [name, " ".join(label for label, p in zip(model.classes, found, strict=True) if p > 0.5), *values]
    return [name, *values]


def _tested(models: list[TrainedModel], splits: list[Splits], finals: list[dict[str, object]]) -> str:
    """Say how good the models are on the test split: alone as their records have it, and together."""
    from dlsweep.tasks.classification.losses import measure_classes, measure_labels, measure_numbers

    model, split = models[0], splits[0]
    measure = {"classes": measure_classes, "labels": measure_labels, "numbers": measure_numbers}[model.kind]
    found = together(models, split.test_x[:])
    outputs = found.logit() if model.kind == "labels" else found  # a label counts where its logit is above 0
    name = MEASURES[model.kind][1]
    value = measure(found.new_zeros(()), outputs, split.test_y)[name]
    alone = [final.get(f"test_{name}") for final in finals]
    known = [float(one) for one in alone if is_number(one)]  # type: ignore[arg-type]
    if len(models) == 1:
        there = f"{known[0]:.4f} in the record" if known else "not in the record"
        return f"test_{name} {value:.4f}, computed from the weights; {there}"
    return (
        f"test_{name} {value:.4f} of {len(models)} seeds together; alone {min(known):.4f} to {max(known):.4f}, mean"
        f" {sum(known) / len(known):.4f}: the ensemble gains {value - sum(known) / len(known):+.4f} on that mean"
    )
