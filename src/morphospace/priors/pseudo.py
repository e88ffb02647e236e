"""A VampPrior fitted after training: pseudo-inputs and weights for an encoder that is held still."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from morphospace.distributions import Mixture
from morphospace.priors.base import Encode
from morphospace.priors.learned import VampPrior
from morphospace.seeds import seeded
from morphospace.types import ImageSpec, Progress, UsageError

__all__ = ["Encoded", "fit_vamp", "make_vamp"]

BATCH = 1024
LR = {"images": 1e-2, "logits": 2e-2}
"""Of pixels from 0 to 1, and of logarithms of weights."""
JUDGEMENTS = 20
MOST_JUDGED = 20_000
AT_ONCE = 2**24
"""Values of a density that are held at a time, of points times pseudo-inputs times dimensions."""


@dataclass(frozen=True, eq=False)
class Encoded:
    """Images that a prior may be made of, their latents' order, and the encoder that brings them into the space."""

    pixels: UInt8[Tensor, "N C H W"]
    encode: Encode


def make_vamp(spec: ImageSpec, components: int = 500, learned: bool = True) -> VampPrior:  # noqa: ARG001
    """500 pseudo-inputs, as Tomczak & Welling (2018) take for MNIST; what is not learned stays as it begins."""
    return VampPrior(spec, components, weighted=True)


def fit_vamp(
    prior: VampPrior,
    loc: Float[Tensor, "N D"],
    scale: Float[Tensor, "N D"],
    encoded: Encoded,
    seed: int,
    steps: int,
    progress: Progress,
) -> None:
    """Maximise E_q log p(z) over pseudo-inputs and weights, which begin as training images and all alike.

    That is the part of the ELBO that a prior has a say in (Tomczak & Welling 2018, arXiv:1705.07120, eq. 6), with the
    encoder and so the aggregated posterior held still. The best state met is kept, the start among them.

    Raises:
        UsageError: for more pseudo-inputs than images, or an encoder whose posteriors are not diagonal normals.
    """
    count, chosen = len(loc), len(prior.images)
    if not 1 <= chosen <= count:
        raise UsageError(
            f"{chosen} components were asked for; expected 1 to {count}, the number of training images"
        )
    with seeded(seed, "prior"), torch.no_grad():
        prior.images.copy_(encoded.pixels[torch.randperm(count)[:chosen]] / 255)
        judged = torch.randperm(count)[:MOST_JUDGED]
        z = loc[judged] + scale[judged] * torch.randn_like(scale[judged])
    optimizer = torch.optim.Adam([{"params": [getattr(prior, name)], "lr": lr} for name, lr in LR.items()])
    optimizer.zero_grad()
    parameters = [prior.images, prior.logits]
    best, kept = _mean_log_prob(prior(encoded.encode), z), [p.detach().clone() for p in parameters]
    every = max(1, steps // JUDGEMENTS)
    for step in range(steps):
        with seeded(seed, "prior", step):
            rows = torch.randint(count, (min(BATCH, count),))
            batch = loc[rows] + scale[rows] * torch.randn_like(scale[rows])
        for group, lr in zip(optimizer.param_groups, LR.values(), strict=True):
            group["lr"] = lr * (1 - step / steps)
        # The gradient of these alone: the encoder's weights are someone else's.
        loss = -prior(encoded.encode).log_prob(batch).mean()
        for p, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            p.grad = gradient
        optimizer.step()
        with torch.no_grad():
            prior.images.clamp_(0, 1)  # what left it would have no gradient to come back by
        if (step + 1) % every == 0 or step == steps - 1:
            found = _mean_log_prob(prior(encoded.encode), z)
            if found > best:
                best, kept = found, [p.detach().clone() for p in parameters]
            progress("fitting the prior", step + 1, steps, {"log_p": found})
    with torch.no_grad():
        for p, value in zip(parameters, kept, strict=True):
            p.copy_(value)
            p.grad = None


@torch.no_grad()
def _mean_log_prob(law: Mixture, z: Float[Tensor, "N D"]) -> float:
    size = max(1, AT_ONCE // law.loc.numel())
    return float(torch.cat([law.log_prob(part) for part in torch.split(z, size)]).double().mean())
