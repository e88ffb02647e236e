"""Every random number is a function of a seed and of where it is used; no generator is left in some state."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["generator", "seed_of", "seeded"]


def seed_of(seed: int, *path: str | int) -> int:
    """A 63-bit seed for one place: ``seed_of(0, "noise", step)``. Different paths give unrelated streams."""
    text = repr((int(seed), *path)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1


def generator(seed: int, *path: str | int) -> torch.Generator:
    """A CPU generator for one place."""
    return torch.Generator().manual_seed(seed_of(seed, *path))


@contextmanager
def seeded(seed: int, *path: str | int) -> Iterator[None]:
    """Inside the block torch's own generators start from ``seed_of(seed, *path)``; afterwards they are as before."""
    with torch.random.fork_rng():
        torch.manual_seed(seed_of(seed, *path))
        yield
