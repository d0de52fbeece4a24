"""Optuna's grid sampler with two threads and a study that outlives the process: python optuna_app.py 60"""

import sys

import optuna
from notebook import run

optuna.logging.set_verbosity(optuna.logging.WARNING)
indices = list(range(int(sys.argv[1])))
study = optuna.create_study(
    study_name="sweep",
    storage="sqlite:///study.db",
    load_if_exists=True,
    sampler=optuna.samplers.GridSampler({"index": indices}),
)
study.optimize(lambda trial: run(trial.suggest_int("index", 0, indices[-1])), n_jobs=2)
