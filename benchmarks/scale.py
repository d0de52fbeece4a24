"""How the start grows with the number of settings: the expansion, and `snakemake -n` beside a bare workflow's.

    python benchmarks/scale.py                  # 100,000 settings expanded, 10,000 planned, a search of 1,000
    python benchmarks/scale.py --settings 20000 --jobs 1000

Seconds are wall time and, beside it, CPU time, which other work on the machine disturbs less.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parent.parent
PARTS = ("Snakefile", "rules", "scripts", "profiles", "envs", "report")

SWEEP = """\
experiments:
  scale:
    grid:
      lr: {{logspace: [1e-4, 1, {n_lr}]}}
      n_layer: {{range: [1, 10]}}
    seeds: 10
    figures: []
"""
SEARCH = """\
experiments:
  scale:
    search: {{method: tpe, n: {n}, lr: {{log_uniform: [1e-4, 1]}}, hid_dim: {{int_uniform: [8, 256]}}}}
    figures: []
"""
BARE = """\
rule all:
    input: [f"out/{{i}}.txt" for i in range({n})]
rule one:
    output: "out/{{i}}.txt"
    shell: "touch {{output}}"
"""
EXPAND = """\
import resource, sys
sys.path.insert(0, "scripts")
from dlsweep.config.sweep import load_sweep
sweep = load_sweep(["config.yaml"])
print(sum(1 for _ in sweep.records()), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", type=int, default=100_000, help="settings to expand (default: 100000)")
    parser.add_argument("--jobs", type=int, default=10_000, help="jobs to plan (default: 10000)")
    parser.add_argument("--slots", type=int, default=1000, help="slots of a search to plan (default: 1000)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for source in (ROOT / part for part in PARTS if (ROOT / part).exists()):
            (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / source.name)
        configure(folder, SWEEP.format(n_lr=options.settings // 100))
        found, megabytes = report("expansion", lambda: call(folder, sys.executable, "-c", EXPAND)).split()
        print(f"  {found} settings, {float(megabytes):.0f} MB at most")
        configure(folder, SWEEP.format(n_lr=options.jobs // 100))
        dry_run = ("snakemake", "-n", "--quiet", "all", "--cores", "2")
        report(f"snakemake -n, {options.jobs} runs", lambda: call(folder, *dry_run))
        configure(folder, SWEEP.format(n_lr=options.slots // 100))
        report(f"snakemake -n, {options.slots} runs", lambda: call(folder, *dry_run))
        configure(folder, SEARCH.format(n=options.slots))
        report(f"snakemake -n, a search of {options.slots} slots", lambda: call(folder, *dry_run))
        bare = folder / "bare"
        bare.mkdir()
        (bare / "Snakefile").write_text(BARE.format(n=options.jobs))
        report("the same number of bare jobs", lambda: call(bare, *dry_run, "--scheduler", "greedy"))


def configure(folder: Path, text: str) -> None:
    (folder / "config.yaml").write_text(text)


def call(folder: Path, *command: str) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(command, cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout


def report(what: str, run: Callable[[], str]) -> str:
    """Print how long a command takes, and return what it printed."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    output = run()
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"{what:<36} {wall:6.1f} s wall {cpu:6.1f} s CPU", flush=True)
    return output


if __name__ == "__main__":
    main()
