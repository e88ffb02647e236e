"""Latents in levels, from the top down."""

from __future__ import annotations

from morphospace import terms
from morphospace.ladder import Descent, Ladder, levels_of
from morphospace.networks import size as dial
from morphospace.objective import During, Objective, Ramp
from morphospace.recipes.common import conv_parts, part_of_run, positive
from morphospace.recipes.registry import Parts, recipe
from morphospace.types import ImageSpec, UsageError

__all__ = ["ladder"]


@recipe
def ladder(
    spec: ImageSpec, latent: int = 48, size: str = "small", levels: int = 2, warmup: float = 0.3
) -> Parts:
    """A top-down ladder: latents in levels, where those above shape the prior and the posterior of those below.

    The prior of each level depends on the levels above it, and its posterior is a residual of that prior, so that it
    knows both the image and what was drawn above: p(z) and q(z given x) are more than normals with independent
    dimensions, at the cost of small dense layers. Take it for likelihood and for pictures with variants: hold the top
    of a point and draw the rest from N(0, I) to see one. A space of two dimensions gains less.

    The space's dimensions are the levels in a row from the top, each twice as large as the one above;
    `space.model.encoder.family.levels` tells how large. A point says how far each level lies from what those above let
    one expect, in deviations of that, so that p(z) is N(0, I) as elsewhere; see `morphospace.ladder`. An embedding is
    the posterior's pass from the top down without noise. While the rate warms up, levels that carry more pay more (KL
    balancing), so that none is given up; then the objective is the ELBO. `rate_of_level_1` and so on are logged beside
    it.

    Cost: that of `vae`, and as many dense layers as the decoder's stem has for each further level. The rate has a
    closed form for each level, given a draw of those above. Known problem: a level that the others can do without
    carries nothing, which the doctor of `morphospace evaluate` tells; there is no spectral regularisation, which the
    deep ladders of the second paper need.

    Args:
        spec: the images' shape.
        latent: dimensions of the space, all levels together; 48 is 16 and 32, two of the first paper's levels.
        size: tiny, small, medium or large.
        levels: 2 to 4.
        warmup: the part of the run over which the rate's weight grows from 0 to 1 and is balanced; three tenths as in
            the second paper.

    References:
        Sønderby et al. (2016), Ladder Variational Autoencoders, arXiv:1602.02282;
        Vahdat & Kautz (2020), NVAE: A Deep Hierarchical Variational Autoencoder, arXiv:2007.03898;
        Vahdat et al. (2018), DVAE++: Discrete Variational Autoencoders with Overlapping Transformations,
        arXiv:1802.04920;
        Child (2021), Very Deep VAEs Generalize Autoregressive Models and Can Outperform Them on Images,
        arXiv:2011.10650;
        Maaløe et al. (2019), BIVA: A Very Deep Hierarchy of Latent Variables for Generative Modeling, arXiv:1902.02102;
        Kingma & Welling (2014), Efficient Gradient-Based Inference through Transformations between Bayes Nets and
        Neural Nets, arXiv:1402.0480.
    """
    positive(latent=latent)
    part_of_run(warmup=warmup)
    if not 2 <= levels <= 4:
        raise UsageError(f"levels is {levels}; expected 2 to 4, since one is the recipe 'vae'")
    sizes, width = levels_of(latent, levels), dial(size)
    balancing = [(During(Ramp(0, 1, until=warmup), stop=warmup), terms.balanced_rate)] if warmup > 0 else []
    seen = [(0.0, terms.LevelRate(level + 1)) for level in range(levels)]
    return conv_parts(
        spec,
        latent,
        size,
        Objective(*balancing, *seen, distortion=1, rate=During(1.0, start=warmup)),
        posterior=Ladder(sizes, width.hidden // 2),
        stem=Descent(sizes, width),
    )
