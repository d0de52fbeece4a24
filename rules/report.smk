"""From the records of the whole sweep to its tables, figures and report."""


localrules:
    plan,
    aggregate,
    report,
    html,


rule plan:
    """Write what the tables and figures need to know of the config."""
    output:
        JOBS.plan_file,
    log:
        f"{PATHS.results}/logs/plan.log",
    priority: 100
    conda:
        "../envs/python.yaml"
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
        plan=JOBS.plan_file,
        records=PATHS.records,
    output:
        PATHS.tables,
    log:
        f"{PATHS.tables_folder}/logs/aggregate.log",
    conda:
        "../envs/python.yaml"
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
        plan=JOBS.plan_file,
        tables=PATHS.tables,
    output:
        PATHS.report_outputs(report),
    log:
        f"{PATHS.tables_folder}/logs/report.log",
    conda:
        "../envs/python.yaml"
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
    """Put the answers, the figures and the runs in one page."""
    input:
        plan=JOBS.plan_file,
        tables=PATHS.tables,
        figures=rules.report.output,
    output:
        PATHS.html_report,
    log:
        f"{PATHS.tables_folder}/logs/html.log",
    conda:
        "../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        script=SWEEP.script("page.py"),
        config=SWEEP.config_arguments,
    shell:
        "{params.script} {input.plan} {params.config} --output={output} 2>{log}"
