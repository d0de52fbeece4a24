"""For developers: the pictures of the documentation."""


localrules:
    gallery,


rule gallery:
    """Draw docs/reference/gallery.md: a small picture of each kind of figure, from this sweep's tables."""
    input:
        plan=JOBS.plan_file,
        tables=PATHS.tables,
    log:
        f"{PATHS.tables_folder}/logs/gallery.log",
    conda:
        "../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        script=SWEEP.script("gallery.py"),
    shell:
        "{params.script} {input.plan} 2>{log}"
