"""A Python function of the user's as the task of a run: `train: my_training:train` calls `train(run, lr=..., ...)`.

The function gets a `Handle`, by which it names what has a state, counts its epochs and logs its metrics. All that draws
random numbers is seeded before the call; the states are in the checkpoint. So a run that was interrupted ends as one
that was not, bit for bit. Torch is set up where the user's code loads it, and is not loaded for code that does without.
"""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import os
import random
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dlsweep.config.modules import source_file
from dlsweep.config.tasks import task_of
from dlsweep.errors import ConfigError
from dlsweep.results.schema import Epoch, Outcome, Timing, is_diverged
from dlsweep.results.versions import code_digest
from dlsweep.results.weights import Weights
from dlsweep.tasks import logged
from dlsweep.tasks.checkpoint import Checkpoint, Interrupted, pack, unpack
from dlsweep.tasks.job import Job, device_without_torch
from dlsweep.tasks.own_code import own_object, place_of
from dlsweep.tasks.seeds import derive_seed

LOOK_SECONDS = 0.2  # between two looks at whether the run is to stop


class Handle:
    """What the function gets as its first argument, usually called `run`.

    `threads` is the number of CPU threads that it may use.
    """

    def __init__(self, training: FunctionTraining) -> None:
        self._training = training
        self.threads = training.job.threads

    @property
    def device(self) -> Any:
        """The torch.device to compute on; where torch is not loaded, its name: cpu, cuda or mps."""
        return self._training.libraries.device()

    @property
    def devices(self) -> list[Any]:
        """All devices of the run: several where `gpus_per_run` says so."""
        return self._training.libraries.devices()

    @property
    def folder(self) -> Path:
        """A folder for files that belong to the record. It is kept when the run is interrupted."""
        folder = self._training.job.files
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def restore(self, **things: Any) -> None:
        """Name what has a state: the checkpoint holds it, and gives it back when the epochs start.

        Models, optimizers and all else with `state_dict` and `load_state_dict`; generators of torch and NumPy; dicts,
        which are changed in place, and at once: what stands in them may be looked at before. Raises ConfigError for
        anything else, and after `epochs`.
        """
        self._training.restore(things)

    def epochs(self, n: int) -> Epochs:
        """Return what yields 0, 1, ..., n - 1, like `range(n)`, from where the checkpoint stands.

        After each the checkpoint is written where it is due, and the run ends where it was asked to. The loop ends
        where an error that was logged, such as val_loss, is not finite. Leave it by `break` to stop early.
        """
        return self._training.start_epochs(n)

    def log(self, **metrics: Any) -> None:
        """Note metrics: of the epoch inside of the loop, of the whole run outside. The last value counts.

        Raises ConfigError naming the metric where a name or value cannot be one.
        """
        self._training.log(metrics)

    def generator(self, name: str, device: Any = "cpu") -> Any:
        """Return a torch.Generator for one random stream, with a seed of its own; the checkpoint has its state."""
        import torch

        return self._training.generator(name, lambda seed: torch.Generator(device).manual_seed(seed))

    def rng(self, name: str) -> Any:
        """Return a numpy.random.Generator for one random stream, in the same way."""
        import numpy

        return self._training.generator(name, lambda seed: numpy.random.Generator(numpy.random.PCG64(seed)))


class Epochs:
    """The epochs that are left. Each `for` has its own iterator, so that one that is left by `break` ends at once."""

    def __init__(self, training: FunctionTraining) -> None:
        self._training = training

    def __iter__(self) -> Iterator[int]:
        return self._training.loop()

    def __len__(self) -> int:
        return max((self._training.n_epochs or 0) - len(self._training.entries), 0)


class FunctionTraining:
    """One call of the user's function (see tasks/job.py)."""

    def __init__(self, job: Job) -> None:
        self.job, self.task = job, task_of(job.setting)
        module = self.task.name.partition(":")[0]
        self.code_digest = code_digest(module)  # now: the files may change while the run goes on
        self.seed = job.setting.get("seed", 0)
        self.libraries = Libraries(job, self.seed)
        self.libraries.seed("import")
        self.function = own_object("train", self.task.name)
        self.checkpoint = Checkpoint(job.checkpoint, job.stop)
        self.entries: list[Epoch] = []
        self.resumed = 0
        self.final: dict[str, Any] = {}
        self.open: dict[str, Any] | None = None  # what is logged of the epoch that is under way
        self.things: dict[str, Any] = {}  # that have a state, by their names
        self.generators: dict[str, Any] = {}
        self.saved: dict[str, Any] | None = None  # the state of the checkpoint, until the epochs start
        self.saved_generators: dict[str, Any] = {}  # of those that the function may ask for later
        self.n_epochs: int | None = None
        self.in_loop = self.stopped_early = self.is_over = False
        self.begun = self.call_seconds = 0.0

    @property
    def epochs(self) -> list[Epoch]:
        """The entries of the epochs so far."""
        return self.entries

    def made_with(self) -> dict[str, Any]:
        """Return the record's `provenance` as far as this knows it."""
        return {**self.libraries.describe(), "code": self.code_digest}

    def trained_weights(self) -> Weights | None:
        """Return the state of what was named by `restore`, as far as it is tensors by name: models, not optimizers.

        The tensors of `run.restore(net=...)` are called `net.<name>`.
        """
        torch = sys.modules.get("torch")
        if not torch:
            return None
        tensors: dict[str, Any] = {}
        names = []
        for name, thing in self.things.items():
            state = thing.state_dict() if callable(getattr(thing, "state_dict", None)) else {}
            if state and all(isinstance(value, torch.Tensor) for value in state.values()):
                names.append(name)
                tensors |= {f"{name}.{key}": value for key, value in state.items()}
        return Weights(tensors, {"kind": "function", "things": names}) if tensors else None

    def test_predictions(self) -> None:
        """Nothing: its code alone knows the test split."""

    def timing(self) -> Timing:
        """Return the record's `timing`: the training time is that of the epochs or, without, of the function."""
        seconds = logged.total(entry["seconds"] for entry in self.entries) if self.entries else self.call_seconds
        return {"train_seconds": seconds, "samples_per_second": None, "resumed": self.resumed}

    def describe_epoch(self, entry: Epoch) -> str:
        """Return the line that the log gets for an epoch."""
        return logged.describe_epoch(entry, self.n_epochs)

    def describe_outcome(self, outcome: Outcome) -> str:
        """Return what the log says of the end of the run."""
        return logged.in_words(outcome["final"])

    # -- the checkpoint --------------------------------------------------------------------------------------------

    def load_checkpoint(self) -> None:
        """Read the checkpoint where there is one that fits; without, the run starts with an empty folder."""
        self.checkpoint.made_with = {
            "hash": self.job.digest,
            "torch": self.libraries.torch_version(),
            "device": self.libraries.device_type(),
            "code": self.code_digest,
        }
        self.saved = self.checkpoint.load(_misfit, self.libraries.place)
        if self.saved is None:
            shutil.rmtree(self.job.files, ignore_errors=True)
            return
        self.entries, self.resumed = self.saved["epochs"], self.saved["resumed"] + 1
        self.saved_generators = self.saved["generators"]
        print(f"continuing after epoch {len(self.entries)}", flush=True)

    def state(self) -> dict[str, Any]:
        """All that the run needs to go on after this epoch."""
        return {
            "epochs": self.entries,
            "resumed": self.resumed,
            "things": {name: pack(get_state(thing), name) for name, thing in self.things.items()},
            "generators": {name: pack(get_state(thing), name) for name, thing in self.generators.items()},
            "random": pack(self.libraries.get_states(), "random"),
        }

    def restore(self, things: Mapping[str, Any]) -> None:
        """See Handle."""
        if self.n_epochs is not None:
            raise ConfigError("run.restore: must be called before run.epochs")
        for name, thing in things.items():
            check_thing(name, thing)
            if self.things.get(name, thing) is not thing:
                raise ConfigError(f"run.restore: {name} was named before, and was something else")
        self.things.update(things)
        if self.saved is not None:
            dicts = {name: thing for name, thing in things.items() if isinstance(thing, dict)}
            self._take(dicts, self.saved["things"])

    def generator(self, name: str, make: Callable[[int], Any]) -> Any:
        """Return the generator of that name, made with its seed where there is none yet; see Handle."""
        if name not in self.generators:
            made = self.generators[name] = make(derive_seed(self.seed, f"generator {name}"))
            if self.n_epochs is not None and name in self.saved_generators:
                set_state(made, unpack(self.saved_generators[name]))
        return self.generators[name]

    def _take(self, things: Mapping[str, Any], states: Mapping[str, Any]) -> None:
        """Give things their states from the checkpoint. Raises ConfigError where one does not fit."""
        for name, thing in things.items():
            try:
                set_state(thing, unpack(copy.deepcopy(states[name])))
            except Exception as error:
                fault = "has no such name" if name not in states else " ".join(str(error).split())
                self.checkpoint.refuse(f"does not fit run.restore({name}=...): {fault}")
                raise ConfigError(
                    f"run.restore: {name} cannot be taken from the checkpoint ({fault}), which is moved aside; start"
                    " again: the run then starts from the beginning"
                ) from None

    # -- the epochs ------------------------------------------------------------------------------------------------

    def start_epochs(self, n: int) -> Epochs:
        """See Handle."""
        if isinstance(n, bool) or not hasattr(n, "__index__") or n < 0:
            raise ConfigError(f"run.epochs: {n!r} is not allowed; allowed: how many, a whole number from 0")
        if self.n_epochs is not None:
            raise ConfigError("run.epochs: was called before; a run has one loop over its epochs")
        if self.saved is not None:
            missing = self.saved["things"].keys() - self.things.keys()
            if missing:
                raise ConfigError(f"run.epochs: the checkpoint has {missing.pop()!r}, which run.restore did not name")
            # Only now: what comes before the loop is done again by a run that goes on, and must find what it found.
            self._take(self.things, self.saved["things"])
            known = {name: one for name, one in self.generators.items() if name in self.saved_generators}
            self._take(known, self.saved_generators)
            self.libraries.set_states(unpack(self.saved["random"]))
            self.saved = None
        self.n_epochs = int(n)
        return Epochs(self)

    def loop(self) -> Iterator[int]:
        """Yield the numbers of the epochs that are left; see Handle."""
        assert self.n_epochs is not None
        n, self.in_loop = self.n_epochs, True
        try:
            while len(self.entries) < n and not is_diverged(self.entries, {}):
                self.open, self.begun = {}, time.perf_counter()
                try:
                    yield len(self.entries)
                except GeneratorExit:  # the function has left the loop, by `break` say
                    self._leave_loop()
                    raise
                self._end_epoch()
                self.checkpoint.save_if_due(self.state)
        finally:
            self.in_loop, self.open = False, None

    def _leave_loop(self) -> None:
        """End the loop before its end, with the epoch that is under way where something of it is logged."""
        if self.open is None or self.is_over:
            return
        if self.open:
            self._end_epoch()
        self.stopped_early = len(self.entries) < (self.n_epochs or 0)
        self.open = None

    def _end_epoch(self) -> None:
        seconds = time.perf_counter() - self.begun
        self.entries.append({"epoch": len(self.entries) + 1, **(self.open or {}), "seconds": seconds})
        self.job.on_epoch(self.entries)

    def log(self, metrics: Mapping[str, Any]) -> None:
        """See Handle."""
        where = self.final if self.open is None else self.open
        for name, value in metrics.items():
            name = logged.check_name(name, self.task.hyperparameters)
            where[name] = logged.number(name, value)

    # -- the run ---------------------------------------------------------------------------------------------------

    def run(self) -> Outcome:
        """Call the function; return the record's `task`, `status`, `epochs`, `final` and `model`.

        Raises Interrupted where the run was asked to stop: inside of the loop at the end of the epoch, after writing
        the checkpoint; outside at once.
        """
        arguments = {key: copy.deepcopy(self.job.setting[key]) for key in self.task.hyperparameters}
        self.libraries.seed("initialization")
        start = time.perf_counter()
        try:
            with self._stopping():
                returned = self.function(Handle(self), **arguments)
                self._leave_loop()  # where something keeps the iterator alive
        except ConfigError as error:
            raise ConfigError(f"{error}{place_of(error, source_file(self.task.name))}") from None
        except (Exception, SystemExit):
            if self.job.stop():  # by a signal that killed what the function has started, its loader's processes say
                raise Interrupted(self._kept()) from None
            raise
        finally:
            self.is_over = True
        self.call_seconds = time.perf_counter() - start
        final = {**self.final, **self._returned(returned)}
        return logged.outcome(self.task, self.entries, final, self.stopped_early, self._n_parameters())

    def _returned(self, value: Any) -> dict[str, Any]:
        """The metrics that the function has returned: a mapping, or a tuple of which the last mapping is meant."""
        if isinstance(value, (tuple, list)):
            value = next((item for item in reversed(value) if isinstance(item, Mapping)), value)
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            raise ConfigError(
                f"{self.task}: returns {value!r:.80}; allowed: a dict of metrics such as {{'test_mae': 0.3}}, a tuple"
                " that ends with one, or nothing"
            )
        return {
            logged.check_name(name, self.task.hyperparameters): logged.as_json(name, item)
            for name, item in value.items()
        }

    def _n_parameters(self) -> int | None:
        """The trainable parameters of all that was named, each counted once; None where nothing has any."""
        models = [thing for thing in self.things.values() if callable(getattr(thing, "parameters", None))]
        weights = {id(weight): weight for model in models for weight in model.parameters()}
        return sum(w.numel() for w in weights.values() if w.requires_grad) if models else None

    # -- stopping --------------------------------------------------------------------------------------------------

    def _kept(self) -> str:
        return (
            "the checkpoint is written" if self.job.checkpoint.exists() else "the next start trains from the beginning"
        )

    @contextlib.contextmanager
    def _stopping(self) -> Iterator[None]:
        """While the function runs, end it at once where it is outside of its loop, whoever asks it to stop.

        A thread asks whether somebody does, since nobody else would while a long computation runs, and has the main
        thread see to it: only there an exception can end it.
        """
        process, main, done = os.getpid(), threading.main_thread().ident, threading.Event()
        told = False

        def stop(number: int) -> None:
            nonlocal told
            if os.getpid() != process:  # of the function's own processes, which inherit this
                if number == signal.SIGTERM:
                    signal.signal(number, signal.SIG_DFL)
                    os.kill(os.getpid(), number)
            elif not self.in_loop:
                raise Interrupted(self._kept())
            elif not told:
                told = True
                os.write(2, f"{self.job.stop.reason}: the run ends after this epoch\n".encode())

        def watch() -> None:
            while not done.wait(LOOK_SECONDS):
                if self.job.stop() and main and not (told and self.in_loop):
                    signal.pthread_kill(main, signal.SIGTERM)

        self.job.stop.on_signal = stop
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # signals are for the main thread
        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        try:
            yield
        finally:
            self.job.stop.on_signal = None
            done.set()
            thread.join()


# -- states --------------------------------------------------------------------------------------------------------


def check_thing(name: str, thing: Any) -> None:
    """Raise ConfigError where a thing has no state that a checkpoint could hold."""
    has_state = isinstance(thing, dict) or _is_generator(thing) is not None
    if not has_state and not all(callable(getattr(thing, key, None)) for key in ("state_dict", "load_state_dict")):
        raise ConfigError(
            f"run.restore: {name} is a {type(thing).__name__}; allowed: what has state_dict and load_state_dict,"
            " generators of torch and NumPy, and dicts"
        )


def _is_generator(thing: Any) -> str | None:
    """Say of which library a generator of random numbers is; None where it is something else."""
    torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
    if torch and isinstance(thing, torch.Generator):
        return "torch"
    return "numpy" if numpy and isinstance(thing, numpy.random.Generator) else None


def get_state(thing: Any) -> Any:
    """Return the state of what `check_thing` allows."""
    if isinstance(thing, dict):
        return thing
    library = _is_generator(thing)
    if library == "torch":
        return thing.get_state()
    return thing.bit_generator.state if library else thing.state_dict()


def set_state(thing: Any, state: Any) -> None:
    """Set what `get_state` has returned."""
    library = _is_generator(thing)
    if isinstance(thing, dict):
        thing.clear()
        thing.update(state)
    elif library == "torch":
        thing.set_state(state)
    elif library:
        thing.bit_generator.state = state
    else:
        thing.load_state_dict(state)


def _misfit(state: Mapping[str, Any]) -> str:
    keys = {"epochs", "resumed", "things", "generators", "random"}
    return "" if keys <= state.keys() else "has another form than this version writes"


# -- libraries that draw random numbers ----------------------------------------------------------------------------


class Libraries:
    """Python's, NumPy's and torch's random states, and torch's device and arithmetic.

    A library that is not loaded by now is set up when the user's code loads it.
    """

    def __init__(self, job: Job, seed: object) -> None:
        self.job, self._seed, self._stream = job, seed, ""
        self._device: Any = None
        self._set_up = {"numpy": self._seed_numpy, "torch": self._seed_torch}
        for name in self._set_up:
            if name not in sys.modules:
                sys.meta_path.insert(0, _WhenLoaded(name, self._set_up[name]))

    def seed(self, stream: str) -> None:
        """Seed all that draws without a generator of its own."""
        self._stream = stream
        random.seed(derive_seed(self._seed, stream))
        for name, seed in self._set_up.items():
            if name in sys.modules:
                seed()

    def _seed_numpy(self) -> None:
        import numpy

        numpy.random.seed(derive_seed(self._seed, self._stream) % 2**32)

    def _seed_torch(self) -> None:
        import torch

        from dlsweep.tasks import torch_setup

        if self._device is None:
            torch.set_num_threads(self.job.threads)
            torch_setup.set_deterministic()
            self._device = torch_setup.select_device(self.job.device)
            torch_setup.warn_of_cpu(self.job.slot, self._device)
        torch_setup.seed_all(derive_seed(self._seed, self._stream), *self.devices())

    def device(self) -> Any:
        """Return the torch.device of the run; its name where torch is not loaded."""
        return self._device or device_without_torch(self.job)

    def devices(self) -> list[Any]:
        """Return all devices of the run: the GPUs that it has, where they can be used."""
        device, n_slots = self.device(), len((self.job.slot or "").split(","))
        if n_slots == 1 or not str(device).startswith("cuda"):
            return [device]
        return [type(device)(f"cuda:{i}") for i in range(n_slots)]

    def device_type(self) -> str:
        """Return cpu, cuda or mps."""
        return self._device.type if self._device else device_without_torch(self.job).partition(":")[0]

    def torch_version(self) -> str | None:
        """Return the version of torch, where it is loaded."""
        return str(sys.modules["torch"].__version__) if self._device else None

    def describe(self) -> dict[str, Any]:
        """Return what a record's `provenance` says of torch and its device."""
        if self._device:
            from dlsweep.tasks import torch_setup

            return torch_setup.describe(self._device)
        return {"torch": None, "device": device_without_torch(self.job), "threads": self.job.threads}

    def place(self, storage: Any, location: str) -> Any:
        """Return a tensor's storage where it was: on the CPU, on the run's device or, of several, on its own."""
        from torch.serialization import default_restore_location

        several = "," in (self.job.slot or "")
        place = location if location == "cpu" or several or not self._device else str(self._device)
        return default_restore_location(storage, place)

    def get_states(self) -> dict[str, Any]:
        """Return the random states."""
        states: dict[str, Any] = {"python": random.getstate()}
        if numpy := sys.modules.get("numpy"):
            states["numpy"] = numpy.random.get_state(legacy=False)
        if self._device:
            from dlsweep.tasks import torch_setup

            states["torch"] = torch_setup.get_random_states(*self.devices())
        return states

    def set_states(self, states: Mapping[str, Any]) -> None:
        """Set what `get_states` has returned, of libraries that are loaded."""
        random.setstate(states["python"])
        if "numpy" in states and (numpy := sys.modules.get("numpy")):
            numpy.random.set_state(states["numpy"])
        if "torch" in states and self._device:
            from dlsweep.tasks import torch_setup

            torch_setup.set_random_states(states["torch"], *self.devices())


class _WhenLoaded:
    """A finder of modules that does something once a library is loaded, whoever loads it."""

    def __init__(self, name: str, then: Callable[[], None]) -> None:
        self.name, self.then = name, then

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Return the library's own spec, whose loader does it at the end; nothing for other modules."""
        if name != self.name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec and spec.loader:
            execute = spec.loader.exec_module

            def execute_and_then(module: Any) -> None:
                execute(module)
                self.then()

            spec.loader.exec_module = execute_and_then  # type: ignore[method-assign]
        return spec


def preload() -> None:
    """Nothing: the user's code says what it needs, in the process of its run."""


def memory_keys(job: Job) -> list[str]:
    """Return the hyper-parameters that may be worth lowering where memory is short: those that often are."""
    return [key for key in ("batch_size", "width", "hid_dim") if key in job.setting]


def load(job: Job) -> FunctionTraining:
    """Return the training of a run: the user's module is imported, the checkpoint read."""
    training = FunctionTraining(job)
    training.load_checkpoint()
    return training
