"""A trained model in the hand: from its file of weights to a module that takes raw images or vectors.

Nothing in a file of weights is executed. A model of the user's own is built by their own code, as it is now.
"""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dlsweep.config.identity import Setting, check_setting, setting_hash
from dlsweep.config.modules import source_file
from dlsweep.config.paths import record_name
from dlsweep.config.registry import own_parts
from dlsweep.errors import ConfigError, RecordError
from dlsweep.results.records import read_record
from dlsweep.results.schema import Record
from dlsweep.results.versions import code_digest, is_own_file, own_modules
from dlsweep.results.weights import Weights, find_weights, read_weights
from dlsweep.tasks.classification.images import Images, Rows
from dlsweep.tasks.classification.memory import evaluated_at_once, size_of
from dlsweep.tasks.classification.models import build_model

HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


class TrainedModel(nn.Module):
    """A trained model with what it needs around it: it takes raw data (N, *in_shape), uint8 or float.

    uint8 counts as [0, 1]. It returns what the network does: logits (N, K) of classes or labels; or numbers (N, K) in
    their own unit. `network` is the model as it was trained, without normalisation; `stored` the type of its training
    data, uint8 or float32.
    """

    mean: Tensor
    std: Tensor
    target_mean: Tensor | None
    target_std: Tensor | None

    def __init__(self, network: nn.Module, about: dict[str, Any], setting: Setting) -> None:
        super().__init__()
        self.network, self.kind, self.setting = network, str(about["kind"]), setting
        self.in_shape: tuple[int, ...] = tuple(about["in_shape"])
        self.classes: list[str] = list(about["classes"])
        self.n_outputs, self.stored = int(about["n_outputs"]), str(about["stored"])
        shape = (1, -1) + (1,) * (len(self.in_shape) - 1)
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(about[name]).view(shape))
            target = about.get(f"target_{name}")
            self.register_buffer(f"target_{name}", None if target is None else torch.tensor(target))

    def forward(self, x: Tensor) -> Tensor:
        """Map raw data (N, *in_shape) to logits or numbers (N, K)."""
        outputs: Tensor = self.network(self.normalise(x))
        return self.in_their_unit(outputs)

    def normalise(self, x: Tensor) -> Tensor:
        """Return raw data as the network takes them: float32, `(x - mean) / std` per channel or feature."""
        x = x.float() / 255 if x.dtype == torch.uint8 else x.float()
        return (x - self.mean) / self.std

    def in_their_unit(self, outputs: Tensor) -> Tensor:
        """Return numbers that were learned with mean 0 and standard deviation 1 as they are meant."""
        if self.target_mean is None or self.target_std is None:
            return outputs
        return outputs * self.target_std + self.target_mean

    @torch.no_grad()
    def outputs(self, x: Tensor | np.ndarray) -> Tensor:
        """Return logits or numbers (N, K), computed as the run computed those of its test split: the same bits.

        Raises ConfigError where the shape is not that of the training data.
        """
        x = torch.as_tensor(x)
        if x.shape[1:] != self.in_shape:
            shape = ", ".join(map(str, ("N", *self.in_shape)))
            raise ConfigError(f"input: has shape {tuple(x.shape)}; this model takes ({shape})")
        if not len(x):
            return torch.empty(0, self.n_outputs, device=self.mean.device)
        device, was_training = self.mean.device, self.training
        memory = torch.channels_last if self.setting["channels_last"] else torch.contiguous_format
        half = HALF.get(self.setting["precision"])
        images = Images(Rows(x), self.mean.flatten(), self.std.flatten(), device, memory)
        size = evaluated_at_once(images.n_values, size_of(self.setting, self.in_shape, self.n_outputs))
        self.eval()
        with torch.autocast(device.type, half) if half else contextlib.nullcontext():
            parts = [self.network(part) for part in images.parts(size)]
        self.train(was_training)
        return self.in_their_unit(torch.cat(parts).float())

    def predict(self, x: Tensor | np.ndarray) -> Tensor:
        """Return predictions (N, K) for raw data: probabilities of classes or labels, or numbers.

        Probabilities of classes sum to 1; those of labels do not. Raises ConfigError as `outputs` does.
        """
        outputs = self.outputs(x)
        return {"classes": lambda: outputs.softmax(1), "labels": outputs.sigmoid}.get(self.kind, lambda: outputs)()


@dataclass(frozen=True)
class Info:
    """What is known of a trained model. `record` is that of its run, None where it is not there."""

    path: Path
    hash: str
    setting: Setting
    kind: str
    """What it predicts: classes, labels or numbers."""
    in_shape: tuple[int, ...]
    """The shape of one image, (C, H, W), time series, (C, L), or vector, (D,)."""
    stored: str
    """The type of the images that it was trained on: uint8 or float32."""
    classes: list[str]
    made_with: dict[str, Any]
    """The versions of torch, of your own code and of the data, and the device."""
    record: Record | None


def load_model(results: Path | str, which: str, device: str = "cpu", trust: bool = False) -> tuple[TrainedModel, Info]:
    """Return a trained model, ready to predict, and what is known of it.

    `which` is an experiment, whose best run is meant, the beginning of a hash, or a file of weights. A model of your
    own is built by your own file; one that an installed package builds only where you `trust` the file of weights,
    since it says with which arguments.

    Raises ConfigError where there are no such weights or they do not fit the model, RecordError where the file is torn
    or foreign.
    """
    path = find_weights(Path(results), which)
    weights = read_weights(path)
    about = dict(weights.about)
    if about["kind"] == "function":
        raise ConfigError(
            f"{path}: is of training code of your own, which alone knows the model; load_weights returns what it named"
            " by run.restore"
        )
    try:
        setting = check_setting(about["setting"])
    except ConfigError as error:
        raise RecordError(f"{path}: has a setting that is not allowed: {error}") from None
    if setting_hash(setting) != about["hash"]:
        raise RecordError(f"{path}: has a setting with another hash than its own, {about['hash'][:12]}")
    if not trust:
        _check_own(path, setting)
    _say_what_changed(path, setting, about["made_with"])
    network = _build(path, setting, weights)
    model = TrainedModel(network, about, setting).to(device).eval()
    record = _record(path, Path(results) / record_name(path.stem.rpartition("-")[0], about["hash"]), about["made_with"])
    info = Info(
        path,
        about["hash"],
        setting,
        about["kind"],
        model.in_shape,
        about["stored"],
        model.classes,
        about["made_with"],
        record,
    )
    return model, info


def _record(path: Path, record: Path, made_with: dict[str, Any]) -> Record | None:
    """The record of a file of weights, which must be of the same code and data; None where it is not there."""
    if not record.exists():
        return None
    found = read_record(record)
    for key in ("code", "data", "init_from"):
        if found["provenance"].get(key) != made_with.get(key):
            raise RecordError(f"{path}: is of another run than {record}, which was made with other {key}; delete it")
    return found


def load_weights(results: Path | str, which: str) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """Return the states that your own function had named by `run.restore`, by their names, and what is known of them.

    Of the built-in training that is `network` alone. `which` is as for `load_model`; so are the errors.
    """
    weights = read_weights(find_weights(Path(results), which))
    names = weights.about.get("things")
    if names is None:
        return {"network": dict(weights.tensors)}, dict(weights.about)
    states: dict[str, dict[str, Tensor]] = {name: {} for name in names}
    for key, tensor in weights.tensors.items():
        name, _, rest = key.partition(".")
        states[name][rest] = tensor
    return states, dict(weights.about)


def _check_own(path: Path, setting: Setting) -> None:
    """Refuse a model that some installed package would build with the file's arguments: a file may be anybody's."""
    for name in own_parts(setting).get("model", ()):
        file = source_file(name)
        if file is None or not is_own_file(file.absolute()):
            raise ConfigError(
                f"{path}: its model, {name}, is not in a file of yours but would be called with the arguments that the"
                " file of weights names; where you trust the file, say so: --trust, or load_model(..., trust=True)"
            )


def _say_what_changed(path: Path, setting: Setting, made_with: dict[str, Any]) -> None:
    if (code := code_digest(*own_modules(setting))) != made_with["code"]:
        where = "has changed since" if code else "cannot be found"
        print(f"warning: {path}: the code that trained it {where}", file=sys.stderr)
    if (there := made_with["torch"]) != (here := str(torch.__version__)):
        print(
            f"warning: {path}: was trained with torch {there}; with {here}, the last digits may differ",
            file=sys.stderr,
        )


def _build(path: Path, setting: Setting, weights: Weights) -> nn.Module:
    """Build the model that the setting names, and give it the weights; no generator of random numbers moves."""
    about = weights.about
    with torch.random.fork_rng(devices=[]):
        network = build_model(setting, tuple(about["in_shape"]), about["n_outputs"])
    try:
        network.load_state_dict({**weights.tensors, **about["extra_state"]})
    except RuntimeError as error:
        what = " ".join(str(error).partition(":\n")[2].split()) or " ".join(str(error).split())
        raise ConfigError(
            f"{path}: does not fit the model that {setting['model']} is now, which is of another architecture: {what}"
        ) from None
    memory = torch.channels_last if setting["channels_last"] else torch.contiguous_format
    return network.to(memory_format=memory)
