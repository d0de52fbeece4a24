"""Tables, figures and report of what is finished by now."""


localrules:
    partial,


rule partial:
    """Make tables, figures and report of what is finished by now, in <tables>/partial/."""
    input:
        plan=JOBS.plan_file,
    log:
        f"{PATHS.tables_folder}/logs/partial.log",
    conda:
        "../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        aggregate=SWEEP.script("aggregate.py"),
        report=SWEEP.script("report.py"),
        page=SWEEP.script("page.py"),
        folder=PATHS.partial_folder,
        config=SWEEP.config_arguments,
    shell:
        "({params.aggregate} {input.plan} --partial --tables={params.folder} &&"
        " {params.report} {input.plan} {params.config} --tables={params.folder} &&"
        " {params.page} {input.plan} {params.config} --tables={params.folder}) 2>&1 | tee {log}"
