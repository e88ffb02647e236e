"""What every prior is, and the standard one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from morphospace.distributions import Alphabet, Distribution, normal
from morphospace.types import UsageError

__all__ = ["Encode", "Prior", "StandardNormal", "alphabet_of"]

Encode = Callable[[Tensor], Distribution]
"""Images (B, C, H, W) -> q(z given x): what a prior made of encoded images needs."""


class Prior(nn.Module):
    """``forward(encode)`` gives p(z); priors made of encoded images need no exception, the others ignore it."""

    def forward(self, encode: Encode) -> Distribution:
        raise NotImplementedError


class StandardNormal(Prior):
    """N(0, I) in ``latent`` dimensions."""

    zero: Tensor
    one: Tensor

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.register_buffer("zero", torch.zeros(latent), persistent=False)
        self.register_buffer("one", torch.ones(latent), persistent=False)

    def forward(self, encode: Encode) -> Distribution:  # noqa: ARG002
        return normal(self.zero, self.one)


def alphabet_of(encode: Encode) -> Alphabet:
    """The alphabet that an encoder writes images in: a prior over symbols needs to know what they stand for.

    Raises:
        UsageError: if the encoder does not quantise.
    """
    family = getattr(encode, "family", None)
    if not isinstance(family, Alphabet):
        raise UsageError(
            f"a prior over codes needs an encoder that puts out codes; this one puts out {type(family).__name__}. Use "
            "a recipe that quantises, such as 'vq'"
        )
    return family
