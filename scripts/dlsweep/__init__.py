"""The library behind the pipeline's command lines: sweep, data, models, optim, training, records, figures."""

import sys

if sys.platform == "win32":
    sys.exit("error: this needs Linux or macOS; on Windows, use WSL: https://learn.microsoft.com/windows/wsl/install")
if sys.stdout and sys.stdout.encoding.lower() != "utf-8":
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr] # as stderr: no word may end a run
