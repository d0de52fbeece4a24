"""Augmentation on the device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def is_on(setting: Mapping[str, Any]) -> bool:
    """Say whether the setting augments at all."""
    return bool(setting["random_crop"] or setting["horizontal_flip"] or setting["cutout"])


def augment(x: Tensor, setting: Mapping[str, Any], generator: torch.Generator) -> Tensor:
    """Return the batch (N, C, H, W) with crop, flip and cutout, drawn for each image by itself."""
    n, _, height, width = x.shape
    rows = torch.arange(height, device=x.device).view(1, 1, -1, 1)
    columns = torch.arange(width, device=x.device).view(1, 1, 1, -1)

    def draw(high: int) -> Tensor:
        return torch.randint(high, (n, 1, 1, 1), generator=generator, device=x.device)

    padding = setting["random_crop"]
    if padding:
        padded = F.pad(x, (padding,) * 4)
        top, left = draw(2 * padding + 1), draw(2 * padding + 1)
        index = ((top + rows) * padded.shape[3] + left + columns).expand(-1, x.shape[1], -1, -1)
        x = padded.flatten(2).gather(2, index.flatten(2)).view_as(x)
    if setting["horizontal_flip"]:
        x = torch.where(draw(2).bool(), x.flip(3), x)
    if setting["cutout"]:
        side = setting["cutout"]
        top, left = draw(height) - side // 2, draw(width) - side // 2
        inside = (rows >= top) & (rows < top + side) & (columns >= left) & (columns < left + side)
        x = x.masked_fill(inside, 0.0)
    return x
