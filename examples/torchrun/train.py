"""Data-parallel regression, one process a GPU: torchrun --standalone --nproc-per-node=2 examples/torchrun/train.py

Without GPUs the processes compute on the CPU. Rank 0 writes the metrics and the checkpoint. See torchrun.yaml.
"""

import argparse
import json
import os
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.01)
parser.add_argument("--width", type=int, default=32)
parser.add_argument("--epochs", type=int, default=20)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--out", type=Path, required=True)
parser.add_argument("--checkpoint", type=Path, required=True)
args = parser.parse_args()

has_gpus = torch.cuda.is_available()
dist.init_process_group("nccl" if has_gpus else "gloo")
rank, n_ranks = dist.get_rank(), dist.get_world_size()
device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if has_gpus else torch.device("cpu")

data = torch.Generator().manual_seed(0)
x = torch.randn(600, 10, generator=data)
y = torch.sin(x[:, :1]) + x[:, 1:2] * x[:, 2:3] + 0.1 * torch.randn(600, 1, generator=data)
train, val, test = torch.arange(600).split([400, 100, 100])
x, y = x.to(device), y.to(device)

torch.manual_seed(args.seed)  # all ranks alike: they begin with the same weights, and shuffle in the same order
model = nn.Sequential(nn.Linear(10, args.width), nn.ReLU(), nn.Linear(args.width, 1)).to(device)
model = DistributedDataParallel(model)
optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr)
first, saved = 0, args.checkpoint / "state.pt"
if saved.exists():
    state = torch.load(saved, map_location=device)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["shuffling"].cpu())
    first = state["epochs"]


def errors(split, part):
    """Return the mean squared and the mean absolute error of a part of the data."""
    with torch.no_grad():
        said = model.module(x[part])
    return {f"{split}_mse": F.mse_loss(said, y[part]).item(), f"{split}_mae": F.l1_loss(said, y[part]).item()}


def write(**values):
    if rank == 0:
        with args.out.open("a") as file:
            print(json.dumps(values), file=file)


if rank == 0:
    print(f"{n_ranks} processes, this one on {device}", flush=True)
for epoch in range(first, args.epochs):
    for batch in train[torch.randperm(len(train))].split(32):
        mine = batch[rank::n_ranks]  # each rank has its share of the batch, and DDP averages their gradients
        optimizer.zero_grad()
        F.mse_loss(model(x[mine]), y[mine]).backward()
        optimizer.step()
    write(epoch=epoch + 1, **errors("train", train), **errors("val", val))
    if rank == 0:
        state = {"epochs": epoch + 1, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
        torch.save({**state, "shuffling": torch.get_rng_state()}, saved.with_suffix(".new"))
        saved.with_suffix(".new").replace(saved)
write(**errors("test", test))
dist.destroy_process_group()
