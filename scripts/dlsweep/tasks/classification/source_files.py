"""What the readers of data sets share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dlsweep.config.files import own_path
from dlsweep.config.identity import Setting
from dlsweep.errors import ConfigError

Content = dict[str, Any]  # of tensors, and the names of the classes; see datasets.py


def data_path(setting: Setting) -> Path:
    path = own_path(setting["data_path"])
    if not path.exists():
        raise ConfigError(f"data_path: {path}: no such file or folder")
    return path


def listed(items: Any) -> str:
    return ", ".join(str(item) for item in items)
