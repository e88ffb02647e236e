"""What an encoder can be shown rather than learn by heart: where in the plane the decoder explains the image in hand.

An encoder is one function for all images, and errs most on those that it has not seen (the amortisation gap: Cremer et
al. 2018, arXiv:1801.03558). The decoder knows better, and asking it image by image is exact but slow (Kim et al. 2018,
arXiv:1802.02550; Marino et al. 2018, arXiv:1807.09356). Here it is asked at some hundred points of the plane for all
images together: with pixels whose log-density is affine in x, the likelihood of every image at every such anchor is one
matrix product. From the best anchor one Gauss-Newton step leads to the Laplace approximation of the posterior (Park et
al. 2019, Variational Laplace Autoencoders, PMLR 97:5032). Both are features that the encoder corrects.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from morphospace.distributions import affine_form
from morphospace.networks.base import Network
from morphospace.types import UsageError

__all__ = ["Sight", "Sighted"]

REACH = 1.1
"""The anchors' standard deviation; the prior's is 1, and some images lie far out."""
PERIOD = 16
"""Training steps in which each anchor is looked at once: the decoder moves little in so many."""
TEMPERATURES = 1.0, 8.0, 64.0
"""Of the weights of anchors: the posterior itself, and wider views for where all but one anchor's weight is nought."""
FURTHEST = 0.3
"""The Gauss-Newton step's length at most: a straight line is no decoder farther away."""
APART = 0.02
"""From an anchor to the points on either side whose difference is its slope."""
NOWHERE = -1e30
"""A log-likelihood of which e to the power of it is nought, at any temperature; checkpoints hold finite numbers."""
MOST_VALUES = 2**23
"""Pixels of all anchors together: of large images there are fewer."""


class Seen(NamedTuple):
    """What the decoder says at M points of the plane, for images of P values; see `distributions.Affine`.

    Attributes:
        slope, offset: (M, P) and (M,), of log p(x given z) as a function of x.
        change: (M, 2, P), by how much the slope changes along each axis of the plane.
        level: (M, 2), what of the gradient of log p(x, z) by z has no x in it.
        spread: (M, 2, 2), the Laplace approximation's covariance: (I + Fisher information)⁻¹.
    """

    slope: Tensor
    offset: Tensor
    change: Tensor
    level: Tensor
    spread: Tensor


class Sight(nn.Module):
    """(N, C, H, W) -> (N, features): where on anchors the decoder explains an image, and the Laplace approximation.

    While it is trained, a part of the anchors is looked at anew in each step. In ``eval()`` mode all are looked at with
    the weights as they are, once for all images.

    Args:
        decoder: the model's own, of two latent dimensions.
        family: of its parameters: the likelihood, with a log-density that is affine in x.
        anchors: how many; fewer for large images.

    Raises:
        UsageError: for a decoder of other dimensions, or less than one anchor.
    """

    features = 5 * len(TEMPERATURES) + 8
    """How many: of each temperature's weights five, and eight of the best anchor."""
    places: Tensor
    turn: Tensor
    slope: Tensor
    offset: Tensor
    change: Tensor
    level: Tensor
    spread: Tensor

    def __init__(self, decoder: Network, family: nn.Module, anchors: int) -> None:
        super().__init__()
        if decoder.input_shape != (2,):
            raise UsageError(
                f"an encoder is shown anchors in 2 latent dimensions; there are {decoder.input_shape[0]}"
            )
        if anchors < 1:
            raise UsageError(f"anchors is {anchors}; expected a number greater than nought")
        # In a tuple they are no parts of this one: their weights are the model's already.
        self._behind: tuple[Network, nn.Module] = (decoder, family)
        pixels = decoder.output_shape[0] * decoder.output_shape[1] * decoder.output_shape[2]
        pixels //= getattr(family, "factor", 1)
        count = max(1, min(anchors, MOST_VALUES // pixels))
        self.at_once = -(-count // PERIOD)
        self._all: tuple[object, Seen] | None = None
        self.register_buffer("places", REACH * torch.special.ndtri(_evenly_spread(count)), persistent=False)
        # What training remembers from step to step. An anchor not looked at yet explains nothing.
        self.register_buffer("turn", torch.zeros((), dtype=torch.long), persistent=False)
        blank = Seen(
            torch.zeros(count, pixels),
            torch.full((count,), NOWHERE),
            torch.zeros(count, 2, pixels),
            torch.zeros(count, 2),
            torch.zeros(count, 2, 2),
        )
        for name, value in blank._asdict().items():
            self.register_buffer(name, value, persistent=False)

    def forward(self, x: Float[Tensor, "N C H W"]) -> Float[Tensor, "N F"]:
        with _full_precision(x):
            x = x.flatten(1).to(self.places.dtype)
            seen = self._remembered() if self.training else self._now()
            log_p = x @ seen.slope.T + seen.offset
            return torch.cat([*self._weighed(log_p), *self._laplace(x, log_p, seen)], 1)

    def _weighed(self, log_p: Float[Tensor, "N M"]) -> list[Tensor]:
        """Of the anchors, weighted by how well they explain an image: their mean, deviation and entropy."""
        found = []
        for temperature in TEMPERATURES:
            weight = (log_p / temperature).softmax(1)
            mean = weight @ self.places
            variance = weight @ self.places.square() - mean.square()
            entropy = -(weight * weight.clamp_min(1e-9).log()).sum(1, keepdim=True)
            found += [mean, variance.clamp_min(1e-12).sqrt(), entropy / 3]
        return found

    def _laplace(self, x: Tensor, log_p: Tensor, seen: Seen) -> list[Tensor]:
        """From the most probable anchor: one Gauss-Newton step, the deviations there, and what is gained."""
        best = (log_p - 0.5 * self.places.square().sum(1)).argmax(1)
        here, spread = self.places[best], seen.spread[best]
        gradient = (seen.change[best] @ x.unsqueeze(2)).squeeze(2) + seen.level[best]
        step = (spread @ gradient.unsqueeze(2)).squeeze(2)
        gain = (gradient * step).sum(1, keepdim=True).clamp_min(1e-12).sqrt()
        step = step / (1 + step.norm(dim=1, keepdim=True) / FURTHEST)
        deviation = spread.diagonal(dim1=1, dim2=2).clamp_min(1e-12).sqrt()
        correlation = spread[:, 0, 1:] / deviation.prod(1, keepdim=True)
        return [here, here + step, deviation.log(), correlation, gain / 3]

    @torch.no_grad()
    def look(self, z: Float[Tensor, "M 2"]) -> Seen:
        """What the decoder says there now.

        Raises:
            UsageError: for a likelihood whose log-density is not affine in x.
        """
        decoder, family = self._behind
        aside = APART * torch.eye(2, dtype=z.dtype, device=z.device)
        points = torch.stack([z, *(z + step for step in aside), *(z - step for step in aside)])
        with _full_precision(z):
            law = affine_form(family(decoder(points.flatten(0, 1))))
        if law is None:
            raise UsageError(
                "an encoder is shown anchors by a likelihood whose log-density is affine in x, which that of "
                f"{type(family).__name__} is not; use anchors=0"
            )
        slopes = law.slope.reshape(5, len(z), -1)
        mean, variance = law.mean[: len(z)], law.variance[: len(z)]
        change = ((slopes[1:3] - slopes[3:]) / (2 * APART)).transpose(0, 1)
        level = -(change @ mean.unsqueeze(2)).squeeze(2) - z
        information = (change * variance.unsqueeze(1)) @ change.transpose(1, 2)
        # Of two by two numbers the inverse is written down; libraries' own would make a GPU wait.
        a, b, d = information[:, 0, 0] + 1, information[:, 0, 1], information[:, 1, 1] + 1
        spread = torch.stack([d, -b, -b, a], 1).reshape(-1, 2, 2) / (a * d - b * b)[:, None, None]
        return Seen(slopes[0], law.offset[: len(z)], change, level, spread)

    def _remembered(self) -> Seen:
        """In training: some anchors as they are now, the others as they were a few steps ago."""
        kept = Seen(self.slope, self.offset, self.change, self.level, self.spread)
        some = torch.arange(self.at_once, device=self.places.device) + self.turn * self.at_once
        some = some % len(self.places)
        with torch.no_grad():
            for memory, new in zip(kept, self.look(self.places[some]), strict=True):
                memory.index_copy_(0, some, new)
            self.turn += 1
        return kept

    def _now(self) -> Seen:
        """All anchors with the decoder's weights as they are: looked at again only if these have changed."""
        decoder, _ = self._behind
        weights = list(decoder.parameters())
        if any(p.is_inference() for p in weights):  # such tell nobody that they have changed
            return self.look(self.places)
        state = [(p.data_ptr(), p._version) for p in weights]
        if self._all is None or self._all[0] != state:
            with torch.inference_mode(mode=False):
                self._all = state, self.look(self.places)
        return self._all[1]

    def train(self, mode: bool = True) -> Sight:
        # A step that a GPU repeats changes weights without their knowing.
        self._all = None
        return super().train(mode)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Sight:
        """Where an encoder goes alone, to another device or precision, its decoder goes with it."""
        for part in self._behind:
            part._apply(fn, recurse)  # type: ignore[no-untyped-call]
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self


class Sighted(Network):
    """A network of images that is told their `Sight` beside their classes.

    Args:
        network: told of so many more "classes" than there are as the sight has features.
        sight: of the decoder that it is an encoder for.
    """

    def __init__(self, network: Network, sight: Sight) -> None:
        super().__init__()
        self.body, self.sight = network, sight
        self.input_shape, self.output_shape = network.input_shape, network.output_shape
        self.classes = network.classes - sight.features

    def forward(self, x: Float[Tensor, "N C H W"], *y: Tensor) -> Float[Tensor, "N P"]:
        out: Tensor = self.body(x, torch.cat([self.sight(x), *y], 1))
        return out


def _evenly_spread(count: int) -> Float[Tensor, "count 2"]:
    """Points of the unit square, any first ones of which are spread evenly over it: Roberts' sequence R₂ (2018)."""
    plastic = 1.32471795724474602596  # the root of g³ = g + 1
    steps = torch.tensor([1 / plastic, 1 / plastic**2], dtype=torch.float64)
    return (0.5 + torch.arange(1, count + 1, dtype=torch.float64)[:, None] * steps).remainder(1).float()


def _full_precision(like: Tensor) -> AbstractContextManager[None]:
    """Without autocast: of log-likelihoods of hundreds of nats, bfloat16 would keep none of the differences."""
    return torch.autocast(like.device.type, enabled=False)
