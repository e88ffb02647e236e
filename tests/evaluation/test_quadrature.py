"""log p(x) by quadrature meets the closed form of linear-Gaussian models, whatever their scale and place."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.distributions import (
    Bernoulli,
    Independent,
    Laplace,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
)
from torch.distributions import Categorical as Choice

from fixtures.small import Linear
from morphospace.distributions import ContinuousBernoulli
from morphospace.evaluation.pairs import Pairs
from morphospace.evaluation.quadrature import exact_log_likelihood
from morphospace.families import Bernoulli as BernoulliFamily
from morphospace.families import DiagonalNormal, Family, Gaussian
from morphospace.model import VAE, Conditional
from morphospace.priors import Prior, StandardNormal
from morphospace.types import NumericalError, UsageError

SHAPE = (1, 3, 4)
PIXELS = math.prod(SHAPE)


@torch.no_grad()
def linear_gaussian(sigma: float, size: float = 1.0, seed: int = 0, family: Family | None = None) -> VAE:
    """p(x given z) = N(Wz + b, σ²); the encoder gives the posterior's mean and its diagonal."""
    torch.manual_seed(seed)
    encoder, decoder = Linear(SHAPE, (4,)), Linear((2,), SHAPE)
    with torch.no_grad():
        weight, bias = decoder.linear.weight.mul_(size), decoder.linear.bias
        precision = torch.eye(2) + weight.T @ weight / sigma**2
        mean = torch.linalg.solve(precision, weight.T) / sigma**2
        encoder.linear.weight.zero_()
        encoder.linear.weight[:2] = mean
        encoder.linear.bias[:2] = -mean @ bias
        encoder.linear.bias[2:] = torch.linalg.inv(precision).diagonal().log()
    family = family or Gaussian(sigma, learned=False)
    parts = Conditional(encoder, DiagonalNormal()), Conditional(decoder, family), StandardNormal(2)
    model = VAE(*parts).double()
    if isinstance(family, Gaussian):
        family.log_sigma.fill_(math.log(sigma))  # in float64, which the evidence below is in
    return model


def evidence(model: VAE, x: torch.Tensor, sigma: float) -> torch.Tensor:
    linear = model.decoder.network.linear
    covariance = linear.weight @ linear.weight.T + sigma**2 * torch.eye(PIXELS, dtype=torch.float64)
    return MultivariateNormal(linear.bias, covariance).log_prob(x.flatten(1))


def pictures(model: VAE, sigma: float, count: int = 12) -> torch.Tensor:
    torch.manual_seed(1)
    x = model.decode(torch.randn(count, 2, dtype=torch.float64))
    return (x + sigma * torch.randn_like(x)).detach()


@pytest.mark.parametrize("sigma", [1.0, 0.1, 0.01])
def test_a_linear_gaussian_model_has_its_exact_evidence(sigma):
    """Down to posteriors a fifth as wide as the first lattice's spacing."""
    model = linear_gaussian(sigma)
    x = pictures(model, sigma)
    found = exact_log_likelihood(model, x)
    truth = evidence(model, x, sigma).detach().numpy()
    assert np.abs(found.log_p - truth).max() < 1e-3
    assert np.abs(found.log_p - truth).max() <= np.abs(found.moved).max() + found.edge + 1e-9
    assert abs(found.prior) < 1e-6
    assert found.error < 0.02


def test_images_far_outside_the_prior_make_the_box_grow():
    model = linear_gaussian(0.1)
    x = model.decode(torch.tensor([[9.0, -8.0], [0.0, 0.0]], dtype=torch.float64)).detach()
    found = exact_log_likelihood(model, x)
    assert found.reach > 9
    assert np.abs(found.log_p - evidence(model, x, 0.1).detach().numpy()).max() < 1e-3


def test_an_encoder_that_looks_elsewhere_changes_nothing():
    """log p(x) has no encoder in it."""
    model = linear_gaussian(0.1)
    x = pictures(model, 0.1)
    truth = exact_log_likelihood(model, x).log_p
    with torch.no_grad():
        model.encoder.network.linear.bias[:2] += 3.0
    assert np.abs(exact_log_likelihood(model, x).log_p - truth).max() < 0.01


class TwoHeaps(Prior):
    """A prior of two narrow heaps, so that images have two places far apart."""

    def forward(self, encode):
        heaps = torch.tensor([[-2.0, 1.0], [2.0, 0.5]], dtype=torch.float64)
        each = Independent(Normal(heaps, torch.full_like(heaps, 0.05)), 1)
        return MixtureSameFamily(Choice(torch.tensor([0.3, 0.7], dtype=torch.float64)), each)


def test_another_prior_is_integrated_as_it_is():
    """p(x) is then a mixture of two normals in closed form."""
    model, sigma = linear_gaussian(0.3), 0.3
    model.prior = TwoHeaps()
    x = pictures(model, sigma)
    linear = model.decoder.network.linear
    covariance = 0.05**2 * linear.weight @ linear.weight.T + sigma**2 * torch.eye(PIXELS, dtype=torch.float64)
    heaps = torch.tensor([[-2.0, 1.0], [2.0, 0.5]], dtype=torch.float64)
    each = torch.stack(
        [
            MultivariateNormal(linear(heap), covariance).log_prob(x.flatten(1)) + math.log(share)
            for heap, share in zip(heaps, (0.3, 0.7), strict=True)
        ]
    )
    found = exact_log_likelihood(model, x)
    assert np.abs(found.log_p - each.logsumexp(0).detach().numpy()).max() < 1e-3


class Half(Prior):
    """Not a density over the plane: half of one."""

    def forward(self, encode):
        class Halved(Independent):
            def log_prob(self, value):
                return super().log_prob(value) - math.log(2)

        return Halved(Normal(torch.zeros(2), torch.ones(2)), 1)


def test_a_prior_that_is_no_density_is_refused():
    model = linear_gaussian(0.5)
    model.prior = Half()
    with pytest.raises(UsageError, match="no density"):
        exact_log_likelihood(model, pictures(model, 0.5))


def test_posteriors_too_narrow_for_any_grid_are_not_guessed_at():
    model = linear_gaussian(1e-5)
    with pytest.raises(NumericalError, match="too narrow"):
        exact_log_likelihood(model, pictures(model, 1e-5, 3))


def test_another_dimension_is_refused():
    parts = Conditional(Linear(SHAPE, (6,)), DiagonalNormal()), Conditional(Linear((3,), SHAPE), Gaussian())
    with pytest.raises(UsageError, match="importance weighting"):
        exact_log_likelihood(VAE(*parts, StandardNormal(3)), torch.zeros(2, *SHAPE))


def test_importance_weighting_agrees_within_its_error():
    model = linear_gaussian(3.0, family=BernoulliFamily())  # posteriors nearly as wide as the prior
    torch.manual_seed(2)
    x = torch.rand(20, *SHAPE, dtype=torch.float64)
    exact = exact_log_likelihood(model, x).log_p
    log_p, error = (t.numpy() for t in model.log_likelihood(x, 20_000))
    assert np.abs((log_p - exact) / error).max() < 5


class Plain(Family):
    """A family made of one of torch's distributions."""

    def __init__(self, make) -> None:
        super().__init__()
        self.make = make

    def forward(self, h):
        made = self.make(h)  # ours are of whole images, torch's of single pixels
        return made if len(made.event_shape) == 3 else Independent(made, 3, validate_args=False)


@pytest.mark.parametrize(
    "make",
    [
        lambda h: Bernoulli(logits=h, validate_args=False),
        ContinuousBernoulli,
        lambda h: Normal(h, 0.05 + h.sigmoid()),
        lambda h: Laplace(h, 0.3),
        lambda h: Laplace(
            h, torch.linspace(0.1, 1, h[0].numel(), dtype=h.dtype).reshape(h.shape[1:]).expand_as(h)
        ),
        lambda h: Laplace(h, 0.05 + h.sigmoid()),
    ],
    ids=["bernoulli", "continuous bernoulli", "normal", "laplace", "laplace by pixel", "laplace by point"],
)
def test_all_pairs_are_what_each_pair_is(make):
    model = linear_gaussian(1.0, family=Plain(make))
    x = torch.rand(5, *SHAPE, dtype=torch.float64)
    z = torch.randn(70, 2, dtype=torch.float64)
    each = torch.stack([model.decoder(z).log_prob(x[i]) for i in range(5)])
    assert torch.allclose(Pairs(model, x)(z), each, rtol=1e-9, atol=1e-9)
    rows = torch.tensor([3, 1])
    assert torch.allclose(Pairs(model, x)(z, rows), each[rows], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("vary", [False, True])
def test_a_law_whose_scale_moves_with_z_is_asked_one_by_one(vary):
    model = linear_gaussian(1.0, family=Plain(lambda h: Laplace(h, 0.05 + h.sigmoid() if vary else 0.3)))
    assert Pairs(model, torch.rand(5, *SHAPE).double()).asked_one_by_one() == vary


def test_a_continuous_bernoulli_is_asked_once_for_all_images(monkeypatch):
    """Its constant hangs on the point alone; the rest is one matrix product."""
    asked = []
    law = ContinuousBernoulli.log_prob
    monkeypatch.setattr(ContinuousBernoulli, "log_prob", lambda self, x: asked.append(len(x)) or law(self, x))
    Pairs(linear_gaussian(1.0, family=Plain(ContinuousBernoulli)), torch.rand(5, *SHAPE).double())(
        torch.randn(7, 2).double()
    )
    assert asked == [1]


def test_one_image_beyond_the_box_makes_the_mean_uncertain_by_its_share_alone():
    model = linear_gaussian(0.1)
    x = pictures(model, 0.1, 20)
    x[7] = model.decode(torch.tensor([[26.0, 0.0]], dtype=torch.float64))[0].detach()
    found = exact_log_likelihood(model, x)
    assert found.edges[7] == found.edge > 0.1
    assert np.delete(found.edges, 7).max() < 1e-6
    assert found.error == pytest.approx(np.abs(found.moved).mean() + found.edge / 20, rel=1e-3)
