"""Logistic regression as a program with options: python examples/argparse/plain.py --lr 0.1"""

import argparse

import numpy as np
from sklearn.datasets import load_breast_cancer

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1)
parser.add_argument("--momentum", type=float, default=0.9)
parser.add_argument("--epochs", type=int, default=20)
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()

x, y = load_breast_cancer(return_X_y=True)
x = (x - x.mean(0)) / x.std(0)
train, val, test = np.split(np.random.default_rng(0).permutation(len(y)), [300, 430])
draw = np.random.default_rng(args.seed)
weights, bias, speed = draw.normal(0, 0.01, x.shape[1]), 0.0, np.zeros(x.shape[1] + 1)


def predict(part):
    return 1 / (1 + np.exp(-(x[part] @ weights + bias)))


def loss_and_error(part):
    p = predict(part).clip(1e-12, 1 - 1e-12)
    return -np.mean(np.where(y[part], np.log(p), np.log(1 - p))), np.mean((p > 0.5) != y[part])


for _ in range(args.epochs):
    for batch in np.array_split(draw.permutation(train), 10):
        miss = predict(batch) - y[batch]
        speed = args.momentum * speed - args.lr * np.append(miss @ x[batch] / len(batch), miss.mean())
        weights, bias = weights + speed[:-1], bias + speed[-1]
    train_loss, train_error = loss_and_error(train)
    val_loss, val_error = loss_and_error(val)
    print(f"train_loss {train_loss} train_error {train_error} val_loss {val_loss} val_error {val_error}")
test_loss, test_error = loss_and_error(test)
print(f"test_loss {test_loss} test_error {test_error}")
