"""A model of one's own, for examples/own_data.yaml. Any class that is called like this will do."""

import math

from torch import Tensor, nn


class ResidualMLP(nn.Module):
    """Blocks of two linear layers, each added to its input."""

    def __init__(self, in_shape: tuple[int, ...], n_classes: int, width: int = 64, n_block: int = 4) -> None:
        super().__init__()
        self.first = nn.Linear(math.prod(in_shape), width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
            for _ in range(n_block)
        )
        self.last = nn.Linear(width, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, D) vectors or (N, C, H, W) images to (N, n_classes) logits."""
        x = self.first(x.flatten(1))
        for block in self.blocks:
            x = x + block(x)
        return self.last(x)
