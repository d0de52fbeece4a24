"""`sweep.py export-model`: a trained model as a file that runs without this pipeline."""

from __future__ import annotations

import importlib.util
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dlsweep.errors import ConfigError
from dlsweep.files import write_atomic
from dlsweep.results.init_from import KEY
from dlsweep.results.weights import find_weights

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.export import ExportedProgram

    from dlsweep.tasks.classification.trained import TrainedModel

    Exported = Callable[[Tensor], Tensor]

BATCHES = (3, 1, 8)  # the first is traced; the others show that the batch axis is dynamic
TOLERANCE = 1e-4  # of the largest output: float32 summed in another order
NEEDS = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "torch_export": ()}


def export_model(results: Path, run: str, format: str, raw: bool, output: Path | None, trust: bool) -> int:
    """Write a trained model, in float32, as ONNX or for torch.export.load, if it computes what it does in torch."""
    path = find_weights(results, run)
    _check_packages(format)
    import torch

    from dlsweep.tasks.classification.trained import load_model

    model, info = load_model(results, str(path), "cpu", trust)
    module = model.network if raw else model
    output = output or Path(f"{path.stem.rpartition('-')[0]}-{info.hash[:12]}{FORMATS[format][1]}")
    mean, std = model.mean.flatten().tolist(), model.std.flatten().tolist()
    about = {"hash": info.hash, "kind": info.kind, "classes": info.classes, "raw": raw, "mean": mean, "std": std}
    batches = [_batch(model, raw, size) for size in BATCHES]
    try:
        batch_axis = {0: torch.export.Dim("batch")}
        program = torch.export.export(module, (batches[0],), dynamic_shapes=(batch_axis,))
        content, exported = FORMATS[format][0](program, json.dumps(about))
    except Exception as error:  # whatever an own model does that cannot be traced
        what = " ".join(str(error).split())[:300]
        raise ConfigError(f"{path}: cannot be exported as {format}: {type(error).__name__}: {what}") from None
    apart = _check(path, format, module, exported, batches)
    write_atomic(output, content)
    shape = ", ".join(map(str, ("N", *model.in_shape)))
    kind = str(batches[0].dtype).removeprefix("torch.")
    print(f"{output}: {info.hash[:12]} as {format}, takes {kind} ({shape}); differs from torch by at most {apart:.1e}")
    return 0


def _check_packages(format: str) -> None:
    missing = [name for name in NEEDS[format] if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"--format {format} needs {', '.join(missing)}, not installed: python -m pip install"
            " -r requirements-export.txt"
        )


def _batch(model: TrainedModel, raw: bool, size: int) -> Tensor:
    """Return random inputs (size, *in_shape) on the scale of the training data, of their type."""
    import torch

    generator = torch.Generator().manual_seed(size)
    normal = torch.randn(size, *model.in_shape, generator=generator)
    if raw:
        return normal
    x = normal * model.std + model.mean
    return (x * 255).clamp(0, 255).to(torch.uint8) if model.stored == "uint8" else x


def _as_onnx(program: ExportedProgram, about: str) -> tuple[bytes, Exported]:
    import onnxruntime
    import torch

    found = torch.onnx.export(program, input_names=["input"], output_names=["output"], dynamo=True, verbose=False)
    assert found is not None
    found.model.metadata_props[KEY] = about
    content = found.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return content, lambda x: torch.from_numpy(session.run(None, {"input": x.numpy()})[0])


def _as_torch_export(program: ExportedProgram, about: str) -> tuple[bytes, Exported]:
    import torch

    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={f"{KEY}.json": about})
    content = buffer.getvalue()
    return content, torch.export.load(io.BytesIO(content)).module()


FORMATS = {"onnx": (_as_onnx, ".onnx"), "torch_export": (_as_torch_export, ".pt2")}


def _check(path: Path, format: str, module: nn.Module, exported: Exported, batches: list[Tensor]) -> float:
    """Return the largest difference from torch. Raises ConfigError where it is beyond TOLERANCE."""
    import torch

    largest = 0.0
    for x in batches:
        with torch.no_grad():
            expected, found = module(x), exported(x)
        if found.shape != expected.shape:
            raise ConfigError(
                f"{path}: exported as {format}, it returns {tuple(found.shape)} for {len(x)} inputs, not"
                f" {tuple(expected.shape)}; nothing is written"
            )
        apart, size = float((found - expected).abs().max()), float(expected.abs().max())
        if not apart <= TOLERANCE * size:  # nor NaN
            raise ConfigError(
                f"{path}: exported as {format}, its outputs differ from torch's by {apart:.2g}, of {size:.2g}; nothing"
                " is written"
            )
        largest = max(largest, apart)
    return largest
