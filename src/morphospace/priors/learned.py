"""Priors that are learned with the model, and those of spaces that are no plane.

`Mixture`, `VampPrior`, `Exemplars`, `FlowPrior`                over R^D
`ClassNormals`                                                  over R^D, of each class
`Uniform`, `WrappedStandard`, `UniformChoices`, `Beside`        over a sphere, the Poincaré ball, categories, side by
side
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal

import morphospace.distributions as d
from morphospace.distributions import Distribution
from morphospace.manifolds import Ball
from morphospace.priors.base import Encode, Prior, StandardNormal, alphabet_of
from morphospace.types import ImageSpec, UsageError

__all__ = [
    "Beside",
    "ClassNormals",
    "Exemplars",
    "FlowPrior",
    "Mixture",
    "Uniform",
    "UniformChoices",
    "UniformCodes",
    "VampPrior",
    "WrappedStandard",
]


class Mixture(Prior):
    """M normals with weights, means and deviations of their own, all learned; means begin as draws of N(0, I).

    Its distribution gives ``assignments(z)``, the probability of each component at a point: a clustering.

    Args:
        latent: D.
        components: M.
        full: whether components have correlations, by a lower triangular factor.
    """

    def __init__(self, latent: int, components: int, *, full: bool = False) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(components))
        self.loc = nn.Parameter(torch.randn(components, latent))
        self.log_scale = nn.Parameter(torch.zeros(components, latent))
        self.below = nn.Parameter(torch.zeros(components, latent, latent)) if full else None

    def forward(self, encode: Encode) -> d.Mixture:  # noqa: ARG002
        scale = self.log_scale.exp()
        if self.below is not None:
            scale = self.below.tril(-1) + torch.diag_embed(scale)
        return d.Mixture(self.logits, self.loc, scale)


class ClassNormals(Prior):
    """p(z given y): a normal with mean and deviations of its own for each class; means begin as draws of N(0, I).

    Without labels it is p(z) = Σ p(y)·p(z given y), with p(y) the part of the training images that are of class y.

    Args:
        latent: D.
        classes: Y.
    """

    log_share: Tensor

    def __init__(self, latent: int, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.loc = nn.Parameter(torch.randn(classes, latent))
        self.log_scale = nn.Parameter(torch.zeros(classes, latent))
        self.register_buffer("log_share", torch.zeros(classes))

    @torch.no_grad()
    def begin_with_labels(self, labels: Tensor) -> None:
        counts = torch.bincount(labels[labels >= 0].cpu(), minlength=self.classes).to(self.log_share)
        self.log_share.copy_((counts / counts.sum()).log())

    def forward(self, encode: Encode, labels: Tensor | None = None) -> Distribution:  # noqa: ARG002
        scale = self.log_scale.exp()
        if labels is None:
            return d.Mixture(self.log_share, self.loc, scale)
        if labels.is_floating_point():
            raise UsageError("this prior has a normal for each class: it takes classes, not weights of them")
        return d.normal(self.loc[labels], scale[labels])


class VampPrior(Prior):
    """The mean of the posteriors of M pseudo-inputs, images that are learned (Tomczak & Welling 2018,
    arXiv:1705.07120, eq. 9).

    They begin as images of the training set. Each step encodes them all.

    Args:
        spec: the images' shape.
        pseudo_inputs: M.
        weighted: whether each has a weight of its own, which is learned too.
    """

    logits: Tensor

    def __init__(self, spec: ImageSpec, pseudo_inputs: int, *, weighted: bool = False) -> None:
        super().__init__()
        self.images = nn.Parameter(torch.rand(pseudo_inputs, *spec.shape))
        if weighted:
            self.logits = nn.Parameter(torch.zeros(pseudo_inputs))
        else:
            self.register_buffer("logits", torch.zeros(pseudo_inputs), persistent=False)

    @torch.no_grad()
    def begin_with(self, pick: Callable[[int], Tensor], encode: Encode) -> None:  # noqa: ARG002
        self.images.copy_(pick(len(self.images)))

    def forward(self, encode: Encode) -> d.Mixture:
        # The gradient of what lies outside is that of the pixel at the edge: many begin there, and would never return.
        pixels = self.images + (self.images.clamp(0, 1) - self.images).detach()
        loc, scale = _normals(encode(pixels), "VampPrior")
        return d.Mixture(self.logits, loc, scale)


class Exemplars(Prior):
    """The mean of normals about M images of the training set, with one σ that is learned (Norouzi et al. 2020,
    arXiv:2004.04795, eq. 5): the paper's prior for a fixed sample of exemplars.

    The paper leaves out the exemplar that is the image in hand. Here M of N images are exemplars, so that an image
    meets itself with probability M/N, and nothing is left out.

    Args:
        spec: the images' shape.
        latent: D.
        exemplars: M.
    """

    images: Tensor
    logits: Tensor

    def __init__(self, spec: ImageSpec, latent: int, exemplars: int) -> None:
        super().__init__()
        self.latent = latent
        self.register_buffer("images", torch.zeros(exemplars, *spec.shape))
        self.register_buffer("logits", torch.zeros(exemplars), persistent=False)
        self.log_scale = nn.Parameter(torch.zeros(()))

    @torch.no_grad()
    def begin_with(self, pick: Callable[[int], Tensor], encode: Encode) -> None:  # noqa: ARG002
        self.images.copy_(pick(len(self.images)))

    def forward(self, encode: Encode) -> Distribution:
        loc, _ = _normals(encode(self.images), "Exemplars")
        return d.Mixture(self.logits, loc, self.log_scale.exp().expand_as(loc))


def _normals(q: Distribution, name: str) -> tuple[Tensor, Tensor]:
    if not (isinstance(q, Independent) and isinstance(q.base_dist, Normal)):
        raise UsageError(
            f"{name} mixes the encoder's normals, but this encoder gives {type(q).__name__}; use DiagonalNormal"
        )
    return q.base_dist.loc, q.base_dist.scale


class FlowPrior(StandardNormal):
    """N(0, I) pushed through a flow that is learned: densities take one pass, draws D (Chen et al. 2017,
    arXiv:1611.02731).

    Args:
        latent: D.
        kind: "maf", masked affine (Papamakarios et al. 2017, arXiv:1705.07057), or "spline" (Durkan et al. 2019).
        transforms: maps in a row.

    Raises:
        MissingExtra: without zuko.
    """

    def __init__(self, latent: int, kind: str = "maf", transforms: int = 3) -> None:
        super().__init__(latent)
        self.flow = d.make_flow(latent, 0, kind, transforms, fast="density")

    def forward(self, encode: Encode) -> Distribution:  # noqa: ARG002
        return d.Flowed(self.zero, self.one, self.flow())


class Uniform(StandardNormal):
    """Every direction alike: the uniform law of the unit sphere of R^D."""

    def forward(self, encode: Encode) -> Distribution:  # noqa: ARG002
        return d.UniformSphere(self.zero)


class WrappedStandard(StandardNormal):
    """The wrapped normal about the origin of the Poincaré ball (Mathieu et al. 2019, arXiv:1901.06033, section 3.1).

    Args:
        latent: D.
        ball: the space.
        sigma: its deviation, in lengths of the space.
    """

    def __init__(self, latent: int, ball: Ball, sigma: float = 1.0) -> None:
        super().__init__(latent)
        self.ball, self.sigma = ball, sigma

    def forward(self, encode: Encode) -> Distribution:  # noqa: ARG002
        return d.WrappedNormal(self.ball, self.zero, self.sigma * self.one)


class UniformChoices(StandardNormal):
    """Every category alike, D/n choices among n.

    Args:
        latent: D.
        categories: n.
        temperature: of the relaxation, which counts where draws are not ``hard``.
        hard: as the posterior's.
    """

    def __init__(self, latent: int, categories: int, temperature: float, *, hard: bool = True) -> None:
        super().__init__(latent)
        self.categories, self.temperature = categories, temperature
        self.law = d.OneHot if hard else d.Concrete

    def forward(self, encode: Encode) -> Distribution:  # noqa: ARG002
        return self.law(self.zero.reshape(-1, self.categories), self.temperature)


class UniformCodes(Prior):
    """Every code alike at each place: the law of a quantised space before anything is known of it.

    Args:
        length: S, codes of a point.
    """

    zero: Tensor

    def __init__(self, length: int) -> None:
        super().__init__()
        self.register_buffer("zero", torch.zeros(length, dtype=torch.long), persistent=False)

    def forward(self, encode: Encode) -> Distribution:
        return d.UniformCodes(alphabet_of(encode), self.zero)


class Beside(Prior):
    """Priors side by side, each over its own dimensions, independent of one another."""

    def __init__(self, parts: Sequence[Prior]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, encode: Encode) -> Distribution:
        return d.Joint([part(encode) for part in self.parts])
