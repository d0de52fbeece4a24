"""Data and training."""


localrules:
    prepare,
    check_own_model,


# update(): Snakemake does not delete what is there before the job; another process may just have made it.


rule prepare:
    """Download or read one data set and write it to one file that all runs share."""
    input:
        JOBS.data_source,
    output:
        update(f"{PATHS.results}/data/{{data}}.pt"),
    log:
        f"{PATHS.results}/logs/prepare-{{data}}.log",
    conda:
        "../envs/python.yaml"
    threads: lambda wildcards: JOBS.prepare_threads(wildcards.data)
    resources:
        mem_mb=4000,
        runtime=600,
    params:
        script=SWEEP.script("prepare.py"),
        options=lambda wildcards: JOBS.prepare_arguments(wildcards.data),
    shell:
        "{params.script} {params.options} --threads={threads} --output={output} 2>&1 | tee {log}"


rule check_own_model:
    """Try a user's own model on a few images, once, before the runs that have it."""
    input:
        JOBS.check_input,
    output:
        update(f"{PATHS.results}/.checked/{{check}}.txt"),
    log:
        f"{PATHS.results}/logs/check-{{check}}.log",
    conda:
        "../envs/python.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        script=SWEEP.script("train.py"),
        options=lambda wildcards, input: JOBS.check_arguments(wildcards.check, input),
    shell:
        "exec {params.script} {params.options} --check={output} --time-limit={resources.runtime} >{log} 2>&1"


rule train:
    """Train one setting; go on from its checkpoint where there is one."""
    input:
        JOBS.train_input,
    output:
        update(f"{PATHS.results}/{{exp}}-{{hash}}.json"),
    log:
        f"{PATHS.results}/logs/{{exp}}-{{hash}}.log",
    conda:
        "../envs/python.yaml"
    threads: SWEEP.threads
    resources:
        **SWEEP.cluster_resources(workflow),
        gpu=SWEEP.gpus_asked_for,
        mem_mb=SWEEP.memory_of_run,
        runtime=240,
    params:
        script=SWEEP.script("train.py"),
        # input and output, since they lie elsewhere where a storage plugin fetches and stores them
        options=lambda wildcards, input, output: JOBS.train_arguments(
            wildcards, input, output
        ),
        jobs_per_gpu=SWEEP.sweep.jobs_per_gpu,
        gpus_per_run=SWEEP.gpus_of_run,
    shell:
        # exec: a signal to all of a job's processes must not end the shell before the run has written its checkpoint
        "exec {params.script} {params.options} --threads={threads}"
        " --jobs-per-gpu={params.jobs_per_gpu} --gpus-per-run={params.gpus_per_run}"
        " --time-limit={resources.runtime} >>{log} 2>&1"
