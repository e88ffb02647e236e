"""Posteriors: an encoder's parameters -> q(z given x).

`DiagonalNormal`, `LowRankNormal`, `FullNormal`, `FlowNormal`, `Point`   over R^D
`Spherical`, `Hyperbolic`                                                over a sphere, over the Poincaré ball
`Choices`, `Beside`                                                      among categories; spaces side by side
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

import morphospace.distributions as d
from morphospace.distributions import Distribution
from morphospace.families.base import Family, full
from morphospace.manifolds import Ball, Manifold, Sphere
from morphospace.types import UnknownName, UsageError

__all__ = [
    "Beside",
    "Choices",
    "DiagonalNormal",
    "FlowNormal",
    "FullNormal",
    "Hyperbolic",
    "LowRankNormal",
    "Point",
    "Spherical",
]

BOUND = 20.0
"""Log-variances are clamped to ± this (standard deviations from e⁻¹⁰ to e¹⁰), where neither exp nor its gradient can
overflow; a trained encoder stays far inside."""


INNER = 0.8
"""The part of a Poincaré ball's reach that posteriors' places are kept in."""


def _deviation(log_variance: Tensor) -> Tensor:
    return torch.exp(0.5 * log_variance.clamp(-BOUND, BOUND))


class DiagonalNormal(Family):
    """(…, 2D) -> normal over D latents: the first half is the mean, the second the log-variance, clamped to ±20."""

    factor = 2
    reads = "mean and log-variance"

    def forward(self, h: Float[Tensor, "*batch P"]) -> Distribution:
        loc, log_variance = full(h).chunk(2, dim=-1)
        return d.normal(loc, _deviation(log_variance))


class LowRankNormal(Family):
    """(…, (2 + R)·D) -> normal with covariance diag(v) + W·Wᵀ, W of R columns (Rezende et al. 2014, arXiv:1401.4082,
    §4.2).

    Args:
        rank: R; the paper's has 1.
    """

    reads = "mean and factors of covariance"

    def __init__(self, rank: int = 1) -> None:
        super().__init__()
        self.factor, self.rank = 2 + rank, rank

    def forward(self, h: Float[Tensor, "*batch P"]) -> Distribution:
        latent = h.shape[-1] // self.factor
        loc, log_variance, columns = full(h).split([latent, latent, self.rank * latent], dim=-1)  # type: ignore[no-untyped-call]
        variance = torch.exp(log_variance.clamp(-BOUND, BOUND))
        return d.LowRankNormal(loc, variance, columns.unflatten(-1, (latent, self.rank)))


class FullNormal(Family):
    """(…, D·(D+3)/2) -> normal with any covariance, by its lower triangular factor (Kingma & Welling 2019,
    arXiv:1906.02691, section 2.5.1): D means, D logarithms of the factor's squared diagonal, and what lies below it,
    row by row.
    """

    reads = "mean and factor of covariance"

    def outputs(self, values: int) -> int:
        return values * (values + 3) // 2

    def forward(self, h: Float[Tensor, "*batch P"]) -> Distribution:
        latent = (math.isqrt(9 + 8 * h.shape[-1]) - 3) // 2
        below = latent * (latent - 1) // 2
        loc, log_variance, rest = full(h).split([latent, latent, below], dim=-1)  # type: ignore[no-untyped-call]
        rows, columns = torch.tril_indices(latent, latent, -1, device=h.device)
        tril = torch.diag_embed(_deviation(log_variance))
        tril[..., rows, columns] = rest
        return d.full_normal(loc, tril)


class FlowNormal(Family):
    """(…, 3D) -> a normal pushed through a flow that knows the image: mean, log-variance and D numbers of context.

    Args:
        latent: D.
        kind: "iaf", inverse autoregressive (Kingma et al. 2016, arXiv:1606.04934), or "spline", neural spline
            (Durkan et al. 2019, arXiv:1906.04032).
        transforms: how many maps in a row, the order of dimensions turned round between them.

    Raises:
        MissingExtra: without zuko.
    """

    factor = 3
    reads = "a normal, and the flow's context"

    def __init__(self, latent: int, kind: str = "iaf", transforms: int = 2) -> None:
        super().__init__()
        self.flow = d.make_flow(latent, latent, kind, transforms)

    def forward(self, h: Float[Tensor, "*batch P"]) -> Distribution:
        loc, log_variance, context = full(h).chunk(3, dim=-1)
        return d.Flowed(loc, _deviation(log_variance), self.flow(context))


class Point(Family):
    """(…, D) -> the point itself: an encoder without noise, as autoencoders have; its rate counts as nought."""

    normalised = False
    reads = gives = "the point itself"

    def forward(self, h: Float[Tensor, "*batch D"]) -> Distribution:
        return d.Dirac(full(h))


class Spherical(Family):
    """(…, D+1) -> a law about a direction of R^D, with concentration softplus + 1 as in Davidson et al. (2018)'s code.

    Args:
        law: "power-spherical" (De Cao & Aziz 2020) or "von-mises-fisher" (Davidson et al. 2018).
    """

    plane = False
    reads = "direction and concentration"

    def __init__(self, law: str = "power-spherical") -> None:
        super().__init__()
        laws = {"power-spherical": d.PowerSpherical, "von-mises-fisher": d.VonMisesFisher}
        if law not in laws:
            raise UnknownName("law of directions", law, laws)
        self.law = laws[law]

    @property
    def manifold(self) -> Manifold:
        return Sphere()

    def outputs(self, values: int) -> int:
        if values < 2:
            raise UsageError(f"latent is {values}; a sphere needs at least 2 dimensions around it")
        return values + 1

    def forward(self, h: Float[Tensor, "*batch P"]) -> Distribution:
        h = full(h)
        return self.law(F.normalize(h[..., :-1], dim=-1), F.softplus(h[..., -1]) + 1)


class Hyperbolic(Family):
    """(…, 2D) -> wrapped normal on the Poincaré ball: where a step from the origin leads, and log-variances.

    Posteriors are kept where nearly all of their draws (√D + 4 deviations) lie in what float32 can tell from the ball's
    edge. What is drawn beyond would be moved to it, many deviations from where it was drawn, and log q of such draws
    lowers the rate without end.
    """

    factor = 2
    plane = False
    reads = "a step and log-variances"

    def __init__(self, ball: Ball) -> None:
        super().__init__()
        self.ball = ball

    @property
    def manifold(self) -> Manifold:
        return self.ball

    def forward(self, h: Float[Tensor, "*batch P"]) -> Distribution:
        step, log_variance = full(h).chunk(2, dim=-1)
        reach, far = self.ball.reach, INNER * self.ball.reach
        length = 2 * step.square().sum(-1, keepdim=True).clamp_min(1e-20).sqrt()  # λ = 2 at the origin
        away = far * torch.tanh(length / far)
        widest = (reach - away) / (step.shape[-1] ** 0.5 + 4)
        scale = 1 / (1 / _deviation(log_variance) + 1 / widest)
        return d.WrappedNormal(self.ball, self.ball.exp(torch.zeros_like(step), step * away / length), scale)


class Choices(Family):
    """(…, V·n) logits -> V choices among n categories each, as V·n numbers.

    Args:
        categories: n.
        temperature: of the relaxation.
        hard: draws of ones and noughts (`OneHot`), or inside the simplex (`Concrete`).
    """

    plane = False
    reads = "logits of categories"

    def __init__(self, categories: int, temperature: float, *, hard: bool = True) -> None:
        super().__init__()
        self.categories, self.temperature = categories, temperature
        self.law = d.OneHot if hard else d.Concrete

    def outputs(self, values: int) -> int:
        if values % self.categories:
            raise UsageError(f"latent is {values}; expected a multiple of the {self.categories} categories")
        return values

    def forward(self, h: Float[Tensor, "*batch P"]) -> Distribution:
        return self.law(full(h).unflatten(-1, (-1, self.categories)), self.temperature)  # type: ignore[no-untyped-call]


class Beside(Family):
    """Families side by side: (family, D) each; their parameters lie in a row, and so do their values."""

    plane = False

    def __init__(self, parts: Sequence[tuple[Family, int]]) -> None:
        super().__init__()
        self.families = nn.ModuleList(family for family, _ in parts)
        self.sizes = [family.outputs(latent) for family, latent in parts]
        self.latent = sum(latent for _, latent in parts)

    def outputs(self, values: int) -> int:
        if values != self.latent:
            raise UsageError(
                f"latent is {values}; the parts of this space have {self.latent} dimensions together"
            )
        return sum(self.sizes)

    def forward(self, h: Float[Tensor, "*batch P"]) -> Distribution:
        each = zip(self.families, h.split(self.sizes, dim=-1), strict=True)  # type: ignore[no-untyped-call]
        return d.Joint([family(part) for family, part in each])
