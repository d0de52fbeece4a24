"""Searches at equal budget: the best validation loss over the epochs spent, ours, Optuna's, Ray's; what a kill changes.

    python benchmarks/search.py --repetitions 20

The objective is a small network on scikit-learn's digits or wine, trained in this process: what is compared are the
settings that each method chooses, so all read the same curves. Ours decide through the code that a sweep calls. Of Ray,
whose trials take seconds to start, the real scheduler and ranges are driven here, four trials in turns; what a kill
changes is measured on Ray itself (peers/asha_app.py).
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
import types
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from scipy import stats
from sklearn import datasets
from sklearn.model_selection import train_test_split

sys.path.insert(0, str(Path(__file__).parent.parent / "scripts"))

from common import print_machine, print_table

from dlsweep.config.course import slot_file
from dlsweep.config.sweep import expand_config
from dlsweep.files import write_json
from dlsweep.search.decide import decide

EPOCHS = 9  # of a whole run
BUDGET = 243  # epochs of a search
LOOKS = (81, 162, 243)  # epochs spent
KILLED = 5  # repetitions that are killed, at most
AT_A_TIME = 4  # trials of ASHA
OURS = {
    "quasi_random": {"n": 27},
    "tpe": {"n": 27},
    "gp": {"n": 27},
    "cmaes": {"n": 27},
    "halving": {"n": 104},
    "hyperband": {"n": 60},
}
RANGES = {
    "lr": {"log_uniform": [1e-3, 1.0]},
    "hid_dim": {"log_int_uniform": [4, 128]},
    "weight_decay": {"log_uniform": [1e-6, 0.1]},
}
DATA = {"digits": datasets.load_digits, "wine": datasets.load_wine}


class Spent(Exception):
    """The budget is spent, or the process is killed."""


def point_key(point: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(point[name] for name in RANGES)


class Curves:
    """The validation losses of settings on one data set and seed, trained once and as far as they are asked for.

    `spent` counts the epochs that the search has asked for; a run that goes on costs what is new of it. `history` are
    the pairs of what was spent, and the best loss by then.
    """

    def __init__(self, data: str, seed: int, most: int = BUDGET) -> None:
        x, y = DATA[data](return_X_y=True)
        split = train_test_split(x, y, test_size=0.5, random_state=seed, stratify=y)
        sd = split[0].std(0)
        scale = np.where(sd > 0.1, sd, 1.0)  # pixels that are always white in one half are not in the other
        self.x, self.val_x = (
            torch.tensor((part - split[0].mean(0)) / scale, dtype=torch.float32) for part in split[:2]
        )
        self.y, self.val_y = (torch.tensor(part) for part in split[2:])
        self.n_classes = int(y.max()) + 1
        self.seed, self.most = seed, most
        self.spent, self.best = 0, math.inf
        self.history: list[tuple[int, float]] = []
        self.saved: dict[tuple[Any, ...], int] = {}  # the epoch of each setting's checkpoint
        self.states: dict[tuple[Any, ...], tuple[Iterator[float], list[float]]] = {}

    def value(self, point: dict[str, Any], epochs: int = EPOCHS, before: int = 0) -> float:
        """The loss after some epochs, of which the search has paid for the first ones before."""
        key = point_key(point)
        training, losses = self.states.setdefault(key, (self.train(*key), []))
        for epoch in range(before + 1, epochs + 1):
            if self.spent >= self.most:
                raise Spent
            self.spent += 1
            self.saved[key] = epoch
        while len(losses) < epochs:
            losses.append(next(training))
        return losses[epochs - 1]

    def ended(self, loss: float) -> None:
        """Count the loss of a run that pauses or ends: that of its last epoch, also where a method sees each."""
        self.best = min(self.best, loss)
        self.history.append((self.spent, self.best))

    def train(self, lr: float, width: int, weight_decay: float) -> Iterator[float]:
        generator = torch.Generator().manual_seed(self.seed)
        sizes = ((self.x.shape[1], width), (width, self.n_classes))
        weights = [torch.randn(a, b, generator=generator) / math.sqrt(a) for a, b in sizes]
        parameters = [*weights, torch.zeros(width), torch.zeros(self.n_classes)]
        for parameter in parameters:
            parameter.requires_grad_(True)
        optimizer = torch.optim.SGD(parameters, lr, momentum=0.9, weight_decay=weight_decay)

        def loss(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            hidden = torch.relu(x @ parameters[0] + parameters[2])
            return torch.nn.functional.cross_entropy(hidden @ parameters[1] + parameters[3], y)

        while True:
            for batch in torch.randperm(len(self.x), generator=generator).split(64):
                optimizer.zero_grad()
                loss(self.x[batch], self.y[batch]).backward()
                optimizer.step()
            with torch.no_grad():
                found = float(loss(self.val_x, self.val_y))
            yield found if math.isfinite(found) else math.inf

    def best_at(self, spent: int) -> float:
        return min((best for at, best in self.history if at <= spent), default=math.inf)


# -- the methods ---------------------------------------------------------------------------------------------------


def ours(method: str, curves: Curves, results: Path) -> list[str]:
    """Go through a search from where its files are; return what was tried, in order."""
    defaults = {"epochs": EPOCHS, "objective": "val_loss", "optimizer": "momentum"}
    search = {"method": method, "seed": curves.seed, **OURS[method], **RANGES}
    experiment = expand_config({"defaults": defaults, "experiments": {"a": {"search": search}}}).experiments["a"]
    course = experiment.course
    saved = dict(curves.saved)  # by a process that was killed: a run goes on from its checkpoint
    if course is None:  # the config decides all
        for setting in experiment.settings.values():
            curves.ended(curves.value(setting, before=saved.get(point_key(setting), 0)))
        return list(experiment.settings)
    reached: dict[str, int] = {}
    for one in course.rounds:
        if one.after and not (results / "search" / course.name / f"{one.number}.json").exists():
            decide(course, one.number, results)
        for (number, slot), (digest, setting) in course.known_runs(results).items():
            if number != one.number:
                continue
            path = Path(slot_file(str(results), course.name, number, slot))
            last = one.epochs or EPOCHS
            if not path.exists():
                before = max(reached.get(digest, 0), saved.get(point_key(setting), 0))
                loss = curves.value(setting, last, before)
                curves.ended(loss)
                path.parent.mkdir(parents=True, exist_ok=True)
                value = loss if math.isfinite(loss) else None
                write_json(path, {"hash": digest, "setting": setting, "status": "finished", "value": value}, sync=False)
            reached[digest] = last
    return [f"{slot}: {digest}" for slot, (digest, _) in course.known_runs(results).items()]


def optunas(method: str, curves: Curves, results: Path) -> list[str]:
    """The same with Optuna, whose trials are kept in a file; return what was tried, in order."""
    backend = optuna.storages.journal.JournalFileBackend(str(results / "journal"))
    pruner: optuna.pruners.BasePruner = optuna.pruners.NopPruner()
    if method == "hyperband":
        pruner = optuna.pruners.HyperbandPruner(min_resource=1, max_resource=EPOCHS, reduction_factor=3)
    study = optuna.create_study(
        storage=optuna.storages.JournalStorage(backend),
        study_name="a",
        load_if_exists=True,
        sampler=optuna.samplers.TPESampler(seed=curves.seed),
        pruner=pruner,
    )

    def objective(trial: optuna.Trial) -> float:
        point = {
            "lr": trial.suggest_float("lr", *RANGES["lr"]["log_uniform"], log=True),
            "hid_dim": trial.suggest_int("hid_dim", *RANGES["hid_dim"]["log_int_uniform"], log=True),
            "weight_decay": trial.suggest_float("weight_decay", *RANGES["weight_decay"]["log_uniform"], log=True),
        }
        loss = math.inf
        for epoch in range(1, EPOCHS + 1):
            loss = curves.value(point, epoch, epoch - 1)
            if method == "hyperband":
                trial.report(loss, epoch)
                if trial.should_prune():
                    curves.ended(loss)
                    raise optuna.TrialPruned
        curves.ended(loss)
        return loss

    def keep_going() -> bool:
        return sum(len(trial.intermediate_values) or EPOCHS for trial in ended()) < BUDGET

    def ended() -> list[optuna.trial.FrozenTrial]:
        states = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
        return study.get_trials(deepcopy=False, states=states)

    while keep_going():
        try:
            study.optimize(objective, n_trials=1)
        except Spent:
            if curves.most < BUDGET:  # killed
                raise
            break
    return [str(trial.params) for trial in ended()]


def asha(curves: Curves, results: Path) -> list[str]:
    """Ray's ASHA over random points, until the budget is spent."""
    from ray import tune

    low, high = RANGES["hid_dim"]["log_int_uniform"]
    space = {
        "lr": tune.loguniform(*RANGES["lr"]["log_uniform"]),
        "hid_dim": tune.lograndint(low, high + 1),  # ends before it
        "weight_decay": tune.loguniform(*RANGES["weight_decay"]["log_uniform"]),
    }
    scheduler = tune.schedulers.ASHAScheduler("epoch", "loss", "min", max_t=EPOCHS, grace_period=1, reduction_factor=3)
    random = np.random.RandomState(curves.seed)
    points: list[dict[str, Any]] = []
    running: dict[int, int] = {}  # the number of epochs of each trial
    while True:
        while len(running) < AT_A_TIME:
            running[len(points)] = 0
            scheduler.on_trial_add(None, types.SimpleNamespace(trial_id=len(points)))
            points.append({name: domain.sample(random_state=random) for name, domain in space.items()})
        for number in list(running):
            running[number] += 1
            loss = curves.value(points[number], running[number], running[number] - 1)
            result = {"epoch": running[number], "loss": loss if math.isfinite(loss) else 1e9}
            trial = types.SimpleNamespace(trial_id=number)
            if scheduler.on_trial_result(None, trial, result) == tune.schedulers.TrialScheduler.STOP:
                curves.ended(loss)
                del running[number]


METHODS: dict[str, Callable[[Curves, Path], list[str]]] = {
    **{f"ours, {method}": functools.partial(ours, method) for method in OURS},
    "Optuna, TPE": functools.partial(optunas, "tpe"),
    "Optuna, TPE and Hyperband": functools.partial(optunas, "hyperband"),
    "Ray, ASHA over random points": asha,
}


# -- the tables ----------------------------------------------------------------------------------------------------


def one(task: tuple[str, str, int]) -> list[float]:
    """The best loss of one search at each look."""
    name, data, seed = task
    torch.set_num_threads(1)
    quiet()
    curves = Curves(data, seed)
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(Spent):
        METHODS[name](curves, Path(folder))
    return [curves.best_at(spent) for spent in LOOKS]


def killed(task: tuple[str, int]) -> tuple[bool, int]:
    """Kill a search in the middle of a run, and go on.

    Return whether it has tried the same, in the same order, and how many epochs were trained again or in vain.
    """
    name, seed = task
    torch.set_num_threads(1)
    quiet()
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        whole = Curves("wine", seed, most=10**9)
        undisturbed = METHODS[name](whole, Path(first))
        half = Curves("wine", seed, most=whole.spent // 2 + 4)
        with contextlib.suppress(Spent):
            METHODS[name](half, Path(second))
        rest = Curves("wine", seed, most=10**9)
        rest.saved = half.saved
        again = METHODS[name](rest, Path(second))
    if undisturbed == again:
        return True, half.spent + rest.spent - whole.spent
    return False, half.spent - half.history[-1][0]  # the run that was killed, which Optuna counts as still running


def asha_killed(seed: int) -> tuple[bool, int]:
    """The same with Ray itself."""

    def start(folder: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, Path(__file__).parent / "peers/asha_app.py", str(seed)]
        nowhere = subprocess.DEVNULL
        return subprocess.Popen(command, cwd=folder, stdout=nowhere, stderr=nowhere, start_new_session=True)

    def n_trained(folder: Path) -> int:
        log = folder / "epochs.txt"
        return len(log.read_text().splitlines()) if log.exists() else 0

    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        first, second = Path(one), Path(other)
        start(first).wait()
        process = start(second)
        while n_trained(second) < n_trained(first) // 2 and process.poll() is None:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        start(second).wait()
        undisturbed, again = (json.loads((folder / "tried.json").read_text()) for folder in (first, second))
        return undisturbed == again, n_trained(second) - sum(epochs for _, epochs in again)


def quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    seeds = range(options.repetitions)
    print_machine("optuna", "cmaes")
    with ProcessPoolExecutor(options.processes) as pool:
        for data in DATA:
            rows = []
            for name in METHODS:
                found = np.array(list(pool.map(one, [(name, data, seed) for seed in seeds])))
                half = stats.t.ppf(0.975, len(found) - 1) * found.std(0, ddof=1) / math.sqrt(len(found))
                rows.append([name, *(f"{a:.4f} ± {b:.4f}" for a, b in zip(found.mean(0), half, strict=True))])
            title = f"{data}: the best validation loss so far (mean, 95% interval, {len(seeds)} repetitions)"
            print_table(title, ["after epochs", *map(str, LOOKS)], rows)
        rows = []
        for name, method in METHODS.items():
            few = seeds[:KILLED]
            found = (
                [asha_killed(seed) for seed in few]
                if method is asha
                else list(pool.map(killed, [(name, seed) for seed in few]))
            )
            equal, repeated = zip(*found, strict=True)
            rows.append([name, f"{sum(equal)} of {len(equal)}", f"{np.mean(repeated):.1f}"])
        columns = ["", "the same settings, in the same order", "epochs trained again or in vain"]
        print_table("Killed in the middle of a run, and started again", columns, rows)


if __name__ == "__main__":
    main()
