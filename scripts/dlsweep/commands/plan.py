"""`sweep.py plan`: what the tables and figures need to know of a config."""

from __future__ import annotations

import argparse

from dlsweep.config.sweep import plan_digest
from dlsweep.errors import ConfigError
from dlsweep.files import write_json
from dlsweep.results.versions import find_outdated
from dlsweep.workflow.flow import AT_START


def write_plan(options: argparse.Namespace) -> int:
    """Write the plan, and remove those of earlier forms of the config, so that going back makes it again.

    A start has written its plan already: what it says of code and data is of the time of the start.
    """
    if (at_start := options.output.with_suffix(AT_START)).exists():
        at_start.replace(options.output)
    else:
        redo = options.sweep.outdated == "redo"
        outdated = None if redo else find_outdated(options.sweep, options.results).versions
        plan = options.sweep.plan(str(options.results), outdated)
        if options.output.stem != plan_digest(plan):
            raise ConfigError(f"{', '.join(options.configs)}: changed since this start; start again for the new form")
        options.output.parent.mkdir(parents=True, exist_ok=True)
        write_json(options.output, plan)
    for old in (*options.output.parent.glob("*.json"), *options.output.parent.glob(f"*{AT_START}")):
        if old != options.output:
            old.unlink()
    return 0
