"""The library behind the pipeline's command lines: sweep, data, models, optim, training, records, figures."""

import sys

if sys.platform == "win32":
    sys.exit("error: this needs Linux or macOS; on Windows, use WSL: https://learn.microsoft.com/windows/wsl/install")
