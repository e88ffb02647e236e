"""Posteriors fitted to single images, from where the encoder puts them: semi-amortised inference.

An encoder finds q(z given x) at a glance, and for some images a poor one, above all for those that it has not learned
from: the amortisation gap (Cremer, Li & Duvenaud 2018, arXiv:1801.03558). Steps along the gradient of the image's own
−ELBO close it (Kim et al. 2018, arXiv:1802.02550), while encoder and decoder stay as they are.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from morphospace.families import Family, full
from morphospace.model import VAE, Labels
from morphospace.types import UsageError

__all__ = ["JUDGED", "STEPS", "refine"]

STEPS = 150
DRAWS = 8
"""Of z for each image and step."""
JUDGED = 50
"""Draws that say whether an image is better off than it was."""
LR = 0.03
"""Of Adam, falling to nought."""


def refine(
    model: VAE,
    x: Float[Tensor, "B C H W"],
    labels: Labels | None = None,
    steps: int = STEPS,
    family: Family | None = None,
    start: Float[Tensor, "B P"] | None = None,
) -> Float[Tensor, "B P"]:
    """The parameters of each image's best posterior that gradient descent finds, by torch's current generator.

    An image that is no better off keeps those that it began with.

    Args:
        model: in ``eval()`` mode, its posteriors with draws that have gradients and a density.
        x: images as the likelihood takes them, on the model's device.
        labels: their classes, for a model that is told of them.
        steps: of Adam.
        family: what the parameters are of, if not the encoder's own family.
        start: where to begin, if not where the encoder says.

    Raises:
        UsageError: for posteriors without such draws or density, or fewer than no steps.
    """
    if steps < 0:
        raise UsageError(f"{steps} steps of refinement were asked for; expected 0 or more")
    family = model.encoder.family if family is None else family
    if not (family.normalised and family.plane and model.decoder.family.normalised):
        raise UsageError(
            f"posteriors of this space ({type(family).__name__}) cannot be refined: that takes ones with a density "
            "over all points, and a likelihood, such as those of 'vae'"
        )
    with torch.inference_mode(mode=False), torch.enable_grad():
        x = x.clone()  # what was made in inference mode takes no part in a gradient
        y = labels if labels is None else labels.clone()
        if start is None:
            start = model.encoder.parameters_of(x, model.filled(x, y))
        start = full(start.detach().clone())
        h = start.clone().requires_grad_()
        optimizer = torch.optim.Adam([h], lr=LR)
        fall = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / max(1, steps))
        for _ in range(steps):
            cost = _neg_elbo(model, x, family, h, DRAWS, y)
            (h.grad,) = torch.autograd.grad(cost.sum(), [h])  # of h alone: the weights are held
            optimizer.step()
            fall.step()
        with torch.no_grad():
            before, after = (_neg_elbo(model, x, family, p, JUDGED, y) for p in (start, h))
            return torch.where((after < before)[:, None], h, start).detach()


def _neg_elbo(
    model: VAE, x: Tensor, family: Family, h: Tensor, draws: int, labels: Labels | None
) -> Float[Tensor, " B"]:
    trace = model.around(x, family(h), draws, labels)
    return (trace.distortion + trace.rate).mean(0)
