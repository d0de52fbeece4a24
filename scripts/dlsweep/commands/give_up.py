"""`sweep.py give-up`: let a search go on without a run that cannot be trained here."""

from pathlib import Path

from dlsweep.commands.explain import full_hash, setting_of
from dlsweep.config.course import slot_file
from dlsweep.config.paths import running_folder
from dlsweep.config.sweep import Sweep
from dlsweep.errors import ConfigError
from dlsweep.locks import take
from dlsweep.runs.slots import give_up
from dlsweep.workflow.failures import open_slots

BY_HAND = "given up by hand"


def give_up_run(sweep: Sweep, results: Path, run: str) -> int:
    """Count a run that is not finished as the worst of its search, so that the next start goes on without it.

    Where something kills the run in each start, its round would wait for it for ever. Its checkpoint stays.
    """
    digest = full_hash(run, sweep, results)
    courses = {name: exp.course for name, exp in sweep.experiments.items() if exp.course and digest in exp.settings}
    slots = [
        (name, slot_file(str(results), course.name, *slot))
        for name, course in courses.items()
        for slot in open_slots(sweep, results)[name]
        if course.known_runs(results).get(slot, ("",))[0] == digest
    ]
    if not slots:
        raise ConfigError(f"{run}: no search waits for this run")
    running = running_folder(results)
    running.mkdir(parents=True, exist_ok=True)
    if not (lock := take(running / f"{digest}.lock")):
        raise ConfigError(f"{run}: is being trained; stop that first")
    with lock:
        for name, slot in slots:
            give_up(Path(slot), results, name, setting_of(digest, sweep, results), BY_HAND)
    return 0
