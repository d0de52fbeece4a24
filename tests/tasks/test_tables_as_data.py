"""CSV and Parquet files and time series as data."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from conftest import Project
from dlsweep.config.identity import check_setting
from dlsweep.errors import ConfigError
from dlsweep.tasks.checkpoint import Checkpoint
from dlsweep.tasks.classification.data import Splits, load_splits, prepare
from dlsweep.tasks.classification.training import Trainer


def wine(n: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    grower = np.array(["Müller", "Abt", "Zoller"])[np.arange(n) % 3]
    return pd.DataFrame(
        {
            "alcohol": rng.normal(12, 1, n) + np.arange(n) % 3,
            "organic": np.arange(n) % 2 == 0,
            "grower": grower,
            "quality": 3 + np.arange(n) % 3,
            "price": rng.normal(9, 2, n),
        }
    )


def read(table: pd.DataFrame | str | bytes, path: Path, **values: Any) -> tuple[Splits, dict[str, Any]]:
    """What is prepared of a table, and the file's content."""
    file = path / f"wine.{values.get('dataset', 'csv')}"
    if isinstance(table, (str, bytes)):
        file.write_bytes(table if isinstance(table, bytes) else table.encode())
    elif file.suffix == ".parquet":
        table.to_parquet(file)
    else:
        table.to_csv(file, index=False)
    setting = check_setting({"dataset": "csv", "data_path": str(file), "target": "grower", **values})
    prepare(setting, path / "wine.pt", path)
    return load_splits(path / "wine.pt", setting), torch.load(path / "wine.pt")


FEATURES = ["alcohol", "organic", "grower"]


@pytest.mark.parametrize("dataset", ["csv", "parquet"])
def test_text_in_the_target_is_its_classes(tmp_path: Path, dataset: str) -> None:
    splits, content = read(wine()[FEATURES], tmp_path, dataset=dataset)
    assert splits.classes == ["Abt", "Müller", "Zoller"] and splits.in_shape == (2,)
    assert content["y_train"][:3].tolist() == [1, 0, 2]
    assert torch.equal(content["x_train"][:, 0], torch.tensor(wine()["alcohol"].to_numpy(np.float32)))


def test_numbers_that_do_not_count_from_0_are_classes_too(tmp_path: Path) -> None:
    splits, _ = read(wine()[["alcohol", "quality"]], tmp_path, target="quality")
    assert splits.classes == ["3", "4", "5"] and splits.kind == "classes"
    splits, _ = read(wine()[["alcohol", "quality"]].astype(float), tmp_path, target="quality")
    assert splits.classes == ["3", "4", "5"]


def test_numbers_and_several_columns_are_predicted(tmp_path: Path) -> None:
    splits, content = read(wine().drop(columns="grower"), tmp_path, target="price", loss="mse")
    assert splits.kind == "numbers" and splits.n_outputs == 1 and splits.in_shape == (3,)
    assert content["y_train"][0].item() == pytest.approx(wine()["price"][0])
    splits, _ = read(wine().drop(columns="grower"), tmp_path, target="price, quality", loss="mae")
    assert splits.n_outputs == 2
    flags = wine()[["alcohol", "organic"]].assign(dry=lambda t: t["alcohol"] > 12)
    splits, _ = read(flags, tmp_path, target="organic,dry", loss="binary_cross_entropy")
    assert splits.kind == "labels" and splits.classes == ["organic", "dry"]


def test_what_programs_write_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = "".join(f"{i};{i % 2}\n" for i in range(20))
    splits, _ = read(f"\ufeffalcohol ; grower\n{rows}", tmp_path)  # a spreadsheet's separator and mark
    assert splits.in_shape == (1,) and splits.classes == ["0", "1"]
    table = wine()[FEATURES].to_csv()  # with the index
    splits, _ = read(table, tmp_path)
    assert splits.in_shape == (2,) and "leaves out 1 column without a name, the index" in capsys.readouterr().out


def changed(row: int, column: str, value: Any) -> pd.DataFrame:
    table = wine()[FEATURES].astype({column: object})
    table.loc[row, column] = value
    return table


@pytest.mark.parametrize(
    ("table", "values", "told"),
    [
        (wine()[FEATURES], {"target": "growers"}, "target: wine.csv has no column 'growers'; it has alcohol, organic,"),
        (wine()[FEATURES], {"target": "growers"}, "Did you mean 'grower'?"),
        (wine()[["alcohol", "price"]], {"target": "price"}, "in row 1, not a class; write loss: mse"),
        (wine()[FEATURES], {"target": "organic"}, "'grower' has 'Müller' in row 1, but features must be numbers"),
        (changed(6, "alcohol", "high"), {}, "column 'alcohol' has 'high' in row 7, but features must be numbers"),
        (changed(6, "alcohol", None), {}, "wine.csv: column 'alcohol' has no value in row 7 (the row has none)"),
        (changed(6, "grower", None), {}, "wine.csv: column 'grower' has no value in row 7"),
        (changed(6, "alcohol", np.inf), {}, "column 'alcohol' has inf in row 7, but features must be numbers"),
        (wine()[FEATURES], {"loss": "mse"}, "column 'grower' has 'Müller' in row 1, but loss mse takes numbers"),
        (wine()[FEATURES].assign(grower="Abt"), {}, "wine.csv: column 'grower' has a single class, Abt"),
        (wine()[["alcohol"]].assign(grower=[f"g{i}" for i in range(60)]), {}, "has 60 different values in 60 rows"),
        (wine()[FEATURES][:0], {}, "wine.csv: has no rows; training, validation and test split need one each"),
        (wine()[FEATURES][:2], {}, "wine.csv: has 2 rows; training"),
        (wine()[["grower"]], {}, "wine.csv: has no column but grower, so there is nothing to predict it from"),
        ("", {}, "wine.csv: is not a CSV file that can be read"),
        ("a,grower\n1,2,3,4\n1\n5,6,7,8,9\n", {}, "wine.csv: is not a CSV file that can be read"),
        (wine()[FEATURES].to_csv().encode("latin-1"), {}, "wine.csv: is not UTF-8 text; save the file as UTF-8"),
        ("no", {"dataset": "parquet"}, "wine.parquet: is not a Parquet file that can be read"),
        (wine()[FEATURES], {"target": "grower, grower"}, "target: 'grower' appears twice"),
    ],
)  # fmt: skip
def test_a_table_that_is_wrong_is_told_in_one_message(table: Any, values: Any, told: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        read(table, tmp_path, **values)
    said = str(error.value).replace(f"{tmp_path}/", "")
    assert told in said and "\n" not in said and not (tmp_path / "wine.pt").exists()


def test_a_table_without_a_target_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match="target: is missing; dataset csv needs it"):
        check_setting({"dataset": "csv", "data_path": "wine.csv"})


def test_a_sweep_of_a_table(tmp_path: Path) -> None:
    project = Project(tmp_path)
    wine()[FEATURES].to_csv(tmp_path / "wine.csv", index=False)
    project.configure(
        {
            "defaults": {"dataset": "csv", "data_path": "wine.csv", "target": "grower", "epochs": 1},
            "experiments": {"wine": {"grid": {"hid_dim": [4, 8]}, "figures": []}},
        }
    )
    done = project.snakemake("wine")
    assert done.returncode == 0, done.stderr
    assert len(project.records()) == 2 and project.has_nothing_to_do("wine")
    (tmp_path / "wine.csv").write_text(wine()[FEATURES].assign(alcohol="strong").to_csv(index=False))
    done = project.snakemake("--forcerun", "prepare")
    told = "error: wine.csv: column 'alcohol' has 'strong' in row 1, but features must be numbers"
    assert done.returncode != 0 and told in done.stdout + done.stderr and "Traceback" not in done.stderr


# -- time series ---------------------------------------------------------------------------------------------------


@pytest.fixture
def series(tmp_path: Path) -> Callable[..., Trainer]:
    """A run on waves of one or two periods, 3 channels of 40 steps."""
    y = np.arange(90) % 2
    steps = np.linspace(0, 2 * np.pi, 40)
    noise = np.random.default_rng(0).normal(size=(90, 3, 40))
    x = np.sin(steps * (1 + y[:, None, None])) + noise * 0.3
    np.savez(tmp_path / "waves.npz", x_train=x, y_train=y)

    def make(**values: Any) -> Trainer:
        given = {"dataset": "npz", "data_path": str(tmp_path / "waves.npz"), "series": True, "epochs": 3, **values}
        setting = check_setting(given)
        prepare(setting, tmp_path / "waves.pt", tmp_path)
        data = load_splits(tmp_path / "waves.pt", setting)
        return Trainer(setting, data, torch.device("cpu"), Checkpoint(tmp_path / "x.pt"))

    return make


@pytest.mark.parametrize("model", [{"model": "mlp"}, {"model": "cnn", "channels": 4, "batch_norm": True}])
def test_time_series_are_learned(series: Any, model: dict[str, Any]) -> None:
    trainer = series(**model, optimizer="adam", lr=0.01, epochs=10, batch_size=16)
    assert trainer.train_x[:].shape[1:] == (3, 40)
    assert trainer.train_x[:].mean((0, 2)) == pytest.approx(0, abs=1e-5)  # per channel
    assert trainer.run()["final"]["test_acc"] > 0.9


def test_the_convolutions_of_series_go_along_the_time(series: Any) -> None:
    model = series(model="cnn", n_block=2, channels=4, pooling="avg").model
    kinds = [type(layer).__name__ for layer in model.modules()]
    assert kinds.count("Conv1d") == 4 and kinds.count("AvgPool1d") == 2 and "Conv2d" not in kinds
    assert model.classifier[-1].in_features == 8 * 10


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"horizontal_flip": True}, "horizontal_flip: needs images, but the data are time series of 3 channels and 40"),
        ({"model": "vgg11"}, "the data are time series of 3 channels and 40 steps; allowed: mlp, cnn"),
        ({"model": "cnn", "n_block": 6}, "n_block: 6 halves the length 6 times, but the series have 40 steps"),
    ],
)  # fmt: skip
def test_what_is_for_images_is_refused_for_series(series: Any, values: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as error:
        series(**values)
    assert told in str(error.value)


def test_series_are_images_only_where_nobody_says_otherwise(series: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert series(series=False).train_x[:].shape[1:] == (1, 3, 40)
    assert "is read as grey images of 3x40 pixels; time series need series: true" in capsys.readouterr().out


def test_series_must_have_three_axes(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x_train=np.zeros((9, 4)), y_train=np.arange(9) % 2)
    setting = check_setting({"dataset": "npz", "data_path": str(tmp_path / "x.npz"), "series": True})
    with pytest.raises(ConfigError, match=r"has shape \(9, 4\); time series \(series: true\) are \(N, C, L\)"):
        prepare(setting, tmp_path / "x.pt", tmp_path)
