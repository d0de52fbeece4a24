"""What a notebook would hold: the data, the model and the loop that every peer calls for one setting."""

import json
import os
from pathlib import Path

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

SETTINGS = [
    {"lr": lr, "n_layer": n_layer, "seed": seed}
    for lr in (0.2, 0.3, 0.4, 0.5)
    for n_layer in (1, 2, 3, 4, 5)
    for seed in (0, 1, 2)
]
ADDED = {"lr": 0.1, "n_layer": 3, "seed": 0}
EPOCHS, BATCH_SIZE, HID_DIM = 20, 64, 100

torch.set_num_threads(1)  # the fastest for so small a model
digits = load_digits()
order = torch.randperm(len(digits.target), generator=torch.Generator().manual_seed(0))
x = torch.tensor(digits.images / 16, dtype=torch.float32)[order].unsqueeze(1)
y = torch.tensor(digits.target)[order]
n_test = round(0.2 * len(x))
n_val = round(0.2 * (len(x) - n_test))
x_test, x_val, x_train = x.split([n_test, n_val, len(x) - n_test - n_val])
y_test, y_val, y_train = y.split([n_test, n_val, len(x) - n_test - n_val])
SPLITS = {"x_train": x_train, "y_train": y_train, "x_val": x_val, "y_val": y_val, "x_test": x_test, "y_test": y_test}
mean, std = x_train.mean(), x_train.std()
x_train, x_val, x_test = (((part - mean) / std).flatten(1) for part in (x_train, x_val, x_test))


def train(lr: float, n_layer: int, seed: int) -> dict:
    """Train one setting; return its curves and its test accuracy."""
    torch.manual_seed(seed)
    layers = []
    for width in [x_train.shape[1]] + [HID_DIM] * (n_layer - 1):
        layers += [nn.Linear(width, HID_DIM), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(HID_DIM, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    curves = []
    for _ in range(EPOCHS):
        model.train()
        train_loss, train_correct = 0.0, 0
        for batch in torch.randperm(len(x_train)).split(BATCH_SIZE):
            optimizer.zero_grad()
            logits = model(x_train[batch])
            loss = F.cross_entropy(logits, y_train[batch])
            loss.backward()
            optimizer.step()
            train_loss += loss.item() * len(batch)
            train_correct += (logits.argmax(1) == y_train[batch]).sum().item()
        model.eval()
        with torch.no_grad():
            logits = model(x_val)
            val_loss, val_acc = F.cross_entropy(logits, y_val).item(), (logits.argmax(1) == y_val).float().mean().item()
        curves.append((train_loss / len(x_train), train_correct / len(x_train), val_loss, val_acc))
    with torch.no_grad():
        test_acc = (model(x_test).argmax(1) == y_test).float().mean().item()
    return {"curves": curves, "test_acc": test_acc}


def run(index: int) -> float:
    """Train the setting with this number, and add its outcome to the file of results."""
    setting = [*SETTINGS, ADDED][index]
    outcome = train(**setting)
    with Path(os.environ["RESULTS"]).open("a") as file:
        file.write(json.dumps({**setting, **outcome}) + "\n")
    return outcome["test_acc"]
