"""How far the aggregated posterior q(z) lies from the prior: by kernels, by projections, by a critic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from morphospace.model import Trace
from morphospace.terms.critics import Critic, mlp

__all__ = ["Mmd", "PriorCritic", "SlicedWasserstein", "mmd", "sliced_wasserstein"]

SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Of the kernels that are added up, as parts of the distance that is to be expected between draws of the prior:
those of the code that Tolstikhin et al. (2018), arXiv:1711.01558, published."""

Kernel = Literal["imq", "rbf"]


def mmd(
    a: Float[Tensor, "A D"],
    b: Float[Tensor, "B D"],
    kernel: Kernel = "imq",
    scales: tuple[float, ...] = SCALES,
) -> Float[Tensor, ""]:
    """MMD² between the laws of two sets of draws, without bias: its mean is nought where the laws are the same.

    Gretton et al. (2012), JMLR 13, eq. 3: E k(a, a′) + E k(b, b′) − 2·E k(a, b), no point being paired with itself. The
    kernels are the inverse multiquadratic c / (c + d²) and the Gaussian exp(−d²/c), with c = 2·D·scale: 2·D is the mean
    squared distance between two draws of a standard normal. Kernels of several scales are added.
    """
    within = (_kernels(x, x, kernel, scales) for x in (a, b))
    means = [(k.sum() - k.diagonal().sum()) / max(1, len(k) * (len(k) - 1)) for k in within]
    return means[0] + means[1] - 2 * _kernels(a, b, kernel, scales).mean()


def _kernels(a: Tensor, b: Tensor, kernel: Kernel, scales: tuple[float, ...]) -> Float[Tensor, "A B"]:
    # From the products, which is one matrix product: differences (A, B, D) would be D times as large.
    squares = a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T
    distance = squares.clamp_min(0)
    widths = [2 * a.shape[1] * scale for scale in scales]
    parts = [c / (c + distance) if kernel == "imq" else (-distance / c).exp() for c in widths]
    return torch.stack(parts).sum(0)


@dataclass(frozen=True)
class Mmd:
    """MMD² between draws of q(z) and as many of the prior; see `mmd`. It has no unit.

    Tolstikhin et al. (2018), arXiv:1711.01558, algorithm 2.
    """

    kernel: Kernel = "imq"
    pools = True

    def __call__(self, trace: Trace) -> Float[Tensor, ""]:
        return mmd(*pair(trace), self.kernel)


def sliced_wasserstein(
    a: Float[Tensor, "B D"], b: Float[Tensor, "B D"], directions: Float[Tensor, "D L"]
) -> Float[Tensor, ""]:
    """Mean over directions of the squared 2-Wasserstein distance between the projections of two sets of draws.

    On a line the best pairing is by rank (Kolouri et al. 2019, arXiv:1804.01947, eq. 11).
    """
    projected = [(x @ directions).sort(0).values for x in (a, b)]
    return (projected[0] - projected[1]).square().mean()


@dataclass(frozen=True)
class SlicedWasserstein:
    """The sliced 2-Wasserstein distance, squared, of draws of q(z) from as many of the prior, along fresh directions.

    For a finite batch it is greater than nought even where the laws agree, by about the batch's own noise.
    """

    directions: int = 50
    pools = True

    def __call__(self, trace: Trace) -> Float[Tensor, ""]:
        a, b = pair(trace)
        return sliced_wasserstein(
            a, b, F.normalize(torch.randn_like(a[:1].T.expand(-1, self.directions)), dim=0)
        )


class PriorCritic(Critic):
    """A critic that tells draws of the prior from draws of q(z); the encoder learns to make it err.

    The model's loss is −log of the probability that its draws are the prior's, which does not go flat where the critic
    is sure (Goodfellow et al. 2014, arXiv:1406.2661, section 3), as in Makhzani et al. (2016), arXiv:1511.05644, and
    Tolstikhin et al. (2018), arXiv:1711.01558, algorithm 1.
    """

    def __init__(self, latent: int) -> None:
        super().__init__(mlp(latent))

    def pair(self, trace: Trace) -> tuple[Tensor, Tensor]:
        draws, prior = pair(trace)
        return prior, draws

    def forward(self, trace: Trace) -> Float[Tensor, ""]:
        """−log of the critic's belief that the draws are the prior's, nats; ln 2 where it cannot tell."""
        return F.softplus(-self.log_ratio(trace.z[0])).mean()


def pair(trace: Trace) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B D"]]:
    """One draw of q(z) for each image, and as many draws of the prior."""
    return trace.z[0], trace.pz.rsample(torch.Size((len(trace.x),)))
