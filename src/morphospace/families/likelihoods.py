"""Likelihoods: a decoder's parameters -> p(x given z), and what is done to the images so that it is their law.

Which images each is a law of, and which it may be asked about, in grey or in colour:

| family | law of | binary images | 8-bit images |
|---|---|---|---|
| `Bernoulli` | binary images | log p(x) | the mean over binary images drawn with these values: a cross-entropy |
| `ContinuousBernoulli` | [0, 1] | refused | a density |
| `Gaussian`, `Laplace` | the line | refused if σ is learned and they are not dequantised | a density |
| `OptimalGaussian`, `PixelGaussian` | the line | refused if they are not dequantised | a density |
| `LogisticMixture`, `LevelCategorical` | the 256 levels of an 8-bit pixel | log p(x) | log p(x) |
| `Masked` | the pixels that were observed | as that of all pixels | as that of all pixels |

Where a recipe leaves it open, `morphospace.recipes.common.usual_likelihood` chooses by the images' channels.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

import morphospace.distributions as d
from morphospace.distributions import Distribution
from morphospace.families.base import Likelihood, full

__all__ = [
    "Bernoulli",
    "ContinuousBernoulli",
    "Gaussian",
    "Laplace",
    "LevelCategorical",
    "LogisticMixture",
    "Masked",
    "OptimalGaussian",
    "PixelGaussian",
]

LEAST_LOG_SIGMA = -6.0
"""σ of e⁻⁶, six tenths of a grey level: the least that Rybkin et al. (2021)'s code admits."""


class Bernoulli(Likelihood):
    """(…, C, H, W) logits -> independent Bernoulli pixels.

    It is a law of binary images. Grey ones are taken as probabilities of binary ones: as they stand, which gives the
    mean over all binary images that they could become (see `image_bernoulli`); or drawn anew whenever they are seen.

    Args:
        binarise: whether images are drawn anew, each pixel 1 with its grey value as probability (dynamic binarisation;
            Salakhutdinov & Murray 2008, doi:10.1145/1390156.1390266). Binary images stay as they are.
    """

    support = "binary"

    def __init__(self, *, binarise: bool = False) -> None:
        super().__init__()
        self.binarise = binarise

    def data(self, x: Float[Tensor, "*batch C H W"]) -> Float[Tensor, "*batch C H W"]:
        return torch.bernoulli(x) if self.binarise else x

    def forward(self, h: Float[Tensor, "*batch C H W"]) -> Distribution:
        return d.image_bernoulli(full(h))


class ContinuousBernoulli(Likelihood):
    """(…, C, H, W) logits -> a density on [0, 1] for each pixel, the Bernoulli's with its constant."""

    support = "unit"

    def forward(self, h: Float[Tensor, "*batch C H W"]) -> Distribution:
        return d.ContinuousBernoulli(full(h))


class _Real(Likelihood):
    """A density of pixel values on the line.

    Args:
        squash: whether the means are the parameters' logistic function, so that they are pixel values, 0 to 1.
        dequantise: whether noise of one level's width is added to the images whenever they are seen, x ↦ (255·x +
            u)/256 with u uniform on [0, 1): the density's mean over it then bounds the log-probability of the 8-bit
            image from below, less log 256 for each value (Theis et al. 2016, arXiv:1511.01844, eq. 5).
    """

    support = "real"

    def __init__(self, *, squash: bool = False, dequantise: bool = False) -> None:
        super().__init__()
        self.squash, self.dequantise = squash, dequantise

    @property
    def unlimited(self) -> bool:
        return not self.dequantise

    def data(self, x: Float[Tensor, "*batch C H W"]) -> Float[Tensor, "*batch C H W"]:
        return (255 * x + torch.rand_like(x)) / 256 if self.dequantise else x

    def centre(self, h: Tensor) -> Tensor:
        return full(h).sigmoid() if self.squash else full(h)


class Gaussian(_Real):
    """(…, C, H, W) means -> independent normal pixels with one standard deviation σ, learned or fixed.

    The density keeps its full constant −½·log(2πσ²) for each pixel.

    Args:
        sigma: σ at the start, in units of pixel values (0 to 1).
        learned: whether σ is a parameter (Rybkin et al. 2021, arXiv:2006.13202).
        squash: whether the means are the parameters' logistic function, so that they are pixel values, 0 to 1.
        dequantise: whether the images get noise of one level's width.
    """

    def __init__(
        self, sigma: float = 1.0, *, learned: bool = True, squash: bool = False, dequantise: bool = False
    ) -> None:
        super().__init__(squash=squash, dequantise=dequantise)
        self.log_sigma = nn.Parameter(torch.tensor(math.log(sigma)), requires_grad=learned)
        self.learned = learned

    @property
    def unlimited(self) -> bool:
        return self.learned and super().unlimited

    def forward(self, h: Float[Tensor, "*batch C H W"]) -> Distribution:
        return d.image_normal(self.centre(h), self.log_sigma.exp())


class Laplace(Gaussian):
    """As `Gaussian`, with density e^(−|x − μ|/b) / 2b for each pixel: ``sigma`` is its standard deviation, √2·b.

    The best means are medians, so a few far pixels blur the picture less.
    """

    def forward(self, h: Float[Tensor, "*batch C H W"]) -> Distribution:
        return d.image_laplace(self.centre(h), self.log_sigma.exp() / math.sqrt(2))


class OptimalGaussian(_Real):
    """As `Gaussian` with the σ that is best for the batch in hand; a running mean of σ² serves once training is over.

    Source: Rybkin et al. 2021, arXiv:2006.13202, section 4.2. While it is trained, an image's density depends on its
    batch by way of σ; in ``eval()`` mode it does not.
    """

    variance: Tensor
    memory = 0.05
    """The part of the running mean that a step replaces: after a hundred, the σ = 1 of the start is forgotten."""

    def __init__(self, *, squash: bool = False, dequantise: bool = False) -> None:
        super().__init__(squash=squash, dequantise=dequantise)
        self.register_buffer("variance", torch.tensor(1.0))

    def forward(self, h: Float[Tensor, "*batch C H W"]) -> Distribution:
        if self.training:
            return d.OptimalNormal(self.centre(h), self.variance, self._note)
        return d.image_normal(self.centre(h), self.variance.sqrt())

    def _note(self, variance: Tensor) -> None:
        # Logarithms are averaged, so that the start's σ = 1 is forgotten as fast as any other.
        self.variance.copy_(
            self.variance.log().lerp(variance.log().to(self.variance.dtype), self.memory).exp()
        )


class PixelGaussian(_Real):
    """(…, 2C, H, W) means and log σ -> normal pixels, each with its own σ, held softly above e⁻⁶."""

    factor = 2

    def forward(self, h: Float[Tensor, "*batch P H W"]) -> Distribution:
        mean, log_sigma = full(h).chunk(2, dim=-3)
        return d.image_normal(
            self.centre(mean), torch.exp(LEAST_LOG_SIGMA + F.softplus(log_sigma - LEAST_LOG_SIGMA))
        )


class LogisticMixture(Likelihood):
    """(…, P, H, W) -> a mixture of logistics over the 256 levels of each pixel.

    P is M·(1 + 2C + C(C−1)/2), rounded upwards to a multiple of C: logits, means, log-scales and slopes.

    Args:
        channels: C, of the images.
        components: M. "A relatively small number of mixture components, say 5, is enough" (Salimans et al. 2017, §2.1).
    """

    support = "levels"
    bounds = -7.0, 3.0  # of the log-scale, the lower as in the paper's code, whose pixels are twice as wide

    def __init__(self, channels: int, components: int = 5) -> None:
        super().__init__()
        self.channels, self.components = channels, components
        each = 1 + 2 * channels + channels * (channels - 1) // 2
        self.factor = -(-components * each // channels)

    def forward(self, h: Float[Tensor, "*batch P H W"]) -> Distribution:
        m, c = self.components, self.channels
        sizes = m, m * c, m * c, m * c * (c - 1) // 2
        logits, loc, log_scale, slope = full(h)[..., : sum(sizes), :, :].split(sizes, dim=-3)  # type: ignore[no-untyped-call]
        loc, log_scale, slope = (
            part.unflatten(-3, (m, part.shape[-3] // m)) for part in (loc, log_scale, slope)
        )
        # Means begin spread over the grey values, so that components differ.
        start = torch.linspace(-2, 2, m, dtype=loc.dtype, device=loc.device).reshape(m, 1, 1, 1)
        return d.LogisticMixture(
            logits, (loc + start).sigmoid(), (log_scale - 2).clamp(*self.bounds), slope.tanh()
        )


class LevelCategorical(Likelihood):
    """(…, 256·C, H, W) logits -> a probability for every level of every pixel."""

    support = "levels"
    factor = 256

    def forward(self, h: Float[Tensor, "*batch P H W"]) -> Distribution:
        return d.LevelCategorical(full(h).unflatten(-3, (-1, 256)))  # type: ignore[no-untyped-call]


class Masked(Likelihood):
    """Another likelihood, of the pixels that were observed alone: those of an image that are nan are left out.

    Args:
        whole: a likelihood whose pixels are independent given z.
    """

    missing = True

    def __init__(self, whole: Likelihood) -> None:
        super().__init__()
        self.whole = whole
        self.factor, self.support = whole.factor, whole.support
        self.normalised = whole.normalised

    def data(self, x: Float[Tensor, "*batch C H W"]) -> Float[Tensor, "*batch C H W"]:
        missing = x.isnan()
        return self.whole.data(x.masked_fill(missing, 0.0)).masked_fill(missing, torch.nan)

    def require(self, x: Tensor) -> None:
        self.whole.require(x[~x.isnan()])

    def forward(self, h: Float[Tensor, "*batch P H W"]) -> Distribution:
        return d.Masked(self.whole(h))
