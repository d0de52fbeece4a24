"""`sweep.py plan`: what the tables and figures need to know of a config."""

from pathlib import Path

from dlsweep.config.sweep import Sweep
from dlsweep.errors import ConfigError
from dlsweep.files import write_json
from dlsweep.results.versions import find_outdated
from dlsweep.workflow.flow import AT_START


def write_plan(sweep: Sweep, results: Path, configs: list[str], output: Path) -> int:
    """Write the plan, and remove those of earlier forms of the config, so that going back makes it again.

    A start has written its plan already: what it says of code and data is of the time of the start.
    """
    if (at_start := output.with_suffix(AT_START)).exists():
        at_start.replace(output)
    else:
        plan = sweep.plan(str(results), find_outdated(sweep, results).versions)
        if output.stem != plan.digest:
            raise ConfigError(f"{', '.join(configs)}: changed since this start; start again for the new form")
        output.parent.mkdir(parents=True, exist_ok=True)
        write_json(output, plan.to_json())
    for old in (*output.parent.glob("*.json"), *output.parent.glob(f"*{AT_START}")):
        if old != output:
            old.unlink()
    return 0
