"""Write the records of a sweep for other tools to read, with those tools' own libraries, which are optional."""

import importlib
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dlsweep.config.labels import format_value
from dlsweep.config.sweep import Sweep
from dlsweep.errors import ConfigError
from dlsweep.results.measured import epochs_of, numbers_in
from dlsweep.results.schema import Record


def export(sweep: Sweep, results: Path, format: str, output: Path | None) -> int:
    """Write the records for another tool; runs that it has already are left as they are."""
    from dlsweep.results.tables import read_records

    write = WRITERS[format]
    records, missing, bad = read_records(sweep.plan(str(results)))
    for fault in bad.values():
        print(f"warning: {fault}; left out", file=sys.stderr)
    folder = output or results / format
    folder.mkdir(parents=True, exist_ok=True)
    n = write(records, folder)
    print(f"{folder}: {n} runs written, {len(records) - n} there already, {len(missing)} not finished")
    return 0


def _load(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise ConfigError(f"{package} is not installed; `pip install {package}` in this environment") from None


def _of_epoch(epoch: Mapping[str, Any]) -> dict[str, float]:
    return numbers_in({name: value for name, value in epoch.items() if name != "epoch"})


def write_tensorboard(records: list[Record], folder: Path) -> int:
    """Write event files, a folder a run; return how many are new. `tensorboard --logdir` shows them."""
    _load("tensorboard", "tensorboard")
    writer_class = _load("torch.utils.tensorboard", "tensorboard").SummaryWriter
    n = 0
    for record in records:
        run = folder / record["exp_name"] / record["hash"]
        if run.exists():
            continue
        with writer_class(str(run)) as writer:
            for epoch in epochs_of(record):
                for name, value in _of_epoch(epoch).items():
                    writer.add_scalar(name, value, epoch["epoch"])
            setting = {
                key: v if isinstance(v, (bool, int, float)) else format_value(v) for key, v in record["setting"].items()
            }
            writer.add_hparams(setting, numbers_in(record["final"]), run_name=".")
        n += 1
    return n


def write_mlflow(records: list[Record], folder: Path) -> int:
    """Write an MLflow file store; return how many runs are new. `mlflow ui --backend-store-uri` shows them."""
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # a folder of files is what is wanted here
    mlflow = _load("mlflow", "mlflow-skinny")
    entities = mlflow.entities
    client = mlflow.MlflowClient(tracking_uri=folder.resolve().as_uri())
    n = 0
    for exp_name in dict.fromkeys(record["exp_name"] for record in records):
        found = client.get_experiment_by_name(exp_name)
        experiment = found.experiment_id if found else client.create_experiment(exp_name)
        there = {run.info.run_name for run in _all_runs(client, experiment)}
        for record in records:
            if record["exp_name"] != exp_name or record["hash"] in there:
                continue
            run = client.create_run(experiment, run_name=record["hash"], tags={"status": record["status"]})
            metrics = [
                entities.Metric(name, value, 0, epoch["epoch"])
                for epoch in epochs_of(record)
                for name, value in _of_epoch(epoch).items()
            ]
            last = {metric.key: metric.step for metric in metrics}
            metrics += [
                entities.Metric(name, v, 0, last.get(name, 0)) for name, v in numbers_in(record["final"]).items()
            ]
            parameters = [entities.Param(key, json.dumps(value)) for key, value in record["setting"].items()]
            for start in range(0, len(metrics), 1000):  # MLflow's limit of a batch
                client.log_batch(run.info.run_id, metrics[start : start + 1000])
            client.log_batch(run.info.run_id, params=parameters)
            client.set_terminated(run.info.run_id)
            n += 1
    return n


def _all_runs(client: Any, experiment: str) -> list[Any]:
    runs, token = [], None
    while True:
        page = client.search_runs([experiment], max_results=1000, page_token=token)
        runs += page
        token = page.token
        if not token:
            return runs


WRITERS: Mapping[str, Callable[[list[Record], Path], int]] = {"tensorboard": write_tensorboard, "mlflow": write_mlflow}
