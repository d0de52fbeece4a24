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


report: "report/overview.rst"


wildcard_constraints:
    hash="[0-9a-f]{40}",
    exp="[A-Za-z0-9][A-Za-z0-9_.-]*",
    data="[A-Za-z0-9_-]+",
    check="[A-Za-z0-9_.]+-[0-9a-f]{12}",


localrules:
    all,
    plan,
    prepare,
    check_own_model,
    aggregate,
    report,
    html,
    partial,
    partial_report,
    gallery,


# ---- The whole sweep -----------------------------------------------------------------------------------------


rule all:
    """Every record of the config, its tables, its figures and its report."""
    input:
        # Named here too: Snakemake does not make a missing file that only stands between existing ones.
        SWEEP.records,
        SWEEP.plan_file,
        SWEEP.tables,
        SWEEP.figures,
        SWEEP.html_report,
        SWEEP.data_asked_for(),


# ---- Data and training ---------------------------------------------------------------------------------------

# update(): Snakemake does not delete what is there before the job; another process may just have made it.


rule prepare:
    """Download or read one data set and write it to one file that all runs share."""
    input:
        SWEEP.data_source,
    output:
        update(f"{SWEEP.results}/data/{{data}}.pt"),
    log:
        f"{SWEEP.results}/logs/prepare-{{data}}.log",
    conda:
        "envs/train.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        script=SWEEP.script("prepare.py"),
        options=lambda wildcards: SWEEP.prepare_arguments(wildcards.data),
    shell:
        "{params.script} {params.options} --output={output} 2>&1 | tee {log}"


rule check_own_model:
    """Try a user's own model on a few images, once, before the runs that have it."""
    input:
        SWEEP.check_input,
    output:
        update(f"{SWEEP.results}/.checked/{{check}}.txt"),
    log:
        f"{SWEEP.results}/logs/check-{{check}}.log",
    conda:
        "envs/train.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        script=SWEEP.script("train.py"),
        options=lambda wildcards, input: SWEEP.check_arguments(wildcards.check, input),
    shell:
        "exec {params.script} {params.options} --check={output} --time-limit={resources.runtime} >{log} 2>&1"


rule train:
    """Train one setting; go on from its checkpoint where there is one."""
    input:
        SWEEP.train_input,
    output:
        update(f"{SWEEP.results}/{{exp}}-{{hash}}.json"),
    log:
        f"{SWEEP.results}/logs/{{exp}}-{{hash}}.log",
    conda:
        "envs/train.yaml"
    threads: SWEEP.threads
    resources:
        **SWEEP.cluster_resources(workflow),
        gpu=SWEEP.gpus_per_run,
        mem_mb=4000,
        runtime=240,
    params:
        script=SWEEP.script("train.py"),
        # input and output, since they lie elsewhere where a storage plugin fetches and stores them
        options=lambda wildcards, input, output: SWEEP.train_arguments(
            wildcards, input, output
        ),
        jobs_per_gpu=SWEEP.sweep.jobs_per_gpu,
    shell:
        # exec: a signal to all of a job's processes must not end the shell before the run has written its checkpoint
        "exec {params.script} {params.options} --threads={threads}"
        " --jobs-per-gpu={params.jobs_per_gpu} --time-limit={resources.runtime} >>{log} 2>&1"


# ---- Tables and figures --------------------------------------------------------------------------------------


rule plan:
    """Write what the tables and figures need to know of the config."""
    output:
        SWEEP.plan_file,
    log:
        f"{SWEEP.results}/logs/plan.log",
    priority: 100
    conda:
        "envs/train.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        script=SWEEP.script("sweep.py"),
        options=SWEEP.config_arguments,
    shell:
        "{params.script} plan {params.options} --output={output} 2>{log}"


rule aggregate:
    """Gather the records of this config in tables."""
    input:
        plan=SWEEP.plan_file,
        records=SWEEP.records,
    output:
        SWEEP.tables,
    log:
        f"{SWEEP.tables_folder}/logs/aggregate.log",
    conda:
        "envs/report.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        script=SWEEP.script("aggregate.py"),
    shell:
        "{params.script} {input.plan} 2>{log}"


rule report:
    """Draw the figures from the tables, and write what the report says of them."""
    input:
        plan=SWEEP.plan_file,
        tables=SWEEP.tables,
    output:
        SWEEP.report_outputs(report),
    log:
        f"{SWEEP.tables_folder}/logs/report.log",
    conda:
        "envs/report.yaml"
    threads: 4
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        script=SWEEP.script("report.py"),
        config=SWEEP.config_arguments,
    shell:
        "{params.script} {input.plan} {params.config} --threads={threads} 2>{log} | tee -a {log}"


rule html:
    """Put figures, leaderboards, config and provenance in one HTML file: Snakemake's own report."""
    input:
        rules.report.output,
    output:
        SWEEP.html_report,
    log:
        f"{SWEEP.tables_folder}/logs/html.log",
    conda:
        "envs/report.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        snakemake=SWEEP.snakemake_command,
    shell:
        "{params.snakemake} --report={output} >{log} 2>&1"


rule partial:
    """Make tables, figures and report of what is finished by now, in <tables>/partial/."""
    input:
        plan=SWEEP.plan_file,
    log:
        f"{SWEEP.tables_folder}/logs/partial.log",
    conda:
        "envs/report.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        aggregate=SWEEP.script("aggregate.py"),
        report=SWEEP.script("report.py"),
        folder=SWEEP.partial_folder,
        config=SWEEP.config_arguments,
        snakemake=SWEEP.snakemake_command,
    shell:
        "({params.aggregate} {input.plan} --partial --tables={params.folder} &&"
        " {params.report} {input.plan} {params.config} --tables={params.folder}) 2>&1 | tee {log} &&"
        " {params.snakemake} --report={params.folder}/report.html partial_report >>{log} 2>&1"


rule partial_report:
    """What the report of `partial` shows."""
    input:
        SWEEP.partial_items(report),


rule gallery:
    """Draw docs/gallery.md: a small picture of each kind of figure, from this sweep's tables."""
    input:
        plan=SWEEP.plan_file,
        tables=SWEEP.tables,
    log:
        f"{SWEEP.tables_folder}/logs/gallery.log",
    conda:
        "envs/report.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        script=SWEEP.script("gallery.py"),
    shell:
        "{params.script} {input.plan} 2>{log}"


# ---- One experiment only: snakemake <its name> ---------------------------------------------------------------


for exp_name in SWEEP.experiments(workflow):

    rule:
        """The records of one experiment, without tables and figures."""
        name:
            exp_name
        input:
            SWEEP.records_of(exp_name),
            SWEEP.data_asked_for(exp_name),


# ---- What the user hears -------------------------------------------------------------------------------------


onstart:
    SWEEP.start(workflow)


onsuccess:
    SWEEP.say_success(workflow)


onerror:
    SWEEP.say_error()
