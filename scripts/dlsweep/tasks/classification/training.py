"""Train one setting: data on the device, one readable step, a checkpoint that continues bit for bit.

Every random stream (initialization, shuffling, dropout, augmentation) has its own seed, derived from the
setting's seed and the epoch, so that a change in one does not shift the others and a run can be continued
at any step.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dlsweep.config.identity import Setting, setting_hash
from dlsweep.config.metrics import metric_column
from dlsweep.errors import ConfigError
from dlsweep.results.kept import Kept
from dlsweep.results.predictions import Predictions, split_digest
from dlsweep.results.schema import MOST_CLASSES, MOST_CONFUSIONS, Epoch, Outcome, Timing
from dlsweep.results.versions import code_digest, own_modules
from dlsweep.results.weights import Weights
from dlsweep.tasks import torch_setup
from dlsweep.tasks.checkpoint import Checkpoint
from dlsweep.tasks.classification import augmentation as augment
from dlsweep.tasks.classification import optimizers as optim
from dlsweep.tasks.classification.data import Splits, about_data, load_splits
from dlsweep.tasks.classification.images import Images, Rows
from dlsweep.tasks.classification.init_from import start_from
from dlsweep.tasks.classification.losses import Criterion, Metrics
from dlsweep.tasks.classification.memory import (
    GATHERED_BYTES,
    describe_data,
    evaluated_at_once,
    size_of,
    worth_lowering,
)
from dlsweep.tasks.classification.models import build_model, check_output, source_sha1
from dlsweep.tasks.classification.steps import images_per_step, steps_per_epoch
from dlsweep.tasks.job import Job
from dlsweep.tasks.seeds import derive_seed

MOST_PREDICTED = 1_000_000  # test images whose predictions are kept: 5 MB at most


@dataclass
class Progress:
    """Where a run is: what a checkpoint holds beside the states of model, optimizer and generators."""

    epoch: int = 1  # the epoch being trained, from 1
    step: int = 0  # steps of it that are done
    logits: list[Tensor] = field(default_factory=list)  # what the model said of its images so far
    gradients: Tensor | None = None  # steps, and sums of their gradient norms and mean absolute gradients, so far
    seconds: float = 0.0  # its training time so far
    epochs: list[Epoch] = field(default_factory=list)
    resumed: int = 0
    train_seconds: float = 0.0


def confusion(y: Tensor, predicted: Tensor, n_classes: int) -> dict[str, Any]:
    """Return the accuracy of each class (NaN without an image) and the confusion matrix, rows the true classes.

    Of more than MOST_CLASSES classes `confusions` is what is most often taken for something else: at most
    MOST_CONFUSIONS times (true class, predicted class, count), the most frequent first.
    """
    sizes = torch.bincount(y, minlength=n_classes)
    found: dict[str, Any] = {
        "per_class_acc": (torch.bincount(y[y == predicted], minlength=n_classes).double() / sizes).tolist()
    }
    if n_classes <= MOST_CLASSES:
        counts = torch.bincount(y * n_classes + predicted, minlength=n_classes**2)
        return {**found, "confusion": counts.reshape(n_classes, n_classes).tolist()}
    wrong = y != predicted
    pairs, counts = torch.stack([y[wrong], predicted[wrong]], 1).unique(dim=0, return_counts=True)
    first = counts.argsort(descending=True, stable=True)[:MOST_CONFUSIONS]
    return {**found, "confusions": torch.cat([pairs[first], counts[first, None]], 1).tolist()}


def rank_of(logits: Tensor, y: Tensor) -> Tensor:
    """Return how many classes come before the true one, (N,), of logits (N, K): of equal ones the first, as argmax."""
    true = logits.gather(1, y[:, None])
    before = torch.arange(logits.shape[1], device=y.device) < y[:, None]
    return ((logits > true) | ((logits == true) & before)).sum(1)


def _of_split(split: str, metrics: Mapping[str, float | None]) -> dict[str, float | None]:
    return {f"{split}_{name}": value for name, value in metrics.items()}


class Trainer:
    """One run of one setting.

    `data` holds the splits on the CPU; they are moved to the device whole. The run continues from `checkpoint` where
    there is one; it is due before any step. `on_epoch` is called with the epochs so far after every epoch.
    `init_from` is the file of weights to begin with.
    """

    def __init__(
        self,
        setting: Setting,
        data: Splits,
        device: torch.device,
        checkpoint: Checkpoint,
        on_epoch: Callable[[list[Epoch]], None] = lambda epochs: None,
        init_from: Path | None = None,
    ) -> None:
        self.setting, self.device, self.checkpoint, self.on_epoch = setting, device, checkpoint, on_epoch
        self.progress = Progress()
        self.continues = ""  # the hash of the run of fewer epochs that it goes on from
        self._set_arithmetic()
        memory = torch.channels_last if setting["channels_last"] else torch.contiguous_format

        def images(rows: Rows) -> Images:
            return Images(rows, data.mean, data.std, device, memory)

        def targets(y: Tensor) -> Tensor:
            return y.to(device) if data.kind == "classes" else y.to(device).float()

        self.train_x, self.train_y = images(data.train_x), targets(data.train_y)
        self.val_x, self.val_y = images(data.val_x), targets(data.val_y)
        self.test_x, self.test_y = images(data.test_x), targets(data.test_y)
        self.n_outputs, self.data_digest = data.n_outputs, data.digest
        size = size_of(setting, data.in_shape, data.n_outputs)
        self.evaluated_at_once = evaluated_at_once(math.prod(data.in_shape), size)
        self.criterion = Criterion(setting, data, device)

        self.code_digest = code_digest(*own_modules(setting))  # now: the files may change while the run goes on
        checkpoint.made_with = {
            "hash": setting_hash(setting),
            "torch": str(torch.__version__),  # a plain string, or weights_only refuses it
            "device": device.type,
            "data": self.data_digest,
            "code": self.code_digest,
        }
        torch_setup.seed_all(derive_seed(setting["seed"], "initialization"), device)
        model = build_model(setting, data.in_shape, data.n_outputs)
        self.init_digest = start_from(init_from, model, setting) if init_from else None
        if self.init_digest:
            checkpoint.made_with = {**checkpoint.made_with, "init_from": self.init_digest}
        self.model = model.to(device).to(memory_format=memory)
        self.source_sha1 = source_sha1(setting)
        self.forward = torch.compile(self.model) if setting["compile"] else self.model
        self.weights = list(self.model.parameters())
        self.own_model = setting["model"] if ":" in setting["model"] else ""
        if setting["l1"] and not any(weight.ndim > 1 for weight in self.weights):
            raise ConfigError(
                f"l1: {setting['l1']:g} needs weights to penalize, but {setting['model']} has only biases and the like"
                " (parameters with fewer than two axes); allowed here: 0"
            )
        self.optimizer = optim.build_optimizer(setting, self.weights)
        self.scaler = torch.amp.GradScaler(device.type, enabled=setting["precision"] == "fp16")
        self.augments = augment.is_on(setting, data.in_shape)
        self.augmentation = torch.Generator(device)
        self.best_weights: dict[str, Tensor] = {}
        self.about = {**about_data(data), **self.criterion.about()}
        self.raw_test = data.test_x, data.test_y
        self.is_tested = False
        self.tested: Tensor | None = None  # the logits of the test split, of classes

        n_train = len(self.train_y)
        self.batch_size = images_per_step(n_train, setting["batch_size"])
        if self.batch_size == 1 and any(
            isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in self.model.modules()
        ):
            raise ConfigError("batch_size: 1 is not allowed with batch normalization; allowed: at least 2")
        self.steps_per_epoch = steps_per_epoch(n_train, setting["batch_size"])

    def _set_arithmetic(self) -> None:
        torch_setup.set_deterministic()
        tf32 = self.setting["precision"] == "tf32"
        if tf32 and not (self.device.type == "cuda" and torch.cuda.get_device_capability(self.device) >= (8, 0)):
            raise ConfigError(
                "precision: tf32 needs an NVIDIA GPU of compute capability 8.0 or later, and this run is on"
                f" {self.device}; allowed here: fp32, bf16, fp16"
            )
        torch.backends.cuda.matmul.allow_tf32 = tf32
        torch.backends.cudnn.allow_tf32 = tf32

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Return the context of the forward pass: half precision where the setting says so."""
        half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.setting["precision"])
        return torch.autocast(self.device.type, half) if half else contextlib.nullcontext()

    # -- training ----------------------------------------------------------------------------------------------

    def train_step(self, x: Tensor, y: Tensor) -> Tensor:
        """Do one step on a batch; return its logits."""
        setting = self.setting
        if self.augments:
            x = augment.augment(x, setting, self.augmentation)
        for weight in self.weights:  # what zero_grad() does, without the compiler's wrapper around it
            weight.grad = None
        with self.autocast():
            logits: Tensor = self.forward(x)
        if self.own_model:
            check_output(self.own_model, logits, (len(y), self.n_outputs), in_training=True)
        logits = logits.float()
        objective = self.criterion.loss(logits, y)
        if setting["l1"]:
            objective = objective + setting["l1"] * optim.penalty_l1(self.weights)
        self.scaler.scale(objective).backward()
        if setting["grad_clip"] or setting["log_gradients"]:
            self.scaler.unscale_(self.optimizer)
        if setting["log_gradients"]:
            self._add_gradients()
        if setting["grad_clip"]:
            nn.utils.clip_grad_norm_(self.weights, setting["grad_clip"])
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return logits.detach()

    def train_epoch(self) -> None:
        """Train the steps of the current epoch that are not done yet."""
        setting, progress = self.setting, self.progress
        seed, epoch = setting["seed"], progress.epoch
        self.model.train()
        shuffle = torch.Generator().manual_seed(derive_seed(seed, "shuffling", epoch))
        order = torch.randperm(len(self.train_y), generator=shuffle).to(self.device)
        if progress.step == 0:
            torch_setup.seed_all(derive_seed(seed, "dropout", epoch), self.device)
            self.augmentation.manual_seed(derive_seed(seed, "augmentation", epoch))
            progress.gradients = None
        start = time.perf_counter() - progress.seconds
        for step, (x, y) in enumerate(self._batches(order, progress.step), progress.step):
            lr = optim.lr_at(setting, (epoch - 1) * self.steps_per_epoch + step, self.steps_per_epoch)
            for group in self.optimizer.param_groups:
                group["lr"] = lr
            progress.logits.append(self.train_step(x, y))
            progress.step, progress.seconds = step + 1, time.perf_counter() - start
            if progress.step < self.steps_per_epoch:
                self.checkpoint.save_if_due(self.state)
        logits, progress.logits = torch.cat(progress.logits), []
        train = self.criterion.measure(logits, self.train_y[order[: len(logits)]])  # the epoch's wait for the device
        val, _ = self.evaluate(self.val_x, self.val_y)
        progress.seconds = time.perf_counter() - start
        entry = {
            "epoch": epoch,
            **_of_split("train", train),
            **_of_split("val", val),
            "lr": lr,
            "seconds": progress.seconds,
            **self._gradients_entry(),
        }
        progress.epochs.append(entry)
        progress.train_seconds += progress.seconds
        progress.epoch, progress.step, progress.seconds = epoch + 1, 0, 0.0
        if setting["test_weights"] == "best" and self.best_epoch() == epoch:
            self.best_weights = dict(copy.deepcopy(self.model.state_dict()))

    def _batches(self, order: Tensor, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the epoch's batches from step `first` on.

        Many are gathered at once: by itself a small batch takes as long to gather as to train on. Which ones does
        not depend on `first`, so that each lies at the same place in memory however often the run was interrupted.
        """
        size, steps = self.batch_size, self.steps_per_epoch
        together = max(1, GATHERED_BYTES // (size * 4 * self.train_x.n_values))
        starts = range(first - first % together, steps, together)
        parts = [order[start * size : min(start + together, steps) * size] for start in starts]
        for start, chosen, following in zip(starts, parts, [*parts[1:], order[:0]], strict=True):
            self.train_x.expect(following)
            batches = zip(self.train_x[chosen].split(size), self.train_y[chosen].split(size), strict=True)
            yield from itertools.islice(batches, max(first - start, 0), None)

    def _add_gradients(self) -> None:
        norm = nn.utils.get_total_norm(weight.grad for weight in self.weights if weight.grad is not None)
        unused = torch.zeros_like(norm)  # a model may leave a layer out of a step
        means = [
            unused if weight.grad is None else weight.grad.abs().mean() for weight in self.weights if weight.ndim > 1
        ]
        # Left out of the mean: steps that overflow, which the scaling of fp16 skips.
        values = torch.where(norm.isfinite(), torch.stack([torch.ones_like(norm), norm, *means]), 0.0)
        self.progress.gradients = values if self.progress.gradients is None else self.progress.gradients + values

    def _gradients_entry(self) -> dict[str, Any]:
        if self.progress.gradients is None:
            return {}
        _, norm, *means = (self.progress.gradients / self.progress.gradients[0]).tolist()
        layers = [name for name, weight in self.model.named_parameters() if weight.ndim > 1]
        return {"grad_norm": norm, "layer_gradients": dict(zip(layers, means, strict=True))}

    @torch.no_grad()
    def evaluate(self, x: Images, y: Tensor) -> tuple[Metrics, Tensor]:
        """Return what a split is measured by, and the model's outputs (N, K)."""
        self.model.eval()
        with self.autocast():
            logits = torch.cat([self.forward(part) for part in x.parts(self.evaluated_at_once)]).float()
        return self.criterion.measure(logits, y), logits

    # -- the run -----------------------------------------------------------------------------------------------

    def run(self) -> Outcome:
        """Train to the end, from the checkpoint where one was loaded.

        Returns the record's `status`, `epochs`, `final` and `model`. Raises Interrupted, after writing the
        checkpoint, where the run is to stop.
        """
        status = self.status()
        while status == "running":
            self.train_epoch()
            self.on_epoch(self.progress.epochs)
            status = self.status()
            if status == "running":
                self.checkpoint.save_if_due(self.state)
        if status != "diverged":
            self.checkpoint.keep(self.state)
        return {
            "status": status,
            "epochs": self.progress.epochs,
            "final": self.final(status),
            "model": {
                "n_parameters": sum(weight.numel() for weight in self.model.parameters() if weight.requires_grad),
                "source_sha1": self.source_sha1,
            },
        }

    @property
    def epochs(self) -> list[Epoch]:
        """The entries of the epochs so far."""
        return self.progress.epochs

    @property
    def n_epochs(self) -> int:
        """How many epochs the run has at most."""
        epochs: int = self.setting["epochs"]
        return epochs

    def made_with(self) -> dict[str, Any]:
        """Return the record's `provenance` as far as this knows it."""
        made = {**torch_setup.describe(self.device), "data": self.data_digest, "code": self.code_digest}
        others = {"init_from": self.init_digest, "continues": self.continues}
        return {**made, **{key: value for key, value in others.items() if value}}

    def trained_weights(self) -> Weights | None:
        """Return the weights that were tested, and what maps raw data to what the model takes; None without a test."""
        if not self.is_tested:
            return None
        tensors = self.model.state_dict()
        extra = {name: tensors.pop(name) for name in list(tensors) if not isinstance(tensors[name], Tensor)}
        if extra and json.loads(json.dumps(extra, default=str)) != extra:
            print(
                f"warning: the weights are not kept: get_extra_state returns more than JSON holds ({', '.join(extra)})"
            )
            return None
        return Weights(tensors, {**self.about, "extra_state": extra})

    def test_predictions(self) -> Predictions | None:
        """Return what was predicted of the test split; None where it has no classes, is too large or was not tested."""
        if self.tested is None or len(self.tested) > MOST_PREDICTED:
            return None
        probability, label = self.tested.softmax(1).max(1)
        x, y = (part[:].numpy() for part in self.raw_test)
        found = Predictions(
            label.cpu().numpy(),
            probability.half().cpu().numpy(),
            y,
            split_digest(x, y),
            rank_of(self.tested, torch.from_numpy(y).long().to(label.device)).cpu().numpy(),
        )
        return found.with_mistakes(x)

    def timing(self) -> Timing:
        """Return the record's `timing`, but for `total_seconds`, of which only the whole run knows."""
        seconds = self.progress.train_seconds
        return {
            "train_seconds": seconds,
            "samples_per_second": len(self.train_y) * len(self.epochs) / seconds,
            "resumed": self.progress.resumed,
        }

    def describe_epoch(self, entry: Epoch) -> str:
        """Return the line that the log gets for an epoch."""
        splits = (
            f"{split} " + " ".join(f"{name} {entry[f'{split}_{name}']:.4f}" for name in self.criterion.metrics)
            for split in ("train", "val")
        )
        return f"epoch {entry['epoch']}/{self.setting['epochs']}  {'  '.join(splits)}  {entry['seconds']:.2f} s"

    def describe_outcome(self, outcome: Outcome) -> str:
        """Return what the log says of the end of the run."""
        if "test_acc" in outcome["final"]:
            return f"test accuracy {outcome['final']['test_acc']}"
        return "test " + " ".join(f"{name} {outcome['final'][f'test_{name}']}" for name in self.criterion.metrics)

    def status(self) -> str:
        """Return what the epochs so far amount to: running, finished, diverged or stopped_early."""
        epochs, patience = self.progress.epochs, self.setting["patience"]
        if epochs and not all(math.isfinite(epochs[-1][name]) for name in ("train_loss", "val_loss")):
            return "diverged"
        if len(epochs) == self.setting["epochs"]:
            return "finished"
        if epochs and patience and len(epochs) - (self.best_epoch() or 0) >= patience:
            return "stopped_early"
        return "running"

    def best_epoch(self) -> int | None:
        """Return the first epoch that is best on the validation split, by `monitor`; None where none is finite."""
        monitor = self.setting["monitor"]
        sign = -1 if metric_column(monitor).better == "max" else 1
        finite = [epoch for epoch in self.progress.epochs if math.isfinite(epoch["val_loss"] + epoch[monitor])]
        if not finite:
            return None
        best = min(finite, key=lambda epoch: sign * epoch[monitor])
        return int(best["epoch"])

    def final(self, status: str) -> dict[str, Any]:
        """Look at the test split, once. Weights that diverged are not tested."""
        best = self.best_epoch()
        metrics, unknown = self.criterion.metrics, dict.fromkeys(self.criterion.metrics)
        best_entry = self.progress.epochs[best - 1] if best else {}
        final: dict[str, Any] = {
            **_of_split("test", unknown),
            "best_epoch": best,
            **_of_split("best_val", {name: best_entry.get(f"val_{name}") for name in metrics}),
            **_of_split("tested_train", unknown),
        }
        classes = self.criterion.kind == "classes"
        if classes:
            final |= {"per_class_acc": None, "confusion": None}
        if self.best_weights:
            self.model.load_state_dict(self.best_weights)
        elif status == "diverged":
            return final
        self.is_tested = True
        test, outputs = self.evaluate(self.test_x, self.test_y)
        final |= _of_split("test", test)
        # After the test, which must not depend on it where a model draws random numbers in its evaluation, too.
        final |= _of_split("tested_train", self.evaluate(self.train_x, self.train_y)[0])
        if classes and math.isfinite(test["loss"]):
            self.tested = outputs
            final |= confusion(self.test_y.cpu(), outputs.argmax(1).cpu(), self.n_outputs)
        return final

    # -- checkpoints -------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """All that the run needs to go on from this very step."""
        progress = self.progress
        progress.logits = [torch.cat(progress.logits)] if progress.logits else []
        return {
            "progress": vars(progress),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "best_weights": self.best_weights,
            **({"criterion": kept} if (kept := self.criterion.state_dict()) else {}),
            **torch_setup.get_random_states(self.device),
            "augmentation": self.augmentation.get_state(),
            **({"continues": self.continues} if self.continues else {}),
        }

    def load_checkpoint(self, shorter: Sequence[Kept] = ()) -> None:
        """Go on from the checkpoint where there is one that fits, else from where one of these shorter runs ended."""
        if state := self.checkpoint.load(self._misfit):
            self.restore(state)
            print(f"continuing at epoch {self.progress.epoch}, step {self.progress.step}", flush=True)
            return
        for kept in shorter:
            if self._continue(kept):
                return

    def _continue(self, kept: Kept) -> bool:
        """Go on from where a run of fewer epochs ended, if this one would be in that very state; say whether."""
        if not optim.same_rates(self.setting, kept.n_epochs, self.steps_per_epoch):
            schedule, n_epochs = self.setting["lr_schedule"], self.setting["epochs"]
            print(
                f"lr_schedule {schedule} has other learning rates over {n_epochs} epochs than over {kept.n_epochs}: the"
                f" run {kept.digest[:12]} is not continued, training starts from the beginning",
                flush=True,
            )
            return False
        state = self.checkpoint.load_kept(kept.path, kept.digest, self._misfit)
        if not state:
            return False
        self.restore(state)
        self.continues = kept.digest
        print(f"continuing the run {kept.digest[:12]} after its {len(self.epochs)} epochs", flush=True)
        return True

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from the very step at which `state()` was asked for."""
        self.progress = Progress(**state["progress"])
        self.progress.resumed += 1
        self.progress.logits = [logits.to(self.device) for logits in self.progress.logits]
        if self.progress.gradients is not None:
            self.progress.gradients = self.progress.gradients.to(self.device)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.criterion.load_state_dict(state.get("criterion", {}))
        self.best_weights = {
            name: value.to(self.device) if isinstance(value, Tensor) else value  # of get_extra_state
            for name, value in state["best_weights"].items()
        }
        torch_setup.set_random_states(state, self.device)
        self.continues = state.get("continues", "")
        self.augmentation.set_state(state["augmentation"])

    def _misfit(self, state: dict[str, Any]) -> str:
        own = self.state()
        if not own.keys() <= state.keys() or state["progress"].keys() != own["progress"].keys():
            return "has another form than this version writes"
        shapes, own_shapes = ({k: getattr(v, "shape", None) for k, v in s["model"].items()} for s in (state, own))
        return "does not fit the model, whose code has changed" if shapes != own_shapes else ""


def preload() -> None:
    """Load what torch itself loads late, and what the end of a run needs."""
    import safetensors.torch  # noqa: F401
    import torch.utils.serialization  # what torch.load loads

    torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))])  # the first optimizer of a process loads the compiler


def memory_keys(job: Job) -> list[str]:
    """Return the hyper-parameters to lower where memory is short, the one that brings most first."""
    return worth_lowering(job.setting, describe_data(job.setting, job.data))


def load(job: Job) -> Trainer:
    """Return the training of a run, with data and model, where its checkpoint left it."""
    torch.set_num_threads(job.threads)
    device = torch_setup.select_device(job.device)
    torch_setup.warn_of_cpu(job.slot, device)
    assert job.data is not None  # scripts/train.py asks for it
    data = load_splits(job.data, job.setting)
    trainer = Trainer(
        job.setting, data, device, Checkpoint(job.checkpoint, job.stop, job.keep_state), job.on_epoch, job.init_from
    )
    trainer.load_checkpoint(job.shorter)
    return trainer
