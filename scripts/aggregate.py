"""Gather the records of a plan in tables."""

import sys

sys.path.insert(0, __file__.rpartition("/")[0])  # PYTHONSAFEPATH leaves it out

import argparse
from pathlib import Path

from dlsweep.runs.preload import without_collector

with without_collector():
    from dlsweep.config.plan import read_plan
    from dlsweep.errors import RecordError
    from dlsweep.results.tables import write_tables


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("plan", type=Path, help="the plan file")
    parser.add_argument("--tables", type=Path, help="folder of the tables (default: the plan's)")
    parser.add_argument("--partial", action="store_true", help="make tables of the records there are")
    options = parser.parse_args()
    try:
        plan = read_plan(options.plan)
        write_tables(plan, options.tables or Path(plan.tables), options.partial)
    except (RecordError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
