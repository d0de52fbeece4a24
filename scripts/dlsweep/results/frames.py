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
    kind = _kind_of(values) if column.type is object else column.type
    if kind is str or (kind in (int, float) and any(isinstance(value, str) for value in values)):
        return pd.Series([None if value is None else _text(value) for value in values], dtype="str")
    dtype = {int: "Int64", float: "float64", bool: "boolean"}[kind]
    return pd.Series(values, dtype=dtype)


def _kind_of(values: list[Any]) -> type:
    """The type that holds all of the values, which may be anything that is JSON."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int, float}:
        return float
    return kinds.pop() if len(kinds) == 1 and kinds <= {bool, int, float} else str


def _text(value: Any) -> str:
    """A value as text: true and false as JSON has them, beside words."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def make_table(rows: Mapping[str, list[Any]], columns: Mapping[str, Column]) -> pd.DataFrame:
    return pd.DataFrame({name: _typed_column(rows[name], column) for name, column in columns.items()})
