"""The images of a split: as they are stored, shared by all runs of the machine, and normalised a batch at a time.

A prepared file is memory-mapped, so its pages are in memory once, however many runs read it. No run copies a split:
it keeps the numbers of the split's images in the file, and makes float32 of those that it needs next.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dlsweep.tasks.classification.mapped import read_scattered, read_soon
from dlsweep.tasks.free_memory import MB, free_memory

BLOCK_VALUES = 2**18  # normalised at once: 1 MB, which the cache of a core holds
SHARE_OF_FREE = 0.8  # of the memory: images that take more are read from the disk again and again
SPARE = 4  # a GPU holds the images where it has so many times their size free


@dataclass(frozen=True)
class Rows:
    """Some rows of a tensor, in this order, without a copy of them; all of them where `chosen` is None."""

    stored: Tensor
    chosen: Tensor | None = None

    def __len__(self) -> int:
        return len(self.stored if self.chosen is None else self.chosen)

    def __getitem__(self, which: slice | Tensor) -> Tensor:
        """Return rows of these, copied unless they lie side by side."""
        rows = which if self.chosen is None else self.chosen[which]
        # index_select copies whole rows: of uint8, indexing takes ten times as long
        return self.stored[rows] if isinstance(rows, slice) else self.stored.index_select(0, rows)

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape, as if it were a tensor."""
        return (len(self), *self.stored.shape[1:])

    @property
    def dtype(self) -> torch.dtype:
        """The type of what is stored."""
        return self.stored.dtype

    def blocks(self, size: int) -> Iterator[Tensor]:
        """Yield the rows, `size` at a time."""
        for start in range(0, len(self), size):
            yield self[start : start + size]


class Images:
    """The images (or vectors) of a split, which are float32 `(x - mean) / std` on the device when they are asked for.

    `mean` and `std` are per channel or feature; uint8 counts as [0, 1]. A GPU holds them as they are stored, where they
    fit; else each batch comes from the file.
    """

    def __init__(
        self, rows: Rows, mean: Tensor, std: Tensor, device: torch.device, memory: torch.memory_format
    ) -> None:
        shape = (1, -1) + (1,) * (len(rows.shape) - 2)
        self.mean, self.std, self.device = mean.to(device).view(shape), std.to(device).view(shape), device
        self.memory = memory if len(rows.shape) == 4 else torch.contiguous_format
        # Of images with one channel, the stride of that axis says which kernels convolutions take.
        self._stride = rows.stored[:2].float().contiguous(memory_format=self.memory).stride()
        self.rows = _held(rows, device) if device.type != "cpu" and _fits(rows, device) else rows
        self.n_values = rows.stored[0].numel()
        """Values of one image."""
        self._from_disk = self.rows is rows and not _fits_in_memory(rows.stored)
        if self._from_disk:
            read_scattered(rows.stored)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, which: slice | Tensor) -> Tensor:
        """Return some images, normalised, on the device."""
        rows = self.rows
        if isinstance(which, slice):
            which = torch.arange(len(rows))[which]
        if self.device.type != "cpu":
            which = which.to(rows.stored.device)
            return self._normalise(_to(rows[which], self.device).to(torch.float32, memory_format=self.memory))
        out = torch.empty_strided((len(which), *rows.shape[1:]), self._stride)
        size = max(BLOCK_VALUES // self.n_values, 1)
        for part, chosen in zip(out.split(size), which.split(size), strict=True):
            self._normalise(part.copy_(rows[chosen]))
        return out

    def expect(self, which: slice | Tensor) -> None:
        """Have images that are asked for next read from the disk, where the memory does not hold them all."""
        if self._from_disk:
            rows = torch.arange(len(self))[which] if isinstance(which, slice) else which.cpu()
            read_soon(self.rows.stored, (rows if self.rows.chosen is None else self.rows.chosen[rows]).tolist())

    def _normalise(self, x: Tensor) -> Tensor:
        """Normalise float32 images in place."""
        if self.rows.dtype == torch.uint8:
            x.div_(255)
        return x.sub_(self.mean).div_(self.std)

    def parts(self, size: int) -> Iterator[Tensor]:
        """Yield all images, normalised, `size` at a time."""
        for start in range(0, len(self), size):
            self.expect(slice(start + size, start + 2 * size))
            yield self[start : start + size]


def _fits_in_memory(stored: Tensor) -> bool:
    """Say whether the pages of a mapped file stay in memory, once they have been read."""
    free = free_memory()
    return free is None or stored.nbytes < SHARE_OF_FREE * free * MB


def _fits(rows: Rows, device: torch.device) -> bool:
    """Say whether a device has room for the images as they are stored, beside all that training needs."""
    if device.type != "cuda":
        return True  # of a Mac, whose GPU has the machine's memory
    free, _ = torch.cuda.mem_get_info(device)
    return SPARE * len(rows) * rows.stored[0].nbytes < free


def _held(rows: Rows, device: torch.device) -> Rows:
    """Return the rows on a device; this machine's memory holds a few of them at a time meanwhile."""
    there = torch.empty(rows.shape, dtype=rows.dtype, device=device)
    size = max(BLOCK_VALUES * 64 // rows.stored[0].numel(), 1)
    for part, block in zip(there.split(size), rows.blocks(size), strict=True):
        part.copy_(block)
    return Rows(there)


def _to(x: Tensor, device: torch.device) -> Tensor:
    """Return a batch on a GPU; one from the file is copied while the GPU is still at work on the one before."""
    from_file = device.type == "cuda" and x.device.type == "cpu"
    return x.pin_memory().to(device, non_blocking=True) if from_file else x.to(device)


def mean_std(x: Rows) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation per channel of (N, C, ...), or per feature of (N, D), as float32.

    uint8 counts as [0, 1]. Where all values are equal the standard deviation is given as 1, so that dividing by
    it is harmless: another value, in another split, keeps its distance. Summed in float64 by numpy, in one thread:
    torch's sums depend on the number of threads.
    """
    n = len(x) * (x.stored[0, 0].numel())
    total, squares = 0.0, 0.0
    for chunk in _chunks(x):
        total = total + chunk.sum((0, 2))
        squares = squares + (chunk * chunk).sum((0, 2))
    mean = torch.as_tensor(total / n)
    variance = torch.as_tensor(squares / n) - mean**2
    scale = 255.0 if x.dtype == torch.uint8 else 1.0
    doubtful = variance <= 1e-12 * mean**2  # the difference of two large numbers: constant, or far away from 0
    if doubtful.any():
        centre = mean.numpy()[:, None]
        exact = torch.as_tensor(sum(((chunk - centre) ** 2).sum((0, 2)) for chunk in _chunks(x)) / n)
        first = next(_chunks(x))[:1, :, :1]
        constant = torch.stack([torch.as_tensor((chunk == first).all((0, 2))) for chunk in _chunks(x)]).all(0)
        variance = torch.where(doubtful, exact, variance).masked_fill(constant, scale**2)
    return (mean / scale).float(), (variance.sqrt() / scale).float()


def _chunks(x: Rows) -> Iterator[Any]:
    """Yield the rows (N, C, values) as float64 arrays.

    Of uint8 as many as the cache holds: their sums are exact, however many at a time. The last bits of other sums
    depend on it: there it is a thousand rows, or as many as fit in 32 MB.
    """
    n_values = x.stored[0].numel()
    size = max(BLOCK_VALUES // n_values, 1) if x.dtype == torch.uint8 else max(min(1024, 2**22 // n_values), 1)
    for block in x.blocks(size):
        yield (block.flatten(2) if block.ndim > 2 else block.unsqueeze(2)).numpy().astype("float64")
