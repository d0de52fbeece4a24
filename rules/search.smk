"""Searches whose later settings depend on earlier results. Their slots are known from the config, so the graph is too."""


localrules:
    search_decide,


rule search_decide:
    """Decide which setting each slot of a round has, from the results of the rounds before it."""
    input:
        JOBS.decision_input,
    output:
        update(f"{PATHS.results}/search/{{search}}/{{round}}.json"),
    log:
        f"{PATHS.results}/logs/search-{{search}}-{{round}}.log",
    priority: 100
    conda:
        "../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        script=SWEEP.script("decide.py"),
        config=SWEEP.config_arguments,
    shell:
        "{params.script} {output} {params.config} >{log} 2>&1"


rule search_slot:
    """Train the setting of a slot, or find that it is trained already, and write what came of it."""
    input:
        JOBS.slot_input,
    output:
        update(f"{PATHS.results}/search/{{search}}/{{round}}-{{slot}}.json"),
    log:
        f"{PATHS.results}/logs/search-{{search}}-{{round}}-{{slot}}.log",
    conda:
        "../envs/python.yaml"
    threads: SWEEP.threads
    resources:
        **SWEEP.cluster_resources(workflow),
        gpu=SWEEP.gpus_asked_for,
        mem_mb=SWEEP.memory_of_run,
        runtime=240,
        attempt=lambda wildcards, attempt: attempt,
    params:
        script=SWEEP.script("train.py"),
        options=lambda wildcards: JOBS.slot_arguments(wildcards),
        jobs_per_gpu=SWEEP.sweep.jobs_per_gpu,
        gpus_per_run=SWEEP.gpus_of_run,
    shell:
        "exec {params.script} {params.options} --threads={threads}"
        " --jobs-per-gpu={params.jobs_per_gpu} --gpus-per-run={params.gpus_per_run}"
        " --time-limit={resources.runtime} --search-attempt={resources.attempt} >>{log} 2>&1"
