"""A graph network on made-up molecules: how polar are they? python examples/graphs/plain.py"""

import torch
import torch.nn.functional as F
from torch import nn

N_ATOMS, N_KINDS = 12, 3


def molecules(n, seed):
    """Return n molecules: their atoms (n, 12, 3), one of three kinds each; their bonds (n, 12, 12), a tree with a few
    rings; and their polarity (n, 1): how unlike the two atoms of a bond are, on average."""
    generator = torch.Generator().manual_seed(seed)
    kinds = torch.randint(N_KINDS, (n, N_ATOMS), generator=generator)
    bonds = torch.zeros(n, N_ATOMS, N_ATOMS)
    for atom in range(1, N_ATOMS):
        earlier = torch.randint(atom, (n,), generator=generator)
        bonds[torch.arange(n), atom, earlier] = 1
    for _ in range(3):
        a, b = torch.randint(N_ATOMS, (2, n), generator=generator)
        bonds[torch.arange(n), a, b] = (a != b).float()
    bonds = torch.maximum(bonds, bonds.transpose(1, 2))
    unlike = (kinds.unsqueeze(1) - kinds.unsqueeze(2)).abs() / (N_KINDS - 1)
    polarity = (bonds * unlike).sum((1, 2)) / bonds.sum((1, 2))
    return F.one_hot(kinds, N_KINDS).float(), bonds, polarity.unsqueeze(1)


class GraphNetwork(nn.Module):
    """Every atom adds up the messages of its neighbours, n_layer times; the molecule is the mean of its atoms."""

    def __init__(self, width, n_layer):
        super().__init__()
        self.first = nn.Linear(N_KINDS, width)
        self.own = nn.ModuleList(nn.Linear(width, width) for _ in range(n_layer))
        self.message = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(n_layer))
        self.head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))

    def forward(self, atoms, bonds):
        atoms = self.first(atoms)
        for own, message in zip(self.own, self.message, strict=True):
            atoms = atoms + torch.relu(own(atoms) + bonds @ message(atoms))
        return self.head(atoms.mean(1))


def train(n_layer=2, width=32, lr=0.01, epochs=12, seed=0):
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(seed)
    known, val, test = ([part.to(device) for part in molecules(n, split)] for split, n in enumerate((600, 200, 200)))
    model = GraphNetwork(width, n_layer).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)

    for epoch in range(epochs):
        train_mae = 0.0
        for batch in torch.randperm(len(known[0])).split(32):
            atoms, bonds, polarity = (part[batch] for part in known)
            loss = F.l1_loss(model(atoms, bonds), polarity)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            train_mae += loss.item() * len(batch) / len(known[0])
        schedule.step()
        with torch.no_grad():
            val_mae = F.l1_loss(model(*val[:2]), val[2]).item()
        print(f"epoch {epoch} train_mae {train_mae:.4f} val_mae {val_mae:.4f}")

    with torch.no_grad():
        return {"test_mae": F.l1_loss(model(*test[:2]), test[2]).item()}


if __name__ == "__main__":
    for n_layer in (0, 1, 3):
        print(f"n_layer={n_layer}: {train(n_layer=n_layer)}")
