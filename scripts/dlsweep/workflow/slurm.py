"""SLURM jobs that an earlier start left behind: what they train must not be trained beside them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

# What snakemake-executor-plugin-slurm writes into --comment: the rule and the wildcards, exp and hash.
_COMMENT = re.compile(r"rule_train_wildcards_(.+)_([0-9a-f]{40})")


def jobs_left(folder: Path) -> dict[tuple[str, str], str]:
    """Return the user's SLURM jobs, waiting or running, that make a record in this folder, by (exp_name, hash).

    {} where SLURM does not answer. Runs in groups, and in arrays but for the first, are not told by their jobs.
    """
    command = ["squeue", "--me", "--noheader", "--format=%i|%k|%Z"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    jobs = {}
    for line in listed.splitlines():
        job, comment, workdir = line.split("|", 2)
        if (found := _COMMENT.fullmatch(comment)) and Path(workdir) == folder:
            jobs[found[1], found[2]] = job
    return jobs
