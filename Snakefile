"""config.yaml -> settings -> train (one job each) -> tables -> figures -> report."""

import sys
from pathlib import Path

from snakemake.utils import min_version

min_version("9.0")

sys.path.insert(
    0, str(Path(workflow.current_basedir) / "scripts")
)  # its own, also as a module

from dlsweep.workflow.flow import Flow

# ---- Config: read, checked and expanded before anything is made ----------------------------------------------

SWEEP = Flow.from_snakemake(workflow)
PATHS, JOBS = SWEEP.paths, SWEEP.jobs


report: "report/overview.rst"


wildcard_constraints:
    hash="[0-9a-f]{40}",
    exp="[A-Za-z0-9][A-Za-z0-9_.-]*",
    data="[A-Za-z0-9_.-]+",
    check="[A-Za-z0-9_.]+-[0-9a-f]{12}",
    search="[A-Za-z0-9][A-Za-z0-9_.-]*-[0-9a-f]{8}",
    round="[0-9]+",
    slot="[0-9]+",


localrules:
    all,


rule all:
    """Every record of the config, its tables, its figures and its report."""
    input:
        # Named here too: Snakemake does not make a missing file that only stands between existing ones.
        PATHS.records,
        JOBS.plan_file,
        PATHS.tables,
        PATHS.figures,
        PATHS.html_report,
        JOBS.data_asked_for(),


include: "rules/train.smk"
include: "rules/search.smk"
include: "rules/report.smk"
include: "rules/partial.smk"
include: "rules/gallery.smk"


# ---- One experiment only: snakemake <its name> ---------------------------------------------------------------


for exp_name in SWEEP.experiments(workflow):

    rule:
        """The records of one experiment, without tables and figures."""
        name:
            exp_name
        input:
            PATHS.records_of(exp_name),
            JOBS.data_asked_for(exp_name),


# ---- What the user hears -------------------------------------------------------------------------------------


onstart:
    SWEEP.start(workflow)


onsuccess:
    SWEEP.say_success(workflow)


onerror:
    SWEEP.say_error()
