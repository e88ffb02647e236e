"""The device, its threads, and how memory is laid out for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import nn

from morphospace.types import UnknownName, UsageError

__all__ = ["channels_last", "fixed_threads", "forked_random", "pick_device", "synchronize"]

M = TypeVar("M", bound=nn.Module)

KINDS = ("auto", "cpu", "cuda", "mps")


def pick_device(name: str) -> str:
    """The device that a name stands for; ``auto`` takes CUDA, then MPS, then the CPU.

    Raises:
        UsageError: if the machine does not have it.
    """
    kind = name.split(":", 1)[0]
    if kind not in KINDS:
        raise UnknownName("device", name, KINDS)
    here = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if kind == "auto":
        return next(k for k in ("cuda", "mps", "cpu") if here[k])
    if not here[kind]:
        raise UsageError(f"the device '{name}' was asked for, but torch sees none here; use --device cpu")
    return name


def channels_last(module: M) -> M:
    """The module with its convolution kernels laid out channels last, which convolutions are fastest on."""
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return module


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was asked to, so that a clock may be read."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def forked_random(device: str) -> Iterator[None]:
    """Leave torch's generators, the device's included, as they were before the block."""
    devices = [torch.device(device).index or 0] if device.startswith("cuda") else []
    with torch.random.fork_rng(devices):
        yield


@contextmanager
def fixed_threads(count: int) -> Iterator[None]:
    """Run the block on ``count`` threads: sums over threads are part of a run's exactness."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
