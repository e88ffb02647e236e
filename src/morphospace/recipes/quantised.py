"""Spaces of finitely many points: a grid of codes for each image."""

from __future__ import annotations

import math
from typing import Any, Literal

from morphospace import priors, terms
from morphospace.families import Codebooks, FiniteScalar
from morphospace.model import VAE, Conditional
from morphospace.networks import GridDecoder, GridEncoder, grid_sides
from morphospace.networks import size as dial
from morphospace.objective import Objective
from morphospace.recipes.common import positive, usual_likelihood
from morphospace.recipes.registry import Parts, recipe
from morphospace.settings import Settings
from morphospace.types import ImageSpec, UsageError

__all__ = ["fsq", "residual_vq", "vq"]

RECOMMENDED = {3: (8, 6, 5), 4: (8, 5, 5, 5), 5: (7, 5, 5, 5, 5), 6: (8, 8, 8, 5, 5, 5)}
"""Levels for so many numbers (Mentzer et al. 2023, table 1: 240, 1,000, 4,375 and 64,000 codes)."""


def _parts(
    spec: ImageSpec,
    numbers: int,
    size: str,
    posterior: Codebooks | FiniteScalar,
    objective: Objective,
    **more: Any,
) -> Parts:
    """Networks with a grid between them, a posterior that quantises, the usual pixels, and codes all alike a priori."""
    width, likelihood = dial(size), usual_likelihood(spec)
    places = math.prod(grid_sides(spec))
    layers = posterior.length // places
    outputs = posterior.outputs(posterior.length * numbers) // places
    return Parts(
        model=VAE(
            encoder=Conditional(GridEncoder(spec, outputs, width), posterior),
            decoder=Conditional(GridDecoder(spec, numbers, width, likelihood.factor, layers), likelihood),
            prior=priors.UniformCodes(posterior.length),
        ),
        objective=objective,
        settings=Settings(lr=width.lr, matrix_lr=width.matrix_lr, **more),
    )


@recipe
def vq(
    spec: ImageSpec,
    latent: int = 8,
    size: str = "small",
    codes: int = 512,
    learning: Literal["ema", "gradient"] = "ema",
    beta: float = 0.25,
) -> Parts:
    """The VQ-VAE: each place of a grid takes the nearest code of a codebook that is learned.

    An image of 28×28 pixels becomes 7×7 codes (a quarter of each side, halved until none is above 8). The encoder's
    gradient is that of the decoder, as if nothing had been rounded. Codes begin as k-means of the encoder's outputs;
    one that falls out of use is put where an output of the batch is. In the run's metrics ``perplexity`` says how many
    are in use.

    The rate is what the codes cost under the prior. Untaught, that is log K nats for each place, whatever the image: so
    −ELBO is the length of a code that could be written down, and far from the shortest. After training,
    ``space.with_prior("autoregressive")`` learns which codes follow which: for short codes, and for samples that are
    pictures.

    Cost: about five times `vae` on a CPU. Known problem: what lies between codes is no point of the space, so there is
    no way from one image to another: `morphospace morph` says so.

    Args:
        spec: the images' shape.
        latent: numbers of a code; the space has so many for each place. Codes looked up in few numbers, such as 32 or
            8, leave fewer of them unused (Yu et al. 2022).
        size: tiny, small, medium or large.
        codes: K, in the codebook; 512 as in the paper's experiments on images.
        learning: how codes learn: "ema" as running means of what is assigned to them (the paper's appendix A.1), or
            "gradient" by a term of the loss (its eq. 3).
        beta: the weight of the commitment of the encoder to its codes, summed over places; the number is the paper's,
            of their mean.

    References:
        van den Oord et al. (2017), Neural Discrete Representation Learning, arXiv:1711.00937;
        Bengio et al. (2013), Estimating or Propagating Gradients Through Stochastic Neurons for Conditional
        Computation, arXiv:1308.3432;
        Zeghidour et al. (2021), SoundStream: An End-to-End Neural Audio Codec, arXiv:2107.03312;
        Yu et al. (2022), Vector-quantized Image Modeling with Improved VQGAN, arXiv:2110.04627.
    """
    return _vector_quantised(spec, latent, size, codes, learning, beta, levels=1)


@recipe
def residual_vq(
    spec: ImageSpec,
    latent: int = 8,
    size: str = "small",
    codes: int = 512,
    levels: int = 2,
    learning: Literal["ema", "gradient"] = "ema",
    beta: float = 0.25,
) -> Parts:
    """Residual vector quantisation: several codes at each place, each for what those before left over.

    As `vq`, where one codebook would have to be K^L codes large: the decoder sees the sum of a place's codes. In the
    space they lie beside each other, so that each can be told from its numbers.

    Cost: as `vq`, and L codes for each place to learn a prior of.

    Args:
        spec: the images' shape.
        latent: numbers of a code; the space has so many for each place and level.
        size: tiny, small, medium or large.
        codes: K, in each codebook; as in `vq`.
        levels: L, codes at each place; 2 is the least that has a residual. Lee et al. take 4 for 8×8 places.
        learning: as in `vq`; both papers learn by running means.
        beta: the weight of the commitment; as in `vq`.

    References:
        Zeghidour et al. (2021), SoundStream: An End-to-End Neural Audio Codec, arXiv:2107.03312;
        Lee et al. (2022), Autoregressive Image Generation using Residual Quantization, arXiv:2203.01941.
    """
    positive(levels=levels)
    return _vector_quantised(spec, latent, size, codes, learning, beta, levels)


def _vector_quantised(
    spec: ImageSpec, latent: int, size: str, codes: int, learning: str, beta: float, levels: int
) -> Parts:
    positive(latent=latent, beta=beta)
    if codes < 2:
        raise UsageError(f"codes is {codes}; expected at least 2, since one says nothing")
    averaged = learning == "ema"
    posterior = Codebooks(math.prod(grid_sides(spec)), latent, codes, levels, averaged=averaged)
    learned = [] if averaged else [(1.0, terms.codebook)]
    objective = Objective((beta, terms.commitment), *learned, (0.0, terms.perplexity), distortion=1)
    return _parts(spec, latent, size, posterior, objective)


@recipe
def fsq(spec: ImageSpec, latent: int = 4, size: str = "small", levels: str | None = None) -> Parts:
    """Finite scalar quantisation: each of a few numbers at each place of a grid is rounded to one of a few values.

    As `vq`, with the product of the values for a codebook: nothing of it is learned, no term holds it together, and no
    code can go astray. Rate and prior are as there, with K = Π levels.

    Cost: less than `vq`, since no code is searched for.

    Args:
        spec: the images' shape.
        latent: numbers at each place; 4 are 1,000 codes.
        size: tiny, small, medium or large.
        levels: how many values each number has, such as "8,6,5"; none for what the paper's table 1 recommends for 3
            to 6 numbers (8,6,5; 8,5,5,5; 7,5,5,5,5; 8,8,8,5,5,5), and otherwise 5 for each, its least.

    References:
        Mentzer et al. (2023), Finite Scalar Quantization: VQ-VAE Made Simple, arXiv:2309.15505.
    """
    positive(latent=latent)
    posterior = FiniteScalar(math.prod(grid_sides(spec)), _levels(latent, levels))
    return _parts(spec, latent, size, posterior, Objective((0.0, terms.perplexity), distortion=1))


def _levels(latent: int, levels: str | None) -> tuple[int, ...]:
    if levels is None:
        return RECOMMENDED.get(latent, (5,) * latent)
    try:
        found = tuple(int(part) for part in levels.split(","))
    except ValueError:
        raise UsageError(f"levels is '{levels}'; expected whole numbers with commas, such as 8,6,5") from None
    if len(found) != latent:
        raise UsageError(f"levels is '{levels}', {len(found)} numbers; expected as many as latent, {latent}")
    return found
