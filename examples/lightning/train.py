"""A PyTorch Lightning module and its Trainer: see lightning.yaml"""

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


class Sweep(pl.Callback):
    """Makes each epoch of the Trainer one of the run: it is logged, saved where it is time, and gone on from."""

    def __init__(self, run):
        self.run = run

    def on_train_start(self, trainer, module):
        optimizers = {f"optimizer{i}": optimizer for i, optimizer in enumerate(trainer.optimizers)}
        schedules = {f"schedule{i}": config.scheduler for i, config in enumerate(trainer.lr_scheduler_configs)}
        self.run.restore(module=module, **optimizers, **schedules)
        self.epochs = iter(self.run.epochs(trainer.max_epochs))
        self.first = next(self.epochs, trainer.max_epochs)
        progress = trainer.fit_loop.epoch_progress.current
        progress.processed = progress.completed = self.first

    def on_train_epoch_start(self, trainer, module):
        if trainer.current_epoch > self.first:
            next(self.epochs)

    def on_train_epoch_end(self, trainer, module):
        self.run.log(**{name: value.item() for name, value in trainer.callback_metrics.items()})

    def on_train_end(self, trainer, module):
        next(self.epochs, None)


def train(run, *, width: int = 32, lr: float = 0.01, epochs: int = 8, seed: int = 0):
    pl.seed_everything(seed)
    model = Classifier(width, lr)
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu" if str(run.device) == "cpu" else "gpu",
        devices=1,
        callbacks=[Sweep(run)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(model, loader(500, 0, shuffle=True), loader(300, 1))
    return trainer.test(model, loader(300, 2), verbose=False)[0]
