"""Read or download one data set, check it and write it to one file that all runs share.

  python scripts/prepare.py --dataset=digits --output=results/data/digits.pt
  python scripts/prepare.py --dataset=npz --data-path=mine.npz --output=results/data/mine.pt

Downloads, and files put in place on a machine without internet, stand in the raw folder: see docs/reference/data.md.
"""

import sys

sys.path.insert(0, __file__.rpartition("/")[0])  # PYTHONSAFEPATH leaves it out

import argparse
from pathlib import Path

from dlsweep.config.hyperparameters import HYPERPARAMETERS
from dlsweep.config.identity import check_setting
from dlsweep.config.options import add_hyperparameters, given_values
from dlsweep.config.paths import DATA_KEYS
from dlsweep.errors import ConfigError
from dlsweep.locks import acquire
from dlsweep.runs.preload import without_collector

HYPER = {key: HYPERPARAMETERS[key] for key in DATA_KEYS}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_hyperparameters(parser, HYPER)
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="the prepared file")
    parser.add_argument(
        "--raw", type=Path, default=Path("data"), metavar="FOLDER", help="the raw folder (default: %(default)s)"
    )
    parser.add_argument("--threads", type=int, default=1, help="read so many images at a time (default: %(default)s)")
    options = parser.parse_args()
    if options.hp_dataset is None:
        parser.error("the following arguments are required: --dataset")
    return options


def main() -> int:
    options = parse()
    try:
        setting = check_setting(given_values(options, HYPER))
        with without_collector():  # after the options are read: torch takes a second to load
            from dlsweep.tasks.classification.data import prepare

        options.output.parent.mkdir(parents=True, exist_ok=True)
        with acquire(Path(f"{options.output}.lock")):  # two sweeps may start at once
            prepare(setting, options.output, options.raw, options.threads)
    except (ConfigError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
