"""W&B: WANDB_MODE=offline python sweep_wandb.py"""

import torch
import torch.nn.functional as F
import wandb
from torch import nn


def sine_waves(n, length=24, seed=0):
    """Return n noisy waves (n, length, 1) of any phase and period, and what comes next, without noise (n, 1)."""
    generator = torch.Generator().manual_seed(seed)
    phase, period = torch.rand(n, 1, generator=generator), 6 + 18 * torch.rand(n, 1, generator=generator)
    waves = torch.sin(2 * torch.pi * (phase + torch.arange(length + 1) / period))
    noise = 0.1 * torch.randn(n, length, generator=generator)
    return (waves[:, :-1] + noise).unsqueeze(2), waves[:, -1:]


class Forecaster(nn.Module):
    def __init__(self, width, n_layer):
        super().__init__()
        self.lstm = nn.LSTM(1, width, n_layer, batch_first=True)
        self.head = nn.Linear(width, 1)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


def train(lr=0.01, width=16, n_layer=1, epochs=12, seed=0):
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(seed)
    (x, y), (x_val, y_val), (x_test, y_test) = (
        [part.to(device) for part in sine_waves(n, seed=split)] for split, n in enumerate((512, 256, 256))
    )
    model = Forecaster(width, n_layer).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)

    for epoch in range(epochs):
        train_loss = 0.0
        for batch in torch.randperm(len(x)).split(32):
            loss = F.mse_loss(model(x[batch]), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            train_loss += loss.item() * len(batch) / len(x)
        with torch.no_grad():
            val_loss = F.mse_loss(model(x_val), y_val).item()
            val_mae = F.l1_loss(model(x_val), y_val).item()
        print(f"epoch {epoch} train_loss {train_loss:.4f} val_loss {val_loss:.4f} val_mae {val_mae:.4f}")
        wandb.log({"train_loss": train_loss, "val_loss": val_loss, "val_mae": val_mae})

    with torch.no_grad():
        return {"test_mae": F.l1_loss(model(x_test), y_test).item()}


if __name__ == "__main__":
    for width in (8, 32):
        for lr in (0.003, 0.03):
            for seed in (0, 1):
                config = {"width": width, "lr": lr, "seed": seed}
                with wandb.init(project="lstm", config=config):
                    wandb.log(train(**config))
