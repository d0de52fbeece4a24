"""The memory that a run of the built-in task needs, by arithmetic: from its setting and the shape of its data.

Loads neither torch nor pandas: Snakemake is told before anything is trained. The layers of each model are those of
models.py; tests compare the two.
"""

from __future__ import annotations

import ast
import itertools
import math
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dlsweep.config.files import own_path
from dlsweep.config.identity import Setting
from dlsweep.config.registry import AUGMENTATION, entry
from dlsweep.config.tasks import is_built_in
from dlsweep.results.versions import noted_shape

Shape = tuple[int, ...]

FLOAT = 4  # bytes
BASE = 350 * 2**20  # of Python with torch loaded, of which most is shared with other runs
EVALUATION_VALUES = 2**21  # pixel values evaluated at once: 683 images of CIFAR, whose activations need about 200 MB
EVALUATION_ACTIVATIONS = 2**26  # values of the widest layer, at once
GATHERED_BYTES = 32 * 2**20  # of training images, gathered at once
STATES = {"sgd": 0, "momentum": 1, "nag": 1, "adagrad": 1, "rmsprop": 1, "adadelta": 2, "adam": 2, "adamw": 2}
"""The copies of the weights that an optimizer keeps."""
KEYS = ("batch_size", "hid_dim", "channels", "n_layer", "image_size", "n_conv")
"""What a user can lower where memory is short."""


# -- the data ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Data:
    """How many images there are to train on at most, the shape of one, and the outputs that a model has for them."""

    n: int
    in_shape: Shape
    n_outputs: int


KNOWN = {
    "digits": Data(1_797, (1, 8, 8), 10),
    "mnist": Data(60_000, (1, 28, 28), 10),
    "fashion_mnist": Data(60_000, (1, 28, 28), 10),
    "kmnist": Data(60_000, (1, 28, 28), 10),
    "cifar10": Data(50_000, (3, 32, 32), 10),
    "cifar100": Data(50_000, (3, 32, 32), 100),
    "svhn": Data(73_257, (3, 32, 32), 10),
}
MANY_CLASSES = 100  # where nobody knows how many there are
MANY_IMAGES = 1000  # of a class, likewise


def describe_data(setting: Setting, prepared: Path | None = None) -> Data | None:
    """Return what is known of a setting's data, as they were prepared or as their file says; None where nothing is."""
    if prepared and (noted := noted_shape(prepared)):
        n, in_shape, n_outputs = noted
        return Data(n, tuple(in_shape), n_outputs)
    if setting["dataset"] in KNOWN:
        return KNOWN[setting["dataset"]]
    try:
        if setting["dataset"] == "npz":
            return _of_npz(own_path(setting["data_path"]), setting.get("series", False))
        if setting["dataset"] == "image_folder":
            root, size = own_path(setting["data_path"]), setting["image_size"]
            n_classes = len(list((root / "train" if (root / "train").is_dir() else root).iterdir()))
            return Data(MANY_IMAGES * n_classes, (3, size, size), n_classes)
    except (OSError, ValueError, SyntaxError, KeyError, TypeError, zipfile.BadZipFile):
        pass  # preparing the data says what is wrong with them
    return None


def _of_npz(path: Path, series: bool) -> Data:
    with zipfile.ZipFile(path) as arrays:
        x = _shape_in(arrays, "x_train.npy")
        y = _shape_in(arrays, "y_train.npy")
        names = _shape_in(arrays, "classes.npy") if "classes.npy" in arrays.namelist() else ()
    n_outputs = names[0] if names else y[1] if len(y) == 2 else MANY_CLASSES
    if len(x) == 4 and x[3] in (1, 3, 4) and x[1] not in (1, 3, 4):
        return Data(x[0], (x[3], x[1], x[2]), n_outputs)
    return Data(x[0], (1, *x[1:]) if len(x) == 3 and not series else x[1:], n_outputs)


def _shape_in(arrays: zipfile.ZipFile, name: str) -> Shape:
    """The shape of an array, of which only the header is read (numpy.lib.format says what is in it)."""
    with arrays.open(name) as file:
        version = file.read(8)[6]
        length = int.from_bytes(file.read(2 if version == 1 else 4), "little")
        shape: Shape = ast.literal_eval(file.read(length).decode("latin1"))["shape"]
    return shape


# -- the model -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Size:
    """The trainable parameters of a model, and the values that each of its layers returns for one image."""

    parameters: int
    layers: tuple[int, ...]


Layer = tuple[int, int]
"""Parameters, and values returned for one image."""


def size_of(setting: Setting, in_shape: Shape, n_outputs: int) -> Size | None:
    """Return the size of a setting's model; None for one of the user's own, or one that cannot take such data."""
    if ":" in setting["model"]:
        return None
    builder = entry("model", setting["model"]).target.rpartition(":")[2]
    if builder not in _LAYERS:
        return None
    try:
        layers = list(_LAYERS[builder](setting, in_shape, n_outputs))
    except (ValueError, IndexError):  # images are asked for
        return None
    return Size(sum(parameters for parameters, _ in layers), tuple(values for _, values in layers))


def _linear(n_in: int, n_out: int) -> Layer:
    return (n_in + 1) * n_out, n_out


def _after(setting: Setting, values: int, norm: int) -> Iterator[Layer]:
    """Normalization of `norm` channels where it is set, and activation."""
    if norm:
        yield 2 * norm, values
    yield 0, values


def _mlp(s: Setting, in_shape: Shape, n_outputs: int) -> Iterator[Layer]:
    width = s["hid_dim"]
    for n_in in [math.prod(in_shape)] + [width] * (s["n_layer"] - 1):
        yield _linear(n_in, width)
        yield from _after(s, width, width if s["batch_norm"] else 0)
        yield from [(0, width)] * bool(s["dropout"])
    yield _linear(width, n_outputs)


def _convolution(c_in: int, c_out: int, kernel: int, n_values: int, bias: bool = True) -> Layer:
    """`kernel` is the number of its pixels, `n_values` that of an output channel."""
    return c_out * (c_in * kernel + bias), c_out * n_values


def _block(s: Setting, c_in: int, c_out: int, n_conv: int, kernel: int, sizes: list[int]) -> Iterator[Layer]:
    """Convolutions and pooling, which halves the sizes."""
    n_values = math.prod(sizes)
    for channels in [c_in] + [c_out] * (n_conv - 1):
        yield _convolution(channels, c_out, kernel ** len(sizes), n_values)
        yield from _after(s, c_out * n_values, c_out if s["batch_norm"] else 0)
    sizes[:] = [size // 2 for size in sizes]
    yield 0, c_out * math.prod(sizes)


def _cnn(s: Setting, in_shape: Shape, n_outputs: int) -> Iterator[Layer]:
    c_in, sizes = in_shape[0], list(in_shape[1:])
    for c_out in [s["channels"] * 2**i for i in range(s["n_block"])]:
        yield from _block(s, c_in, c_out, s["n_conv"], s["kernel_size"], sizes)
        yield from [(0, c_out * math.prod(sizes))] * bool(s["dropout"])
        c_in = c_out
    yield _linear(c_in * math.prod(sizes), n_outputs)


VGG = {"vgg11": (1, 1, 2, 2, 2), "vgg13": (2, 2, 2, 2, 2), "vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}


def _vgg(s: Setting, in_shape: Shape, n_outputs: int) -> Iterator[Layer]:
    c_in, *sizes = in_shape
    for n_conv, c_out in zip(VGG[s["model"]], (64, 128, 256, 512, 512), strict=True):
        yield from _block(s, c_in, c_out, n_conv, 3, sizes)
        c_in = c_out
    for n_in in (512 * math.prod(sizes), 512):
        yield _linear(n_in, 512)
        yield from _after(s, 512, 0)
        yield from [(0, 512)] * bool(s["dropout"])
    yield _linear(512, n_outputs)


def _normalised(c_in: int, c_out: int, kernel: int, n_values: int) -> Iterator[Layer]:
    """A convolution without bias and its normalization."""
    yield _convolution(c_in, c_out, kernel, n_values, bias=False)
    yield 2 * c_out, c_out * n_values


def _cifar_resnet(s: Setting, in_shape: Shape, n_outputs: int) -> Iterator[Layer]:
    channels, height, width = in_shape
    n = (int(s["model"].removeprefix("resnet")) - 2) // 6
    yield from _normalised(channels, 16, 9, height * width)
    yield 0, 16 * height * width
    for c_in, c_out in itertools.pairwise([16] + [16] * n + [32] * n + [64] * n):
        if c_in != c_out:
            height, width = (height + 1) // 2, (width + 1) // 2
        n_values = height * width
        yield from _normalised(c_in, c_out, 9, n_values)
        yield 0, c_out * n_values
        yield from _normalised(c_out, c_out, 9, n_values)
        yield from [(0, c_out * n_values)] * 2  # the sum and its activation
    yield _linear(64, n_outputs)


RESNETS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3)}


def _torchvision_resnet(s: Setting, in_shape: Shape, n_outputs: int) -> Iterator[Layer]:
    channels, height, width = in_shape
    small, deep = min(height, width) < 64, s["model"] == "resnet50"

    def halved() -> tuple[int, int]:
        return (height + 1) // 2, (width + 1) // 2

    if not small:
        height, width = halved()
    yield from _normalised(channels, 64, 9 if small else 49, height * width)
    if not small:
        height, width = halved()
        yield 0, 64 * height * width
    c_in = 64
    for stage, n_blocks in enumerate(RESNETS[s["model"]]):
        inner = 64 * 2**stage
        c_out = 4 * inner if deep else inner
        for block in range(n_blocks):
            before = height * width
            if stage and not block:
                height, width = halved()
            n_values = height * width
            if deep:
                yield from _normalised(c_in, inner, 1, before)
                yield from _normalised(inner, inner, 9, n_values)
                yield from _normalised(inner, c_out, 1, n_values)
            else:
                yield from _normalised(c_in, inner, 9, n_values)
                yield from _normalised(inner, inner, 9, n_values)
            if c_in != c_out or (stage and not block):
                yield from _normalised(c_in, c_out, 1, n_values)
            yield 0, c_out * n_values
            c_in = c_out
    yield _linear(c_in, n_outputs)


_LAYERS: dict[str, Callable[[Setting, Shape, int], Iterator[Layer]]] = {
    "build_mlp": _mlp,
    "build_cnn": _cnn,
    "build_vgg": _vgg,
    "build_cifar_resnet": _cifar_resnet,
    "build_torchvision_resnet": _torchvision_resnet,
}


# -- what a run needs ----------------------------------------------------------------------------------------------


def evaluated_at_once(n_values: int, size: Size | None) -> int:
    """Return how many images of `n_values` are evaluated at once; of an own model's activations nothing is known."""
    widest = max(size.layers) if size else 0
    at_once = min(EVALUATION_VALUES // n_values, EVALUATION_ACTIVATIONS // max(widest, 1))
    return max(at_once, 1)


@dataclass(frozen=True)
class Need:
    """Bytes of memory: in all on this machine, and on the device that computes, which may be the same."""

    host: int
    device: int


def needed(setting: Setting, data: Data | None, on_gpu: bool = False) -> Need | None:
    """Return what a run needs beside the images themselves, which runs share; None where it cannot be known."""
    if not is_built_in(setting) or data is None or ":" in setting["optimizer"]:
        return None
    size = size_of(setting, data.in_shape, data.n_outputs)
    if size is None:
        return None
    n_values = math.prod(data.in_shape)
    train_size = setting["train_size"]
    n_train = data.n if train_size is None else int(train_size if train_size >= 1 else train_size * data.n)
    batch = n_train if setting["batch_size"] == "full" else min(setting["batch_size"], n_train)
    states = _optimizer_states(setting)
    copies = 2 + states + 2 + (setting["test_weights"] == "best")  # weights, gradients, states, of a step, best
    images = n_values * (3 if any(setting.get(key) for key in AUGMENTATION) else 1)
    widest = max(size.layers)
    training = batch * (sum(size.layers) + 2 * widest + images)
    rows = min(evaluated_at_once(n_values, size), data.n)
    evaluating = rows * (6 * widest + 2 * n_values)  # convolutions bring copies of their own
    outputs = 3 * data.n * data.n_outputs
    gathered = max(GATHERED_BYTES, FLOAT * batch * n_values) * 5 // 2  # one in use, the next, and pixels of it
    computed = FLOAT * (copies * size.parameters + max(training, evaluating) + outputs)
    lists = 48 * data.n  # which images are in which split, in which order, and their targets
    here = BASE + gathered + lists
    return Need(here if on_gpu else here + computed, computed + gathered if on_gpu else here + computed)


def kept_bytes(setting: Setting, data: Data | None, weights: bool, state: bool) -> int:
    """Return what a run keeps on disk of its weights, and of the state at its end; 0 where it cannot be known."""
    if not is_built_in(setting) or data is None:
        return 0
    size = size_of(setting, data.in_shape, data.n_outputs)
    copies = 1 + _optimizer_states(setting) + (setting["test_weights"] == "best")
    return FLOAT * size.parameters * (weights + copies * state) if size else 0


def _optimizer_states(setting: Setting) -> int:
    return max(STATES.get(setting["optimizer"], 2), bool(setting.get("momentum")))


def worth_lowering(setting: Setting, data: Data | None) -> list[str]:
    """Return the hyper-parameters that a user can lower to save memory, the one that brings most first."""
    there = [key for key in KEYS if isinstance(setting.get(key), int) and setting[key] > 1]
    if setting.get("batch_size") == "full":
        there.insert(0, "batch_size")
    now = needed(setting, data)
    if now is None or data is None:
        return there

    def saved(key: str) -> int:
        shape = data.in_shape
        if key == "image_size":
            shape = (shape[0], *(side // 2 for side in shape[1:]))
        value = setting[key] if setting[key] != "full" else data.n
        less = needed({**setting, key: value // 2}, Data(data.n, shape, data.n_outputs))
        return now.device - less.device if less else 0

    savings = {key: saved(key) for key in there}
    return sorted((key for key in there if 50 * savings[key] > now.device - BASE), key=lambda key: -savings[key])
