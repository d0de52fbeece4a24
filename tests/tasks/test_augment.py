"""Augmentation against one image at a time in numpy: which crop, flip and square explains each image that came out?"""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from dlsweep.config.identity import check_setting
from dlsweep.errors import ConfigError
from dlsweep.tasks.classification.augmentation import augment, is_on, resized_crop

N, HEIGHT, WIDTH = 600, 5, 6


def images() -> torch.Tensor:
    return torch.rand(N, 2, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0)) + 1


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def crops(image: np.ndarray, padding: int) -> dict[tuple[int, int], np.ndarray]:
    padded = np.pad(image, ((0, 0), (padding, padding), (padding, padding)))
    offsets = itertools.product(range(2 * padding + 1), repeat=2)
    return {(top, left): padded[:, top : top + HEIGHT, left : left + WIDTH] for top, left in offsets}


def flips(image: np.ndarray) -> dict[bool, np.ndarray]:
    return {False: image, True: image[:, :, ::-1]}


def cut(image: np.ndarray, side: int, row: int, column: int) -> np.ndarray:
    image = image.copy()
    top, left = row - side // 2, column - side // 2
    image[:, max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)] = 0
    return image


def cuts(image: np.ndarray, side: int) -> dict[tuple[int, int], np.ndarray]:
    return {(r, c): cut(image, side, r, c) for r, c in itertools.product(range(HEIGHT), range(WIDTH))}


def only_match(candidates: dict[Any, np.ndarray], found: np.ndarray) -> Any:
    matching = [key for key, candidate in candidates.items() if np.array_equal(candidate, found)]
    assert len(matching) == 1
    return matching[0]


def is_uniform(draws: list[Any], n_possible: int) -> bool:
    counts = [draws.count(value) for value in set(draws)]
    return len(counts) == n_possible and bool(chisquare(counts).pvalue > 0.01)


def test_resized_crop():
    """Images whose values are their places show which part is left: its area, its aspect ratio, where it is."""
    n, height, width, least = 4000, 60, 90, 0.3
    rows = (torch.arange(height) + 0.5).view(-1, 1).expand(height, width)
    columns = (torch.arange(width) + 0.5).expand(height, width)
    x = torch.stack([rows, columns]).expand(n, 2, height, width)
    out = augment(x, check_setting({"resized_crop": least}), generator())
    middle = height // 2, width // 2  # away from the border, where the outermost pixel goes on
    high = height * (out[:, 0, middle[0] + 9, 0] - out[:, 0, middle[0] - 9, 0]) / 18
    wide = width * (out[:, 1, 0, middle[1] + 9] - out[:, 1, 0, middle[1] - 9]) / 18
    area, ratio = high * wide / (height * width), wide / high
    inside = (high < height - 1e-3) & (wide < width - 1e-3)
    assert 0.4 < inside.float().mean() < 1 and area.min() > 0.99 * 3 / 4 * least and area.max() < 1.001
    assert area[inside].min() > 0.999 * least and ratio[inside].min() > 0.749 and ratio[inside].max() < 1.334
    top, left = out[:, 0, 0, 0], out[:, 1, 0, 0]
    assert top.min() >= 0.5 and (top + high <= height + 1).all() and (left + wide <= width + 1).all()
    share = ((top - high / height / 2) / (height - high))[high < 0.9 * height]  # of the room that there is
    assert abs(share.mean() - 0.5) < 0.03 and share.std() > 0.25
    whole = resized_crop(images(), 1.0, generator())
    assert whole.shape == images().shape


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("padding", [1, 2])
def test_random_crop(padding: int, memory_format: torch.memory_format):
    x = images()
    out = augment(x.contiguous(memory_format=memory_format), check_setting({"random_crop": padding}), generator())
    found = [only_match(crops(a, padding), b) for a, b in zip(x.numpy(), out.numpy(), strict=True)]
    assert is_uniform(found, (2 * padding + 1) ** 2)
    assert torch.equal(x, images())


def test_horizontal_flip():
    x = images()
    out = augment(x, check_setting({"horizontal_flip": True}), generator())
    assert is_uniform([only_match(flips(a), b) for a, b in zip(x.numpy(), out.numpy(), strict=True)], 2)
    assert torch.equal(x, images())


@pytest.mark.parametrize("side", [1, 2, 3])
def test_cutout(side: int):
    x = images()
    out = augment(x, check_setting({"cutout": side}), generator())
    found = [only_match(cuts(a, side), b) for a, b in zip(x.numpy(), out.numpy(), strict=True)]
    assert is_uniform(found, HEIGHT * WIDTH)
    assert torch.equal(x, images())


def test_all_three_in_this_order():
    x = images()[:40]
    out = augment(x, check_setting({"random_crop": 1, "horizontal_flip": True, "cutout": 2}), generator())
    for a, b in zip(x.numpy(), out.numpy(), strict=True):
        assert any(
            np.array_equal(third, b)
            for first in crops(a, 1).values()
            for second in flips(first).values()
            for third in cuts(second, 2).values()
        )


def test_the_generator_decides():
    setting = check_setting({"random_crop": 2, "horizontal_flip": True, "cutout": 2})
    first, again, other = (augment(images(), setting, generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    augment(images(), setting, generator())
    assert torch.equal(torch.get_rng_state(), before)  # dropout draws from there


def test_what_cannot_be_augmented():
    assert not is_on(check_setting({}), (64,))
    with pytest.raises(ConfigError, match="horizontal_flip: needs images, but the data are vectors of 64 values"):
        is_on(check_setting({"horizontal_flip": True}), (64,))
    assert is_on(check_setting({"cutout": 8}), (1, 8, 9))
    with pytest.raises(ConfigError, match=r"cutout: 9 .* 8x9 pixels; allowed: at most 8"):
        is_on(check_setting({"cutout": 9}), (1, 8, 9))
