"""plain.py, adapted: it writes lines of JSON, and goes on where it was. See argparse.yaml."""

import argparse
import json
import pickle
from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1)
parser.add_argument("--momentum", type=float, default=0.9)
parser.add_argument("--epochs", type=int, default=20)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--out", type=Path, required=True)
parser.add_argument("--checkpoint", type=Path, required=True)
args = parser.parse_args()

x, y = load_breast_cancer(return_X_y=True)
x = (x - x.mean(0)) / x.std(0)
train, val, test = np.split(np.random.default_rng(0).permutation(len(y)), [300, 430])
draw = np.random.default_rng(args.seed)
weights, bias, speed = draw.normal(0, 0.01, x.shape[1]), 0.0, np.zeros(x.shape[1] + 1)
first, saved, out = 0, args.checkpoint / "state.pkl", args.out.open("a", buffering=1)
if saved.exists():
    first, draw, weights, bias, speed = pickle.loads(saved.read_bytes())


def predict(part):
    return 1 / (1 + np.exp(-(x[part] @ weights + bias)))


def loss_and_error(part):
    p = predict(part).clip(1e-12, 1 - 1e-12)
    return -np.mean(np.where(y[part], np.log(p), np.log(1 - p))), np.mean((p > 0.5) != y[part])


for epoch in range(first, args.epochs):
    for batch in np.array_split(draw.permutation(train), 10):
        miss = predict(batch) - y[batch]
        speed = args.momentum * speed - args.lr * np.append(miss @ x[batch] / len(batch), miss.mean())
        weights, bias = weights + speed[:-1], bias + speed[-1]
    train_loss, train_error = loss_and_error(train)
    val_loss, val_error = loss_and_error(val)
    errors = {"train_error": train_error, "val_error": val_error}
    print(json.dumps({"epoch": epoch + 1, "train_loss": train_loss, "val_loss": val_loss, **errors}), file=out)
    saved.with_suffix(".new").write_bytes(pickle.dumps((epoch + 1, draw, weights, bias, speed)))
    saved.with_suffix(".new").replace(saved)
test_loss, test_error = loss_and_error(test)
print(json.dumps({"test_loss": test_loss, "test_error": test_error}), file=out)
