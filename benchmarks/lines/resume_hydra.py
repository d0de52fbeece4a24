"""Hydra: python resume_hydra.py -m width=8,32 lr=0.003,0.03 seed=0,1 (with hydra_resume.yaml)"""

import json
from pathlib import Path

import hydra
import torch
import torch.nn.functional as F
from hydra.core.hydra_config import HydraConfig
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

    curves = []
    kept, first = Path(HydraConfig.get().runtime.output_dir, "checkpoint.pt"), 0
    if kept.exists():
        state = torch.load(kept)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["rng"])
        first, curves = state["epoch"], state["curves"]
    for epoch in range(first, epochs):
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
        curves.append({"train_loss": train_loss, "val_loss": val_loss, "val_mae": val_mae})
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "rng": torch.get_rng_state()}
        torch.save({**state, "epoch": epoch + 1, "curves": curves}, kept.with_suffix(".new"))
        kept.with_suffix(".new").replace(kept)

    with torch.no_grad():
        return {"curves": curves, "test_mae": F.l1_loss(model(x_test), y_test).item()}


@hydra.main(version_base=None, config_path=".", config_name="hydra_resume")
def main(config):
    done = Path(HydraConfig.get().runtime.output_dir, "result.json")
    if not done.exists():
        done.write_text(json.dumps(train(**config)))


if __name__ == "__main__":
    main()
