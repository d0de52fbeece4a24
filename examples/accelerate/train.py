"""A training loop with Hugging Face Accelerate: see accelerate.yaml"""

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.utils import set_seed
from sklearn.datasets import load_diabetes
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split


def loaders():
    """Return loaders of training, validation and test: 10 features, and how far the disease went, both scaled."""
    x, y = (torch.tensor(part, dtype=torch.float32) for part in load_diabetes(return_X_y=True))
    data = TensorDataset((x - x.mean(0)) / x.std(0), ((y - y.mean()) / y.std()).unsqueeze(1))
    parts = random_split(data, [282, 80, 80], torch.Generator().manual_seed(0))
    return [DataLoader(part, batch_size=32, shuffle=part is parts[0]) for part in parts]


def evaluate(model, loader):
    """Return the mean squared error and R2."""
    with torch.no_grad():
        said, true = (torch.cat(parts) for parts in zip(*((model(x), y) for x, y in loader), strict=True))
    mse = F.mse_loss(said, true)
    return mse.item(), (1 - mse / true.var(correction=0)).item()


def train(run, *, width: int = 32, dropout: float = 0.0, lr: float = 0.003, epochs: int = 15, seed: int = 0):
    set_seed(seed)
    accelerator = Accelerator(cpu=str(run.device) == "cpu")
    model = nn.Sequential(nn.Linear(10, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, total_iters=epochs * 9)
    model, optimizer, schedule, *parts = accelerator.prepare(model, optimizer, schedule, *loaders())
    train_loader, val_loader, test_loader = parts

    run.restore(model=model, optimizer=optimizer, schedule=schedule)
    for _ in run.epochs(epochs):
        model.train()
        losses = []
        for x, y in train_loader:
            loss = F.mse_loss(model(x), y)
            optimizer.zero_grad()
            accelerator.backward(loss)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        train_loss = sum(losses) / len(losses)
        model.eval()
        val_mse, val_r2 = evaluate(model, val_loader)
        run.log(train_loss=train_loss, val_mse=val_mse, val_r2=val_r2)

    test_mse, test_r2 = evaluate(model, test_loader)
    return {"test_mse": test_mse, "test_r2": test_r2}
