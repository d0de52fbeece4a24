"""What the page says of an experiment that varies its data: its settings over all data sets, and their profiles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from dlsweep.results.columns import Columns
from dlsweep.results.statistics import mean_text, runs_text

WIDTH, HEIGHT = 560, 300
LEFT, RIGHT, TOP, BOTTOM = 48, 552, 8, 252
"""The drawing and the frame in it, in its own units."""
MOST_LINES = 6
MOST_TICKS = 6


@dataclass(frozen=True)
class Profile:
    """The share of a setting's runs beyond each value, and its interval, as points of an SVG."""

    line: str
    band: str


@dataclass(frozen=True)
class OverData:
    """The settings of one experiment over its data sets: `rows` of texts, the best first, and the first ones' profiles.

    A tick is its place and its text. Without a common scale there are no profiles and no means.
    """

    n_data: int
    measure: str
    rows: list[dict[str, str]]
    profiles: list[Profile]
    across: list[tuple[float, str]]
    upward: list[tuple[float, str]]
    falls: bool
    note: str

    @property
    def answer(self) -> str:
        """Which setting is first, and how sure that is."""
        first, *others = self.rows
        value = f", interquartile mean {first['mean']}" if first["mean"] else ""
        said = f"First: {first['setting']}{value}."
        if others:
            said += f" A run of it beats one of {others[0]['setting']} with probability {others[0]['improvement']}."
        return said


def over_data(exp_name: str, tables: Mapping[str, pd.DataFrame], columns: Columns) -> OverData | None:
    """Return what the tables `aggregates` and `profiles` say of an experiment; None where they have no rows of it."""
    aggregates, profiles = (tables[name][tables[name]["exp_name"] == exp_name] for name in ("aggregates", "profiles"))
    if aggregates.empty:
        return None
    report = columns.objective.report
    splits = columns.splits
    narrow = f"Too narrow: the runs on {splits.words} are taken for independent."
    drawn = [profiles[profiles["label"] == label] for label in aggregates["label"][:MOST_LINES]]
    least, most = (0.0, 1.0) if profiles.empty else (profiles["threshold"].min(), profiles["threshold"].max())
    return OverData(
        n_data=int(aggregates["n_data"].iat[0]),
        measure=columns.metric_title(report),
        rows=[_row(row, columns) for row in aggregates.to_dict("records")],
        profiles=[_profile(part, least, most) for part in drawn if len(part)],
        across=[(_x(tick, least, most), f"{tick:.4g}") for tick in _ticks(least, most)],
        upward=[(_y(share), f"{share:g}") for share in (0, 0.25, 0.5, 0.75, 1)],
        falls=columns.objective.better == "min",
        note=narrow if splits.keys and splits.overlap != 0 else "",
    )


def _row(row: dict[str, Any], columns: Columns) -> dict[str, str]:
    return {
        "setting": row["label"],
        "runs": runs_text(row["n"], row["n_diverged"]),
        "mean": columns.text(columns.objective.report, row["iqm"], row["iqm_low"], row["iqm_high"], digits=3),
        "improvement": mean_text(row["improvement"], row["improvement_low"], row["improvement_high"], 2),
    }


def _profile(part: pd.DataFrame, least: float, most: float) -> Profile:
    x = [_x(value, least, most) for value in part["threshold"]]
    line, low, high = (list(zip(x, map(_y, part[name]), strict=True)) for name in ("share", "share_low", "share_high"))
    return Profile(_points(line), _points([*low, *high[::-1]]))


def _points(places: list[tuple[float, float]]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in places)


def _x(value: float, least: float, most: float) -> float:
    return round(LEFT + (value - least) / (most - least or 1) * (RIGHT - LEFT), 1)


def _y(share: float) -> float:
    return round(BOTTOM - share * (BOTTOM - TOP), 1)


def _ticks(least: float, most: float) -> list[float]:
    ticks = np.asarray(MaxNLocator(MOST_TICKS).tick_values(least, most))
    return [float(tick) for tick in ticks[(ticks >= least) & (ticks <= most)]]
