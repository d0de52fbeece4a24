"""Look at a sweep before, while and after it runs."""

import argparse
import json
import sys
from pathlib import Path

from dlsweep.hyperparameters import ConfigError
from dlsweep.records import RECORD_SCHEMA, RecordError, write_json
from dlsweep.schema import config_schema, hyperparameter_table
from dlsweep.sweep import load_sweep, plan_digest
from dlsweep.workflow import RESULTS


def write_plan(options: argparse.Namespace) -> int:
    """Write the plan, and remove those of earlier forms of the config, so that going back makes it again."""
    plan = load_sweep(options.configs, json.loads(options.config_json)).plan(options.results)
    if options.output.stem != plan_digest(plan):
        raise ConfigError(f"{', '.join(options.configs)}: changed since this start; start again for the new form")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    write_json(options.output, plan)
    for old in options.output.parent.glob("*.json"):
        if old != options.output:
            old.unlink()
    return 0


def write_schemas(options: argparse.Namespace) -> int:
    """Write the files that are derived from the lists in the code."""
    for path, text in derived_files().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(path)
    return 0


def derived_files() -> dict[Path, str]:
    """Return the content of each file in the repository that is derived from the code."""
    return {
        Path("schemas/config.schema.json"): json.dumps(config_schema(), indent=2) + "\n",
        Path("schemas/record.schema.json"): json.dumps(RECORD_SCHEMA, indent=2) + "\n",
        Path("docs/hyperparameters.md"): hyperparameter_table(),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    plan = commands.add_parser("plan", help="write what the tables and figures need to know of the config")
    plan.add_argument("configs", nargs="+", help="config files")
    plan.add_argument("--config-json", default="{}", help="overrides, as a JSON mapping")
    plan.add_argument("--results", default=RESULTS, help=f"folder of the records (default: {RESULTS})")
    plan.add_argument("--output", type=Path, required=True, help="the plan file")
    plan.set_defaults(run=write_plan)
    schema = commands.add_parser("schema", help="write schemas/ and docs/hyperparameters.md anew from the code")
    schema.set_defaults(run=write_schemas)
    options = parser.parse_args()
    try:
        status: int = options.run(options)
        return status
    except (ConfigError, RecordError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
