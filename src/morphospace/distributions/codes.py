"""Sequences of codes: a latent space of finitely many points, and laws over them.

A point of such a space is a row of S symbols, each one of K; each symbol stands for a vector of d numbers, and the
point's D = S·d numbers are these vectors in a row. An `Alphabet` knows which vectors. All laws are laws of symbols:
they give probabilities, not densities, so a rate is a length in nats of a code that could be written down.
"""

from __future__ import annotations

import math
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from morphospace.distributions.base import Law, closed_form

__all__ = ["Alphabet", "CodeLaw", "Codes", "UniformCodes"]

TOLERANCE = 1e-4
"""How far a number may lie from a code's and still be it, beside the largest of the point: float32 keeps 1e-7."""


@runtime_checkable
class Alphabet(Protocol):
    """What turns symbols into numbers.

    Attributes:
        length: S, symbols of a point.
        size: K, what each may be.
    """

    length: int
    size: int

    def vectors(self, symbols: Int[Tensor, "*batch S"]) -> Float[Tensor, "*batch D"]: ...

    def symbols(self, z: Float[Tensor, "*batch D"]) -> Int[Tensor, "*batch S"]:
        """The symbols whose vectors are nearest."""
        ...


class Codes(Law):
    """All mass on one row of codes: what an encoder that quantises puts out.

    Draws are the codes, exactly, and hand the gradient on to what was quantised as if nothing had happened: the
    straight-through estimate (Bengio et al. 2013, arXiv:1308.3432, section 4). Where a place has L codes that are
    summed, the first alone hands it on, so that it arrives once.

    Args:
        before: what was quantised, for each of G places and L codes (*batch, G, L, d).
        after: the codes' vectors, of the same shape; the gradient of `after` itself leads to the codebook.
        chosen: their symbols, (*batch, G, L).
        size: K.
    """

    def __init__(
        self,
        before: Float[Tensor, "*batch G L d"],
        after: Float[Tensor, "*batch G L d"],
        chosen: Int[Tensor, "*batch G L"],
        size: int,
    ) -> None:
        self.before, self.after, self.chosen, self.size = before, after, chosen, size
        first = before[..., :1, :]
        slope = F.pad(first - first.detach(), (0, 0, 0, before.shape[-2] - 1))  # nought, but for its gradient
        self.value = (after.detach() + slope).flatten(-3)
        super().__init__(self.value)

    @property
    def mean(self) -> Tensor:
        return self.value

    @property
    def stddev(self) -> Tensor:
        return torch.zeros_like(self.value)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.value.expand(*sample_shape, *self.value.shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Nought at its own point, −inf at all others."""
        return torch.where(_same(value, self.value), 0.0, -math.inf).to(value.dtype)

    def entropy(self) -> Tensor:
        return self.value.new_zeros(self.batch_shape)


class CodeLaw(Law):
    """A law of rows of symbols, as a law of the points that they stand for."""

    def __init__(self, alphabet: Alphabet, symbols: Int[Tensor, " S"]) -> None:
        """``symbols`` are any: they say which device the alphabet lies on."""
        super().__init__(alphabet.vectors(symbols))
        self.alphabet, self.device = alphabet, symbols.device

    def log_prob_of(self, symbols: Int[Tensor, "*batch S"]) -> Float[Tensor, "*batch"]:
        """The log-probability of each row of symbols, nats."""
        raise NotImplementedError

    def draw(self, n: int) -> Int[Tensor, "{n} S"]:
        """``n`` rows of symbols."""
        raise NotImplementedError

    def log_prob(self, value: Tensor) -> Tensor:
        """The log-probability of points, nats; −inf where a point is made of no codes."""
        if value.dim() > 1 and value.stride(0) == 0 and len(value):  # draws that are all one: looked at once
            return self.log_prob(value[0]).expand(len(value), *value.shape[1:-1])
        symbols = self.alphabet.symbols(value)
        found = self.log_prob_of(symbols).to(value.dtype)
        return torch.where(_same(value, self.alphabet.vectors(symbols)), found, -math.inf)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """No gradient leads back through a choice of symbols."""
        symbols = self.draw(math.prod(sample_shape))
        return self.alphabet.vectors(symbols).reshape(*sample_shape, -1)


class UniformCodes(CodeLaw):
    """Every symbol alike at each of the S places: log p is −S·log K for every row."""

    def log_prob_of(self, symbols: Tensor) -> Tensor:
        nats = -self.alphabet.length * math.log(self.alphabet.size)
        return torch.full(symbols.shape[:-1], nats, device=symbols.device)

    def draw(self, n: int) -> Tensor:
        return torch.randint(self.alphabet.size, (n, self.alphabet.length), device=self.device)

    @property
    def _every(self) -> Tensor:
        """(K, D): each symbol, at every place."""
        symbols = torch.arange(self.alphabet.size, device=self.device)[:, None].expand(
            -1, self.alphabet.length
        )
        return self.alphabet.vectors(symbols)

    @property
    def mean(self) -> Tensor:
        return self._every.mean(0)

    @property
    def variance(self) -> Tensor:
        return self._every.var(0, correction=0)


@closed_form(Codes, CodeLaw)
def _length(q: Codes, p: CodeLaw) -> Tensor:
    """q has no entropy, so the rate is what its symbols cost under p."""
    return -p.log_prob_of(q.chosen.flatten(-2)).to(q.value.dtype)


def _same(a: Tensor, b: Tensor) -> Tensor:
    """Whether two points are one, number by number."""
    return (a - b).abs().amax(-1) <= TOLERANCE * b.abs().amax(-1).clamp_min(1e-3)
