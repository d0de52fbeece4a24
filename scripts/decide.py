"""Decide which settings the next round of a search has, from the results of the rounds before it."""

import sys

sys.path.insert(0, __file__.rpartition("/")[0])  # PYTHONSAFEPATH leaves it out

import argparse
from pathlib import Path

from dlsweep.config.files import look_beside, parse_override
from dlsweep.config.sweep import load_sweep
from dlsweep.errors import ConfigError, RecordError
from dlsweep.search.decide import decide


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path, help="its file: <results>/search/<name>/<round>.json")
    parser.add_argument("configs", nargs="+", help="config files")
    parser.add_argument(
        "--config", nargs="+", action="extend", default=[], type=parse_override, metavar="KEY=VALUE", help="changes"
    )
    options = parser.parse_args()
    try:
        look_beside(options.configs)
        sweep = load_sweep(options.configs, dict(options.config))
        courses = {exp.course.name: exp.course for exp in sweep.experiments.values() if exp.course}
        name, results = options.output.parent.name, options.output.parents[2]
        if name not in courses:
            raise ConfigError(f"{', '.join(options.configs)}: changed since this start; start again for the new form")
        print(decide(courses[name], int(options.output.stem), results))
    except (ConfigError, RecordError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
