"""Draw the figures of a plan from its tables, and write the pages that its report shows beside them."""

import sys

sys.path.insert(0, __file__.rpartition("/")[0])  # PYTHONSAFEPATH leaves it out

import argparse
from pathlib import Path

from dlsweep.runs.preload import without_collector

with without_collector():
    from dlsweep.config.files import parse_override
    from dlsweep.config.plan import read_plan
    from dlsweep.errors import RecordError
    from dlsweep.files import write_json
    from dlsweep.report.contents import EMPTY_FIGURES
    from dlsweep.report.figures.drawing import draw
    from dlsweep.report.pages import write_pages


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("plan", type=Path, help="the plan file")
    parser.add_argument("configs", nargs="*", help="the config files that the plan was made of")
    parser.add_argument(
        "--config", nargs="+", default=[], type=parse_override, metavar="KEY=VALUE", help="and the changes of them"
    )
    parser.add_argument("--tables", type=Path, help="folder of the tables (default: the plan's)")
    parser.add_argument("--threads", type=int, default=1, help="figures drawn at a time (default: %(default)s)")
    options = parser.parse_args()
    try:
        plan = read_plan(options.plan)
        folder = options.tables or Path(plan.tables)
        faults = draw(plan, folder, options.threads)
        for fault in faults:
            print(fault)
        (folder / EMPTY_FIGURES).parent.mkdir(exist_ok=True)
        write_json(folder / EMPTY_FIGURES, faults)
        write_pages(plan, folder, options.configs, dict(options.config))
    except (RecordError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
