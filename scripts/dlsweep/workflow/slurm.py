"""SLURM jobs that an earlier start left behind: what they train must not be trained beside them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

from dlsweep.workflow.internals import TRAINING_RULES

# What snakemake-executor-plugin-slurm writes into --comment: the rule and the wildcards.
_COMMENT = re.compile(rf"rule_(?:{'|'.join(TRAINING_RULES)})_wildcards_(.+)")


def jobs_left(folder: Path) -> dict[str, str]:
    """Return the user's SLURM jobs, waiting or running, that train in this folder, by their wildcards (`job_key`).

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
            jobs[found[1]] = job.partition("_")[0]  # of an array the whole: all its parts have the comment of the first
    return jobs


def job_key(wildcards: Iterable[str]) -> str:
    """Return what the comment of a job says of its wildcards."""
    return "_".join(wildcards)
