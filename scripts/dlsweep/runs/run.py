"""One run from its command line to its record: lock, twin, training, provenance."""

from __future__ import annotations

import faulthandler
import os
import stat
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlsweep.config.identity import Setting, setting_hash
from dlsweep.config.keep import Keep
from dlsweep.config.paths import (
    files_folder,
    init_from,
    predictions_file,
    record_name,
    running_folder,
    state_file,
    weights_file,
)
from dlsweep.config.tasks import is_built_in, task_of
from dlsweep.errors import ConfigError, RecordError
from dlsweep.files import copy_file, copy_folder, read_json, to_json, write_json
from dlsweep.locks import Busy, acquire
from dlsweep.results import redo
from dlsweep.results.init_from import find_weights_file
from dlsweep.results.kept import shorter_runs
from dlsweep.results.records import clear_run, read_record
from dlsweep.results.schema import PRUNED, SCHEMA_VERSION, Begun, Epoch, Outcome, Record, Timing, is_diverged
from dlsweep.results.versions import is_own_file, own_sources
from dlsweep.results.weights import Weights, keep_weights, write_weights
from dlsweep.runs.devices import ORDER, take_slot
from dlsweep.runs.machine import describe_machine, now_text
from dlsweep.runs.preload import load_task
from dlsweep.runs.stopping import Stop, snakemake_is_gone
from dlsweep.tasks.checkpoint import Interrupted
from dlsweep.tasks.job import Job, Training
from dlsweep.tasks.own_code import import_installed

PACKAGE = Path(__file__).parents[1]
PAUSED = -1  # no exit status: the run is not finished, and its checkpoint stays
RUNNING_SECONDS = 0.2  # at least, between two running records
NOTHING: Mapping[str, Any] = {}


@dataclass(frozen=True)
class RunOptions:
    """What a run is called with beside its setting (config/options.py has what each is, and its default).

    `data` is the prepared data set, which the built-in task alone has. `hash` is the one that the setting must have,
    `time_limit` is in seconds. `pause_after` is the epoch after which the run keeps its checkpoint and ends.
    `keep_state` says that the state at its end is kept.
    """

    exp_name: str
    results: Path
    data: Path | None
    hash: str | None
    device: str
    jobs_per_gpu: int
    gpus_per_run: int
    threads: int
    time_limit: float | None
    keep_weights: Keep
    pause_after: int | None = None
    keep_state: bool = False

    def __post_init__(self) -> None:
        if self.jobs_per_gpu < 1 or self.gpus_per_run < 1:
            raise ConfigError("--jobs-per-gpu and --gpus-per-run: allowed are whole numbers from 1")
        if self.gpus_per_run > 1 and (self.jobs_per_gpu > 1 or self.device != "auto"):
            raise ConfigError(
                f"--gpus-per-run: {self.gpus_per_run} whole GPUs do not go with --jobs-per-gpu or --device"
            )

    def pauses_before(self, epochs: Sequence[Epoch]) -> bool:
        """Say whether the run pauses before the end of these epochs, those of a run that did not."""
        return self.pause_after is not None and bool(epochs) and epochs[-1]["epoch"] > self.pause_after


def run_setting(options: RunOptions, setting: Setting, command: str, shown: Mapping[str, Any] = NOTHING) -> int:
    """Make the record of one setting; return the exit status. `shown` is what its running record says besides.

    A lock per setting keeps two processes from training it at once; the later one then finds the record.
    A record with an open request (redo.py) is made again; it stays until the new one replaces it.
    Raises ConfigError where the setting has another hash than the one asked for, RecordError where the record
    is there already but cannot be trusted: it is the user's to move or delete.
    """
    if options.gpus_per_run > 1 and is_built_in(setting):
        raise ConfigError(
            f"--gpus-per-run: {options.gpus_per_run} is for a task of your own; the built-in one uses one GPU"
        )
    digest = setting_hash(setting)
    if options.hash and options.hash != digest:
        raise ConfigError(f"--hash: {options.hash} is not this setting's hash, which is {digest}")
    path = options.results / record_name(options.exp_name, digest)
    running = running_folder(options.results)
    running.mkdir(parents=True, exist_ok=True)
    try:
        with acquire(running / f"{digest}.lock", cancelled=snakemake_is_gone):
            token = redo.open_token(options.results, options.exp_name, digest)
            if path.exists() and not token:  # another process made it, maybe while this one waited
                read_record(path)
                print(f"{path}: is finished; snakemake --forcerun {path} makes it again")
                return 0
            if path.exists() and redo.answers(path, token):  # the process that made it could not clear up
                print(f"{path}: is made again already")
            elif (twin := find_twin(options.results, digest, setting, token)) and options.pauses_before(twin["epochs"]):
                print(f"{path}: pauses, since its search wants no more; {twin['exp_name']} has finished the setting")
            elif twin:
                print(f"{path}: the same setting as {record_name(twin['exp_name'], digest)}, which is finished")
                its_files = files_folder(options.results, twin["exp_name"], digest)
                copy_folder(its_files, files_folder(options.results, options.exp_name, digest))
                record: Record = {**twin, "exp_name": options.exp_name}
                its_weights, its_predictions = (
                    file(options.results, twin["exp_name"], digest) for file in (weights_file, predictions_file)
                )
                keep_weights(options.results, record, options.keep_weights, lambda to: _copy(its_weights, to))
                _copy(its_predictions, predictions_file(options.results, options.exp_name, digest))
                write_json(path, record)
            else:
                per_device = options.jobs_per_gpu if options.device == "auto" else 0
                with take_slot(per_device, snakemake_is_gone, options.gpus_per_run) as slot:
                    status = Run(options, setting, digest, path, command, slot, token, shown).train()
                if status:
                    return max(status, 0)
            redo.withdraw(options.results, options.exp_name, digest)
            clear_run(options.results, digest)
            return 0
    except Busy:
        print(f"{path}: waited for another process, and the Snakemake that asked for it has died", file=sys.stderr)
        return 1


def _copy(source: Path, target: Path) -> bool:
    """Copy a file that belongs to a record, where it is there; say whether it is."""
    if source.exists():
        target.parent.mkdir(exist_ok=True)
        copy_file(source, target)
        return True
    return False


def find_twin(results: Path, digest: str, setting: Setting, token: str = "") -> Record | None:
    """Return a good finished record of the same setting, of whichever experiment, but none that is to be made again.

    With a `token` only one that was made for the same request. Where the defaults of an own task have changed, a record
    of the same hash may be of another setting.
    """
    for candidate in sorted(results.glob(f"*-{digest}.json")):
        try:
            twin = read_record(candidate)
        except RecordError as error:
            print(f"warning: {error}; not used", file=sys.stderr)
            continue
        if "task" in twin and twin["setting"] != setting:
            continue
        its_token = redo.open_token(results, twin["exp_name"], digest)
        if (not its_token or redo.is_answer(twin, its_token)) and (not token or redo.is_answer(twin, token)):
            return twin
    return None


class Run:
    """One run under way: what it shows of itself while it trains, and the record that it makes.

    `slot` is the GPU slot that it holds, `token` that of the request to make the record again, or "".
    A request has a checkpoint of its own.
    """

    def __init__(
        self,
        options: RunOptions,
        setting: Setting,
        digest: str,
        path: Path,
        command: str,
        slot: str | None,
        token: str,
        shown: Mapping[str, Any],
    ) -> None:
        self.start, started = time.perf_counter(), now_text()
        self.options, self.setting, self.digest, self.path, self.token = options, setting, digest, path, token
        self.running = running_folder(options.results)
        self.slot, self.shown = slot, shown
        self.record: Begun = {
            "schema_version": SCHEMA_VERSION,
            "exp_name": options.exp_name,
            "hash": digest,
            "setting": setting,
        }
        self.provenance = {**describe_machine(command), "device_slot": slot, "started": started}
        if token:
            self.provenance["request"] = token
        self.epochs: list[Epoch] = []
        self.n_epochs: int | None = None
        self.next_write = 0.0
        self.task: Any = None
        self.job: Job | None = None
        faulthandler.enable()  # a crash of native code says so in the log
        self.log = log_position()
        self.stop = Stop(options.time_limit)

    def train(self) -> int:
        """Train, and write the record; return 0, PAUSED, or the exit status of a run that stopped or failed."""
        self.stop.listen()
        self.show("running")  # tells of a run that is killed before its first step
        try:
            with self.stop.watchdog(lambda reason: self.show("failed", reason)):
                self.training = training = self.load()
                if self.is_far_enough(training.epochs):
                    return self.pause(training.epochs)
                outcome = training.run()
                if self.is_taken_back():
                    print(f"{self.path}: stays, since the request to make it again was taken back")
                    return 0
                self.finish(outcome, training.timing())
        except Interrupted as interrupted:
            if self.stop.paused:
                return self.pause(self.epochs)
            self.show("interrupted", self.stop.reason)
            print(f"{self.stop.reason}; {interrupted}", file=sys.stderr)
            return self.stop.status
        except (Exception, SystemExit) as error:
            message = in_one_line(error, self.setting, self.memory_keys)
            self.show("failed", message)
            print_traceback(error)
            print(f"error: {message}", file=sys.stderr)
            return 1
        print(f"{outcome['status']}: {training.describe_outcome(outcome)}  {self.path}")
        return 0

    def load(self) -> Training:
        """Return the training of the run, where its checkpoint left it. Only now torch is loaded."""
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic only with it
        os.environ.setdefault(ORDER, "PCI_BUS_ID")  # cuda:1 is the GPU that nvidia-smi calls 1
        self.task = task = load_task(task_of(self.setting).kind)
        import_installed(own_sources([self.setting]))
        started_from = init_from(self.setting)
        kept = state_file(self.options.results, self.options.exp_name, self.digest)
        in_full = self.options.pause_after is None and not self.token  # neither a rung of a search, nor made again
        self.job = Job(
            self.setting,
            self.digest,
            self.options.data,
            redo.checkpoint_file(self.running, self.digest, self.token),
            self.stop,
            lambda epochs: self.on_epoch(training, epochs),
            self.options.device,
            self.slot,
            self.options.threads,
            find_weights_file(self.options.results, started_from) if started_from else None,
            kept if self.options.keep_state else None,
            shorter_runs(self.options.results, self.setting) if in_full else (),
        )
        training: Training = task.load(self.job)
        self.provenance |= training.made_with()
        self.epochs = training.epochs
        self.show("running")
        return training

    def memory_keys(self) -> Sequence[str]:
        """Return the hyper-parameters to lower where memory is short, the one that brings most first."""
        return self.task.memory_keys(self.job) if self.task and self.job else ()

    def on_epoch(self, training: Training, epochs: list[Epoch]) -> None:
        """Print the last epoch, and show them all where the running record is old enough."""
        self.epochs, self.n_epochs = epochs, training.n_epochs
        print(training.describe_epoch(epochs[-1]), flush=True)
        if self.is_far_enough(epochs):
            self.stop.pause(epochs[-1]["epoch"])
        start = time.perf_counter()
        if start >= self.next_write:  # it holds every epoch, so that of a long run takes its time
            self.show("running")
            now = time.perf_counter()
            self.next_write = now + max(RUNNING_SECONDS, 20 * (now - start))

    def is_far_enough(self, epochs: list[Epoch]) -> bool:
        """Say whether the run is to pause here. One that has diverged does not: it ends by itself.

        Of a program that is when the next epoch has begun, since each may have several lines of metrics.
        """
        if self.options.pause_after is None or not epochs or is_diverged(epochs, {}):
            return False
        return bool(epochs[-1]["epoch"] >= self.options.pause_after + bool(self.setting.get("command")))

    def pause(self, epochs: list[Epoch]) -> int:
        """Show the run as pruned: it is so until the search, or who asks for the setting in full, goes on with it."""
        self.epochs = epochs
        self.show(PRUNED)
        print(f"paused after epoch {epochs[-1]['epoch']}; its checkpoint is kept", flush=True)
        return PAUSED

    def show(self, status: str, error: str = "") -> None:
        """Write the running record."""
        show = {"status": status, "epochs": self.epochs, "provenance": self.provenance, "error": error, "log": self.log}
        known = {"n_epochs": self.n_epochs} if self.n_epochs else {}  # of an own task, no setting may tell it
        shown = self.running / self.path.name
        try:
            content = {**self.record, **known, **show, **self.shown, "by_signal": self.stop.by_signal}
            write_json(shown, content, sync=False)
        except OSError:  # it is only for show, but it must not show a run that has failed as running
            if error:
                mark_failed(shown, status, error)

    def is_taken_back(self) -> bool:
        """Say whether the record is to stay, since nobody asks any more to make it again."""
        if not self.token or not self.path.exists():
            return False
        return not redo.open_token(self.options.results, self.options.exp_name, self.digest)

    def finish(self, outcome: Outcome, timing: Timing) -> None:
        """Write the record, after what belongs to it: whoever is interrupted in this finds all that it needs again."""
        assert self.job
        copy_folder(self.job.files, files_folder(self.options.results, self.options.exp_name, self.digest))
        timing = {"total_seconds": time.perf_counter() - self.start, **timing}
        self.provenance["finished"] = now_text()
        record: Record = {**self.record, **outcome, "timing": timing, "provenance": self.provenance}
        keep_weights(self.options.results, record, self.options.keep_weights, self.write_weights)
        if found := self.training.test_predictions():
            from dlsweep.results.predictions import write_predictions  # which needs NumPy

            write_predictions(predictions_file(self.options.results, self.options.exp_name, self.digest), found)
        write_json(self.path, record)

    def write_weights(self, path: Path) -> bool:
        """Write what the run has trained to a file; say whether there is anything."""
        weights = self.training.trained_weights()
        if weights is None:
            return False
        made = {key: self.provenance.get(key) for key in ("torch", "device", "code", "data", "started")}
        made |= {key: self.provenance[key] for key in ("init_from",) if key in self.provenance}
        about = {"hash": self.digest, "setting": self.setting, "made_with": made, **weights.about}
        write_weights(path, Weights(weights.tensors, about))
        return True


def mark_failed(path: Path, status: str, error: str) -> None:
    """Say in a running record that its run has failed, where it cannot be written whole: a full disk, or a quota.

    It is written over in place and becomes shorter, which needs no space. Its setting and command are left out.
    """
    try:
        content = {**read_json(path), "status": status, "error": error, "setting": {}}
        content["provenance"] = {"host": content["provenance"]["host"]}
        with path.open("r+b") as file:
            file.truncate(file.write(to_json(content).encode()))
    except (OSError, RecordError, KeyError, TypeError):
        print(f"{path}: cannot be written either", file=sys.stderr)


def log_position() -> list[int] | None:
    """Return the file that standard error goes to (its inode) and its length by now; None where it is no file."""
    state = os.fstat(2)
    return [state.st_ino, state.st_size] if stat.S_ISREG(state.st_mode) else None


def print_traceback(error: BaseException) -> None:
    """Print the traceback of an error in the log, from the user's own code on where it is theirs.

    A user's mistake needs none, nor does a file that cannot be written, unless the user's code is what does it.
    """
    trace = error.__traceback__
    frames = [Path(frame.f_code.co_filename) for frame, _ in traceback.walk_tb(trace)]
    outside = next((i for i, file in enumerate(frames) if not file.is_relative_to(PACKAGE)), len(frames))
    is_theirs = outside < len(frames) and is_own_file(frames[outside])
    is_of_a_file = isinstance(error, OSError) and not (is_theirs and not frames[-1].is_relative_to(PACKAGE))
    if isinstance(error, ConfigError) or is_of_a_file:
        return
    for _ in range(outside if is_theirs else 0):
        assert trace
        trace = trace.tb_next
    traceback.print_exception(type(error), error, trace)


def in_one_line(
    error: Exception | SystemExit, setting: Setting, memory_keys: Callable[[], Sequence[str]] = tuple
) -> str:
    """Return an error in one line; where memory is short, with the hyper-parameters to lower, `memory_keys()`."""
    if isinstance(error, SystemExit):
        return f"your code or a library ended the run itself, by sys.exit({error.code!r})"
    text = " ".join(str(error).split())
    torch = sys.modules.get("torch")
    on_device = torch is not None and isinstance(error, torch.OutOfMemoryError)
    if on_device or isinstance(error, MemoryError) or "can't allocate memory" in text:
        where = "GPU memory" if on_device else "memory"
        values = ", ".join(f"{key} (now {setting[key]})" for key in memory_keys())
        lower = f"lower {values}, or " if values else ""
        return f"out of {where}: {lower}let fewer runs share the machine ({text})"
    return text if isinstance(error, ConfigError) else f"{type(error).__name__}: {text}"
