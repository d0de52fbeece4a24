"""Try a user's own model once before its runs start: one step on a few images, on the CPU, that nothing keeps."""

from __future__ import annotations

import faulthandler
import re
import sys
from pathlib import Path

from dlsweep.config.identity import Setting
from dlsweep.config.modules import source_file
from dlsweep.errors import ConfigError
from dlsweep.files import write_atomic
from dlsweep.runs.preload import load_training
from dlsweep.runs.stopping import Stop

N_IMAGES = 8


def try_model(setting: Setting, data: Path | None, output: Path, threads: int, time_limit: float | None) -> int:
    """Try the model of a setting; write `output` where it works, else one message. Return the exit status.

    Without `data` the class is only imported. `time_limit` is in seconds.
    """
    load_training()
    import torch

    from dlsweep.tasks.classification.models import own_class, what_happened

    faulthandler.enable()
    torch.set_num_threads(threads)
    name = setting["model"]
    stop = Stop(time_limit)
    try:
        with stop.watchdog(lambda reason: None):
            if data:
                said = f"{name}: {_one_step(data, setting)}"
            else:
                own_class(name)
                said = f"{name} is there"
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (Exception, SystemExit) as error:
        file = source_file(name)
        happened = what_happened(error, file)
        if not _is_of_this_machine(error, torch.cuda.is_available()):
            print(
                f"error: model: {name}{f' ({file})' if file else ''}: {happened}; {_expected(data)}",
                file=sys.stderr,
            )
            return 1
        said = f"{name}: cannot be tried on this machine: {happened}"
    output.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(output, f"{said}\n".encode())
    print(said)
    return 0


def _one_step(path: Path, setting: Setting) -> str:
    """Do what a run does, as short as it can be; return what there is to say of the model."""
    import torch

    from dlsweep.tasks.classification.data import Splits, mean_std, read
    from dlsweep.tasks.classification.training import Trainer

    content = read(path)
    x, classes = content["x_train"][:N_IMAGES], content["classes"]
    y = torch.arange(len(x)) % len(classes)
    few = Splits(x, y, x, y, x, y, *mean_std(x), classes)
    short = {**setting, "batch_size": "full", "epochs": 1}
    trainer = Trainer(short, few, torch.device("cpu"), path.with_name("no checkpoint"))
    trainer.train_epoch()
    trainer.model.load_state_dict(trainer.model.state_dict())
    n_parameters = sum(weight.numel() for weight in trainer.model.parameters() if weight.requires_grad)
    return f"{n_parameters:,} trainable parameters"


def _expected(path: Path | None) -> str:
    """Say how a model is called and what it must return."""
    from dlsweep.tasks.classification.data import read

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
