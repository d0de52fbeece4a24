"""What is known of a metric by its name, and what the config says of it."""

import math

import pytest

from dlsweep.config.metrics import (
    FRACTION,
    POSITIVE,
    UNBOUNDED,
    Objective,
    in_words,
    metric_column,
    own_metric,
    parts_of,
)


@pytest.mark.parametrize(
    ("name", "title", "better", "within"),
    [
        ("val_mae", "val MAE", "min", POSITIVE),
        ("test_acc", "test accuracy", "max", FRACTION),
        ("val_top5_acc", "val top5 accuracy", "max", FRACTION),
        ("val_f1_macro", "val F1 macro", "max", FRACTION),
        ("best_val_loss", "best val loss", "min", POSITIVE),
        ("tested_val_r2", "val R²", "max", (-math.inf, 1.0)),
        ("mae", "MAE", "min", POSITIVE),
        ("reward", "reward", "", UNBOUNDED),
        ("val_ndcg", "val ndcg", "", UNBOUNDED),
        ("train", "train", "", UNBOUNDED),
        ("best_epoch", "best_epoch", "", UNBOUNDED),
    ],
)
def test_what_a_name_says(name: str, title: str, better: str, within: tuple[float, float]):
    found = metric_column(name)
    assert (found.title, found.better, found.within) == (title, better, within)


def test_the_config_says_more():
    own = {
        "ndcg": own_metric("max", [0, 1]),
        "mae": own_metric(unit="°C"),
        "gpu_bytes": own_metric("min", [0, None], "bytes"),
    }
    assert (metric_column("val_ndcg", own).better, metric_column("best_val_ndcg", own).within) == ("max", (0, 1))
    mae = metric_column("test_mae", own)
    assert (mae.unit, mae.better, mae.within) == ("°C", "min", POSITIVE)  # what it does not say is as it is known
    assert metric_column("gpu_bytes", own).within == (0, math.inf)
    assert metric_column("val_gpu", own).unit == ""


def test_a_metric_in_words():
    assert in_words("val_acc") == "validation accuracy" and in_words("reward") == "reward"
    assert Objective("val_mae", "min", "test_mae").selected == "tested_val_mae"
    assert Objective("reward", "max", "reward").family == "reward"
    assert parts_of("tested_train_acc").split == "train"
