"""A command of the user's as the task of a run: any program, in any language.

It runs in a shell, in a process group of its own, in the working folder. It writes its metrics as lines of JSON, which
are read while it runs. Torch is not loaded.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shlex
import shutil
import signal
import string
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from dlsweep.config.tasks import format_command, task_of
from dlsweep.errors import ConfigError, RecordError
from dlsweep.files import read_json, write_json
from dlsweep.results.schema import Epoch, Outcome, Timing
from dlsweep.results.versions import command_digest
from dlsweep.tasks import logged
from dlsweep.tasks.checkpoint import Interrupted, unlike
from dlsweep.tasks.job import Job, device_without_torch

POLL_SECONDS = 0.1
GRACE = 50.0  # seconds that the program has to write its checkpoint; Snakemake waits for a minute
END_GRACE = 5.0  # seconds for what a program that has ended left running

# The program starts once its guard knows its group; the guard kills the group where the run is gone before its end.
PROGRAM = 'read -r go && exec </dev/null && exec /bin/sh -c "$1"'
GUARD = 'read -r group && { read -r done || kill -s KILL -- "-$group"; }'


class CommandTraining:
    """One run of the user's command (see tasks/job.py)."""

    def __init__(self, job: Job) -> None:
        self.job, self.task = job, task_of(job.setting)
        self.code_digest = command_digest(self.task.name)
        fields = {field for _, field, _, _ in string.Formatter().parse(self.task.name)}
        self.resumes, self.has_folder = "checkpoint" in fields, "results" in fields
        self.metrics = job.checkpoint.with_suffix(".metrics.jsonl")
        self.folder = job.checkpoint.with_suffix(".checkpoint")
        self.header = job.checkpoint.with_suffix(".made-with")  # of what is in this folder
        self.entries: list[Epoch] = []
        self.final: dict[str, Any] = {}
        self.resumed = 0
        self.line_number = self.position = 0  # in the file of metrics
        self.is_first = True  # whether the next line is the first of this process
        self.is_running = False
        self.begun = self.seconds = 0.0
        self.last_words = ""

    @property
    def epochs(self) -> list[Epoch]:
        """The entries of the epochs so far."""
        return self.entries

    @property
    def n_epochs(self) -> None:
        """How many epochs the run has: only the program knows."""
        return None

    def made_with(self) -> dict[str, Any]:
        """Return the record's `provenance` as far as this knows it."""
        device = f"{device_without_torch(self.job)} {platform.machine()}"
        return {"torch": None, "device": device, "threads": self.job.threads, "code": self.code_digest}

    def trained_weights(self) -> None:
        """Nothing: a program keeps what it wants to keep in its folder {results}."""

    def test_predictions(self) -> None:
        """Nothing: its code alone knows the test split."""

    def timing(self) -> Timing:
        """Return the record's `timing`: the time of the program, of its last process where it was interrupted."""
        return {"train_seconds": self.seconds, "samples_per_second": None, "resumed": self.resumed}

    def describe_epoch(self, entry: Epoch) -> str:
        """Return the line that the log gets for an epoch."""
        return logged.describe_epoch(entry)

    def describe_outcome(self, outcome: Outcome) -> str:
        """Return what the log says of the end of the run."""
        return logged.in_words(outcome["final"])

    # -- where it goes on from -------------------------------------------------------------------------------------

    def load_checkpoint(self) -> None:
        """Keep the checkpoint folder and the metrics of an earlier process where there are any that fit."""
        made_with = {
            "hash": self.job.digest,
            "device": device_without_torch(self.job).partition(":")[0],
            "code": self.code_digest,
        }
        resumed = self._resumed(made_with)
        if resumed is None:
            for left in (self.folder, self.job.files):
                shutil.rmtree(left, ignore_errors=True)
            self.metrics.unlink(missing_ok=True)
        else:
            self.resumed = resumed + 1
            self._cut_torn_line()
            self._read_metrics()
            self.is_first = True
            print(f"continuing after epoch {len(self.entries)}", flush=True)
        if self.resumes:
            write_json(self.header, {**made_with, "resumed": self.resumed})
            self.folder.mkdir(exist_ok=True)
        if self.has_folder:
            self.job.files.mkdir(exist_ok=True)

    def _resumed(self, made_with: dict[str, str | None]) -> int | None:
        """How often the run was resumed that has left a checkpoint; None where there is none that can be used."""
        if not self.resumes or not self.folder.is_dir() or not any(self.folder.iterdir()):
            return None
        try:
            there = read_json(self.header)
            fault, resumed = unlike(there, made_with), int(there["resumed"])
        except (RecordError, KeyError, TypeError, ValueError):
            fault, resumed = "does not say what it was made with", 0
        if not fault:
            return resumed
        aside = self.folder.with_suffix(".checkpoint.bad")
        shutil.rmtree(aside, ignore_errors=True)
        self.folder.replace(aside)
        print(f"warning: {self.folder} {fault}; moved to {aside.name}, training starts from the beginning", flush=True)
        return None

    def _cut_torn_line(self) -> None:
        """Cut off the line that the earlier process was killed in."""
        with contextlib.suppress(FileNotFoundError), self.metrics.open("r+b") as file:
            file.truncate(file.read().rfind(b"\n") + 1)

    # -- metrics ---------------------------------------------------------------------------------------------------

    def _read_metrics(self, to_the_end: bool = False) -> bool:
        """Take the lines that have come, also one without its end where nothing follows; say whether there were any."""
        try:
            with self.metrics.open("rb") as file:
                file.seek(self.position)
                data = file.read()
        except FileNotFoundError:
            return False
        *lines, rest = data.split(b"\n")
        if to_the_end and rest:
            lines.append(rest)
        for line in lines:
            self.line_number += 1
            self.position += len(line) + 1
            if line.strip():
                try:
                    self._take(line)
                except ConfigError as error:
                    raise ConfigError(f"{self.metrics}, line {self.line_number}: {error}") from None
        return bool(lines)

    def _take(self, line: bytes) -> None:
        """Take one line: an epoch, and what is measured on the test split."""
        try:
            content = json.loads(line)
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict):
            raise ConfigError(f'{line.decode(errors="replace")!r:.80} is no JSON object such as {{"val_mae": 0.3}}')
        now = time.perf_counter()
        epoch, seconds = content.pop("epoch", None), content.pop("seconds", None)
        values = {logged.check_name(name, self.task.hyperparameters): value for name, value in content.items()}
        values = {name: float("nan") if v is None else logged.number(name, v) for name, v in values.items()}
        self.final |= {name: value for name, value in values.items() if name.startswith("test_")}
        values = {name: value for name, value in values.items() if not name.startswith("test_")}
        if not values:
            return
        seconds = now - self.begun if seconds is None and self.is_running else seconds
        self.begun = now
        self._add(
            self._check_epoch(epoch), values, None if seconds is None else float(logged.number("seconds", seconds))
        )

    def _check_epoch(self, epoch: Any) -> int:
        if epoch is None and self.resumes:
            raise ConfigError('has no "epoch"; a command that goes on from its {checkpoint} must say which one it is')
        if epoch is None:
            return len(self.entries) + 1
        if isinstance(epoch, bool) or not isinstance(epoch, int) or epoch < 1:
            raise ConfigError(f"epoch: {epoch!r} is not allowed; epochs are whole numbers that count from 1")
        return epoch

    def _add(self, epoch: int, values: dict[str, Any], seconds: float | None) -> None:
        """Add to an epoch, and drop those after it: the program has gone back, to where its checkpoint was.

        Of its epoch nothing counts that an earlier process has written.
        """
        self.entries = [entry for entry in self.entries if entry["epoch"] < epoch + (not self.is_first)]
        self.is_first = False
        if self.entries and self.entries[-1]["epoch"] == epoch:
            before = self.entries.pop()
            both = None if seconds is None or before["seconds"] is None else before["seconds"] + seconds
            before.pop("seconds")
            self.entries.append({**before, **values, "seconds": both})
        else:
            self.entries.append({"epoch": epoch, **values, "seconds": seconds})
        if self.is_running:
            self.job.on_epoch(self.entries)

    # -- the run ---------------------------------------------------------------------------------------------------

    def run(self) -> Outcome:
        """Run the command; return the record's `task`, `status`, `epochs`, `final` and `model`.

        Raises Interrupted where the run was asked to stop, ConfigError where the program fails or measures nothing.
        """
        self.begun = start = time.perf_counter()
        self.is_running = True
        with self._process() as process:
            while process.poll() is None:
                if self.job.stop():
                    end_group(process.pid, GRACE)
                    process.wait()
                    raise Interrupted(self._kept())
                if not self._read_metrics():
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(POLL_SECONDS)
        self.seconds = time.perf_counter() - start
        if self.job.stop():  # a signal that has reached the program before
            raise Interrupted(self._kept())
        if process.returncode:
            raise ConfigError(f"the command {ending(process.returncode)}{self.last_words and f': {self.last_words}'}")
        self._read_metrics(to_the_end=True)
        if self.job.stop.paused:  # it was faster than it is looked at; a slower one would have been stopped
            raise Interrupted(self._kept())
        return logged.outcome(self.task, self.entries, self.final)

    def _kept(self) -> str:
        has_checkpoint = self.resumes and any(self.folder.iterdir())
        return "what it left in {checkpoint} is kept" if has_checkpoint else "the next start trains from the beginning"

    def _command(self) -> str:
        """The command with its values, each quoted for the shell."""
        given: dict[str, Any] = {key: self.job.setting[key] for key in self.task.hyperparameters}
        given |= {
            "metrics": str(self.metrics.absolute()),
            "checkpoint": str(self.folder.absolute()),
            "results": str(self.job.files.absolute()),
            "threads": self.job.threads,
            "device": device_without_torch(self.job),
        }
        texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in given.items()}
        return format_command(self.task.name, {key: shlex.quote(text) for key, text in texts.items()})

    @contextlib.contextmanager
    def _process(self) -> Iterator[subprocess.Popen[bytes]]:
        """The program under way. None of its group is left at the end, also where this process is killed."""
        guard = subprocess.Popen(
            ["/bin/sh", "-c", GUARD],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        process = subprocess.Popen(
            ["/bin/sh", "-c", PROGRAM, "sh", self._command()],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"OMP_NUM_THREADS": str(self.job.threads), **os.environ},
            start_new_session=True,
        )
        assert guard.stdin and process.stdin and process.stderr
        listening = threading.Thread(target=self._listen, args=(process.stderr,), daemon=True)
        try:
            _say(guard.stdin, f"{process.pid}\n")
            _say(process.stdin, "go\n")
            process.stdin.close()
            listening.start()
            yield process
        finally:
            end_group(process.pid, END_GRACE)
            process.wait()
            listening.join(1.0)  # a process that has left the group may keep its end open
            _say(guard.stdin, "done\n")
            guard.stdin.close()
            guard.wait()

    def _listen(self, stream: IO[bytes]) -> None:
        """Copy standard error into the log, and keep its last line."""
        while data := os.read(stream.fileno(), 2**16):
            with contextlib.suppress(OSError):  # the log is on a full disk, say
                os.write(2, data)
            lines = [line.strip() for line in data.decode(errors="replace").splitlines()]
            self.last_words = next((line for line in reversed(lines) if line), self.last_words)


def _say(stream: IO[bytes], text: str) -> None:
    with contextlib.suppress(BrokenPipeError):  # it has ended
        stream.write(text.encode())
        stream.flush()


def ending(status: int) -> str:
    """Return in words how a program ended; a shell says 128 + the number of the signal that its child was killed by."""
    number = -status if status < 0 else status - 128
    with contextlib.suppress(ValueError):
        return f"was killed by signal {number} ({signal.Signals(number).name})"
    return f"ended with exit status {status}"


def end_group(group: int, grace: float) -> None:
    """End all processes of a group: by SIGTERM and, those that are there after `grace` seconds, by SIGKILL."""
    deadline = time.monotonic() + grace
    _kill(group, signal.SIGTERM)
    while is_alive(group):
        if time.monotonic() > deadline:
            _kill(group, signal.SIGKILL)
        time.sleep(0.05)


def _kill(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def is_alive(group: int) -> bool:
    """Say whether a process group has a process that has not ended; one whose parent does not ask counts as ended."""
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    if not Path("/proc/self/stat").exists():
        return True
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, its_group = file.read_text(errors="replace").rpartition(")")[2].split()[:3]
            if int(its_group) == group and state not in "ZX":
                return True
    return False


def preload() -> None:
    """Nothing: a command loads what it needs itself."""


def memory_keys(job: Job) -> list[str]:
    """Return the hyper-parameters that may be worth lowering where memory is short: those that often are."""
    return [key for key in ("batch_size", "width", "hid_dim") if key in job.setting]


def load(job: Job) -> CommandTraining:
    """Return the training of a run, with what an earlier process of it has left."""
    training = CommandTraining(job)
    training.load_checkpoint()
    return training
