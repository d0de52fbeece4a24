"""Try a user's own parts: one step on a few images, as a run does it."""

from __future__ import annotations

import io
import re
import traceback
from pathlib import Path

import torch

from dlsweep.config.identity import Setting
from dlsweep.config.modules import source_file
from dlsweep.errors import ConfigError
from dlsweep.tasks.checkpoint import Checkpoint
from dlsweep.tasks.classification.data import Splits, kind_of, read
from dlsweep.tasks.classification.images import Rows, mean_std
from dlsweep.tasks.classification.own_parts import tried_parts
from dlsweep.tasks.classification.source_files import Content
from dlsweep.tasks.classification.training import Trainer
from dlsweep.tasks.own_code import own_object, what_happened

N_IMAGES = 8


def try_once(setting: Setting, data: Path | None, threads: int) -> str:
    """Try the own parts of a setting on the first of the prepared `data`; return what there is to say of them.

    Without `data` they are only imported. Raises ConfigError where nothing can be trained with them.
    """
    torch.set_num_threads(threads)
    parts = tried_parts(setting)
    named = ", ".join(name for _, name in parts)
    try:
        if data:
            return f"{named}: {_one_step(data, setting)}"
        for key, name in parts:
            own_object(key, name)
        return f"{named} is there"
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:
        key, name = _at_fault(error, parts)
        file = source_file(name)
        happened = what_happened(error, file)
        if _is_of_this_machine(error, torch.cuda.is_available()):
            return f"{named}: cannot be tried on this machine: {happened}"
        where = f" ({file})" if file else ""
        raise ConfigError(f"{key}: {name}{where}: {happened}; {_expected(key, data)}") from None


def _at_fault(error: BaseException, parts: list[tuple[str, str]]) -> tuple[str, str]:
    """The part whose file the error came from last; the first where it came from none."""
    files = {str(file.absolute()): part for part in parts if (file := source_file(part[1]))}
    frames = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    return next((files[file] for file in reversed(frames) if file in files), parts[0])


def _one_step(path: Path, setting: Setting) -> str:
    """Do what a run does, as short as it can be; return what there is to say of the model."""
    few = _few(read(path))
    trainer = Trainer(
        {**setting, "batch_size": "full", "epochs": 1},
        few,
        torch.device("cpu"),
        Checkpoint(path.with_name("no checkpoint")),
    )
    trainer.train_epoch()
    trainer.model.load_state_dict(trainer.model.state_dict())
    if ":" in setting["optimizer"]:
        _check_state(setting["optimizer"], trainer.optimizer)
    n_parameters = sum(weight.numel() for weight in trainer.model.parameters() if weight.requires_grad)
    return f"{n_parameters:,} trainable parameters"


def _few(content: Content) -> Splits:
    """The first images, of as many classes as there are."""
    x, y = Rows(content["x_train"][:N_IMAGES]), content["y_train"][:N_IMAGES]
    if kind_of(y) == "classes":
        y = torch.arange(len(x)) % len(content["classes"])
    return Splits(x, y, x, y, x, y, *mean_std(x), content["classes"])


def _check_state(name: str, optimizer: torch.optim.Optimizer) -> None:
    """Refuse a state that a checkpoint could not hold or give back."""
    buffer = io.BytesIO()
    try:
        torch.save(optimizer.state_dict(), buffer)
        optimizer.load_state_dict(torch.load(io.BytesIO(buffer.getvalue()), weights_only=True))
    except Exception as error:  # pickle raises many kinds
        what = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"optimizer: {name}: its state does not fit in a checkpoint ({what}); allowed in state_dict(): tensors,"
            " numbers, text, and lists and dicts of them"
        ) from None


def _expected(key: str, path: Path | None) -> str:
    """Say how a part is called and what it must return."""
    if path is None:
        return "its module must be one that can be imported"
    few = _few(read(path))
    shape, n = few.in_shape, few.n_outputs
    outputs = f"outputs ({len(few.train_y)}, {n}) and targets {tuple(few.train_y.shape)}"
    said = {
        "model": f"it is called with in_shape={shape}, n_classes={n} and its model_args, and must map images"
        f" (N, {', '.join(str(size) for size in shape)}) to logits (N, {n})",
        "loss": f"it is called with {outputs} and must return their mean loss, a tensor of one number",
        "metrics": f"it is called with {outputs} and must return a number",
        "optimizer": "it is called with the parameters, lr, weight_decay and its optimizer_args",
        "lr_schedule": "it is called with step, total, steps_per_epoch and its lr_schedule_args",
    }
    return said[key]


def _is_of_this_machine(error: BaseException, has_gpu: bool) -> bool:
    """Say whether another machine, on which the runs may be, could do without this error."""
    is_memory = isinstance(error, MemoryError) or "can't allocate memory" in str(error)
    return is_memory or (not has_gpu and bool(re.search("CUDA|NVIDIA", str(error))))
