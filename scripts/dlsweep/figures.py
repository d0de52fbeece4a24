"""Figures of the tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd

mpl.use("Agg")
import matplotlib.pyplot as plt
import seaborn as sns

mpl.rcParams["svg.hashsalt"] = "dlsweep"


def draw(plan: dict[str, Any], folder: Path) -> None:
    """Draw all figures of a plan from the tables in `folder`."""
    summary, epochs = pd.read_csv(folder / "summary.csv"), pd.read_csv(folder / "epochs.csv")
    sns.set_theme(style="whitegrid", palette="colorblind")
    (folder / "figures").mkdir(exist_ok=True)
    for exp_name, experiment in plan["experiments"].items():
        part = summary[summary["exp_name"] == exp_name]
        for figure in experiment["figures"]:
            grid = KINDS[figure["kind"]](part, epochs, figure)
            grid.figure.suptitle(f"{exp_name}: {figure['name'].replace('_', ' ')}", y=1.03)
            stem = folder / "figures" / f"{exp_name}-{figure['name']}"
            grid.savefig(f"{stem}.png", dpi=200)
            grid.savefig(f"{stem}.svg", metadata={"Date": None})
            plt.close(grid.figure)


def bars(summary: pd.DataFrame, epochs: pd.DataFrame, spec: dict[str, Any]) -> Any:
    """Train, validation and test accuracy."""
    x = spec.get("x", "exp_name")
    long = summary.melt(
        [c for c in {x, spec.get("hue")} if c], ["train_acc", "val_acc", "test_acc"], "split", "accuracy"
    )
    return sns.catplot(
        long,
        kind="bar",
        x=x,
        y="accuracy",
        hue=spec.get("hue"),
        col="split",
        palette=None if not spec.get("hue") else "colorblind",
    )


def _curves(summary: pd.DataFrame, epochs: pd.DataFrame, spec: dict[str, Any], metric: str) -> Any:
    axes = {k: spec[k] for k in ("col", "row") if k in spec}
    joined = epochs.drop(columns=["lr"]).merge(summary[["exp_name", "hash", *axes.values()]], on=["exp_name", "hash"])
    long = joined.melt(["epoch", *axes.values()], [f"train_{metric}", f"val_{metric}"], "split", metric)
    return sns.relplot(long, kind="line", x="epoch", y=metric, hue="split", height=2.5, **axes)


def curves_loss(summary: pd.DataFrame, epochs: pd.DataFrame, spec: dict[str, Any]) -> Any:
    """Loss over epochs."""
    return _curves(summary, epochs, spec, "loss")


def curves_acc(summary: pd.DataFrame, epochs: pd.DataFrame, spec: dict[str, Any]) -> Any:
    """Accuracy over epochs."""
    return _curves(summary, epochs, spec, "acc")


def speed(summary: pd.DataFrame, epochs: pd.DataFrame, spec: dict[str, Any]) -> Any:
    """Accuracy and seconds per epoch."""
    table = summary.assign(seconds_per_epoch=summary["train_seconds"] / summary["epochs_run"])
    long = table.melt([spec["x"]], ["test_acc", "seconds_per_epoch"], "measure", "value")
    return sns.catplot(long, kind="bar", x=spec["x"], y="value", col="measure", sharey=False)


KINDS = {"bars": bars, "curves_loss": curves_loss, "curves_acc": curves_acc, "speed": speed}
