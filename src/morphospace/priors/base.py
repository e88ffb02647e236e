"""What every prior is, and the standard one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from morphospace.distributions import Alphabet, Distribution, normal
from morphospace.types import UsageError

__all__ = ["Encode", "Prior", "PriorOfClass", "StandardNormal", "alphabet_of"]

Encode = Callable[[Tensor], Distribution]
"""Images (B, C, H, W) -> q(z given x): what a prior made of encoded images needs."""


class Prior(nn.Module):
    """``forward(encode)`` gives p(z); priors made of encoded images need no exception, the others ignore it.

    Attributes:
        classes: how many classes it is told of, or 0. If any, ``forward(encode, labels)`` gives p(z given y) of each
            label, and without labels p(z), the mean over classes.
    """

    classes: int = 0

    def forward(self, encode: Encode) -> Distribution:
        raise NotImplementedError


class PriorOfClass(Prior):
    """A prior that is told of classes, for one class."""

    def __init__(self, prior: Prior, label: int) -> None:
        super().__init__()
        self.prior, self.label = prior, label

    def forward(self, encode: Encode) -> Distribution:
        found: Distribution = self.prior(encode, torch.tensor(self.label))
        return found


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
