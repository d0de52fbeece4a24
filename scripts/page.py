"""Put the page of a plan together: one HTML file with the answers, the figures and the runs."""

import sys

sys.path.insert(0, __file__.rpartition("/")[0])  # PYTHONSAFEPATH leaves it out

import argparse
from pathlib import Path

from dlsweep.runs.preload import without_collector

with without_collector():
    from dlsweep.config.files import parse_override
    from dlsweep.config.plan import read_plan
    from dlsweep.errors import RecordError
    from dlsweep.report.page.build import write_page


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("plan", type=Path, help="the plan file")
    parser.add_argument("configs", nargs="*", help="the config files that the plan was made of")
    parser.add_argument(
        "--config", nargs="+", default=[], type=parse_override, metavar="KEY=VALUE", help="and the changes of them"
    )
    parser.add_argument("--tables", type=Path, help="folder of the tables and figures (default: the plan's)")
    parser.add_argument("--output", type=Path, help="the page (default: report.html beside the tables)")
    options = parser.parse_args()
    try:
        plan = read_plan(options.plan)
        folder = options.tables or Path(plan.tables)
        write_page(plan, folder, options.output or folder / "report.html", options.configs, dict(options.config))
    except (RecordError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
