"""The library behind the pipeline's command lines: sweep, data, models, optim, training, records, figures.

`from dlsweep import load_model` is for your own programs: see docs/how-to/models.md.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dlsweep.tasks.classification.trained import load_model, load_weights

__all__ = ["load_model", "load_weights"]

if sys.platform == "win32":
    sys.exit("error: this needs Linux or macOS; on Windows, use WSL: https://learn.microsoft.com/windows/wsl/install")
if sys.stdout and sys.stdout.encoding.lower() != "utf-8":
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr] # as stderr: no word may end a run


def __getattr__(name: str) -> Any:
    """Load torch only where a model is asked for."""
    if name not in __all__:
        raise AttributeError(f"module 'dlsweep' has no attribute {name!r}")
    from dlsweep.tasks.classification import trained

    return getattr(trained, name)
