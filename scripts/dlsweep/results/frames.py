"""Tables whose columns have the declared types, whatever is missing in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from dlsweep.config.metrics import Column

# -- the tables ----------------------------------------------------------------------------------------------------


def _typed_column(values: list[Any], column: Column) -> pd.Series:
    """The values as a typed column, as `pandas.read_csv` would give it, but that integers may be missing.

    A column of numbers in which a setting says a word (`batch_size: full`) is text throughout.
    """
    if column.type in (int, float) and any(isinstance(value, str) for value in values):
        return pd.Series([None if value is None else str(value) for value in values], dtype="str")
    dtype = {int: "Int64", float: "float64", bool: "boolean", str: "str"}[column.type]
    return pd.Series(values, dtype=dtype)


def make_table(rows: Mapping[str, list[Any]], columns: Mapping[str, Column]) -> pd.DataFrame:
    return pd.DataFrame({name: _typed_column(rows[name], column) for name, column in columns.items()})
