"""Points that fill a space evenly: Halton's sequence, scrambled. Loads neither NumPy nor SciPy.

The k-th point depends on the seed, the names of the dimensions and k alone, on every machine and in every version of
Python. So more points change none of those that there are.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence

from dlsweep.config.axes import fraction

PRECISION = 2.0**-53
"""Digits that change a number by less do not count."""


def points(names: Iterable[str], seed: int) -> Iterator[dict[str, float]]:
    """Yield points of the unit cube without end, each as a number in [0, 1) by name.

    The digits of each dimension are permuted at random, as Owen (2017, A randomized Halton algorithm in R) does it; the
    plain sequence has points on a line where there are many dimensions. Their bases are the primes, in the order of the
    names.
    """
    bases = dict(zip(sorted(names), _primes(), strict=False))
    permutations = {name: _permutations(base, f"{seed}/{name}") for name, base in bases.items()}
    k = 0
    while True:
        yield {name: radical_inverse(k, base, permutations[name]) for name, base in bases.items()}
        k += 1


def radical_inverse(k: int, base: int, permutations: Sequence[Sequence[int]]) -> float:
    """Return the number in [0, 1) whose digits after the point are those of `k`, the last one first, each permuted."""
    value, scale = 0.0, 1.0
    for permutation in permutations:
        k, digit = divmod(k, base)
        scale /= base
        value += permutation[digit] * scale
    return min(value, 1 - PRECISION)


@functools.cache
def _permutations(base: int, text: str) -> tuple[tuple[int, ...], ...]:
    """A permutation for each digit that counts, which follows from the text."""
    found: list[tuple[int, ...]] = []
    scale = 1.0
    while scale > PRECISION:
        scale /= base
        found.append(_shuffled(base, f"{text}/{len(found)}"))
    return tuple(found)


def _shuffled(n: int, text: str) -> tuple[int, ...]:
    """The numbers below `n` in an order that follows from the text (Fisher & Yates)."""
    found = list(range(n))
    for i in range(n - 1, 0, -1):
        j = int(fraction(f"{text}/{i}") * (i + 1))
        found[i], found[j] = found[j], found[i]
    return tuple(found)


def _primes() -> Iterator[int]:
    known: list[int] = []
    candidate = 2
    while True:
        if all(candidate % prime for prime in known):
            known.append(candidate)
            yield candidate
        candidate += 1
