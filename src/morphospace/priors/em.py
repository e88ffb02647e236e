"""Expectation maximisation for a mixture of normals with any covariances (Dempster, Laird & Rubin 1977).

The logarithm of a normal is a linear function of (1, z, z·zᵀ), so that a round is two matrix products: one gives the
logarithms of all components at all points, the other sums the points' moments for each component.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from morphospace.seeds import generator
from morphospace.types import Progress, UsageError, silent

__all__ = ["Normals", "fit_normals"]

ROUNDS = 60
"""At most; a fit ends when a round gains less than `GAIN`."""
GAIN = 2e-4
"""Nats per point."""
RIDGE = 1e-6
"""Added to variances, of points whose own are about one: a component may have few points, or one."""
AT_ONCE = 2**22
"""Features that are held at a time."""


@dataclass(frozen=True, eq=False)
class Normals:
    """Weights (M,), means (M, D) and covariances (M, D, D) of a mixture, and the mean log-likelihood of its points."""

    weight: Float[Tensor, " M"]
    mean: Float[Tensor, "M D"]
    covariance: Float[Tensor, "M D D"]
    log_likelihood: float


def fit_normals(
    z: Float[Tensor, "N D"], components: int, seed: int = 0, progress: Progress = silent
) -> Normals:
    """The mixture that EM finds for N points with deviations of about one, from seeds by k-means++.

    Args:
        z: float64.
        components: M.
        seed: of the choice of the first means.
        progress: told of each round.

    Raises:
        UsageError: for more components than points, or none.
    """
    count, dimensions = z.shape
    if not 1 <= components <= count:
        raise UsageError(
            f"{components} components were asked for; expected 1 to {count}, the number of latents that they are "
            "fitted to"
        )
    spread = torch.eye(dimensions, dtype=z.dtype) * components ** (-2 / dimensions)
    found = Normals(
        torch.full((components,), 1 / components, dtype=z.dtype),
        _seeds(z, components, seed),
        spread.expand(components, dimensions, dimensions),
        -math.inf,
    )
    for done in range(ROUNDS):
        before, found = found, _round(z, found)
        progress("fitting the prior", done + 1, ROUNDS)
        if found.log_likelihood - before.log_likelihood < GAIN:
            break
    progress("fitting the prior", ROUNDS, ROUNDS)
    return found


def _seeds(z: Float[Tensor, "N D"], components: int, seed: int) -> Float[Tensor, "M D"]:
    """Points far from one another: greedy k-means++ (Arthur & Vassilvitskii 2007).

    Each is the best of a few candidates, drawn by their squared distance from those before it.
    """
    draw = generator(seed, "k-means++")
    tries = 2 + int(math.log(components))
    chosen = [z[int(torch.randint(len(z), (1,), generator=draw))]]
    away = (z - chosen[0]).square().sum(1)
    for _ in range(components - 1):
        at = torch.rand(tries, generator=draw, dtype=z.dtype) * away.sum()
        rows = torch.searchsorted(away.cumsum(0), at).clamp_max(len(z) - 1)
        left = torch.minimum(away, (z - z[rows, None]).square().sum(2))  # (tries, N)
        best = int(left.sum(1).argmin())
        chosen.append(z[rows[best]])
        away = left[best]
    return torch.stack(chosen)


def _round(z: Float[Tensor, "N D"], old: Normals) -> Normals:
    """One round; ``log_likelihood`` is that of the mixture before it."""
    dimensions = z.shape[1]
    row, column = torch.triu_indices(dimensions, dimensions)
    precision = torch.linalg.inv(old.covariance)
    linear = (precision @ old.mean.unsqueeze(-1)).squeeze(-1)
    constant = old.weight.log() - 0.5 * (
        torch.linalg.slogdet(old.covariance).logabsdet
        + dimensions * math.log(2 * math.pi)
        + (linear * old.mean).sum(1)
    )
    twice = torch.where(row == column, 0.5, 1.0).to(z.dtype)
    weights = torch.cat([constant[:, None], linear, -twice * precision[:, row, column]], 1)  # (M, F)
    sums, total = torch.zeros_like(weights), 0.0
    step = max(1, AT_ONCE // max(weights.shape))
    for start in range(0, len(z), step):
        part = z[start : start + step]
        features = torch.cat([torch.ones_like(part[:, :1]), part, part[:, row] * part[:, column]], 1)
        logs = features @ weights.T
        log_p = logs.logsumexp(1, keepdim=True)
        sums += (logs - log_p).exp().T @ features
        total += float(log_p.sum())
    mass = sums[:, 0]
    kept = mass > 1e-6  # a component that no point is left to keeps its place, with next to no weight
    per = sums / mass.clamp_min(1e-6)[:, None]
    mean = torch.where(kept[:, None], per[:, 1 : 1 + dimensions], old.mean)
    second = torch.zeros_like(old.covariance)
    second[:, row, column] = per[:, 1 + dimensions :]
    second[:, column, row] = second[:, row, column]
    covariance = second - mean[:, :, None] * mean[:, None] + RIDGE * torch.eye(dimensions, dtype=z.dtype)
    covariance = torch.where(kept[:, None, None], covariance, old.covariance)
    weight = mass.clamp_min(1e-6)
    return Normals(weight / weight.sum(), mean, covariance, total / len(z))
