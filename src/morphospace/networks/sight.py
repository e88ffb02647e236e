"""What an encoder can be shown rather than learn by heart: where in the plane the decoder explains the image in hand.

An encoder is one function for all images, and errs most on those that it has not seen (the amortisation gap: Cremer et
al. 2018, arXiv:1801.03558). The decoder knows better, and asking it image by image is exact but slow (Kim et al. 2018,
arXiv:1802.02550; Marino et al. 2018, arXiv:1807.09356). Here it is asked at some hundred points of the plane for all
images together: with pixels whose log-density is affine in x, the likelihood of every image at every such anchor is one
matrix product. From the best anchor one Gauss-Newton step leads to the Laplace approximation of the posterior (Park et
al. 2019, Variational Laplace Autoencoders, PMLR 97:5032). Both are features that the encoder corrects. Of a decoder at
rest a second step is asked for, image by image, from where the first one leads: means that lean on anchors then hardly
show the lattice of them.
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

__all__ = ["Sight"]

REACH = 1.1
"""The anchors' standard deviation; the prior's is 1, and some images lie far out."""
PERIOD = 16
"""Training steps in which each anchor is looked at once: the decoder moves little in so many."""
TEMPERATURES = 1.0, 8.0, 64.0
"""Of the weights of anchors: the posterior itself, and wider views for where all but one anchor's weight is nought."""
FURTHEST = 0.3
"""The last Gauss-Newton step's length at most: a straight line is no decoder farther away."""
FURTHEST_OF_TWO = 1.0
"""That of a first step which another one corrects."""
APART = 0.02
"""From an anchor to the points on either side whose difference is its slope."""
NOWHERE = -1e30
"""A log-likelihood of which e to the power of it is nought, at any temperature; checkpoints hold finite numbers."""
IMAGES_AT_ONCE = 128
"""Of many that are encoded: their likelihoods at all anchors then stay near the processor."""
MOST_VALUES = 2**22
"""Pixels of all anchors together: of large images there are fewer."""


class Seen(NamedTuple):
    """What the decoder says at M points of the plane, for images of P values; see `distributions.Affine`.

    All but the last is free of the pixels' precision, so that what was seen at different times can be compared.

    Attributes:
        slope, offset: (M, P) and (M,), of log p(x given z) as a function of x.
        change: (M, 2, P), by how much the slope changes along each axis of the plane.
        level: (M, 2), what of the gradient of log p(x given z) by z has no x in it.
        information: (M, 3), Fisher's: of the first axis, of both together, of the second.
        precision: the factor of all of it.
    """

    slope: Tensor
    offset: Tensor
    change: Tensor
    level: Tensor
    information: Tensor
    precision: Tensor

    def at(self, some: Tensor) -> Seen:
        """The same at some of the points only."""
        slope, offset, change, level, information, precision = self
        return Seen(slope[some], offset[some], change[some], level[some], information[some], precision)


class Sight(nn.Module):
    """(N, C, H, W) -> (N, features): where on anchors the decoder explains an image, and the Laplace approximation.

    All anchors are looked at with the decoder's weights as they are, and once for all images, until they change.

    Args:
        decoder: the model's own, of two latent dimensions.
        family: of its parameters: the likelihood, with a log-density that is affine in x.
        anchors: how many; fewer for large images.
        in_turn: for an encoder that is trained together with its decoder: a part of the anchors is looked at anew in
            each step, the others are as they were a few steps ago, and of each image there is one Gauss-Newton step.

    Raises:
        UsageError: for a decoder of other dimensions, or less than one anchor.

    Attributes:
        held: whether ``train()`` and ``eval()`` leave what was seen as it is: while the encoder is trained beside a
            decoder that rests.
    """

    features = 5 * len(TEMPERATURES) + 8
    """How many: of each temperature's weights five, and eight of the best anchor."""
    places: Tensor
    turn: Tensor

    def __init__(self, decoder: Network, family: nn.Module, anchors: int, in_turn: bool = False) -> None:
        super().__init__()
        if decoder.input_shape != (2,):
            raise UsageError(
                f"an encoder is shown anchors in 2 latent dimensions; there are {decoder.input_shape[0]}: "
                "take 'vae', without anchors"
            )
        if anchors < 1:
            raise UsageError(f"anchors is {anchors}; expected a number greater than nought")
        # In a tuple they are no parts of this one: their weights are the model's already.
        self._behind: tuple[Network, nn.Module] = (decoder, family)
        pixels = decoder.output_shape[0] * decoder.output_shape[1] * decoder.output_shape[2]
        pixels //= getattr(family, "factor", 1)
        count = min(anchors, self.most(pixels))
        self.at_once = -(-count // PERIOD)
        self.in_turn, self.held = in_turn, False
        self._all: tuple[list[tuple[Tensor, int]], Seen] | None = None
        self.register_buffer("places", REACH * torch.special.ndtri(_evenly_spread(count)), persistent=False)
        if in_turn:
            self._remember(count, pixels)

    def _remember(self, count: int, pixels: int) -> None:
        """What training keeps from step to step. An anchor not looked at yet explains nothing."""
        self.register_buffer("turn", torch.zeros((), dtype=torch.long), persistent=False)
        blank = Seen(
            torch.zeros(count, pixels),
            torch.full((count,), NOWHERE),
            torch.zeros(count, 2, pixels),
            torch.zeros(count, 2),
            torch.zeros(count, 3),
            torch.ones(()),
        )
        for name, value in blank._asdict().items():
            self.register_buffer(name, value, persistent=False)

    @staticmethod
    def most(pixels: int) -> int:
        """How many anchors images of so many pixels can have."""
        return max(1, MOST_VALUES // pixels)

    def forward(self, x: Float[Tensor, "N C H W"]) -> Float[Tensor, "N F"]:
        with _full_precision(x):
            seen = self._remembered() if self.training and self.in_turn else self._now()
            x, places = (values.to(seen.slope.dtype) for values in (x.flatten(1), self.places))
            some = torch.split(x, len(x) if self.training else IMAGES_AT_ONCE)
            return torch.cat([self._features(part, places, seen) for part in some])

    def _features(self, x: Float[Tensor, "N P"], places: Tensor, seen: Seen) -> Float[Tensor, "N F"]:
        log_p = seen.precision * (x @ seen.slope.T + seen.offset)
        best = (log_p - 0.5 * places.square().sum(1)).argmax(1)
        here, around = places[best], seen.at(best)
        if not self.in_turn:
            _, there, *_ = _laplace(x, here, around, FURTHEST_OF_TWO)
            # Where it leads is no function of x here: at the mode the second step's derivative is the mode's own.
            here = there.detach()
            around = self.look(here)
        return torch.cat([*_weighed(log_p, places), *_laplace(x, here, around, FURTHEST)], 1)

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
                f"{type(family).__name__} is not"
            )
        slopes = law.slope.reshape(5, len(z), -1)
        mean, rise = law.mean[: len(z)], law.rise[: len(z)]
        change = ((slopes[1:3] - slopes[3:]) / (2 * APART)).transpose(0, 1)
        level = -(change @ mean.unsqueeze(2)).squeeze(2)
        one, other = change.unbind(1)
        information = torch.stack(
            [(a * b * rise).sum(1) for a, b in ((one, one), (one, other), (other, other))], 1
        )
        return Seen(slopes[0], law.offset[: len(z)], change, level, information, law.precision)

    def _remembered(self) -> Seen:
        """In training: some anchors as they are now, the others as they were a few steps ago."""
        kept = Seen(*(self.get_buffer(name) for name in Seen._fields))
        some = torch.arange(self.at_once, device=self.places.device) + self.turn * self.at_once
        some = some % len(self.places)
        with torch.no_grad():
            new = self.look(self.places[some])
            for memory, value in zip(kept[:-1], new[:-1], strict=True):
                memory.index_copy_(0, some, value)
            kept.precision.copy_(new.precision)
            self.turn += 1
        return kept

    def _now(self) -> Seen:
        """All anchors with the decoder as it is: looked at again only if it has changed, as far as torch knows.

        Torch does not know of a change that goes past it, by ``.data`` or NumPy; ``eval()`` forgets what was seen.
        """
        tensors = [t for part in self._behind for t in (*part.parameters(), *part.buffers())]
        if any(t.is_inference() for t in tensors):  # such do not tell
            return self._look_at_all()
        state = [(t, t._version) for t in tensors]
        seen = self._all
        if seen is None or not _same(seen[0], state):
            with torch.inference_mode(mode=False):
                seen = self._all = state, self._look_at_all()
        return seen[1]

    def _look_at_all(self) -> Seen:
        parts = [self.look(some) for some in torch.split(self.places, self.at_once)]
        *columns, precision = zip(*parts, strict=True)
        slope, offset, change, level, information = (torch.cat(column) for column in columns)
        return Seen(slope, offset, change, level, information, precision[0])

    def train(self, mode: bool = True) -> Sight:
        # A step that a GPU repeats changes weights without their knowing; and reads what was seen where it was.
        if not self.held:
            self._all = None
        return super().train(mode)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Sight:
        """Where an encoder goes alone, to another device or precision, its decoder goes with it."""
        for part in self._behind:
            part._apply(fn, recurse)  # type: ignore[no-untyped-call]
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self


def _weighed(log_p: Float[Tensor, "N M"], places: Float[Tensor, "M 2"]) -> list[Tensor]:
    """Of the anchors, weighted by how well they explain an image: their mean, deviation and entropy."""
    found = []
    for temperature in TEMPERATURES:
        weight = (log_p / temperature).softmax(1)
        mean = weight @ places
        variance = weight @ places.square() - mean.square()
        entropy = -(weight * weight.clamp_min(1e-9).log()).sum(1, keepdim=True)
        found += [mean, variance.clamp_min(1e-12).sqrt(), entropy / 3]
    return found


def _laplace(x: Tensor, here: Float[Tensor, "N 2"], around: Seen, furthest: float) -> list[Tensor]:
    """From a point for each image: one Gauss-Newton step, the deviations there, and what is gained."""
    gradient = around.precision * ((around.change @ x.unsqueeze(2)).squeeze(2) + around.level) - here
    # (I + information)⁻¹, written down: libraries' inverses would make a GPU wait. Of the determinant's terms none is
    # below nought, though the last may seem so where the decoder knows one direction only.
    first, both, second = (around.precision * around.information).unbind(1)
    determinant = 1 + first + second + (first * second - both.square()).clamp_min(0)
    spread = (
        torch.stack([1 + second, -both, -both, 1 + first], 1).reshape(-1, 2, 2) / determinant[:, None, None]
    )
    step = (spread @ gradient.unsqueeze(2)).squeeze(2)
    gain = (gradient * step).sum(1, keepdim=True).clamp_min(1e-12).sqrt()
    step = step / (1 + step.norm(dim=1, keepdim=True) / furthest)
    deviation = spread.diagonal(dim1=1, dim2=2).sqrt()
    correlation = spread[:, 0, 1:] / deviation.prod(1, keepdim=True)
    return [here, here + step, deviation.log(), correlation, gain / 3]


def _same(one: list[tuple[Tensor, int]], other: list[tuple[Tensor, int]]) -> bool:
    """Whether they are the same tensors, unchanged."""
    return len(one) == len(other) and all(
        a is b and i == j for (a, i), (b, j) in zip(one, other, strict=True)
    )


def _evenly_spread(count: int) -> Float[Tensor, "count 2"]:
    """Points of the unit square, any first ones of which are spread evenly over it: Roberts' sequence R₂ (2018)."""
    plastic = 1.32471795724474602596  # the root of g³ = g + 1
    steps = torch.tensor([1 / plastic, 1 / plastic**2], dtype=torch.float64)
    return (0.5 + torch.arange(1, count + 1, dtype=torch.float64)[:, None] * steps).remainder(1).float()


def _full_precision(like: Tensor) -> AbstractContextManager[None]:
    """Without autocast: of log-likelihoods of hundreds of nats, bfloat16 would keep none of the differences."""
    return torch.autocast(like.device.type, enabled=False)
