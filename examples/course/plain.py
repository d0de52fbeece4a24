"""A notebook of the course, as one script: python examples/course/plain.py"""

import argparse
import hashlib
import json
import time
from copy import deepcopy
from pathlib import Path

import torch
import torch.nn as nn
import torch.optim as optim
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset, random_split

# ====== Data ====== #
images, digits = load_digits(return_X_y=True)
dataset = TensorDataset(torch.tensor(images / 16, dtype=torch.float32), torch.tensor(digits))
trainset, valset, testset = random_split(dataset, [1200, 300, 297], torch.Generator().manual_seed(0))
partition = {"train": trainset, "val": valset, "test": testset}


# ====== Model ====== #
class MLP(nn.Module):
    def __init__(self, in_dim, out_dim, hid_dim, n_layer, dropout):
        super().__init__()
        dims = [in_dim] + [hid_dim] * (n_layer - 1)
        layers = []
        for i in range(n_layer - 1):
            layers += [nn.Linear(dims[i], dims[i + 1]), nn.ReLU(), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*layers, nn.Linear(dims[-1], out_dim))

    def forward(self, x):
        return self.layers(x)


# ====== Train, validate, test ====== #
def train(net, partition, optimizer, criterion, args):
    trainloader = DataLoader(partition["train"], batch_size=args.train_batch_size, shuffle=True)
    net.train()
    correct, total, train_loss = 0, 0, 0.0
    for inputs, labels in trainloader:
        optimizer.zero_grad()
        outputs = net(inputs.to(args.device))
        loss = criterion(outputs, labels.to(args.device))
        loss.backward()
        optimizer.step()
        train_loss += loss.item()
        correct += (outputs.argmax(1).cpu() == labels).sum().item()
        total += len(labels)
    return net, train_loss / len(trainloader), 100 * correct / total


def validate(net, part, criterion, args):
    loader = DataLoader(part, batch_size=args.test_batch_size)
    net.eval()
    correct, total, val_loss = 0, 0, 0.0
    with torch.no_grad():
        for inputs, labels in loader:
            outputs = net(inputs.to(args.device))
            val_loss += criterion(outputs, labels.to(args.device)).item()
            correct += (outputs.argmax(1).cpu() == labels).sum().item()
            total += len(labels)
    return val_loss / len(loader), 100 * correct / total


def experiment(partition, args):
    torch.manual_seed(args.seed)
    net = MLP(args.in_dim, args.out_dim, args.hid_dim, args.n_layer, args.dropout).to(args.device)
    criterion = nn.CrossEntropyLoss()
    optimizer = optim.RMSprop(net.parameters(), lr=args.lr, weight_decay=args.l2)

    train_losses, val_losses, train_accs, val_accs = [], [], [], []
    for epoch in range(args.epoch):
        ts = time.time()
        net, train_loss, train_acc = train(net, partition, optimizer, criterion, args)
        val_loss, val_acc = validate(net, partition["val"], criterion, args)
        te = time.time()
        train_losses.append(train_loss)
        val_losses.append(val_loss)
        train_accs.append(train_acc)
        val_accs.append(val_acc)
        print(f"Epoch {epoch}, Acc(train/val): {train_acc:2.2f}/{val_acc:2.2f}. Took {te - ts:2.2f} sec")

    _, test_acc = validate(net, partition["test"], criterion, args)
    result = {}
    result["train_losses"] = train_losses
    result["val_losses"] = val_losses
    result["train_accs"] = train_accs
    result["val_accs"] = val_accs
    result["test_acc"] = test_acc
    return vars(args), result


# ====== Results ====== #
def save_exp_result(setting, result):
    exp_name = setting["exp_name"]
    hash_key = hashlib.sha1(str(setting).encode()).hexdigest()[:6]
    result.update(setting)
    Path("results").mkdir(exist_ok=True)
    with Path(f"results/{exp_name}-{hash_key}.json").open("w") as f:
        json.dump(result, f)


# ====== Experiment ====== #
args = argparse.Namespace()
args.exp_name = "exp1_n_layer_lr"
args.device = "cuda" if torch.cuda.is_available() else "cpu"
args.seed = 0
args.in_dim = 64
args.out_dim = 10
args.hid_dim = 50
args.n_layer = 2
args.dropout = 0.2
args.lr = 0.003
args.l2 = 0.00001
args.epoch = 10
args.train_batch_size = 64
args.test_batch_size = 256

if __name__ == "__main__":
    for n_layer in [1, 3]:
        for lr in [0.001, 0.01]:
            args.n_layer = n_layer
            args.lr = lr
            setting, result = experiment(partition, deepcopy(args))
            print(f"n_layer={n_layer} lr={lr}: test accuracy {result['test_acc']:.2f} %")
            save_exp_result(setting, result)
