"""Draw one small picture of each kind of figure from a sweep's tables, and the page that shows them.

The examples are in docs/reference/gallery.yaml: for each experiment its figures, as `figures:` of a config states them.
Those of experiments that this sweep has not stay as they are.
"""

import sys

sys.path.insert(0, __file__.rpartition("/")[0])  # PYTHONSAFEPATH leaves it out

import argparse
from pathlib import Path

import yaml

from dlsweep.config.figures import figures_for
from dlsweep.config.kinds import KINDS
from dlsweep.config.plan import Plan, read_plan
from dlsweep.errors import ConfigError, RecordError
from dlsweep.files import write_atomic
from dlsweep.report.contents import planned_figures
from dlsweep.report.figures import drawing

DPI = 100  # that of the layout: letters that are drawn smaller come out wider


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plan", type=Path, help="the plan file")
    parser.add_argument(
        "--docs", type=Path, default=Path("docs/reference"), help="folder of the page (default: %(default)s)"
    )
    options = parser.parse_args()
    try:
        make_gallery(read_plan(options.plan), options.docs)
    except (ConfigError, RecordError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def make_gallery(plan: Plan, docs: Path) -> None:
    """Write docs/reference/gallery.md and docs/reference/gallery/<kind>.png."""
    examples = yaml.safe_load((docs / "gallery.yaml").read_text(encoding="utf-8"))
    tables = drawing.load(Path(plan.tables), plan)
    planned = {(exp_name, figure.kind): figure for exp_name, figure in planned_figures(plan)}
    (docs / "gallery").mkdir(exist_ok=True)
    sections: dict[str, str] = {}
    for exp_name, given in examples.items():
        for said in given:
            kind = said if isinstance(said, str) else said["kind"]
            if experiment := plan.experiments.get(exp_name):
                spec = planned.get((exp_name, kind)) if experiment.search else None
                if spec is None:
                    (spec,) = figures_for(experiment.settings, experiment.varies, [said], experiment.objective)
                picture = docs / "gallery" / f"{kind}.png"
                drawing.save(*drawing.draw_one(exp_name, spec, tables[exp_name]), picture, dpi=DPI)
            text = yaml.safe_dump({"figures": [said]}, sort_keys=False, default_flow_style=None)
            sections[kind] = f"\n## {kind}\n\n{KINDS[kind].sentence()}\n\n"
            sections[kind] += f"```yaml\n{text}```\n\n![{kind} of the experiment {exp_name}](gallery/{kind}.png)\n"
    title = (
        "# Gallery\n\nEvery kind of figure, drawn from the sweep of `config.yaml` by `snakemake --cores 2 gallery`,"
        " those of searches from\nthat of `examples/search.yaml`.\n"
    )
    write_atomic(docs / "gallery.md", (title + "".join(sections[kind] for kind in KINDS)).encode())


if __name__ == "__main__":
    sys.exit(main())
