"""Laws of an image's pixels; one event is an image, shape (C, H, W)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Bernoulli, Independent, Laplace, Normal
from torch.nn import functional as F

from morphospace.distributions.base import Distribution, Law
from morphospace.types import UsageError

__all__ = [
    "ContinuousBernoulli",
    "LevelCategorical",
    "LogisticMixture",
    "Masked",
    "OptimalNormal",
    "image_bernoulli",
    "image_laplace",
    "image_normal",
    "log_prob_of_each",
]

LEVELS = 256
"""Values of an 8-bit pixel: 0, 1/255, …, 1."""


def image_bernoulli(logits: Float[Tensor, "*batch C H W"]) -> Distribution:
    """Independent Bernoulli pixels; one event is an image, shape (C, H, W).

    ``log_prob`` of a grey value x in [0, 1] is the negative cross-entropy x·log p + (1 − x)·log(1 − p): the mean
    log-probability over binary images drawn with probabilities x. It is not a density on [0, 1]
    (Loaiza-Ganem & Cunningham 2019, arXiv:1907.06845).
    """
    return Independent(Bernoulli(logits=logits, validate_args=False), 3, validate_args=False)


def image_normal(loc: Float[Tensor, "*batch C H W"], scale: Float[Tensor, ...]) -> Distribution:
    """Independent normal pixels; one event is an image, shape (C, H, W)."""
    return Independent(Normal(loc, scale.expand_as(loc), validate_args=False), 3, validate_args=False)


def image_laplace(loc: Float[Tensor, "*batch C H W"], scale: Float[Tensor, ...]) -> Distribution:
    """Independent Laplace pixels, density e^(−|x − μ|/b) / 2b; one event is an image, shape (C, H, W)."""
    return Independent(Laplace(loc, scale.expand_as(loc), validate_args=False), 3, validate_args=False)


class ContinuousBernoulli(Law):
    """Independent pixels in [0, 1] with density C(l)·e^(l·x) (Loaiza-Ganem & Cunningham 2019, arXiv:1907.06845).

    In the logit l the paper's constant (eq. 9) is l / tanh(l/2), times the Bernoulli's e^(l·x) / (1 + e^l): smooth
    through l = 0, where the density is uniform. Near nought its series are used, since 0/0 is not 2.
    """

    def __init__(self, logits: Float[Tensor, "*batch C H W"]) -> None:
        super().__init__(logits, event=3)
        self.logits = logits

    @property
    def mean(self) -> Tensor:
        # 1/(1 − e^(−l)) − 1/l, written with the odd function coth(l/2)/2 − 1/l, the Langevin function of l/2.
        return 0.5 + self._near_nought(
            lambda a: 0.5 / torch.tanh(a / 2) - 1 / a, lambda a: a / 12 - a**3 / 720
        )

    @property
    def variance(self) -> Tensor:
        return self._near_nought(
            lambda a: 1 / a**2 - 0.25 / torch.sinh((a / 2).clamp(-40, 40)) ** 2, lambda a: 1 / 12 - a**2 / 240
        )

    def log_prob(self, value: Tensor) -> Tensor:
        return self.log_prob_of_each(value).sum((-3, -2, -1))

    def log_prob_of_each(self, value: Tensor) -> Tensor:
        """That of each pixel, (*batch, C, H, W)."""
        log_constant = self._near_nought(
            lambda a: (a / torch.tanh(a / 2)).log(), lambda a: math.log(2) + a**2 / 12 - 7 * a**4 / 1440
        )
        return value * self.logits - F.softplus(self.logits) + log_constant

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """The inverse of the distribution function at uniform draws."""
        u = torch.rand(*sample_shape, *self.logits.shape, dtype=self.logits.dtype, device=self.logits.device)
        # Of ±l the negative one is used and the pixel mirrored, since e^l of a large l has no room in a float.
        value = self._near_nought(
            lambda a: torch.log1p(u * torch.expm1(-a.abs())) / -a.abs(),
            lambda a: u - 0.5 * a.abs() * u * (1 - u),
        )
        return torch.where(self.logits > 0, 1 - value, value)

    def _near_nought(self, far: Callable[[Tensor], Tensor], near: Callable[[Tensor], Tensor]) -> Tensor:
        """``far`` of the logits, and ``near`` of those so small that it would divide nought by nought."""
        small = self.logits.abs() < 0.1
        # Both branches are kept finite, so that neither's gradient is nan where the other is taken.
        return torch.where(
            small, near(self.logits.clamp(-0.1, 0.1)), far(torch.where(small, 1.0, self.logits))
        )


class OptimalNormal(Law):
    """Normal pixels whose one σ is, for the images that it is asked about, the best: σ² is the mean squared error.

    With it −log p is ½·log(2πe·MSE) for each pixel on average (Rybkin et al. 2021, arXiv:2006.13202, eq. 6). ``note``
    is told of the mean squared error, so that a σ can be kept for images that come alone.
    """

    def __init__(
        self, loc: Float[Tensor, "*batch C H W"], kept: Tensor, note: Callable[[Tensor], None]
    ) -> None:
        super().__init__(loc, event=3)
        self.loc, self._kept, self._note = loc, kept, note

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        """The one that is kept, while no image has been asked about."""
        return self._kept.expand_as(self.loc)

    def log_prob(self, value: Tensor) -> Tensor:
        square = (value - self.loc).square()
        return self._each(square, square.mean()).sum((-3, -2, -1))

    def log_prob_of_each(self, value: Tensor) -> Tensor:
        """That of each pixel, (*batch, C, H, W). Those that are nan count for nothing, in σ neither."""
        missing = value.isnan()
        square = torch.where(missing, 0.0, value - self.loc).square()
        known = (~missing).expand_as(square).sum().clamp_min(1)
        return self._each(square, square.sum() / known).masked_fill(missing, 0.0)

    def _each(self, square: Tensor, mean_square: Tensor) -> Tensor:
        # Held: of the ELBO the gradient by σ² is nought at the best σ, and of bounds that weigh draws by chance it is
        # none of theirs.
        variance = mean_square.detach().clamp_min(LEAST_VARIANCE)
        self._note(variance)
        return -0.5 * (square / variance + (2 * math.pi * variance).log())


LEAST_VARIANCE = 1e-8
"""σ of a fortieth of a grey level: a decoder that is exact to that is exact."""


class LogisticMixture(Law):
    """8-bit pixels, each a mixture of logistics cut into 256 intervals (Salimans et al. 2017, arXiv:1701.05517).

    The colours of a pixel share their component; given it, the mean of green moves with red, that of blue with red and
    green (eq. 3). A level's probability is that of the interval of width 1/255 around it, the outer ones being
    unbounded.

    Args:
        logits: of the components, (*batch, M, H, W).
        loc: (*batch, M, C, H, W), pixel values.
        log_scale: of the same shape.
        slope: (*batch, M, C·(C−1)/2, H, W): by how much a colour's mean moves with an earlier colour.
    """

    has_rsample = False

    def __init__(self, logits: Tensor, loc: Tensor, log_scale: Tensor, slope: Tensor) -> None:
        super().__init__(loc.sum(-4), event=3)
        self.logits, self.loc, self.log_scale, self.slope = logits, loc, log_scale, slope

    def _moved(self, x: Tensor, loc: Tensor) -> Tensor:
        """``loc`` (…, M, C, H, W), moved by the earlier colours of ``x``, (…, 1 or M, C, H, W)."""
        means, used = [], 0
        for colour in range(loc.shape[-3]):
            mean = loc[..., colour, :, :]
            for earlier in range(colour):
                mean = mean + self.slope[..., used, :, :] * x[..., earlier, :, :]
                used += 1
            means.append(mean)
        return torch.stack(torch.broadcast_tensors(*means), -3)  # type: ignore[no-untyped-call]

    @property
    def mean(self) -> Tensor:
        """The mean of the uncut mixture, held to [0, 1]."""
        return self._over_components(self._settled(self.loc)).clamp(0, 1)

    @property
    def variance(self) -> Tensor:
        """That of the uncut mixture; a logistic's is (π·s)²/3."""
        means = self._settled(self.loc)
        square = means.square()
        for colour in range(
            self.loc.shape[-3]
        ):  # what the noise of one colour does to it and to those after it
            only = torch.zeros_like(self.loc)
            only[..., colour, :, :] = (self.log_scale[..., colour, :, :].exp() * math.pi) / math.sqrt(3)
            square = square + self._settled(only).square()
        return self._over_components(square) - self._over_components(means).square()

    def _settled(self, loc: Tensor) -> Tensor:
        """Means of all colours when each moves with the means of those before it."""
        means = loc
        for _ in range(loc.shape[-3] - 1):  # each pass settles one colour more
            means = self._moved(means, loc)
        return means

    def _over_components(self, each: Tensor) -> Tensor:
        return (self.logits.softmax(-3).unsqueeze(-3) * each).sum(-4)

    def log_prob(self, value: Tensor) -> Tensor:
        x = value.unsqueeze(-4)  # (…, 1, C, H, W)
        half, sharp = 0.5 / (LEVELS - 1), torch.exp(-self.log_scale)
        off = x - self._moved(x, self.loc)
        above, below = (off + half) * sharp, (off - half) * sharp
        # σ(a) − σ(b) = σ(a)·σ(−b)·(1 − e^(b−a)), in which nothing cancels.
        inside = F.logsigmoid(above) + F.logsigmoid(-below) + torch.log(-torch.expm1(-2 * half * sharp))
        each = torch.where(
            x < half, F.logsigmoid(above), torch.where(x > 1 - half, F.logsigmoid(-below), inside)
        )
        return torch.logsumexp(self.logits.log_softmax(-3) + each.sum(-3), -3).sum((-2, -1))

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        shape = (*sample_shape, *self.logits.shape)
        gumbel = -torch.empty(shape, dtype=self.loc.dtype, device=self.loc.device).exponential_().log()
        chosen = F.one_hot((self.logits + gumbel).argmax(-3), self.logits.shape[-3]).movedim(-1, -3)
        noise = torch.rand(*sample_shape, *self.loc.shape, dtype=self.loc.dtype, device=self.loc.device)
        noise = torch.logit(noise, eps=1e-6) * self.log_scale.exp()
        x = torch.zeros_like(noise)
        for _ in range(self.loc.shape[-3]):  # red first, since the others move with it
            x = torch.round((self._moved(x, self.loc) + noise).clamp(0, 1) * (LEVELS - 1)) / (LEVELS - 1)
        return (chosen.unsqueeze(-3) * x).sum(-4)


class LevelCategorical(Law):
    """8-bit pixels, each with a probability of its own for every level (van den Oord et al. 2016, arXiv:1601.06759).

    Args:
        logits: (*batch, C, 256, H, W).
    """

    has_rsample = False

    def __init__(self, logits: Float[Tensor, "*batch C 256 H W"]) -> None:
        super().__init__(logits[..., 0, :, :], event=3)
        self.logits = logits

    @property
    def mean(self) -> Tensor:
        levels = torch.linspace(0, 1, LEVELS, dtype=self.logits.dtype, device=self.logits.device)
        return torch.einsum("...lhw,l->...hw", self.logits.softmax(-3), levels)

    @property
    def variance(self) -> Tensor:
        levels = torch.linspace(0, 1, LEVELS, dtype=self.logits.dtype, device=self.logits.device)
        return torch.einsum("...lhw,l->...hw", self.logits.softmax(-3), levels**2) - self.mean.square()

    def log_prob(self, value: Tensor) -> Tensor:
        level = torch.round(value * (LEVELS - 1)).long().unsqueeze(-3)
        log_p = self.logits.log_softmax(-3)
        lead = torch.broadcast_shapes(level.shape[:-3], log_p.shape[:-3])  # type: ignore[no-untyped-call]
        level, log_p = level.expand(*lead, *level.shape[-3:]), log_p.expand(*lead, *log_p.shape[-3:])
        return log_p.gather(-3, level).sum((-4, -3, -2, -1))

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        gumbel = (
            -torch.empty(*sample_shape, *self.logits.shape, device=self.logits.device).exponential_().log()
        )
        return (self.logits + gumbel).argmax(-3).to(self.logits.dtype) / (LEVELS - 1)


def log_prob_of_each(px: Distribution, x: Float[Tensor, "*batch C H W"]) -> Float[Tensor, "*shape C H W"]:
    """log p of each pixel value, where they are independent given z.

    Raises:
        UsageError: where they are not, or the law does not say.
    """
    if isinstance(px, Independent) and px.reinterpreted_batch_ndims == 3:
        each: Tensor = px.base_dist.log_prob(x)
        return each
    if isinstance(px, ContinuousBernoulli | OptimalNormal):
        return px.log_prob_of_each(x)
    raise UsageError(
        f"{type(px).__name__} does not take an image's pixels one by one, so none of them can be left out; use a "
        "recipe with Bernoulli, normal or Laplace pixels"
    )


class Masked(Law):
    """A law of independent pixels, asked about those alone that were observed: the others of ``value`` are nan.

    log p(x_observed given z), which is the law's marginal, since given z no pixel tells of another (Mattei & Frellsen
    2019, arXiv:1812.02633, eq. 2).
    """

    def __init__(self, whole: Distribution) -> None:
        super().__init__(whole.mean, event=3)
        self.whole = whole

    @property
    def mean(self) -> Tensor:
        return self.whole.mean

    @property
    def variance(self) -> Tensor:
        return self.whole.stddev.square()

    def log_prob(self, value: Tensor) -> Tensor:
        missing = value.isnan()
        # One σ for the batch must not be told of what is filled in.
        known = value if isinstance(self.whole, OptimalNormal) else value.masked_fill(missing, 0.0)
        each = log_prob_of_each(self.whole, known)
        return each.masked_fill(missing, 0.0).sum((-3, -2, -1))
