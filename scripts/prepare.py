"""Read or download one data set, check it and write it to one file that all runs share.

  python scripts/prepare.py --dataset=digits --output=results/data/digits.pt
  python scripts/prepare.py --dataset=npz --data-path=mine.npz --output=results/data/mine.pt

Downloads, and files put in place on a machine without internet, stand in the raw folder: see docs/data.md.
"""

import sys

sys.path.insert(0, __file__.rpartition("/")[0])  # PYTHONSAFEPATH leaves it out

import argparse
import json
from pathlib import Path

from dlsweep.config.hyperparameters import HYPERPARAMETERS
from dlsweep.config.identity import check_setting
from dlsweep.config.paths import DATA_KEYS
from dlsweep.config.registry import DATASETS
from dlsweep.errors import ConfigError
from dlsweep.locks import acquire
from dlsweep.runs.preload import without_collector


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = f"one of {', '.join(DATASETS)}, or your own function, MODULE:FUNCTION"
    parser.add_argument("--dataset", required=True, metavar="NAME", help=names)
    for key in DATA_KEYS[1:]:
        hyper = HYPERPARAMETERS[key]
        text = f"{hyper.doc} Default: {json.dumps(hyper.default)}.".replace("%", "%%")
        parser.add_argument(f"--{key.replace('_', '-')}", metavar="VALUE", help=text)
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="the prepared file")
    parser.add_argument(
        "--raw", type=Path, default=Path("data"), metavar="FOLDER", help="the raw folder (default: %(default)s)"
    )
    return parser.parse_args()


def _parse(key: str, text: str) -> object:
    if HYPERPARAMETERS[key].type is str:
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def main() -> int:
    options = parse()
    try:
        given = {key: value for key in DATA_KEYS if (value := getattr(options, key)) is not None}
        setting = check_setting({key: _parse(key, value) for key, value in given.items()})
        with without_collector():  # after the options are read: torch takes a second to load
            from dlsweep.tasks.classification.data import prepare

        options.output.parent.mkdir(parents=True, exist_ok=True)
        with acquire(Path(f"{options.output}.lock")):  # two sweeps may start at once
            prepare(setting, options.output, options.raw)
    except (ConfigError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
