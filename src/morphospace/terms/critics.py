"""Terms with a network of their own, which learns beside the model to tell two kinds of things apart."""

from __future__ import annotations

from abc import abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from morphospace.model import Trace

__all__ = ["Critic", "mlp"]


class Critic(nn.Module):
    """A network whose output is the log of a density ratio: the first of its `pair` over the second, in nats.

    It learns by logistic regression, whose optimum is that ratio (Goodfellow et al. 2014, arXiv:1406.2661, prop. 1).
    What the model makes of it is the subclass's ``forward``.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def log_ratio(self, points: Float[Tensor, "B ..."]) -> Float[Tensor, " B"]:
        """log of first over second at each point, as far as the critic has learned it."""
        ratio: Tensor = self.network(points)
        return ratio.squeeze(1)

    @abstractmethod
    def pair(self, trace: Trace) -> tuple[Tensor, Tensor]:
        """As many points of the one kind as of the other."""

    def critic_loss(self, trace: Trace) -> Float[Tensor, ""]:
        """The logistic loss of telling the two apart, nats; ln 2 if they cannot be told apart."""
        with torch.no_grad():
            first, second = (points.detach() for points in self.pair(trace))
        return (F.softplus(-self.log_ratio(first)) + F.softplus(self.log_ratio(second))).mean() / 2


def mlp(inputs: int, width: int = 256) -> nn.Module:
    """Three hidden layers; leaky, since a critic's gradient must reach the model from everywhere."""
    layers: list[nn.Module] = []
    for fan in (inputs, width, width):
        layers += [nn.Linear(fan, width), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Linear(width, 1))
