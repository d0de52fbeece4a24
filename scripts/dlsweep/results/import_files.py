"""Tables of runs that others have written: CSV files, JSON files and folders of them, as rows."""

from __future__ import annotations

import ast
import csv
import io
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dlsweep.config.metrics import KNOWN_FAMILIES, is_number
from dlsweep.errors import ConfigError
from dlsweep.results.import_columns import HISTORY, metric_name

HISTORIES = ("history", "epochs", "log", "logs", "curves", "per_epoch")
"""Where a JSON file has what it knows of each epoch: a list of mappings, or a mapping of lists."""
TABLES = (".csv", ".tsv")
JSON_FILES = (".json", ".jsonl")


@dataclass(frozen=True)
class Row:
    """One row of a table, or one run of a JSON file: its values by column; cells that are empty are left out.

    `history` are the values of each epoch, where a JSON file has them, by columns of the section HISTORY.
    """

    file: Path
    place: str
    values: dict[str, Any]
    history: list[dict[str, Any]] = field(default_factory=list)


def read_rows(source: Path) -> list[Row]:
    """Return the rows of a CSV or JSON file, or of a folder of JSON files.

    Raises ConfigError naming the file, and the line, that cannot be read.
    """
    if source.is_dir():
        files = sorted(path for path in source.iterdir() if path.suffix in JSON_FILES)
        if not files:
            raise ConfigError(f"{source}: has no JSON files")
        return [row for path in files for row in _read_json(path)]
    if source.suffix.lower() in TABLES:
        return _read_table(source)
    if source.suffix.lower() in JSON_FILES:
        return list(_read_json(source))
    raise ConfigError(f"{source}: is not a folder; allowed: a folder of JSON files, or a file {', '.join(_ALLOWED)}")


_ALLOWED = (*TABLES, *JSON_FILES)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8 text; save it as UTF-8") from None


# -- tables --------------------------------------------------------------------------------------------------------


def _read_table(path: Path) -> list[Row]:
    text = _text(path)
    first = text.partition("\n")[0]
    separator = max(",;\t", key=first.count)  # Excel writes ; where the comma is in numbers
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    rows: list[Row] = []
    header: list[str] = []
    before = 0
    try:
        for cells in reader:
            place, before = f"{path}, line {before + 1}", reader.line_num
            if not any(cell.strip() for cell in cells):
                continue
            if not header:
                header = _header(cells, place)
                continue
            if len(cells) != len(header):
                raise ConfigError(f"{place}: has {len(cells)} cells, but the header has {len(header)}")
            named = zip(header, cells, strict=True)
            rows.append(Row(path, place, _flat({column: plain_cell(cell) for column, cell in named if cell.strip()})))
    except csv.Error as error:
        raise ConfigError(f"{path}, line {reader.line_num}: is not CSV: {error}") from None
    if not rows:
        raise ConfigError(f"{path}: has no rows{'' if header else ', not even a header'}")
    return rows


def _header(cells: list[str], place: str) -> list[str]:
    header = [cell.strip() for cell in cells]
    twice = next((column for column in header if column and header.count(column) > 1), None)
    if twice:
        raise ConfigError(f"{place}: the column {twice} appears twice")
    return header


def plain_cell(text: str) -> Any:
    """Return the value of a cell: a number, true or false, none, a list or a mapping; else its text."""
    text = text.strip()
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if text.lower() in ("none", "null"):
        return None
    if text[0] in "[{":
        for read in (json.loads, ast.literal_eval):
            try:
                return tidy(read(text))
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
    try:
        return text if "_" in text else tidy(float(text))  # Python alone takes 1_000 for a number
    except ValueError:
        return text


def tidy(value: Any) -> Any:
    """Return a value with whole numbers as integers, however they are written: pandas has 16.0 beside empty cells."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, Mapping):
        return {str(key): tidy(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [tidy(item) for item in value]
    return value


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Mappings inside become columns of their own: config/lr."""
    flat: dict[str, Any] = {}
    for column, value in values.items():
        if isinstance(value, Mapping):
            flat.update({f"{column}/{name}": item for name, item in _flat(value).items()})
        else:
            flat[column] = value
    return flat


# -- JSON ----------------------------------------------------------------------------------------------------------


def _read_json(path: Path) -> Iterator[Row]:
    text = _text(path)
    if path.suffix.lower() == ".jsonl":
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                place = f"{path}, line {number}"
                yield _row(_parse(line, place), path, place)
        return
    content = _parse(text, str(path))
    if isinstance(content, list):
        for number, run in enumerate(content, 1):
            yield _row(run, path, f"{path}, run {number}")
    else:
        yield _row(content, path, str(path))


def _parse(text: str, place: str) -> Any:
    try:
        return json.loads(text)  # NaN is allowed here: a loss that diverged
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{place}: is not JSON ({error})") from None


def _row(content: Any, file: Path, place: str) -> Row:
    if not isinstance(content, Mapping):
        raise ConfigError(f"{place}: is not a mapping of names to values")
    if "schema_version" in content:
        raise ConfigError(f"{place}: is a record of this project already; copy it to the results folder")
    history: list[dict[str, Any]] = []
    curves: dict[str, list[Any]] = {}
    values: dict[str, Any] = {}
    for name, value in tidy(content).items():
        if name.lower() in HISTORIES and isinstance(value, (list, Mapping)):
            history = history or _history(value, f"{place}, {name}")
        elif isinstance(value, list) and (metric := _metric_of_a_list(name)) and all(map(_is_number_or_none, value)):
            curves[metric] = value
        else:
            values[name] = value
    if curves:
        if history:
            raise ConfigError(f"{place}, {next(iter(curves))}: has a value for each epoch, and so has the history")
        history = _history(curves, place)
    of_epochs = [{f"{HISTORY}/{name}": value for name, value in epoch.items()} for epoch in history]
    return Row(file, place, _flat(values), of_epochs)


def _history(content: Any, place: str) -> list[dict[str, Any]]:
    """The values of each epoch, from a list of mappings or a mapping of lists."""
    if isinstance(content, list):
        wrong = next((i for i, epoch in enumerate(content, 1) if not isinstance(epoch, Mapping)), None)
        if wrong:
            raise ConfigError(f"{place}[{wrong - 1}]: is not a mapping of metrics to numbers")
        return [_flat(epoch) for epoch in content]
    lengths = {name: len(values) for name, values in content.items() if isinstance(values, list)}
    if len(lengths) < len(content) or len(set(lengths.values())) > 1:
        said = ", ".join(f"{name}: {lengths.get(name, 'no list')}" for name in content)
        raise ConfigError(f"{place}: must have lists of one length, not {said}")
    return [dict(zip(content, epoch, strict=True)) for epoch in zip(*content.values(), strict=True)]


def _metric_of_a_list(name: str) -> str | None:
    """The metric whose curve a list is: val_loss, or val_losses."""
    return next((found for end in ("es", "s", "") if name.endswith(end) and _is_metric(found := _cut(name, end))), None)


def _cut(name: str, end: str) -> str:
    return name[: len(name) - len(end)]


def _is_metric(name: str) -> bool:
    found = metric_name(name)
    return found is not None and found.split("_")[-1] in KNOWN_FAMILIES


def _is_number_or_none(value: Any) -> bool:
    return value is None or is_number(value)


def is_missing(value: Any) -> bool:
    """Say whether a value says nothing: none, or not a number."""
    return value is None or (isinstance(value, float) and math.isnan(value))
