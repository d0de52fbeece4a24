"""Ray Tune, two trials at a time, going on from what it finds: python ray_app.py 60"""

import os
import sys
from pathlib import Path

import ray
from ray import tune

FOLDER = Path(__file__).parent


def trial(config: dict) -> dict:
    sys.path.insert(0, str(FOLDER))
    from notebook import run

    return {"test_acc": run(config["index"])}


ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
storage = Path.cwd() / "ray"
name = f"sweep-{sys.argv[1]}"
if tune.Tuner.can_restore(storage / name):
    tuner = tune.Tuner.restore(str(storage / name), trial, resume_unfinished=True)
else:
    tuner = tune.Tuner(
        tune.with_resources(trial, {"cpu": 1}),
        param_space={"index": tune.grid_search(list(range(int(sys.argv[1]))))},
        run_config=tune.RunConfig(name=name, storage_path=str(storage), verbose=0),
    )
results = tuner.fit()
assert not results.errors, results.errors
os._exit(0)  # its own way out waits for seconds
