"""The model in three sentences: conditionals turn tensors into distributions, a prior turns the encoder into one."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, final, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from morphospace.distributions import Distribution, divergence
from morphospace.families import Family, Likelihood, full
from morphospace.networks import Network, OfClass
from morphospace.priors import Encode, Prior, PriorOfClass
from morphospace.types import UsageError

__all__ = ["VAE", "Conditional", "FromImages", "FromLabels", "Labels", "Trace"]

Labels = Tensor
"""The classes of a batch: positions (B,), int64, with −1 where one is not known; or weights of the Y classes (B, Y),
floats whose rows sum to one. Either may lack its first dimension: then all of the batch are of one class."""

KIND_IMAGES = 256
"""Images that tell whether a set is of black and white alone."""


@runtime_checkable
class FromImages(Protocol):
    """A part that begins from images rather than from noise: a prior's pseudo-inputs, a codebook."""

    def begin_with(self, pick: Callable[[int], Tensor], encode: Encode) -> None: ...


@runtime_checkable
class FromLabels(Protocol):
    """A part that counts the training images of each class before the first step."""

    def begin_with_labels(self, labels: Tensor) -> None: ...


@final
class Conditional(nn.Module):
    """A tensor turned into a distribution: x -> q(z given x), and z -> p(x given z); a label may stand beside it."""

    def __init__(self, network: Network, family: Family) -> None:
        super().__init__()
        self.network = network
        self.family = family
        # What the network computes in while it is trained; probabilities are float32 in any case.
        self.dtype = torch.float32

    @property
    def classes(self) -> int:
        """How many classes it is told of; 0 where it needs no labels."""
        return self.network.classes

    def parameters_of(self, c: Tensor, labels: Labels | None = None) -> Tensor:
        """The network's output for inputs (…, *input_shape), with their leading dimensions kept.

        Raises:
            UsageError: if it is told of classes, and there are no labels; labels that it has no use for do not matter.
        """
        event = len(self.network.input_shape)
        lead = c.shape[: c.dim() - event]
        inputs = [c.reshape(-1, *c.shape[c.dim() - event :])]
        if self.classes:
            inputs.append(self._weights(labels).to(c.dtype).expand(*lead, self.classes).flatten(0, -2))
        rough = self.dtype != torch.float32
        with torch.autocast(c.device.type, self.dtype) if rough else nullcontext():
            h: Tensor = self.network(*inputs)
        return h.reshape(*lead, *h.shape[1:])

    def _weights(self, labels: Labels | None) -> Tensor:
        """Labels as weights of the classes; noughts alone where the class is not known."""
        if labels is None:
            raise UsageError(f"this model is told of {self.classes} classes, and no labels were given")
        if labels.is_floating_point():
            return labels
        return labels.unsqueeze(-1) == torch.arange(self.classes, device=labels.device)

    def forward(self, c: Tensor, labels: Labels | None = None) -> Distribution:
        distribution: Distribution = self.family(self.parameters_of(c, labels))
        return distribution


@dataclass(frozen=True, eq=False)
class Trace:
    """Everything that one forward pass knows; every term is a pure function of it.

    Attributes:
        x: images, (B, C, H, W), values in [0, 1].
        q: the posterior q(z given x) of each image.
        z: draws from it, (K, B, D).
        px: the likelihood p(x given z) of each draw.
        pz: the prior p(z).
        decoder: z -> p(x given z), for terms that look at other points than the draws, or at the decoder itself.
        images: how many images the set has that ``x`` was drawn from; None where ``x`` is all of it.
        labels: the images' classes, for a model that is told of them: q, px and pz are then those of the class; of the
            most probable class, where it is −1 and the model has a classifier.
        model: all of it, for terms that look at other classes than the labels'.
    """

    x: Float[Tensor, "B C H W"]
    q: Distribution
    z: Float[Tensor, "K B D"]
    px: Distribution
    pz: Distribution
    decoder: Conditional | None = None
    images: int | None = None
    labels: Labels | None = None
    model: VAE | None = None

    @cached_property
    def distortion(self) -> Float[Tensor, "K B"]:
        """−log p(x given z), nats per image, summed over pixels."""
        return -self.px.log_prob(self.x)

    @cached_property
    def rate(self) -> Float[Tensor, "K B"]:
        """KL(q(z given x) ‖ p(z)), nats per image, summed over latent dimensions."""
        return divergence(self.q, self.pz, self.z)

    @cached_property
    def log_weight(self) -> Float[Tensor, "K B"]:
        """log p(x, z) − log q(z given x): the log importance weight of each draw (Burda et al. 2016, eq. 7)."""
        return -self.distortion + self.pz.log_prob(self.z) - self.q.log_prob(self.z)


@final
class VAE(nn.Module):
    """An encoder, a decoder and a prior (Kingma & Welling 2014, arXiv:1312.6114).

    A model that is told of classes may have a classifier too, x -> q(y given x), for images whose class is not known.
    """

    def __init__(
        self, encoder: Conditional, decoder: Conditional, prior: Prior, classifier: Conditional | None = None
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.prior = prior
        self.classifier = classifier

    @property
    def classes(self) -> int:
        """How many classes some part is told of; 0 for a model that needs no labels."""
        return max(self.encoder.classes, self.decoder.classes, self.prior.classes)

    def tables(self) -> list[nn.Parameter]:
        """Parameters of priors and families themselves, which are no layer's weights: means, pseudo-inputs, codes."""
        parts = (self.encoder.family, self.decoder.family, self.prior)
        owners = [m for part in parts for m in part.modules() if isinstance(m, Family | Prior)]
        return [p for owner in owners for p in owner.parameters(recurse=False)]

    def trace(
        self,
        x: Float[Tensor, "B C H W"],
        draws: int = 1,
        images: int | None = None,
        labels: Labels | None = None,
    ) -> Trace:
        """One forward pass with ``draws`` points of the latent space per image; ``images``, ``labels`` as in `Trace`.

        Raises:
            UsageError: if a part is told of classes, and there are no labels.
        """
        return self._trace(self.seen(x), draws, images, labels)

    def classify(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B Y"]:
        """log q(y given x) of each class.

        Raises:
            UsageError: for a model without a classifier.
        """
        if self.classifier is None:
            raise UsageError("this model has no classifier; train 'm2' for one")
        return full(self.classifier.parameters_of(x)).log_softmax(-1)

    def filled(self, x: Float[Tensor, "B C H W"], labels: Labels | None) -> Labels | None:
        """Labels with the most probable class for those that are −1, or for all where there are none."""
        if self.classifier is None or (labels is not None and labels.is_floating_point()):
            return labels
        with torch.no_grad():
            guessed = self.classify(x).argmax(-1)
        return guessed if labels is None else torch.where(labels < 0, guessed, labels)

    def prior_of(self, labels: Labels | None = None) -> Distribution:
        """p(z), or p(z given y) of each label where the prior is told of classes."""
        found: Distribution = (
            self.prior(self.encoder, labels) if self.prior.classes else self.prior(self.encoder)
        )
        return found

    def of_class(self, label: int) -> VAE:
        """The model of one class, which needs no labels; it shares its weights with this one."""
        encoder, decoder = (
            Conditional(OfClass(part.network, label), part.family) if part.classes else part
            for part in (self.encoder, self.decoder)
        )
        prior = PriorOfClass(self.prior, label) if self.prior.classes else self.prior
        return VAE(encoder, decoder, prior).train(self.training)

    def seen(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Images as the likelihood takes them: themselves, or binarised or dequantised by torch's current generator."""
        likelihood = self.decoder.family
        return likelihood.data(x) if isinstance(likelihood, Likelihood) else x

    def begin(self, pick: Callable[[int], Tensor], labels: Labels | None = None) -> None:
        """Show the parts some images before the first step: ``pick(n)`` gives n to be learned from, (n, C, H, W).

        ``labels`` are those of all training images, for a model that is told of classes.

        Raises:
            UsageError: if the likelihood is not a law of such images.
        """
        if isinstance(self.decoder.family, Likelihood):
            self.decoder.family.require(pick(KIND_IMAGES))
        for part in self.modules():
            if isinstance(part, FromImages):
                part.begin_with(pick, self.encoder)
            if isinstance(part, FromLabels) and labels is not None:
                part.begin_with_labels(labels)

    def around(
        self, x: Float[Tensor, "B C H W"], q: Distribution, draws: int = 1, labels: Labels | None = None
    ) -> Trace:
        """The trace of other posteriors than the encoder's, of images as the likelihood takes them."""
        return self._trace(x, draws, None, labels, q)

    def _trace(
        self, x: Tensor, draws: int, images: int | None, labels: Labels | None, q: Distribution | None = None
    ) -> Trace:
        y = self.filled(x, labels)
        q = self.encoder(x, y) if q is None else q
        z = q.rsample(torch.Size((draws,)))
        return Trace(x, q, z, self.decoder(z, y), self.prior_of(y), self.decoder, images, labels, self)

    def encode(self, x: Float[Tensor, "B C H W"], labels: Labels | None = None) -> Distribution:
        """q(z given x). People take ``.mean``: an embedding is not a random draw."""
        q: Distribution = self.encoder(x, labels)
        return q

    def decode(
        self, z: Float[Tensor, "*batch D"], labels: Labels | None = None
    ) -> Float[Tensor, "*batch C H W"]:
        """The mean image at each point."""
        images: Tensor = self.decoder(z, labels).mean
        return images

    def sample(self, n: int, labels: Labels | None = None) -> Float[Tensor, "{n} C H W"]:
        """Mean images at ``n`` points drawn from the prior, by torch's current generator."""
        p = self.prior_of(labels)
        each = self.prior.classes and labels is not None and labels.dim() > 0
        return self.decode(p.rsample(torch.Size(() if each else (n,))), labels)

    @torch.no_grad()
    def log_likelihood(
        self,
        x: Float[Tensor, "B C H W"],
        draws: int = 1000,
        chunk: int = 50,
        labels: Labels | None = None,
    ) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
        """log p(x) in nats by importance weighting with exactly ``draws`` points per image, and its standard error.

        With labels, for a model that is told of classes, it is log p(x given y). Where they are not known (−1, or
        none at all) and the model has a classifier, it is log p(x), the mean of p(x given y) over the classes.

        The estimate log((1/K)·Σ w) is a lower bound in expectation (Burda et al. 2016, arXiv:1509.00519); the
        standard error is the delta method's, sd(w) / (mean(w)·√K). Sums are kept in float64.
        """
        x = self.seen(x)  # once, so that all draws are of the same images

        def weights(y: Labels | None) -> Tensor:
            """Of all draws, (draws, B)."""
            sizes = [min(chunk, draws - done) for done in range(0, draws, chunk)]
            return torch.cat([self._trace(x, some, None, y).log_weight.double() for some in sizes])

        if self.classifier is None or (
            labels is not None and (labels.is_floating_point() or labels.min() >= 0)
        ):
            log_w = weights(labels)
        else:
            guess = labels if labels is not None else torch.full((len(x),), -1, device=x.device)
            each = torch.stack([weights(torch.full_like(guess, c)) for c in range(self.classes)])
            known = each.gather(0, guess.clamp_min(0).expand(1, draws, -1))[0]
            log_w = torch.where(guess < 0, each.logsumexp(0) - math.log(self.classes), known)
        top = log_w.amax(0)
        w = (log_w - top).exp()
        error = (
            w.std(0, correction=1) / (w.mean(0) * draws**0.5)
            if draws > 1
            else torch.full_like(top, torch.inf)
        )
        return top + w.mean(0).log(), error
