"""Bounds on log p(x) other than the ELBO, gradients for them with less noise, and rates that are free at first."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from morphospace.model import Trace
from morphospace.terms.factors import rate_of_each

__all__ = [
    "DoublyReparameterized",
    "FreeBits",
    "FreeNats",
    "ImportanceBound",
    "PartiallyImportant",
    "sticking_the_landing",
]


@dataclass(frozen=True)
class ImportanceBound:
    """−(1/M)·Σ_m log (1/K)·Σ_k w_mk: K ``inner`` draws make a bound, of which the mean over M ``outer`` ones is taken.

    M = 1 is the bound of Burda et al. (2016), arXiv:1509.00519, eq. 8; K = 1 is the ELBO; both above one is the MIWAE
    of Rainforth et al. (2018), arXiv:1802.04537, eq. 11.
    """

    inner: int
    outer: int = 1

    @property
    def draws(self) -> int:
        return self.inner * self.outer

    def __call__(self, trace: Trace) -> Float[Tensor, ""]:
        log_w = torch.unflatten(trace.log_weight, 0, (self.outer, self.inner))  # (M, K, B)
        return -(log_w.logsumexp(1) - math.log(self.inner)).mean()


@dataclass(frozen=True)
class PartiallyImportant:
    """The PIWAE: the decoder learns from the bound of all M·K draws, the encoder from the mean of M bounds of K.

    Rainforth et al. (2018), arXiv:1802.04537, section 4.3. A larger K makes the decoder's gradient better and drowns
    the encoder's in noise. Its value is the encoder's bound.
    """

    inner: int
    outer: int

    @property
    def draws(self) -> int:
        return self.inner * self.outer

    def __call__(self, trace: Trace) -> Float[Tensor, ""]:
        images = len(trace.x)
        log_w = trace.log_weight.detach()
        apart = torch.unflatten(log_w, 0, (self.outer, self.inner)).softmax(1).flatten(0, 1) / self.outer
        value = ImportanceBound(self.inner, self.outer)(trace)
        return _routed(
            trace, value, decoder=log_w.softmax(0) / images, draws=apart / images, posterior=apart / images
        )


@dataclass(frozen=True)
class DoublyReparameterized:
    """−log (1/K)·Σ w, whose gradient for the encoder is Σ w̃²·∂log w/∂z·∂z/∂φ, w̃ the weights brought to sum to one.

    Tucker et al. (2019), arXiv:1810.04152, eq. 8: the same gradient in expectation as `ImportanceBound`'s, with a
    signal that does not drown as K grows.
    """

    inner: int

    @property
    def draws(self) -> int:
        return self.inner

    def __call__(self, trace: Trace) -> Float[Tensor, ""]:
        share = trace.log_weight.detach().softmax(0)
        images = len(trace.x)
        value = ImportanceBound(self.inner)(trace)
        return _routed(trace, value, decoder=share / images, draws=share.square() / images)


def sticking_the_landing(trace: Trace) -> Float[Tensor, ""]:
    """−mean log w: the ELBO by draws, whose gradient leaves out the part of the encoder's that is nought on average.

    Roeder et al. (2017), arXiv:1703.09194, eq. 8. Where the posterior is exact, no noise remains in the encoder's
    gradient.
    """
    even = torch.full_like(trace.log_weight, 1 / trace.log_weight.numel())
    return _routed(trace, -trace.log_weight.mean(), decoder=even, draws=even)


def _routed(
    trace: Trace,
    value: Tensor,
    decoder: Float[Tensor, "K B"],
    draws: Float[Tensor, "K B"],
    posterior: Float[Tensor, "K B"] | None = None,
) -> Float[Tensor, ""]:
    """``value``, with the gradient of −Σ c·log w, in which the weights c depend on the way that it takes.

    Args:
        trace: one forward pass.
        value: what the term is worth.
        decoder: the weights for log p(x, z) where the draws are held still: for the decoder and the prior.
        draws: the weights for log w where only the draws move: for the encoder, through z.
        posterior: the weights for −log q(z given x) where the draws are held still; None leaves it out.

    No tensor of the trace is changed and the model is not run again: the draws' part is a derivative by z, taken here
    and given to z as a constant, which costs one more backward pass through the decoder's activations.
    """
    z = trace.z
    joint = -trace.distortion + trace.pz.log_prob(z)
    total = (decoder * joint).sum()
    if z.requires_grad:  # not so where only values are wanted
        log_q = trace.q.log_prob(
            z.view_as(z)
        )  # by way of z: a flow knows the density of its own draws by heart
        wanted = (draws * (joint - log_q)).sum() - total
        (pull,) = torch.autograd.grad(wanted, z, retain_graph=True)
        total = total + (pull * z).sum()
    if posterior is not None:
        total = total - (posterior * trace.q.log_prob(z.detach())).sum()
    return value.detach() - (total - total.detach())


@dataclass(frozen=True)
class FreeBits:
    """Σ over latent dimensions of max(``nats``, mean rate of the dimension): each may carry so much for nothing.

    Kingma et al. (2016), arXiv:1606.04934, appendix C.8; the mean over the batch comes before the maximum.
    """

    nats: float
    pools = True

    def __call__(self, trace: Trace) -> Float[Tensor, ""]:
        return rate_of_each(trace).clamp_min(self.nats).sum()


@dataclass(frozen=True)
class FreeNats:
    """max(``nats``, mean rate): the space as a whole may carry so much for nothing, and for any posterior."""

    nats: float
    pools = True

    def __call__(self, trace: Trace) -> Float[Tensor, ""]:
        return trace.rate.mean().clamp_min(self.nats)
