"""Invertible maps by zuko, the extra `flows`: networks that put one out."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from morphospace.distributions.flows import Map
from morphospace.types import MissingExtra, UnknownName

__all__ = ["Flow", "make_flow"]

BINS = 8
"""Bins of a spline on [−5, 5], outside of which it is the identity: zuko's own default."""
HIDDEN = (64, 64)
"""Widths of the network behind a map: zuko's own default."""


class Flow(nn.Module):
    """Context, or None -> an invertible map from the base to the latent space.

    Each map in the row is masked autoregressive (Germain et al. 2015's MADE). One direction of it is a single pass and
    the other takes D: ``fast`` says which is the single one.
    """

    def __init__(self, maps: list[nn.Module], fast: Literal["draw", "density"]) -> None:
        super().__init__()
        self.maps, self.fast = nn.ModuleList(maps), fast

    def forward(self, context: Tensor | None = None) -> Map:
        maps = [one(context) for one in self.maps]
        return _Row(maps) if self.fast == "draw" else _Row(maps).inv


class _Row:
    """Maps one after the other."""

    def __init__(self, maps: list[Any]) -> None:
        self.maps = maps

    @property
    def inv(self) -> _Row:
        return _Row([one.inv for one in reversed(self.maps)])

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        total = x.new_zeros(())
        for one in self.maps:
            x, log_det = one.call_and_ladj(x)
            total = total + log_det
        return x, total


def make_flow(
    latent: int,
    context: int,
    kind: str,
    transforms: int,
    fast: Literal["draw", "density"] = "draw",
) -> Flow:
    """A flow over ``latent`` numbers that depends on ``context`` more (0 for none).

    Args:
        latent: D.
        context: how many numbers it is told.
        kind: "iaf" or "maf", affine maps (the two differ in which direction is ``fast``); "spline", rational-quadratic.
        transforms: maps in a row.
        fast: "draw" for a posterior, which is asked about its own draws; "density" for a prior.

    Raises:
        MissingExtra: without zuko.
        UnknownName: for another kind.
    """
    try:
        from zuko.flows import MaskedAutoregressiveTransform
        from zuko.transforms import MonotonicRQSTransform
    except ImportError:
        raise MissingExtra("zuko", "flows", f"a flow ('{kind}')") from None
    if kind == "spline":
        univariate = {"univariate": MonotonicRQSTransform, "shapes": ((BINS,), (BINS,), (BINS - 1,))}
    elif kind in ("iaf", "maf"):
        univariate = {}
    else:
        raise UnknownName("flow", kind, ("iaf", "maf", "spline"))
    # Masks are made by counting, which recipes on paper (without memory) cannot do.
    with torch.device("cpu"):
        order = torch.arange(latent)
        maps = [
            MaskedAutoregressiveTransform(
                latent,
                context,
                order=order if i % 2 == 0 else order.flip(0),
                hidden_features=HIDDEN,
                **univariate,
            )
            for i in range(transforms)
        ]
        for one in (
            maps
        ):  # zuko's one-dimensional map without context starts from noise, the others near the identity
            for parameter in getattr(one, "phi", ()):
                nn.init.zeros_(parameter)
    return Flow(maps, fast)
