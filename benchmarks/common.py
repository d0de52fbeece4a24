"""What the benchmarks share: a copy of the pipeline to run in, clocks, tables, and the machine in a line."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PARTS = ("Snakefile", "rules", "scripts", "profiles", "envs", "report")


def environment(**more: str) -> dict[str, str]:
    """The environment of every command: this Python first, one thread a process."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", **more}


def pipeline(config: Mapping[str, Any]) -> Path:
    """Return a new folder with a copy of the pipeline and this config (JSON is YAML)."""
    folder = Path(tempfile.mkdtemp(prefix="benchmark-"))
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, folder / part)
        elif (ROOT / part).exists():
            shutil.copy(ROOT / part, folder / part)
    (folder / "config.yaml").write_text(json.dumps(config))
    return folder


def wall(
    command: Sequence[str], folder: Path, variables: Mapping[str, str] | None = None, kill_after: float = 0
) -> float:
    """Run a command and return its wall time in seconds; `kill_after` so many, it is killed with all its children."""
    start = time.perf_counter()
    with (folder / "output.txt").open("a") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment(**(variables or {})),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            status = process.wait(kill_after or None)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return time.perf_counter() - start
    if status:
        sys.exit(f"{' '.join(command)}: exit status {status}\n{(folder / 'output.txt').read_text()[-3000:]}")
    return time.perf_counter() - start


def measure(command: Sequence[str], folder: Path) -> tuple[float, float, float]:
    """Run a command; return its wall time and CPU time in seconds, and the memory of its largest process in GB."""
    code = (
        "import resource, subprocess, sys; status = subprocess.call(sys.argv[1:]); "
        "used = resource.getrusage(resource.RUSAGE_CHILDREN); "
        "print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1e6, file=open('used.txt', 'w')); sys.exit(status)"
    )
    seconds = wall([sys.executable, "-c", code, *command], folder)
    cpu, memory = map(float, (folder / "used.txt").read_text().split())
    return seconds, cpu, memory


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a Markdown table under a heading; numbers with two digits behind the point, at most."""
    print(f"\n### {title}\n")
    for row in [header, ["---"] + ["---:"] * (len(header) - 1), *rows]:
        print("| " + " | ".join(f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in row) + " |")
    print(flush=True)


def print_machine(*packages: str) -> None:
    """Print what the numbers were measured on."""
    cpu = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("snakemake", "torch", *packages)]
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    now = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    print(f"`python {' '.join(sys.argv)}` on {now}; {len(os.sched_getaffinity(0))} CPUs ({cpu}), load {load};")
    print(f"Python {platform.python_version()}, {', '.join(versions)}.", flush=True)
