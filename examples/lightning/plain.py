"""A PyTorch Lightning module and its Trainer: python examples/lightning/plain.py"""

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from sklearn.datasets import make_moons
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def loader(n, split, shuffle=False):
    x, y = make_moons(n, noise=0.3, random_state=split)
    return DataLoader(TensorDataset(torch.tensor(x).float(), torch.tensor(y)), batch_size=32, shuffle=shuffle)


class Classifier(pl.LightningModule):
    def __init__(self, width, lr):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, width), nn.ReLU(), nn.Dropout(0.1), nn.Linear(width, 2))
        self.lr = lr

    def training_step(self, batch, _):
        loss = F.cross_entropy(self.net(batch[0]), batch[1])
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss

    def evaluate(self, batch, split):
        logits = self.net(batch[0])
        self.log(f"{split}_loss", F.cross_entropy(logits, batch[1]))
        self.log(f"{split}_acc", (logits.argmax(1) == batch[1]).float().mean())

    def validation_step(self, batch, _):
        self.evaluate(batch, "val")

    def test_step(self, batch, _):
        self.evaluate(batch, "test")

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=self.lr)
        return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)]


def train(width=32, lr=0.01, epochs=8, seed=0):
    pl.seed_everything(seed)
    model = Classifier(width, lr)
    trainer = pl.Trainer(
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(model, loader(500, 0, shuffle=True), loader(300, 1))
    return trainer.test(model, loader(300, 2), verbose=False)[0]


if __name__ == "__main__":
    for width in (4, 32):
        print(f"width={width}: {train(width=width)}")
