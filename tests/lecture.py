"""Results as the lecture's notebook saves them."""

import hashlib
import json
from pathlib import Path

LECTURE = {
    **{"exp_name": "exp1_lr", "in_dim": 3072, "out_dim": 10, "hid_dim": 100, "n_layer": 5, "act": "relu"},
    **{"dropout": 0.2, "use_bn": True, "l2": 0.00001, "use_xavier": True, "optim": "RMSprop", "lr": 0.0015},
    "train_batch_size": 256,
}
RESULT = {
    **{"train_losses": [2.0, 1.5], "val_losses": [2.1, 1.6], "train_accs": [20.0, 40.5], "val_accs": [19.0, 39.5]},
    **{"train_acc": 41.0, "val_acc": 39.5, "test_acc": 38.25},
}


def save(folder: Path, setting: dict, result: dict = RESULT, n_digits: int = 6) -> str:
    """Write a file as the lecture's notebook does, and return its name."""
    hex_digits = hashlib.sha1(str(setting).encode()).hexdigest()[:n_digits]
    path = folder / f"{setting['exp_name']}-{hex_digits}.json"
    path.write_text(json.dumps({**result, **setting}))
    return path.name
