"""Each sickness, on a model that has it by construction; and none on a healthy one."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest
import torch
from torch.distributions import Bernoulli as TorchBernoulli
from torch.distributions import Independent

from fixtures.small import Linear
from morphospace.evaluation.doctor import Signs, diagnose, examine
from morphospace.families import Bernoulli, DiagonalNormal, Gaussian, PixelGaussian
from morphospace.model import VAE, Conditional
from morphospace.priors import StandardNormal

SHAPE = (1, 6, 6)
PIXELS = math.prod(SHAPE)
WEIGHT = torch.linalg.qr(
    torch.randn(PIXELS, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
)[0]
WEIGHT = WEIGHT * torch.tensor([3.0, 2.0], dtype=torch.float64)


@torch.no_grad()
def optimal(sigma: float = 0.2, beta: float = 1.0, family=None, scale: float = 1.0) -> VAE:
    """The linear-Gaussian model with the encoder that is best at this β, in closed form: orthogonal columns."""
    encoder, decoder = Linear(SHAPE, (4,)), Linear((2,), SHAPE)
    decoder.double(), encoder.double()
    decoder.linear.weight.copy_(WEIGHT)
    decoder.linear.bias.fill_(0.5)
    precision = 1 + WEIGHT.square().sum(0) / (beta * sigma**2)
    mean = WEIGHT.T / (beta * sigma**2) / precision[:, None]
    encoder.linear.weight.zero_()
    encoder.linear.weight[:2] = mean * scale
    encoder.linear.bias[:2] = -mean.sum(1) * 0.5 * scale
    encoder.linear.bias[2:] = -precision.log()
    family = family or Gaussian(sigma, learned=False)
    return VAE(
        Conditional(encoder, DiagonalNormal()), Conditional(decoder, family), StandardNormal(2)
    ).double()


def drawn(sigma: float = 0.2, count: int = 1500) -> torch.Tensor:
    torch.manual_seed(1)
    z = torch.randn(count, 2, dtype=torch.float64)
    x = z @ WEIGHT.T + 0.5 + sigma * torch.randn(count, PIXELS, dtype=torch.float64)
    return x.reshape(-1, *SHAPE)


def names(signs: Signs) -> list[str]:
    return [finding.name for finding in diagnose(signs)]


def test_a_healthy_space_has_nothing():
    signs = examine(optimal(), drawn(), overfit=0.5, cost=20.0)
    assert diagnose(signs) == []
    assert signs.balance == pytest.approx(1, abs=0.02)
    assert signs.residuals == pytest.approx(1, abs=0.02)
    assert signs.spread == pytest.approx(1, abs=0.05)
    assert signs.mismatch == pytest.approx(0, abs=0.2)  # of 1,500 images, whose posteriors are narrow


@pytest.mark.parametrize("beta", [0.2, 1.0, 4.0, 10.0])
def test_the_balance_is_the_beta_that_the_encoder_is_best_at(beta):
    """The theorem that the doctor rests on: stationarity in a common factor of all widths."""
    assert examine(optimal(beta=beta), drawn()).balance == pytest.approx(beta, rel=0.02)


def test_over_and_under_regularised():
    assert "over-regularised" in names(examine(optimal(beta=6.0), drawn()))
    assert "under-regularised" in names(examine(optimal(beta=0.2), drawn()))


def test_a_distortion_averaged_over_pixels_is_told_by_its_factor():
    found = diagnose(examine(optimal(sigma=0.05, beta=PIXELS), drawn(0.05)))
    assert found[0].name == "scale mismatch"
    assert "averaged over pixels" in found[0].words


def test_collapsed():
    model = optimal()
    with torch.no_grad():
        model.encoder.network.linear.weight.zero_()
        model.encoder.network.linear.bias.zero_()
        model.decoder.network.linear.weight.zero_()
    found = diagnose(examine(model, drawn()))
    assert found[0].name == "collapsed"
    assert "beta" in found[0].remedy


def test_one_dimension_unused():
    model = optimal()
    with torch.no_grad():
        linear = model.encoder.network.linear
        linear.weight[1], linear.bias[1], linear.bias[3] = 0, 0, 0
        model.decoder.network.linear.weight[:, 1] = 0
    found = [f for f in diagnose(examine(model, drawn())) if f.name == "unused dimensions"]
    assert found
    assert found[0].words.startswith("1 of 2")


def test_a_sigma_of_one_on_pixels_is_a_scale_mismatch():
    found = diagnose(examine(optimal(sigma=1.0), drawn(0.1)))
    assert [f.name for f in found][:1] == ["scale mismatch"]
    assert "too large" in found[0].words


class Neighbour(Independent):
    """Bernoulli pixels, each told by the one before it in the picture: such a decoder has no need of z."""

    def __init__(self, logits):
        super().__init__(TorchBernoulli(logits=logits, validate_args=False), 3, validate_args=False)

    def log_prob(self, value):
        before = torch.roll(value.flatten(-3), 1, -1).unflatten(-1, SHAPE)
        logits = self.base_dist.logits + 6 * before - 3
        return -torch.nn.functional.binary_cross_entropy_with_logits(
            logits, value.expand_as(logits), reduction="none"
        ).sum((-3, -2, -1))


class Autoregressive(Bernoulli):
    def forward(self, h):
        return Neighbour(h)


def test_a_decoder_that_looks_at_the_image_is_too_strong():
    model = optimal(family=Autoregressive())
    with torch.no_grad():
        for network in (model.encoder.network, model.decoder.network):
            network.linear.weight.zero_()
            network.linear.bias.zero_()
    torch.manual_seed(0)
    edge = torch.randint(0, PIXELS, (400, 1))
    x = (
        (torch.arange(PIXELS) < edge).double().reshape(-1, *SHAPE)
    )  # each pixel nearly always as the one before
    found = diagnose(examine(model, x))
    assert found[0].name == "decoder too strong"
    assert "z unused" in found[0].words


def test_latents_far_beyond_the_prior():
    model = optimal()
    with torch.no_grad():
        model.encoder.network.linear.weight[:2] *= 5
        model.encoder.network.linear.bias[:2] *= 5
        model.decoder.network.linear.weight /= 5
    found = [f for f in diagnose(examine(model, drawn())) if f.name == "prior mismatch"]
    assert found
    assert re.search(r"(4\.9|5\.0|5\.1) times as far", found[0].words)


def test_few_images_of_many_dimensions_are_not_taken_for_a_mismatch():
    """Where N images are told apart wholly, rate less log N would be called a mismatch, whatever the aggregate is."""
    signs = examine(optimal(sigma=0.01), drawn(0.01, 300))
    assert signs.rate - signs.information > 2
    assert signs.mismatch is None
    assert names(signs) == []
    assert names(replace(signs, spread=4.0)) == ["prior mismatch"]


def test_other_images_are_never_the_image_itself():
    """Of two images each has the other's z, however the set is sorted and cut."""
    model, x = optimal(), drawn(count=2)
    lost = [examine(model, x, seed) for seed in range(6)]
    torch.manual_seed(0)
    with torch.no_grad():
        expected = float(-model.decoder(model.encode(x).mean.flip(0)).log_prob(x).mean())
    for signs in lost:
        assert signs.shuffled == pytest.approx(expected, rel=0.2)
        assert signs.shuffled > 3 * abs(signs.distortion)


@pytest.mark.parametrize(
    ("family", "factor"), [(Gaussian(0.2, learned=False), 1), (Gaussian(0.2), 1), (PixelGaussian(), 2)]
)
def test_the_average_picture_costs_what_its_family_says(family, factor):
    model = VAE(
        Conditional(Linear(SHAPE, (4,)), DiagonalNormal()),
        Conditional(Linear((2,), (factor, *SHAPE[1:])), family),
        StandardNormal(2),
    ).double()
    x = drawn(count=400)
    square = (x - x.mean(0)).square()
    if isinstance(family, PixelGaussian):
        expected = 0.5 * ((2 * math.pi * square.mean(0)).log() + 1).sum()
    elif family.learned:
        expected = 0.5 * PIXELS * ((2 * math.pi * square.mean()).log() + 1)
    else:
        expected = 0.5 * PIXELS * (math.log(2 * math.pi * 0.04) + square.mean() / 0.04)
    assert examine(model, x).average == pytest.approx(float(expected), rel=1e-4)


def test_overfitted():
    signs = examine(optimal(), drawn(), overfit=30.0, cost=250.0)
    assert names(signs) == ["overfitted"]
    assert names(replace(signs, overfit=8.0)) == []


def test_a_level_of_a_ladder_that_carries_nothing_is_named():
    signs = examine(optimal(), drawn(), overfit=0.5, cost=20.0)
    assert signs.levels is None  # no ladder
    assert names(replace(signs, levels=(signs.rate - 1, 1.0))) == []
    (found,) = diagnose(replace(signs, levels=(signs.rate, 0.01, 0.0)))
    assert found.name == "unused level"
    assert "3 levels, from the top, 2 and 3 carry nothing" in found.words


def test_every_finding_says_what_to_change():
    signs = examine(optimal(beta=6.0), drawn())
    sick = [
        signs,
        replace(signs, balance=0.5),
        replace(signs, balance=float(PIXELS)),
        replace(signs, rate=0.0, active=0),
        replace(signs, active=1),
        replace(signs, levels=(signs.rate, 0.01)),
        replace(signs, residuals=0.1),
        replace(signs, residuals=9.0),
        replace(signs, mismatch=9.0),
        replace(signs, average=signs.distortion + 50, shuffled=signs.distortion + 1),
        replace(signs, overfit=99.0, cost=200.0),
    ]
    found = [finding for s in sick for finding in diagnose(s)]
    assert len({f.name for f in found}) == 9
    assert all(f.words.endswith(".") and f.remedy.endswith(".") for f in found)
