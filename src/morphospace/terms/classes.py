"""Learning from few labels: bounds in which a class that is not known is summed over (Kingma et al. 2014, M2)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from morphospace.distributions import divergence
from morphospace.model import VAE, Trace
from morphospace.types import UsageError

__all__ = ["Classification", "SemiSupervised", "cost_of_classes", "marginal_cost"]


def cost_of_classes(trace: Trace) -> Float[Tensor, "Y B"]:
    """What each image would cost as each class: distortion + rate − log p(y), one draw of z for each, p(y) = 1/Y; nats.

    Kingma et al. (2014), arXiv:1406.5298, eq. 6: −log p(x, y) is at most its mean.
    """
    model = _told(trace)
    count = model.classes
    labels = torch.arange(count, device=trace.x.device)[:, None].expand(count, len(trace.x))
    q = model.encoder(trace.x.expand(count, *trace.x.shape), labels)
    z: Tensor = q.rsample(torch.Size(()))  # (Y, B, D)
    distortion: Tensor = -model.decoder(z, labels).log_prob(trace.x)
    return distortion + divergence(q, model.prior_of(labels), z) + math.log(count)


def marginal_cost(log_q: Float[Tensor, "B Y"], cost: Float[Tensor, "Y B"]) -> Float[Tensor, " B"]:
    """Σ q(y given x)·(cost of y + log q(y given x)): −log p(x) is at most its mean (eq. 7); nats."""
    return (log_q.exp() * (cost.T + log_q)).sum(1)


@dataclass(frozen=True)
class SemiSupervised:
    """The cost as the class that an image has, where that is known, and the marginal cost where it is not (eq. 8)."""

    random = True  # a draw of z for each class

    def __call__(self, trace: Trace) -> Float[Tensor, ""]:
        cost = cost_of_classes(trace)
        labels = _labels(trace)
        known = cost.gather(0, labels.clamp_min(0)[None])[0]
        unknown = marginal_cost(_told(trace).classify(trace.x), cost)
        return torch.where(labels >= 0, known, unknown).mean()


@dataclass(frozen=True)
class Classification:
    """−log q(y given x), the mean over those images whose class is known (eq. 9); nats."""

    pools = True  # how many labels of a batch are known hangs on the batch

    def __call__(self, trace: Trace) -> Float[Tensor, ""]:
        labels = _labels(trace)
        log_q = _told(trace).classify(trace.x).gather(1, labels.clamp_min(0)[:, None])[:, 0]
        known = (labels >= 0).float()
        return -(known * log_q).sum() / known.sum().clamp_min(1)


def _told(trace: Trace) -> VAE:
    if trace.model is None or trace.model.classifier is None:
        raise UsageError("learning from few labels needs a model with a classifier, such as that of 'm2'")
    return trace.model


def _labels(trace: Trace) -> Tensor:
    if trace.labels is None:
        raise UsageError("learning from few labels needs some; −1 stands for those that are not known")
    return trace.labels
