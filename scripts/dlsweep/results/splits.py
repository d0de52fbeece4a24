"""The splits of the data that the runs of a setting are repeated on, and how much they have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dlsweep.config.replicates import REPLICATES, SPLITS

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Splits:
    """How the runs of an experiment differ in their splits.

    `keys` are those of SPLITS that vary, none where all runs have one split. `overlap` is n_test / n_train of one
    split, by which Nadeau & Bengio (2003) widen the variance of a mean over splits, since these share images: 0 where
    the test split is the same for all, None where its size is not known. `covers_seeds` says that each split has
    seeds of its own: where all have the same ones, what varies over splits says nothing of other seeds.
    """

    keys: tuple[str, ...] = ()
    overlap: float | None = 0.0
    covers_seeds: bool = False

    @property
    def correction(self) -> float:
        """The overlap as far as it is known."""
        return self.overlap or 0.0

    @property
    def words(self) -> str:
        """What an interval is over, in words: folds, splits, or runs."""
        return "runs" if not self.keys else "folds" if self.keys == ("fold",) else "splits"


ONE_SPLIT = Splits()


def repetitions_in_words(part: pd.DataFrame) -> str:
    """Return how many seeds, splits and folds runs have: "3 seeds, 5 folds"; nothing where they have none."""
    counts = {key: part[key].nunique() for key in REPLICATES if key in part}
    shown = {REPLICATES[key]: n for key, n in counts.items() if n > 1 or (n and key == "seed")}
    return ", ".join(f"{n} {word}{'s' if n > 1 else ''}" for word, n in shown.items())


def n_splits(part: pd.DataFrame, keys: tuple[str, ...]) -> int:
    """Return on how many splits of the data runs are."""
    return int(part.groupby(list(keys), dropna=False).ngroups)


def splits_of(part: pd.DataFrame) -> Splits:
    """Return how the splits of one experiment's runs differ, by its part of the summary.

    The training images count as all that are not tested: what decides is how often two random test splits, or the
    training splits that they leave, share an image.
    """
    keys = tuple(key for key in SPLITS if key in part and part[key].nunique() > 1)
    if not keys:
        return Splits()
    covers_seeds = False
    if "seed" in part and part["seed"].nunique() > 1:
        runs = part[["seed", *keys]].drop_duplicates()
        covers_seeds = bool(runs["seed"].is_unique)
    return Splits(keys, _overlap(part, keys), covers_seeds)


def _overlap(part: pd.DataFrame, keys: tuple[str, ...]) -> float | None:
    """n_test / n_train; of several the greatest."""
    import pandas as pd

    if "fold" in keys:
        n_folds = pd.to_numeric(part["n_folds"], errors="coerce").min() if "n_folds" in part else float("nan")
        return 1.0 / ((part["fold"].nunique() if pd.isna(n_folds) else float(n_folds)) - 1)
    if "test_size" not in part:
        return None
    size = pd.to_numeric(part["test_size"], errors="coerce")
    if size.isna().all():
        return 0.0  # all splits have the test split of the data
    tested = size.where(size >= 1)  # images
    if tested.notna().any():
        if "samples_per_second" not in part:
            return None
        trained = part["samples_per_second"] * part["train_seconds"] / part["epochs_run"]
        by_count = (tested / trained).max()
        if pd.isna(by_count) or by_count == float("inf"):
            return None
        share = (size / (1 - size)).where(size < 1)
        return float(max(by_count, share.max() if share.notna().any() else 0.0))
    return float((size / (1 - size)).max())
