"""What ties an encoder and its codebook to one another, and how many codes are in use."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from morphospace.distributions import Codes
from morphospace.model import Trace
from morphospace.types import UsageError

__all__ = ["codebook", "commitment", "perplexity"]


def codebook(trace: Trace) -> Float[Tensor, ""]:
    """Σ ‖sg(h) − e‖² over places: codes are drawn to what became them. The mean over images.

    The second term of van den Oord et al. (2017), arXiv:1711.00937, eq. 3; of residual codes, the sum over levels.
    """
    q = _codes(trace)
    return _squared(q.before.detach(), q.after)


def commitment(trace: Trace) -> Float[Tensor, ""]:
    """Σ ‖h − sg(e)‖² over places: the encoder's outputs are drawn to their codes. The mean over images.

    The third term of van den Oord et al. (2017), arXiv:1711.00937, eq. 3, without its weight β; of residual codes, the
    sum over levels (Lee et al. 2022, arXiv:2203.01941, section 3.1).
    """
    q = _codes(trace)
    return _squared(q.before, q.after.detach())


def _squared(a: Float[Tensor, "B G L d"], b: Float[Tensor, "B G L d"]) -> Tensor:
    return (a - b).square().sum((-3, -2, -1)).mean()


@torch.no_grad()
def perplexity(trace: Trace) -> Float[Tensor, ""]:
    """How many codes the batch uses: e to the entropy, in nats, of their shares; K if all alike, 1 if one for all.

    Of residual codes, the geometric mean over levels. It is watched and not learned from: its weight is nought.
    """
    q = _codes(trace)
    symbols = q.chosen.reshape(-1, q.chosen.shape[-1])  # (B·G, L)
    counts = torch.zeros(symbols.shape[1], q.size, device=symbols.device)
    counts.scatter_add_(1, symbols.T, torch.ones_like(symbols.T, dtype=counts.dtype))
    entropies: Tensor = torch.special.entr(counts / len(symbols)).sum(1)
    return entropies.mean().exp()


perplexity.pools = True  # type: ignore[attr-defined]  # of the batch as a whole


def _codes(trace: Trace) -> Codes:
    if not isinstance(trace.q, Codes):
        raise UsageError(
            f"this term is of codes, but the encoder puts out {type(trace.q).__name__}; use a family that quantises"
        )
    return trace.q
