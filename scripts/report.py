"""Draw the figures of a plan from its tables."""

import argparse
import sys
from pathlib import Path

from dlsweep.figures import draw
from dlsweep.records import RecordError, read_json


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("plan", type=Path, help="the plan file")
    parser.add_argument("--tables", type=Path, help="folder of the tables (default: the plan's)")
    parser.add_argument("--threads", type=int, default=1, help="figures drawn at a time (default: %(default)s)")
    options = parser.parse_args()
    try:
        plan = read_json(options.plan)
        draw(plan, options.tables or Path(plan["tables"]), options.threads)
    except (RecordError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
