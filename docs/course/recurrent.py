"""Remember the first value of a sequence: recurrent networks for lab9_rnn.yaml and lab10_lstm.yaml."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn


def sequences(n, length, seed):
    """Return n sequences of noise (n, length, 1) in [-1, 1], and the first value of each (n, 1)."""
    x = 2 * torch.rand(n, length, 1, generator=torch.Generator().manual_seed(seed)) - 1
    return x, x[:, 0]


class Memory(nn.Module):
    """One recurrent layer, and a linear layer on its last state."""

    def __init__(self, cell, width):
        super().__init__()
        kinds = {"rnn": nn.RNN, "lstm": nn.LSTM, "open_lstm": nn.LSTM, "gru": nn.GRU}
        self.cell = kinds[cell](1, width, batch_first=True)
        self.head = nn.Linear(width, 1)
        if cell == "open_lstm":  # the gates are in the order input, forget, cell, output
            with torch.no_grad():
                self.cell.bias_hh_l0[width : 2 * width] += 3

    def forward(self, x):
        return self.head(self.cell(x)[0][:, -1])


def train(
    run,
    *,
    cell: Literal["rnn", "lstm", "open_lstm", "gru"] = "rnn",
    length: int = 10,
    width: int = 32,
    lr: float = 0.003,
    epochs: int = 30,
    seed: int = 0,
):
    (x, y), (x_val, y_val), (x_test, y_test) = (
        [part.to(run.device) for part in sequences(n, length, split)] for split, n in enumerate((1024, 256, 256))
    )
    model = Memory(cell, width).to(run.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)

    run.restore(model=model, optimizer=optimizer)
    for _ in run.epochs(epochs):
        train_loss = 0.0
        for batch in torch.randperm(len(x)).split(32):
            loss = F.mse_loss(model(x[batch]), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            train_loss += loss.item() * len(batch) / len(x)
        with torch.no_grad():
            run.log(train_loss=train_loss, val_mae=F.l1_loss(model(x_val), y_val).item())

    with torch.no_grad():
        return {"test_mae": F.l1_loss(model(x_test), y_test).item()}
