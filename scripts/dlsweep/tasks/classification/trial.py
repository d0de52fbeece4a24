"""Try a user's own model: one step on a few images, as a run does it."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from dlsweep.config.identity import Setting
from dlsweep.config.modules import source_file
from dlsweep.errors import ConfigError
from dlsweep.tasks.checkpoint import Checkpoint
from dlsweep.tasks.classification.data import Splits, kind_of, mean_std, read
from dlsweep.tasks.classification.training import Trainer
from dlsweep.tasks.own_code import own_object, what_happened

N_IMAGES = 8


def try_once(setting: Setting, data: Path | None, threads: int) -> str:
    """Try the model of a setting on the first of the prepared `data`; return what there is to say of it.

    Without `data` the class is only imported. Raises ConfigError where it cannot be trained.
    """
    torch.set_num_threads(threads)
    name = setting["model"]
    try:
        if data:
            return f"{name}: {_one_step(data, setting)}"
        own_object("model", name)
        return f"{name} is there"
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:
        file = source_file(name)
        happened = what_happened(error, file)
        if _is_of_this_machine(error, torch.cuda.is_available()):
            return f"{name}: cannot be tried on this machine: {happened}"
        where = f" ({file})" if file else ""
        raise ConfigError(f"model: {name}{where}: {happened}; {_expected(data)}") from None


def _one_step(path: Path, setting: Setting) -> str:
    """Do what a run does, as short as it can be; return what there is to say of the model."""
    content = read(path)
    x, classes = content["x_train"][:N_IMAGES], content["classes"]
    y = content["y_train"][:N_IMAGES]
    if kind_of(y) == "classes":
        y = torch.arange(len(x)) % len(classes)
    few = Splits(x, y, x, y, x, y, *mean_std(x), classes)
    short = {**setting, "batch_size": "full", "epochs": 1}
    trainer = Trainer(short, few, torch.device("cpu"), Checkpoint(path.with_name("no checkpoint")))
    trainer.train_epoch()
    trainer.model.load_state_dict(trainer.model.state_dict())
    n_parameters = sum(weight.numel() for weight in trainer.model.parameters() if weight.requires_grad)
    return f"{n_parameters:,} trainable parameters"


def _expected(path: Path | None) -> str:
    """Say how a model is called and what it must return."""
    if path is None:
        return "its module must be one that can be imported"
    content = read(path)
    shape, n_classes = tuple(content["x_train"].shape[1:]), len(content["classes"])
    return (
        f"it is called with in_shape={shape}, n_classes={n_classes} and its model_args, and must map images"
        f" (N, {', '.join(str(size) for size in shape)}) to logits (N, {n_classes})"
    )


def _is_of_this_machine(error: BaseException, has_gpu: bool) -> bool:
    """Say whether another machine, on which the runs may be, could do without this error."""
    is_memory = isinstance(error, MemoryError) or "can't allocate memory" in str(error)
    return is_memory or (not has_gpu and bool(re.search("CUDA|NVIDIA", str(error))))
