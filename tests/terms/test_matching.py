"""Distances between laws, against their closed forms for normals."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from torch import Tensor

from morphospace.distributions import normal
from morphospace.model import Trace
from morphospace.terms import Mmd, PriorCritic, SlicedWasserstein, mmd, sliced_wasserstein
from morphospace.terms.matching import SCALES

KERNELS = pytest.mark.parametrize("kernel", ["imq", "rbf"])


def draws(n: int, mean: float = 0.0, sd: float = 1.0, dims: int = 2) -> Tensor:
    return mean + sd * torch.randn(n, dims, dtype=torch.float64)


def traced(z: Tensor) -> Trace:
    """Codes z (B, D) as a trace whose prior is a standard normal."""
    zero, one = torch.zeros(z.shape[1]).to(z), torch.ones(z.shape[1]).to(z)
    q = normal(z, torch.ones_like(z))
    return Trace(torch.zeros(len(z), 1, 1, 1), q, z[None], q, normal(zero, one))


# ---------------------------------------------------------------- MMD


def gaussian_mean(t: float, mean: float, variance: float, dims: int) -> float:
    """E exp(−t·‖d‖²) for d normal with that mean in every dimension and that variance: a Gaussian integral."""
    spread = 1 + 2 * t * variance
    return spread ** (-dims / 2) * math.exp(-t * dims * mean**2 / spread)


def kernel_mean(kernel: str, mean: float, variance: float, dims: int) -> float:
    """E of the sum of kernels of all scales, for a difference of that mean and variance."""
    total = 0.0
    for scale in SCALES:
        c = 2 * dims * scale
        if kernel == "rbf":
            total += gaussian_mean(1 / c, mean, variance, dims)
        else:  # c / (c + d²) = ∫ c·exp(−t·(c + d²)) dt over t > 0
            total += quad(
                lambda t, c=c: c * math.exp(-t * c) * gaussian_mean(t, mean, variance, dims), 0, np.inf
            )[0]
    return total


def exact_mmd(kernel: str, mean: float, sd: float, dims: int) -> float:
    """MMD² between N(mean, sd²) and N(0, 1) in each of so many dimensions."""
    within = kernel_mean(kernel, 0, 2 * sd**2, dims) + kernel_mean(kernel, 0, 2.0, dims)
    return within - 2 * kernel_mean(kernel, mean, sd**2 + 1, dims)


@KERNELS
@pytest.mark.parametrize(
    ("mean", "sd", "dims"), [(0.0, 1.0, 2), (1.0, 0.5, 2), (0.3, 1.5, 5), (0.0, 1.0, 10)]
)
def test_its_mean_is_the_known_distance_of_two_normals_for_any_batch(kernel, mean, sd, dims):
    """Nought where they are the same: the estimate is without bias, for small batches too."""
    for batch, times in ((4, 1500), (64, 100)):
        found = torch.stack(
            [mmd(draws(batch, mean, sd, dims), draws(batch, dims=dims), kernel) for _ in range(times)]
        )
        error = (found.std() / len(found) ** 0.5).item()
        assert abs(found.mean().item() - exact_mmd(kernel, mean, sd, dims)) < 4.5 * error


def test_the_known_distances_are_distances():
    for kernel in ("imq", "rbf"):
        assert exact_mmd(kernel, 0.0, 1.0, 3) == pytest.approx(0, abs=1e-9)
        assert exact_mmd(kernel, 1.0, 1.0, 3) > exact_mmd(kernel, 0.5, 1.0, 3) > 0.01


@KERNELS
def test_between_two_points_each_it_is_what_one_writes_down(kernel):
    a, b = torch.tensor([[0.0], [1.0]]).double(), torch.tensor([[2.0], [4.0]]).double()

    def k(d: float) -> float:
        widths = [2 * s for s in SCALES]
        return sum(c / (c + d * d) if kernel == "imq" else math.exp(-d * d / c) for c in widths)

    by_hand = k(1) + k(2) - 2 * (k(2) + k(4) + k(1) + k(3)) / 4
    assert mmd(a, b, kernel).item() == pytest.approx(by_hand)


def test_the_term_compares_codes_with_the_prior():
    near = torch.stack([Mmd()(traced(draws(200))) for _ in range(20)]).mean()
    far = torch.stack([Mmd()(traced(draws(200, mean=1.0))) for _ in range(20)]).mean()
    assert abs(near) < 0.02
    assert far.item() == pytest.approx(exact_mmd("imq", 1.0, 1.0, 2), rel=0.1)


def test_its_gradient_leads_to_the_prior():
    z = draws(100, mean=2.0).requires_grad_()
    (grad,) = torch.autograd.grad(Mmd()(traced(z)), z)
    assert (grad.mean(0) > 0).all()  # descending it lowers the mean


# ---------------------------------------------------------------- sliced Wasserstein


def test_between_two_normals_it_is_the_closed_form_of_their_projections():
    """On a line, W₂² = (m₁ − m₂)² + (s₁ − s₂)²; here along known directions in the plane."""
    a = torch.randn(100_000, 2).double() * torch.tensor([2.0, 0.5]) + torch.tensor([1.0, -1.0])
    b = draws(100_000)
    for angle in (0.0, 0.7, 2.0):
        v = torch.tensor([[math.cos(angle)], [math.sin(angle)]], dtype=torch.float64)
        mean = (torch.tensor([1.0, -1.0]).double() @ v).item()
        sd = ((torch.tensor([4.0, 0.25]).double() @ v.square()).item()) ** 0.5
        assert sliced_wasserstein(a, b, v).item() == pytest.approx(
            mean**2 + (sd - 1) ** 2, rel=0.03, abs=0.005
        )


def test_a_shift_costs_its_square_along_each_direction():
    a = draws(50)
    v = torch.tensor([[0.6], [0.8]], dtype=torch.float64)
    shift = torch.tensor([2.0, 1.0], dtype=torch.float64)
    assert sliced_wasserstein(a, a + shift, v).item() == pytest.approx((0.6 * 2 + 0.8) ** 2)


def test_the_term_averages_over_directions():
    """A shift m of a standard normal in D dimensions costs ‖m‖²/D on average over directions."""
    found = [SlicedWasserstein(200)(traced(draws(5000, mean=2.0, dims=4))).item() for _ in range(3)]
    assert np.mean(found) == pytest.approx(4 * 2.0**2 / 4, rel=0.1)


# ---------------------------------------------------------------- the critic


def test_the_critic_of_the_prior_learns_the_log_ratio():
    critic = PriorCritic(1)
    optimizer = torch.optim.Adam(critic.parameters(), 2e-3)
    for _ in range(150):
        loss = critic.critic_loss(traced(torch.randn(256, 1) + 1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    points = torch.linspace(-1, 2, 7)[:, None]
    with torch.no_grad():  # log N(z; 0, 1) − log N(z; 1, 1) = ½ − z
        torch.testing.assert_close(critic.log_ratio(points), 0.5 - points[:, 0], atol=0.3, rtol=0)


def test_a_critic_that_cannot_tell_says_ln_2():
    critic = PriorCritic(2)
    torch.nn.init.zeros_(critic.network[-1].weight)
    torch.nn.init.zeros_(critic.network[-1].bias)
    trace = traced(torch.randn(50, 2))
    assert critic(trace).item() == pytest.approx(math.log(2))
    assert critic.critic_loss(trace).item() == pytest.approx(math.log(2))
