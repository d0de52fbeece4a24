"""Seeds of random streams."""

from __future__ import annotations

import hashlib


def derive_seed(seed: object, stream: str, epoch: int = 0) -> int:
    """Return the 63-bit seed of one random stream in one epoch."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{stream}/{epoch}".encode()).digest()[:8], "big") >> 1
