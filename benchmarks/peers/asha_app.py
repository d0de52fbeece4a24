"""Ray Tune's ASHA over random points, two at a time, going on from what it finds: python asha_app.py 0

Writes ./tried.json: each setting, and how many epochs it was trained for. Each epoch that is trained adds a line to
./epochs.txt.
"""

import itertools
import json
import os
import sys
import tempfile
from pathlib import Path

os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = "0"  # it keeps its state at each change, not each 10 s at most

import ray
from ray import tune

N_TRIALS = 27
EPOCHS = 9


def trial(config: dict) -> None:
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from search import Curves

    checkpoint, begin = tune.get_checkpoint(), 0
    if checkpoint:
        with checkpoint.as_directory() as folder:
            begin = int((Path(folder) / "epoch").read_text())
    losses = Curves("wine", 0).train(config["lr"], config["hid_dim"], config["weight_decay"])
    for epoch, loss in enumerate(itertools.islice(losses, EPOCHS), 1):
        if epoch <= begin:  # stands for what a checkpoint of the weights would save
            continue
        with Path(config["log"]).open("a") as log:
            log.write("epoch\n")
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "epoch").write_text(str(epoch))
            tune.report({"loss": loss, "epoch": epoch}, checkpoint=tune.Checkpoint.from_directory(folder))


ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
storage = Path.cwd() / "ray"
if tune.Tuner.can_restore(storage / "asha"):
    tuner = tune.Tuner.restore(str(storage / "asha"), trial, resume_unfinished=True)
else:
    space = {
        "lr": tune.loguniform(1e-3, 1.0),
        "hid_dim": tune.lograndint(4, 129),
        "weight_decay": tune.loguniform(1e-6, 0.1),
        "log": str(Path.cwd() / "epochs.txt"),
    }
    scheduler = tune.schedulers.ASHAScheduler("epoch", "loss", "min", max_t=EPOCHS, grace_period=1, reduction_factor=3)
    seeded = tune.search.basic_variant.BasicVariantGenerator(random_state=int(sys.argv[1]))
    tuner = tune.Tuner(
        tune.with_resources(trial, {"cpu": 1}),
        param_space=space,
        tune_config=tune.TuneConfig(num_samples=N_TRIALS, scheduler=scheduler, search_alg=seeded, reuse_actors=True),
        run_config=tune.RunConfig(name="asha", storage_path=str(storage), verbose=0),
    )
results = tuner.fit()
assert not results.errors, results.errors
tried = [[{**result.config, "log": ""}, result.metrics["epoch"]] for result in results]
Path("tried.json").write_text(json.dumps(tried))
os._exit(0)  # its own way out waits for seconds
