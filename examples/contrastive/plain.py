"""Digits without labels, by a contrastive loss (SimCLR, Chen et al. 2020): python examples/contrastive/plain.py"""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn


def splits(device):
    """Return images (N, 64) between 0 and 1 and their labels (N,), for training, validation and test."""
    images, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    x = torch.tensor(images / 16, dtype=torch.float32)[order].to(device)
    y = torch.tensor(labels)[order].to(device)
    return (x[:1200], y[:1200]), (x[1200:1500], y[1200:1500]), (x[1500:], y[1500:])


def augment(x):
    """Return one more view of each image: shifted by a pixel at most, with noise."""
    shift = torch.randint(-1, 2, (2,)).tolist()
    return (x.view(-1, 8, 8).roll(shift, (1, 2)).flatten(1) + 0.2 * torch.randn_like(x)).clamp(0, 1)


def contrastive_loss(a, b, temperature):
    """Return NT-Xent: each of the 2N views (N, D), (N, D) must find its partner among the others."""
    z = F.normalize(torch.cat([a, b]), dim=1)
    similarity = (z @ z.T / temperature).fill_diagonal_(-torch.inf)
    return F.cross_entropy(similarity, torch.arange(len(z), device=z.device).roll(len(a)))


def nearest_neighbour(model, known, asked):
    """Return the share of images whose nearest neighbour in the learned space shows the same digit."""
    with torch.no_grad():
        spaces = [F.normalize(model(x), dim=1) for x in (asked[0], known[0])]
    return (known[1][(spaces[0] @ spaces[1].T).argmax(1)] == asked[1]).float().mean().item()


def train(temperature=0.2, dim=16, lr=0.003, epochs=10, seed=0):
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(seed)
    known, val, test = splits(device)
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, dim)).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)

    for epoch in range(epochs):
        losses = []
        for batch in torch.randperm(len(known[0])).split(128):
            x = known[0][batch]
            loss = contrastive_loss(model(augment(x)), model(augment(x)), temperature)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        train_nt_xent = sum(losses) / len(losses)
        val_knn = nearest_neighbour(model, known, val)
        print(f"epoch {epoch} train_nt_xent {train_nt_xent:.4f} val_knn {val_knn:.4f}")

    return {"test_knn": nearest_neighbour(model, known, test)}


if __name__ == "__main__":
    for temperature in (0.05, 0.2, 1.0):
        print(f"temperature={temperature}: {train(temperature=temperature)}")
