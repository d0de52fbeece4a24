"""Augmentation of training images, a whole batch at a time on its device.

Pixels from outside the image and cut-out pixels become 0, which is the mean of the training images, since the
images are normalised. Each image has its own draws.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from dlsweep.config.identity import Setting
from dlsweep.config.registry import AUGMENTATION
from dlsweep.errors import ConfigError


def described(in_shape: tuple[int, ...]) -> str:
    """Return what data of this shape are, where they are no images."""
    if len(in_shape) == 2:
        return f"time series of {in_shape[0]} channels and {in_shape[1]} steps"
    return f"vectors of {math.prod(in_shape)} values"


def is_on(setting: Setting, in_shape: tuple[int, ...]) -> bool:
    """Say whether the setting augments at all. Raises ConfigError where data of this shape cannot be augmented so."""
    keys = [key for key in AUGMENTATION if setting[key]]
    if keys and len(in_shape) != 3:
        raise ConfigError(f"{keys[0]}: needs images, but the data are {described(in_shape)}")
    if keys and setting["cutout"] > min(in_shape[1:]):
        raise ConfigError(
            f"cutout: {setting['cutout']} is not allowed for images of {in_shape[1]}x{in_shape[2]} pixels;"
            f" allowed: at most {min(in_shape[1:])}"
        )
    return bool(keys)


def augment(x: Tensor, setting: Setting, generator: torch.Generator) -> Tensor:
    """Return the batch (N, C, H, W) after resized crop, random crop, horizontal flip and cutout, those that are on.

    `random_crop` cuts H x W pixels out of the image padded by so many pixels on each side, and `horizontal_flip` flips
    half of the images (both He et al. 2015, section 4.2); `cutout` clears a square of this side around a random pixel,
    as much of it as lies inside the image (DeVries & Taylor 2017).
    """
    n, channels, height, width = x.shape
    rows = torch.arange(height, device=x.device).view(1, 1, -1, 1)
    columns = torch.arange(width, device=x.device).view(1, 1, 1, -1)

    def draw(high: int) -> Tensor:
        return torch.randint(high, (n, 1, 1, 1), generator=generator, device=x.device)

    if setting["resized_crop"]:
        x = resized_crop(x, setting["resized_crop"], generator)
    padding = setting["random_crop"]
    if padding:
        padded = F.pad(x, (padding,) * 4)
        top, left = draw(2 * padding + 1), draw(2 * padding + 1)
        index = ((top + rows) * padded.shape[3] + left + columns).expand(-1, channels, -1, -1)
        x = padded.flatten(2).gather(2, index.flatten(2)).view_as(x)
    if setting["horizontal_flip"]:
        x = torch.where(draw(2).bool(), x.flip(3), x)
    side = setting["cutout"]
    if side:
        top, left = draw(height) - side // 2, draw(width) - side // 2
        inside = (rows >= top) & (rows < top + side) & (columns >= left) & (columns < left + side)
        x = x.masked_fill(inside, 0.0)
    return x


def resized_crop(x: Tensor, least: float, generator: torch.Generator) -> Tensor:
    """Return a part of each image (N, C, H, W), resized to its size (Szegedy et al. 2014, Going deeper, section 6).

    It has from `least` to all of the area and an aspect ratio from 3/4 to 4/3, as far as the image is as wide and high;
    bilinear, at places between pixels too.
    """
    n, _, height, width = x.shape

    def draw(low: float, high: float) -> Tensor:
        return torch.empty(n, device=x.device).uniform_(low, high, generator=generator)

    area, ratio = draw(least, 1.0), draw(math.log(3 / 4), math.log(4 / 3)).exp() * (height / width)
    wide, high = (area * ratio).sqrt().clamp(max=1.0), (area / ratio).sqrt().clamp(max=1.0)  # shares of the sides
    zero = torch.zeros_like(wide)
    across = torch.stack([wide, zero, draw(-1.0, 1.0) * (1 - wide)], 1)
    down = torch.stack([zero, high, draw(-1.0, 1.0) * (1 - high)], 1)
    places = F.affine_grid(torch.stack([across, down], 1), list(x.shape), align_corners=False)
    return F.grid_sample(x, places, mode="bilinear", padding_mode="border", align_corners=False)
