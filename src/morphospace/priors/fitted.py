"""Priors that are fitted after training to where the encoder puts the images: the aggregated posterior.

A decoder knows what to make of places that the encoder uses; the prior that it was trained with may put its draws
elsewhere, or, where points were trained, there was none. Fitted ones are saved and loaded with the space.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

import morphospace.distributions as d
from morphospace.distributions import Distribution
from morphospace.priors.base import Encode, Prior
from morphospace.priors.em import fit_normals
from morphospace.priors.learned import FlowPrior, Mixture, VampPrior
from morphospace.priors.pseudo import Encoded, fit_vamp, make_vamp
from morphospace.priors.sequences import Autoregressive, fit_autoregressive
from morphospace.seeds import seeded
from morphospace.types import ImageSpec, Progress, UnknownName, UsageError, silent

__all__ = [
    "FITTED",
    "OF_CODES",
    "OF_IMAGES",
    "SAMPLER",
    "Fitted",
    "TwoStage",
    "fit_prior",
    "fitted_prior",
    "sampler_arguments",
]

FIT_BATCH = 512
FIT_LR = 2e-3
LEAST_POINTS = 20_000
"""Draws from the aggregated posterior that a mixture is fitted to, at least: several of each image in a small set."""
SAMPLER = "mixture"
"""What samples are drawn from by default, fitted after training."""
MOST_COMPONENTS = 128
POINTS_PER_PARAMETER = 20
"""A model of P parameters fitted to N points is farther from the truth than its best by about P/2N nats (Akaike 1974):
here 0.025."""


class Fitted(Prior):
    """A prior of whitened latents, moved back to where the latents lie.

    Args:
        inner: the prior of latents with mean nought and deviations of one.
        latent: D.
        name: of `FITTED`.
        arguments: what ``inner`` was made with.
    """

    loc: Tensor
    scale: Tensor

    def __init__(self, inner: Prior, latent: int, name: str, arguments: Mapping[str, Any]) -> None:
        super().__init__()
        self.inner, self.name, self.arguments = inner, name, dict(arguments)
        self.register_buffer("loc", torch.zeros(latent))
        self.register_buffer("scale", torch.ones(latent))

    def forward(self, encode: Encode) -> Distribution:
        return _Moved(self.inner(encode), self.loc, self.scale)


class _Moved(d.Law):
    """The law of loc + scale·z."""

    def __init__(self, inner: Distribution, loc: Tensor, scale: Tensor) -> None:
        super().__init__(loc)
        self.inner, self.loc, self.scale = inner, loc, scale

    @property
    def mean(self) -> Tensor:
        return self.loc + self.scale * self.inner.mean

    @property
    def stddev(self) -> Tensor:
        return self.scale * self.inner.stddev

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.loc + self.scale * self.inner.rsample(torch.Size(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        return self.inner.log_prob((value - self.loc) / self.scale) - self.scale.log().sum(-1)

    def assignments(self, value: Tensor) -> Tensor:
        """The probability of each component at each point, where the prior is a mixture."""
        if not isinstance(self.inner, d.Mixture):
            raise UsageError("this prior has no components to assign points to; fit 'mixture'")
        return self.inner.assignments((value - self.loc) / self.scale)


class TwoStage(Prior):
    """A second VAE, of the latents of the first (Dai & Wipf 2019, arXiv:1903.05789, section 4.2): normal all through.

    Its density has no closed form, so only draws are to be had of it.

    Args:
        latent: D.
        width: of its two hidden layers.
    """

    def __init__(self, latent: int, width: int = 256) -> None:
        super().__init__()
        self.latent = latent
        self.encoder = _mlp(latent, width, 2 * latent)
        self.decoder = _mlp(latent, width, latent)
        self.log_gamma = nn.Parameter(torch.zeros(()))

    def loss(self, z: Float[Tensor, "B D"]) -> Float[Tensor, ""]:
        """−ELBO of the second stage, nats per point."""
        loc, log_variance = self.encoder(z).chunk(2, dim=-1)
        q = d.normal(loc, (0.5 * log_variance.clamp(-20, 20)).exp())
        u = q.rsample(torch.Size((1,)))
        rate = d.divergence(q, d.normal(torch.zeros_like(loc[0]), torch.ones_like(loc[0])), u)
        return (rate - d.normal(self.decoder(u), self._gamma().expand_as(u)).log_prob(z)).mean()

    def _gamma(self) -> Tensor:
        return self.log_gamma.clamp_min(-6).exp()

    def forward(self, encode: Encode) -> Distribution:  # noqa: ARG002
        return _Generated(self.decoder, self._gamma(), self.latent)


class _Generated(d.Law):
    """The law of a second decoder's draws."""

    def __init__(self, decoder: nn.Module, gamma: Tensor, latent: int) -> None:
        super().__init__(gamma.expand(latent))
        self.decoder, self.gamma, self.latent = decoder, gamma, latent

    @property
    def mean(self) -> Tensor:
        """Nought: the latents that it was fitted to were whitened."""
        return torch.zeros_like(self.gamma.expand(self.latent))

    @property
    def stddev(self) -> Tensor:
        """One, for the same reason."""
        return torch.ones_like(self.mean)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        u, noise = self.gamma.new_empty(2, *sample_shape, self.latent).normal_()
        z: Tensor = self.decoder(u) + self.gamma * noise
        return z

    def log_prob(self, value: Tensor) -> Tensor:  # noqa: ARG002
        raise UsageError(
            "a two-stage prior has no density in closed form, so there is no likelihood; fit 'mixture' or 'flow'"
        )


def _mlp(before: int, width: int, after: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(before, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, after)
    )


# ---------------------------------------------------------------- fitting


def _fit_mixture(prior: Mixture, z: Tensor, seed: int, steps: int, progress: Progress) -> None:  # noqa: ARG001
    """EM for normals of any covariance (Dempster, Laird & Rubin 1977), as in Ghosh et al. (2020, section 4)."""
    found = fit_normals(z.double(), len(prior.logits), seed, progress)
    tril = torch.linalg.cholesky(found.covariance)
    assert prior.below is not None
    with torch.no_grad():
        prior.logits.copy_(found.weight.log())
        prior.loc.copy_(found.mean)
        prior.log_scale.copy_(tril.diagonal(dim1=-2, dim2=-1).log())
        prior.below.copy_(tril.tril(-1))


def _descend(
    loss: Callable[[Tensor], Tensor], prior: Prior, z: Tensor, seed: int, steps: int, progress: Progress
) -> None:
    """Adam with a rate that falls to nought, on batches that are functions of (seed, step)."""
    optimizer = torch.optim.Adam(prior.parameters(), FIT_LR)
    for step in range(steps):
        with seeded(seed, "prior", step):
            batch = z[torch.randint(len(z), (FIT_BATCH,))]
            optimizer.param_groups[0]["lr"] = FIT_LR * (1 - step / steps)
            optimizer.zero_grad()
            loss(batch).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(prior.parameters(), 10.0)
            optimizer.step()
        if step % 50 == 0 or step == steps - 1:
            progress("fitting the prior", step + 1, steps)


def _fit_flow(prior: FlowPrior, z: Tensor, seed: int, steps: int, progress: Progress) -> None:
    """Maximum likelihood."""
    _descend(lambda batch: -prior(_no_encoder).log_prob(batch).mean(), prior, z, seed, steps, progress)


def _fit_two_stage(prior: TwoStage, z: Tensor, seed: int, steps: int, progress: Progress) -> None:
    _descend(prior.loss, prior, z, seed, steps, progress)


def _no_encoder(x: Tensor) -> Distribution:  # noqa: ARG001
    raise AssertionError("fitted priors encode nothing")


def _make_mixture(latent: int, components: int = 10) -> Prior:
    """10 components as in Ghosh et al. (2020)."""
    return Mixture(latent, components, full=True)


FITTED: dict[str, tuple[Callable[..., Prior], Callable[..., None], int]] = {
    "mixture": (_make_mixture, _fit_mixture, 0),
    "flow": (FlowPrior, _fit_flow, 2000),
    "two-stage": (TwoStage, _fit_two_stage, 4000),
    "vamp": (make_vamp, fit_vamp, 500),
    "autoregressive": (Autoregressive, fit_autoregressive, 2000),
}
"""What can be fitted after training: how each is made of D (of the alphabet, for those `OF_CODES`; of the shape of
images, for those `OF_IMAGES`) and its arguments, how it is fitted, in how many steps."""
OF_CODES = ("autoregressive",)
"""Those of rows of codes; the others are of points that may be any numbers."""
OF_IMAGES = ("vamp",)
"""Those made of images, which they need beside the latents."""


def sampler_arguments(latent: int, points: int) -> dict[str, int]:
    """The arguments of the prior `SAMPLER` for so many latents: as many components as they can tell, up to 128."""
    each = 1 + latent + latent * (latent + 1) // 2
    return {"components": max(1, min(MOST_COMPONENTS, points // (POINTS_PER_PARAMETER * each)))}


def fitted_prior(
    name: str,
    latent: int,
    arguments: Mapping[str, Any],
    alphabet: d.Alphabet | None = None,
    spec: ImageSpec | None = None,
) -> Prior:
    """A prior of `FITTED` before it is fitted, or to load its weights into.

    Args:
        name: of `FITTED`.
        latent: D.
        arguments: of the prior.
        alphabet: of a space whose points are rows of codes.
        spec: of the images, for a prior that is made of them.

    Raises:
        UnknownName: for a name that is not there.
        UsageError: for arguments that it does not take; for a prior of codes where there are none, and the reverse.
    """
    if name not in FITTED:
        raise UnknownName("prior to fit", name, FITTED)
    if (name in OF_CODES) != (alphabet is not None):
        kind, fit = ("any numbers", "mixture") if alphabet is None else ("rows of codes", "autoregressive")
        raise UsageError(
            f"the prior '{name}' cannot be fitted to this space, whose points are {kind}; fit '{fit}'"
        )
    make = FITTED[name][0]
    try:
        if alphabet is not None:
            return make(alphabet, **arguments)
        if name in OF_IMAGES:
            return make(spec, **arguments)
        return Fitted(make(latent, **arguments), latent, name, arguments)
    except TypeError as error:
        raise UsageError(f"the prior '{name}' cannot be made with {dict(arguments)}: {error}") from None


def fit_prior(
    name: str,
    means: Float[np.ndarray, "N D"],
    scales: Float[np.ndarray, "N D"],
    arguments: Mapping[str, Any],
    seed: int = 0,
    progress: Progress = silent,
    alphabet: d.Alphabet | None = None,
    encoded: Encoded | None = None,
) -> Prior:
    """A prior fitted to the aggregated posterior: to as many draws of N(mean, scale²) of each image, or to its codes.

    Args:
        name: of `FITTED`.
        means: the images' latents.
        scales: the posteriors' deviations, noughts for points.
        arguments: of the prior: ``components`` of a mixture, ``kind`` and ``transforms`` of a flow, ``width`` of two
        stages, ``components`` of a vamp and whether they are ``learned``, ``width``, ``layers`` and ``heads`` of an
        autoregressive one.
        seed: the result is a function of it.
        progress: told of each stretch of work.
        alphabet: of a space whose points are rows of codes.
        encoded: the images of these latents, in their order, for a prior that is made of them.

    Raises:
        UsageError: for such a prior without images.
    """
    with seeded(seed, "prior"):
        if (name in OF_IMAGES) != (encoded is not None) and name in FITTED:
            raise UsageError(
                f"the prior '{name}' is made of the images that the space was trained on: give them as images="
                if encoded is None
                else f"the prior '{name}' is fitted to latents alone; leave images out, or fit '{OF_IMAGES[0]}'"
            )
        spec = None if encoded is None else ImageSpec(*encoded.pixels.shape[1:])
        prior = fitted_prior(name, means.shape[1], arguments, alphabet, spec)
        _, fit, steps = FITTED[name]
        loc, scale = (torch.from_numpy(np.asarray(part, dtype=np.float32)) for part in (means, scales))
        if alphabet is not None:
            assert isinstance(prior, Autoregressive)
            prior.loc.copy_(loc.mean(0))
            prior.scale.copy_(loc.std(0, correction=0))
            fit(prior, alphabet.symbols(loc), seed, steps, progress)
            return prior.requires_grad_(False)
        if encoded is not None:
            assert isinstance(prior, VampPrior)
            fit(prior, loc, scale, encoded, seed, steps if arguments.get("learned", True) else 0, progress)
            return prior.requires_grad_(False)
        # What is fitted by descent sees batches for a few thousand steps, and keeps to one draw of each image.
        each = -(-LEAST_POINTS // len(loc)) if not steps and (scale > 0).any() else 1
        loc, scale = loc.repeat(each, 1), scale.repeat(each, 1)
        z = loc + scale * torch.randn_like(loc)
        z = z[torch.randperm(len(z))]
    assert isinstance(prior, Fitted)
    prior.loc.copy_(z.mean(0))
    prior.scale.copy_(z.std(0, correction=0).clamp_min(1e-6))
    fit(prior.inner, (z - prior.loc) / prior.scale, seed, steps, progress)
    return prior.requires_grad_(False)
