"""What keeps an encoder without noise, or its decoder, from tearing the space apart."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from morphospace.model import Trace

__all__ = ["DecoderGradient", "decoder_norm", "latent_norm"]


def latent_norm(trace: Trace) -> Float[Tensor, ""]:
    """½·‖z‖², the mean over images: −log of a standard normal prior at the codes, nats, up to its constant.

    Ghosh et al. (2020), arXiv:1903.12436, eq. 10.
    """
    return 0.5 * trace.z.square().sum(-1).mean()


def decoder_norm(trace: Trace) -> Float[Tensor, ""]:
    """½·‖θ‖² of the decoder's weights: weight decay as a term (Ghosh et al. 2020, arXiv:1903.12436, section 3.1)."""
    assert trace.decoder is not None
    return 0.5 * torch.stack([p.square().sum() for p in trace.decoder.network.parameters()]).sum()


@dataclass(frozen=True)
class DecoderGradient:
    """‖∂x̂/∂z‖², the squared Frobenius norm of the decoded mean's Jacobian at the codes; the mean over images.

    Ghosh et al. (2020), arXiv:1903.12436, section 3.1. One random direction of signs v for each image gives ‖Jᵀv‖²,
    whose mean is the norm (Hutchinson 1990); the gradient of the pixels' sum, which is sometimes taken for it, lets
    pixels that brighten hide those that darken.

    It is differentiated again when the model learns from it, so it costs about another step.
    """

    random = True

    def __call__(self, trace: Trace) -> Float[Tensor, ""]:
        if not trace.z.requires_grad:
            raise RuntimeError("the decoder's gradient was asked for where no gradients are kept")
        image = trace.px.mean
        sign = torch.randn_like(image).sign()
        (pull,) = torch.autograd.grad((image * sign).sum(), trace.z, create_graph=True)
        return pull.square().sum(-1).mean()
