"""Tables: CSV and Parquet files with the columns to predict among them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlsweep.config.identity import Setting
from dlsweep.config.metrics import SPLITS
from dlsweep.config.names import nearest
from dlsweep.config.registry import entry
from dlsweep.errors import ConfigError
from dlsweep.tasks.classification.source_files import Content, data_path, listed
from dlsweep.tasks.classification.targets import read_targets

MOST_LISTED = 10  # names in a message


def load_table(name: str, setting: Setting, raw_folder: Path) -> Content:
    """Return the rows of a CSV or Parquet file: the column `target` (or several) to predict, all others as features.

    Text, and for classes any values, become classes in their order; for labels and numbers several columns are allowed.
    Raises ConfigError naming the file, the column and the row, counted from 1 without the header.
    """
    import pandas as pd

    path = data_path(setting)
    table = read_table(path, name)
    targets = _target_columns(table, setting["target"], path)
    if len(table) < len(SPLITS):
        n = f"{len(table)} row{'s' * (len(table) != 1)}" if len(table) else "no rows"
        raise ConfigError(f"{path}: has {n}; training, validation and test split need one each at least")
    features = [column for column in table if column not in targets]
    if not features:
        raise ConfigError(f"{path}: has no column but {listed(targets)}, so there is nothing to predict it from")
    for column in table:
        missing = np.flatnonzero(table[column].isna().to_numpy())
        if len(missing):
            n = f"{len(missing)} rows have" if len(missing) > 1 else "the row has"
            raise ConfigError(
                f"{path}: column {column!r} has no value in row {missing[0] + 1} ({n} none); fill it in, or leave out"
                " the row or the column"
            )
    x = np.stack([as_numbers(table[column], path, "features must be numbers") for column in features], 1)
    kind = entry("loss", setting["loss"]).targets
    y = table[targets[0]]
    if kind == "classes" or (not kind and len(targets) == 1 and not pd.api.types.is_numeric_dtype(y)):
        if len(targets) > 1:
            raise ConfigError(f"target: {listed(targets)}: loss {setting['loss']} takes one column")
        codes, classes = _classes(y, path)
        return {"x_train": torch.from_numpy(x), "y_train": codes, "classes": classes}
    values = np.stack(
        [as_numbers(table[column], path, f"loss {setting['loss']} takes numbers") for column in targets], 1
    )
    content = {"x_train": torch.from_numpy(x), "y_train": read_targets(values, kind, f"{path}: {listed(targets)}")}
    return {**content, "classes": targets} if kind == "labels" else content


def read_table(path: Path, kind: str) -> Any:
    """Return a CSV or Parquet file as a pandas table with text for names. Raises ConfigError where it is none."""
    import pandas as pd

    try:
        if kind == "parquet":
            table = pd.read_parquet(path)
        else:
            with path.open(encoding="utf-8-sig") as file:
                header = file.readline()
            separator = max(",;\t", key=header.count)
            table = pd.read_csv(path, sep=separator, encoding="utf-8-sig", skipinitialspace=True)
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8 text; save the file as UTF-8") from None
    except (ValueError, OSError) as error:  # of pandas and pyarrow, too
        what = " ".join(str(error).split())
        form = "Parquet" if kind == "parquet" else "CSV"
        raise ConfigError(f"{path}: is not a {form} file that can be read ({what})") from None
    unnamed = [column for column in table if str(column).startswith("Unnamed: ")]
    if unnamed:  # DataFrame.to_csv() writes it
        print(f"warning: {path}: leaves out {len(unnamed)} column without a name, the index")
    table = table.drop(columns=unnamed).reset_index(drop=True)
    return table.set_axis([str(column).strip() for column in table], axis=1)


def _target_columns(table: Any, target: str, path: Path) -> list[str]:
    wanted = [target] if target in table else [name.strip() for name in target.split(",")]
    for name in wanted:
        if name not in table:
            few = listed(list(table)[:MOST_LISTED]) + (", ..." if len(table.columns) > MOST_LISTED else "")
            hint = nearest(name, list(table))
            raise ConfigError(f"target: {path} has no column {name!r}; it has {few}.{hint}")
        if wanted.count(name) > 1 or list(table).count(name) > 1:
            raise ConfigError(f"target: {name!r} appears twice")
    return wanted


def as_numbers(column: Any, path: Path, wanted: str) -> np.ndarray:
    """Return the values of a column as float32. Raises ConfigError naming the first that is none."""
    import pandas as pd

    numbers: np.ndarray = pd.to_numeric(column, errors="coerce").to_numpy(float, na_value=np.nan)
    if pd.api.types.is_numeric_dtype(column):
        bad = ~np.isfinite(numbers)
    else:  # also numbers that are written as text
        bad = np.isnan(numbers)
        wanted += "; write 0 and 1 for two values, or a column for each (pandas.get_dummies), or leave the column out"
    if bad.any():
        row = int(bad.argmax())
        raise ConfigError(f"{path}: column {column.name!r} has {_shown(column, row)} in row {row + 1}, but {wanted}")
    with np.errstate(over="ignore"):
        return np.asarray(numbers, np.float32)


def _shown(column: Any, row: int) -> str:
    value = column.iloc[row]
    return repr(value.item() if isinstance(value, np.generic) else value)


def _classes(column: Any, path: Path) -> tuple[Tensor, list[str]]:
    """The classes of a column, numbered in the order of their values, and their names."""
    import pandas as pd

    if pd.api.types.is_float_dtype(column) and not (column == column.round()).all():
        row = int((column != column.round()).to_numpy().argmax())
        raise ConfigError(
            f"{path}: column {column.name!r} has {_shown(column, row)} in row {row + 1}, not a class; write loss:"
            " mse (or mae, huber) to predict numbers"
        )
    values, codes = np.unique(
        column.to_numpy() if column.dtype.kind in "buif" else column.astype(str), return_inverse=True
    )
    if len(values) == 1:
        raise ConfigError(f"{path}: column {column.name!r} has a single class, {values[0]}; there must be at least two")
    if len(values) > len(column) / 2:
        raise ConfigError(
            f"{path}: column {column.name!r} has {len(values)} different values in {len(column)} rows, too many for"
            " classes; write loss: mse (or mae, huber) to predict numbers"
        )
    names = [f"{value:g}" if isinstance(value, float) else str(value) for value in values.tolist()]
    return torch.from_numpy(codes.reshape(-1).astype(np.int64)), names
