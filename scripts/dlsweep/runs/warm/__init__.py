"""The warm trainer: one process per sweep that has processes ready which have imported all that training needs.

Loading torch and the rest takes seconds, a run of a small model takes tenths of one. Snakemake starts the trainer
(start.py) and tells its jobs where it is; `scripts/train.py` hands its run over (handover.py). The trainer (trainer.py)
has a process do it (worker.py) that is like one of the run's own: it has the arguments, environment, working directory,
standard streams, limits and signals of the job that asked for it, and its record is the same, bit for bit.

On Linux the trainer has loaded all itself, and forks a process a run (`Forks`). Elsewhere a process that has loaded
torch cannot be forked safely: Metal, Accelerate and Objective-C do not allow it. There the trainer keeps processes that
have loaded all, and that do one run after another (`Spares`).

No run depends on the trainer: where there is none, or it is gone, or does not answer, train.py trains by itself.
The trainer ends with its Snakemake, however that ends: it reads the end of a pipe that only Snakemake has open.
A run ends, with its checkpoint, when the job that asked for it or Snakemake does, for the same reason.

The trainer itself never computes: forks of a process that has used CUDA or a thread pool do not work.
"""
