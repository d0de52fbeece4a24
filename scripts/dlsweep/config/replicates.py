"""What repeats a setting, so that chance can be told from a difference: seeds, splits of the data, folds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

REPLICATES: Mapping[str, str] = {"seed": "seed", "split_seed": "split", "fold": "fold"}
"""The hyper-parameters that tell the repetitions of one setting apart, of own tasks too; each as one calls it."""

CONSTRUCTS: Mapping[str, tuple[str, ...]] = {
    "seeds": ("seed",),
    "split_seeds": ("split_seed",),
    "folds": ("n_folds", "fold"),
}
"""What an experiment says for them, each with the hyper-parameters that it sets."""

SPLITS = ("split_seed", "fold")
"""Those that change which images are trained on and tested."""


def without_replicates(keys: Iterable[str]) -> list[str]:
    """Return the keys that tell settings apart."""
    return [key for key in keys if key not in REPLICATES]
