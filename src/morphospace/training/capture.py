"""A training step as one CUDA graph: captured once, then repeated without Python or the driver between its kernels."""

from __future__ import annotations

from collections.abc import Callable

import torch

__all__ = ["Captured"]


class Captured:
    """Calls ``work`` a few times as it is, then captures it, and from then on repeats what was captured.

    ``work`` may read nothing back from the device, and what it reads and writes must keep its place in memory. Its
    random numbers follow torch's generator: seeded before each call, a repeated step draws what a plain one would.

    Args:
        work: the step.
        plain: calls before the capture: libraries choose their kernels, and optimizers make their state.
    """

    def __init__(self, work: Callable[[], None], plain: int = 3) -> None:
        self.work, self.plain = work, plain
        self._graph: torch.cuda.CUDAGraph | None = None
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]

    def __call__(self) -> None:
        if self._graph is not None:
            self._graph.replay()
        elif self.plain > 0:
            self.plain -= 1
            # Beside the main stream, as the capture will be, so that both use the same workspaces.
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                self.work()
            torch.cuda.current_stream().wait_stream(self._stream)
        else:
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph, stream=self._stream):
                self.work()
            self._graph.replay()  # capturing only writes down what is to be done
