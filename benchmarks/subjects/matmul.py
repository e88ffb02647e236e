"""The machine's peak: large matrix products, nothing else."""

from __future__ import annotations

import time

import torch

from benchmarks.session import Line
from benchmarks.subjects.eager import flops_per_image

__all__ = ["PRECISIONS", "SIDES", "peak", "train"]

SIDES = (1024, 2048, 4096)
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def train(line: Line, seed: int = 0) -> None:
    """For each request the best rate of each precision, operations per second, over all sides."""
    torch.manual_seed(seed)
    line.send(threads=torch.get_num_threads(), flops_per_image=flops_per_image())
    while True:
        seconds = line.receive()["seconds"] / len(PRECISIONS) / len(SIDES)
        line.send(
            **{name: max(peak(side, kind, seconds) for side in SIDES) for name, kind in PRECISIONS.items()}
        )


@torch.inference_mode()
def peak(side: int, kind: torch.dtype, seconds: float) -> float:
    """The fastest of the products of two square matrices that fit into ``seconds``, and of two at least."""
    a, b = (torch.randn(side, side).to(kind) for _ in range(2))
    out = torch.empty(side, side, dtype=kind)
    torch.mm(a, b, out=out)
    best, begun, done = float("inf"), time.perf_counter(), 0
    while done < 2 or time.perf_counter() - begun < seconds:
        start = time.perf_counter()
        torch.mm(a, b, out=out)
        best = min(best, time.perf_counter() - start)
        done += 1
    return 2 * side**3 / best
