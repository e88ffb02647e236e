"""Optimizers: AdamW and Adam are torch's; Muon trains the hidden matrices."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from morphospace.settings import Settings

__all__ = ["Muon", "make_optimizers", "orthogonalized", "set_rate"]

LEAST_SIDE = 64
"""Muon takes matrices with both sides at least this long: a matrix to or from the latents is not a hidden one."""


class Muon(torch.optim.Optimizer):
    """Momentum whose matrix is made orthogonal before it is applied.

    Jordan et al. (2024), Muon, kellerjordan.github.io/posts/muon.

    The update is scaled by 0.2·√max(rows, columns), so that its entries are about as large as AdamW's and learning
    rates are of one kind (Liu et al. 2025, arXiv:2502.16982, eq. 4). Matrices of one shape share their products.

    Args:
        params: matrices.
        lr: learning rate; a tensor, where a captured step is to read it anew each time.
        momentum: decay of the running mean of gradients, applied with Nesterov's look ahead.
        weight_decay: decoupled weight decay.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float | Tensor,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]  # noqa: ARG002
        for group in self.param_groups:
            alike: dict[torch.Size, list[nn.Parameter]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    alike.setdefault(p.shape, []).append(p)
            for shape, matrices in alike.items():
                updates = orthogonalized(
                    torch.stack([self._momentum(p, group["momentum"]) for p in matrices])
                )
                updates = updates * (0.2 * math.sqrt(max(shape)) * group["lr"])
                for p, update in zip(matrices, updates, strict=True):
                    p.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update)

    def _momentum(self, p: nn.Parameter, decay: float) -> Tensor:
        assert p.grad is not None
        state: dict[str, Any] = self.state[p]
        if not state:
            state["momentum"] = torch.zeros_like(p)
        mean: Tensor = state["momentum"].lerp_(p.grad, 1 - decay)
        return p.grad.lerp(mean, decay)


def orthogonalized(matrices: Tensor, iterations: int = 5) -> Tensor:
    """Each matrix of a stack (N, rows, columns) with its singular values brought near one.

    Newton–Schulz with the quintic coefficients of Jordan et al. (2024), which lead into about 0.7 to 1.2.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT.contiguous() if tall else matrices
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-12)
    for _ in range(iterations):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=-4.7750, alpha=2.0315), x, beta=3.4445)
    return x.mT if tall else x


def make_optimizers(
    parameters: Iterable[nn.Parameter], settings: Settings, tables: Iterable[nn.Parameter] = ()
) -> dict[str, torch.optim.Optimizer]:
    """The optimizers of a model by name: one of torch's, and Muon for hidden matrices if the settings say so.

    Weight decay acts on matrices and kernels and not on biases and scales, nor on ``tables``, those of the parameters
    that are no layer's weights though they have two dimensions or more: means of a prior's components, pseudo-inputs,
    codes. Each group keeps its highest learning rate as ``peak``.
    """
    listed = {id(p) for p in tables}
    every = [p for p in parameters if p.requires_grad]
    # A step that a GPU has captured reads its rate from where it was: so there the rate is a tensor.
    captured = any(p.is_cuda for p in every)
    hidden: list[nn.Parameter] = []
    if settings.optimizer == "muon":
        hidden = [p for p in every if p.dim() == 2 and min(p.shape) >= LEAST_SIDE and id(p) not in listed]
    taken = {id(p) for p in hidden}
    rest = [p for p in every if id(p) not in taken]
    groups = [
        {"params": [p for p in rest if _decays(p, listed)], "weight_decay": settings.weight_decay},
        {"params": [p for p in rest if not _decays(p, listed)], "weight_decay": 0.0},
    ]
    kind = torch.optim.Adam if settings.optimizer == "adam" else torch.optim.AdamW
    groups = [group for group in groups if group["params"]]
    optimizers: dict[str, torch.optim.Optimizer] = {
        "rest": kind(
            groups, lr=settings.lr, betas=settings.betas, eps=settings.eps, fused=True, capturable=captured
        )
    }
    if hidden:
        optimizers["hidden"] = Muon(hidden, settings.matrix_lr, weight_decay=settings.weight_decay)
    for optimizer in optimizers.values():
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
            if captured:
                group["lr"] = torch.tensor(group["peak"], device=group["params"][0].device)
    return optimizers


def _decays(p: nn.Parameter, tables: set[int]) -> bool:
    return p.dim() > 1 and id(p) not in tables


def set_rate(group: dict[str, Any], rate: float) -> None:
    """The learning rate of an optimizer's group from now on."""
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate
