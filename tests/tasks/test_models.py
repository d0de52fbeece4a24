"""Models against the papers' tables, torchvision's own and forward passes written out."""

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision

from dlsweep.config.identity import check_setting
from dlsweep.errors import ConfigError
from dlsweep.tasks.classification.models import MLP, build_model, init_weights, source_sha1

DIGITS, CIFAR = (1, 8, 8), (3, 32, 32)


def build(in_shape: tuple[int, ...] = CIFAR, n_classes: int = 10, **values: Any) -> torch.nn.Module:
    torch.manual_seed(0)
    return build_model(check_setting(values), in_shape, n_classes)


def n_parameters(model: torch.nn.Module) -> int:
    return sum(weight.numel() for weight in model.parameters())


def names(model: torch.nn.Module) -> list[str]:
    return [type(layer).__name__ for layer in model.modules() if not list(layer.children())]


# -- multi-layer perceptron ----------------------------------------------------------------------------------------

# The definitions, in numpy. GELU: Hendrycks & Gimpel 2016; ELU: Clevert et al. 2015.
ACTIVATIONS = {
    "relu": lambda x: np.maximum(x, 0),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "elu": lambda x: np.where(x > 0, x, np.exp(x) - 1),
    "gelu": lambda x: x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2))),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "identity": lambda x: x,
}


@pytest.mark.parametrize("position", ["before", "after", None])
@pytest.mark.parametrize("act", ACTIVATIONS)
def test_mlp_is_what_is_written_out(act: str, position: str | None):
    torch.manual_seed(1)
    model = MLP(6, 3, 5, 2, act, batch_norm=bool(position), batch_norm_position=position or "before").double()
    x = torch.randn(7, 1, 2, 3, dtype=torch.float64)
    weights = {name: weight.detach().numpy() for name, weight in model.named_parameters()}
    layers = sorted({int(name.split(".")[1]) for name, weight in weights.items() if weight.ndim == 2})

    def normalise(h: np.ndarray) -> np.ndarray:  # of a training batch, with scale 1 and shift 0 as at the start
        return (h - h.mean(0)) / np.sqrt(h.var(0) + 1e-5)

    h = x.numpy().reshape(7, 6)
    for layer in layers[:-1]:
        h = h @ weights[f"layers.{layer}.weight"].T + weights[f"layers.{layer}.bias"]
        h = normalise(h) if position == "before" else h
        h = ACTIVATIONS[act](h)
        h = normalise(h) if position == "after" else h
    h = h @ weights[f"layers.{layers[-1]}.weight"].T + weights[f"layers.{layers[-1]}.bias"]
    np.testing.assert_allclose(model.train()(x).detach().numpy(), h, rtol=1e-9, atol=1e-12)


def test_mlp_has_n_layer_hidden_layers():
    assert n_parameters(build(DIGITS, n_layer=3, hid_dim=100)) == 65 * 100 + 2 * 101 * 100 + 101 * 10
    assert names(build(DIGITS, n_layer=1, dropout=0.2)) == ["Flatten", "Linear", "ReLU", "Dropout", "Linear"]
    assert build((64,), n_layer=1)(torch.zeros(4, 64)).shape == (4, 10)


# -- initialization ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("init", "act", "variance"),
    [
        ("xavier_normal", "tanh", 2 / (400 + 600)),  # Glorot & Bengio 2010, eq. 12
        ("xavier_uniform", "relu", 2 / (400 + 600)),  # eq. 16: U(±sqrt(6 / (fan_in + fan_out)))
        ("kaiming_normal", "relu", 2 / 400),  # He et al. 2015, eq. 10
        ("kaiming_uniform", "gelu", 2 / 400),
        ("kaiming_normal", "leaky_relu", 2 / (1 + 0.01**2) / 400),  # He et al. 2015, eq. 15
        ("kaiming_normal", "tanh", (5 / 3) ** 2 / 400),
        ("kaiming_normal", "sigmoid", 1 / 400),
        ("kaiming_normal", "identity", 1 / 400),
        ("default", "relu", 1 / (3 * 400)),  # torch's: U(±1 / sqrt(fan_in))
    ],
)
def test_initialization_has_the_variance_of_its_paper(init: str, act: str, variance: float):
    torch.manual_seed(0)
    layer = torch.nn.Linear(400, 600)
    init_weights(layer, init, 0.01, act)
    values = layer.weight.detach().double()
    assert values.var(correction=0) == pytest.approx(variance, rel=0.015)  # 240,000 values: 0.3 % at one sigma
    assert abs(values.mean()) < 0.01 * math.sqrt(variance)
    kurtosis = (values**4).mean() / values.var() ** 2
    assert kurtosis == pytest.approx(3.0 if init.endswith("normal") else 1.8, rel=0.05)
    assert torch.all(layer.bias == torch.tensor(0.01))


def test_initialization_reaches_every_layer_of_a_network():
    for model in ("mlp", "cnn", "vgg11", "resnet20"):
        net = build(model=model, init="xavier_normal", bias_init=0.01)
        for layer in net.modules():
            if isinstance(layer, (torch.nn.Linear, torch.nn.Conv2d)):
                receptive = layer.weight[0, 0].numel()
                fans = receptive * (layer.weight.shape[0] + layer.weight.shape[1])
                few = 6 / math.sqrt(layer.weight.numel())  # four sigma
                assert layer.weight.detach().var() == pytest.approx(2 / fans, rel=few)
                assert layer.bias is None or torch.all(layer.bias == torch.tensor(0.01))


# -- convolutional networks ----------------------------------------------------------------------------------------


def test_cnn_is_what_is_written_out():
    net = build((2, 8, 8), model="cnn", n_block=2, n_conv=1, channels=3, kernel_size=5, pooling="avg", act="tanh")
    w = list(net.parameters())
    x = torch.randn(4, 2, 8, 8)
    h = F.avg_pool2d(torch.tanh(F.conv2d(x, w[0], w[1], padding=2)), 2)
    h = F.avg_pool2d(torch.tanh(F.conv2d(h, w[2], w[3], padding=2)), 2)
    torch.testing.assert_close(net(x), h.reshape(4, -1) @ w[4].T + w[5])
    assert [tuple(weight.shape) for weight in w[::2]] == [(3, 2, 5, 5), (6, 3, 5, 5), (10, 6 * 2 * 2)]


def test_cnn_has_its_layers_in_order():
    net = build(DIGITS, model="cnn", n_block=1, batch_norm=True, dropout=0.1)
    unit = ["Conv2d", "BatchNorm2d", "ReLU"]
    assert names(net) == [*unit, *unit, "MaxPool2d", "Dropout", "Flatten", "Linear"]
    after = build(DIGITS, model="cnn", n_block=1, n_conv=1, batch_norm=True, batch_norm_position="after")
    assert names(after) == ["Conv2d", "ReLU", "BatchNorm2d", "MaxPool2d", "Flatten", "Linear"]


@pytest.mark.filterwarnings("ignore:Using padding")
def test_cnn_goes_down_to_one_pixel():
    for n_block, side, kernel_size in ((3, 8, 3), (4, 28, 2), (1, 2, 15), (2, 7, 1)):
        net = build((1, side, side), model="cnn", n_block=n_block, channels=2, kernel_size=kernel_size)
        assert net(torch.zeros(2, 1, side, side)).shape == (2, 10)


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("name", ["vgg11", "vgg13", "vgg16", "vgg19"])
def test_vgg_has_the_convolutions_of_torchvision(name: str, batch_norm: bool):
    net = build(model=name, batch_norm=batch_norm)
    with torch.device("meta"):  # its linear layers have 120 million weights
        reference = getattr(torchvision.models, name + "_bn" * batch_norm)()
    reference = reference.features.to_empty(device="cpu")
    ours = net.blocks.state_dict()
    reference.load_state_dict(dict(zip(reference.state_dict(), ours.values(), strict=True)))
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(net.eval().blocks(x), reference.eval()(x))
    assert n_parameters(net.classifier) == 2 * 513 * 512 + 513 * 10


def test_vgg_drops_units_of_its_hidden_linear_layers():
    assert names(build(model="vgg11", dropout=0.5).classifier) == [
        "Flatten",
        *["Linear", "ReLU", "Dropout"] * 2,
        "Linear",
    ]


# -- residual networks ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("depth", "table", "count"),  # He et al. 2015, table 6, in millions; and counted exactly by hand
    [(20, 0.27, 269_722), (32, 0.46, 464_154), (44, 0.66, 658_586), (56, 0.85, 853_018), (110, 1.7, 1_727_962)],
)
def test_resnet_has_the_papers_parameters(depth: int, table: float, count: int):
    net = build(model=f"resnet{depth}")
    assert n_parameters(net) == count
    assert round(count / 1e6, 2 if depth < 110 else 1) == table
    weighted = [layer for layer in net.modules() if isinstance(layer, (torch.nn.Conv2d, torch.nn.Linear))]
    assert len(weighted) == depth
    assert n_parameters(build(model=f"resnet{depth}", shortcut=False)) == count


@pytest.mark.parametrize("shortcut", [True, False])
def test_resnet_is_what_is_written_out(shortcut: bool):
    net = build(model="resnet20", shortcut=shortcut).double().train()
    w = iter(net.parameters())

    def conv_norm(h: torch.Tensor, stride: int = 1) -> torch.Tensor:
        h = F.conv2d(h, next(w), stride=stride, padding=1)
        mean, var = h.mean((0, 2, 3), keepdim=True), h.var((0, 2, 3), correction=0, keepdim=True)
        return (h - mean) / (var + 1e-5).sqrt() * next(w).view(1, -1, 1, 1) + next(w).view(1, -1, 1, 1)

    x = torch.randn(3, 3, 32, 32, dtype=torch.float64)
    h = conv_norm(x).relu()
    for stage, side in enumerate((32, 16, 8)):
        for block in range(3):
            stride = 2 if stage and not block else 1
            out = conv_norm(conv_norm(h, stride).relu())
            kept = torch.zeros_like(out)
            kept[:, : h.shape[1]] = h[:, :, ::stride, ::stride]
            h = (out + kept if shortcut else out).relu()
        assert h.shape == (3, 16 * 2**stage, side, side)
    torch.testing.assert_close(net(x), h.mean((2, 3)) @ next(w).T + next(w))


def test_resnet_takes_small_grey_images():
    for side in (8, 28):
        assert build((1, side, side), model="resnet20").eval()(torch.zeros(2, 1, side, side)).shape == (2, 10)


@pytest.mark.parametrize(("depth", "imagenet"), [(18, 11_689_512), (34, 21_797_672), (50, 25_557_032)])
def test_torchvision_resnet_with_a_small_stem(depth: int, imagenet: int):
    """The counts are those torchvision documents; the stem and the last layer differ."""
    with torch.device("meta"):
        net, large = build(model=f"resnet{depth}"), build((3, 224, 224), 1000, model=f"resnet{depth}")
    features = net.fc.in_features
    assert n_parameters(large) == imagenet
    assert n_parameters(net) == imagenet - 3 * 64 * (49 - 9) - (features + 1) * (1000 - 10)
    if depth == 18:
        net = build(model="resnet18").eval()
        x = torch.randn(1, 3, 32, 32)
        assert net(x).shape == (1, 10)
        assert net.layer1(net.maxpool(net.relu(net.bn1(net.conv1(x))))).shape == (1, 64, 32, 32)


# -- what does not fit ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("in_shape", "values", "message"),
    [
        (DIGITS, {"model": "cnn", "n_block": 4}, "n_block: 4 halves .* 8x8 pixels; allowed: at most 3"),
        ((1, 28, 28), {"model": "vgg11"}, "model: vgg11 halves .* 28x28"),
        *(
            ((64,), {"model": model}, f"model: {model} needs images, but the data are vectors of 64 values")
            for model in ("cnn", "vgg16", "resnet20", "resnet18")
        ),
        (DIGITS, {"model": "no_such_module:Net"}, "there is no module 'no_such_module'"),
        (DIGITS, {"model": "os.no_such_part:Net"}, "there is no module 'os.no_such_part'"),
        (DIGITS, {"model": "my_net:Nett"}, "my_net.py has no 'Nett'"),
        (DIGITS, {"model": "my_net:Net", "model_args": {"widht": 3}}, "model_args: my_net:Net.*'widht'"),
        (DIGITS, {"model": "my_net:Net", "model_args": {"extra": 1}}, r"shape \(2, 11\); it must be \(2, 10\)"),
        (DIGITS, {"model": "my_net:list_of"}, "makes list, not a torch.nn.Module"),
    ],
)
def test_what_does_not_fit_is_said(in_shape: tuple[int, ...], values: dict, message: str, my_net: Path):
    with pytest.raises(ConfigError, match=message):
        build(in_shape, **values)


@pytest.fixture
def my_net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.delitem(sys.modules, "my_net", raising=False)
    path = tmp_path / "my_net.py"
    path.write_text(
        "from torch import nn\n"
        "class Net(nn.Sequential):\n"
        "    def __init__(self, in_shape, n_classes, width=4, extra=0):\n"
        "        super().__init__(nn.Flatten(), nn.LazyLinear(width), nn.Linear(width, n_classes + extra))\n"
        "def list_of(in_shape, n_classes):\n"
        "    return [in_shape]\n"
    )
    return path


def test_your_own_model(my_net: Path):
    net = build(DIGITS, model="my_net:Net", model_args={"width": 3})
    assert n_parameters(net) == 65 * 3 + 4 * 10
    assert source_sha1(check_setting({"model": "my_net:Net"})) is not None
    assert source_sha1(check_setting({})) is None
