"""Likeness of images by the features of a network in place of their pixels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from morphospace.model import Trace
from morphospace.terms.critics import Critic
from morphospace.types import ImageSpec

__all__ = ["ImageCritic", "ImageFeatures", "LearnedSimilarity", "Perceptual"]

NO_LIKELIHOOD = (
    "its decoder learned from the features of images, a distance that belongs to no normalised density"
)


class ImageFeatures(nn.Module):
    """(N, C, H, W) -> features (N, 64, ⌈H/4⌉, ⌈W/4⌉): two convolutions of stride 2.

    Each image's features are brought to mean 0 and variance 1, so that a network cannot make all distances large.
    """

    width = 64

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fine = nn.Conv2d(channels, self.width // 2, 5, stride=2, padding=2)
        self.coarse = nn.Conv2d(self.width // 2, self.width, 5, stride=2, padding=2)

    def forward(self, x: Float[Tensor, "N C H W"]) -> Float[Tensor, "N F h w"]:
        h = self.coarse(F.leaky_relu(self.fine(x), 0.2))
        return F.layer_norm(h, h.shape[1:])


class _ImageJudge(nn.Module):
    """Features, then one number: (N, C, H, W) -> (N, 1)."""

    def __init__(self, spec: ImageSpec) -> None:
        super().__init__()
        self.features = ImageFeatures(spec.channels)
        self.verdict = nn.Linear(ImageFeatures.width * -(-spec.height // 4) * -(-spec.width // 4), 1)

    def forward(self, x: Float[Tensor, "N C H W"]) -> Float[Tensor, "N 1"]:
        verdict: Tensor = self.verdict(F.leaky_relu(self.features(x), 0.2).flatten(1))
        return verdict


def feature_distance(features: nn.Module, trace: Trace) -> Float[Tensor, ""]:
    """½·‖f(x) − f(x̂)‖², summed over features, the mean over draws and images."""
    wanted: Tensor = features(trace.x)
    found: Tensor = features(trace.px.mean.flatten(0, 1)).reshape(-1, *wanted.shape)  # (K, B, F, h, w)
    return 0.5 * (wanted - found).square().flatten(2).sum(-1).mean()


class ImageCritic(Critic):
    """A critic that tells images from what the decoder makes; the decoder alone learns to make it err.

    Larsen et al. (2016), arXiv:1512.09300, algorithm 1: what the decoder makes comes in equal parts from the codes of
    images and from draws of the prior. The codes are held still, so that the encoder does not learn from the critic.
    """

    random = True
    unnormalised = NO_LIKELIHOOD

    def __init__(self, spec: ImageSpec) -> None:
        super().__init__(_ImageJudge(spec))

    @property
    def features(self) -> nn.Module:
        """The part of the critic whose output says what images have in common."""
        assert isinstance(self.network, _ImageJudge)
        return self.network.features

    def pair(self, trace: Trace) -> tuple[Tensor, Tensor]:
        assert trace.decoder is not None
        codes = trace.z[0].detach().clone()
        codes[::2] = trace.pz.rsample(torch.Size((len(codes),)))[::2]
        return trace.x, trace.decoder(codes).mean

    def forward(self, trace: Trace) -> Float[Tensor, ""]:
        """−log of the critic's belief that what the decoder made is an image, nats; ln 2 where it cannot tell."""
        return F.softplus(-self.log_ratio(self.pair(trace)[1])).mean()


@dataclass(frozen=True)
class LearnedSimilarity:
    """`feature_distance` by the features that an `ImageCritic` has learned (Larsen et al. 2016, eq. 7).

    −log of a normal density of unit variance over the features, up to its constant; over images it is no density.
    """

    critic: ImageCritic
    unnormalised = NO_LIKELIHOOD

    def __call__(self, trace: Trace) -> Float[Tensor, ""]:
        return feature_distance(self.critic.features, trace)


class Perceptual(nn.Module):
    """`feature_distance` by features that do not learn: those given, or random ones.

    Args:
        features: (N, C, H, W) -> features, such as the first layers of a classifier; they are frozen here.
    """

    unnormalised = NO_LIKELIHOOD

    def __init__(self, features: nn.Module) -> None:
        super().__init__()
        self.features = features.requires_grad_(False)

    def forward(self, trace: Trace) -> Float[Tensor, ""]:
        return feature_distance(self.features, trace)
