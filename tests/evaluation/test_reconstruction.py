"""MSE, PSNR and SSIM meet what they are known to be."""

from __future__ import annotations

import numpy as np
import pytest

from morphospace.evaluation.reconstruction import K1, K2, mse, psnr, reconstruction_figures, ssim

rng = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(4, 1, 28, 28), (2, 3, 40, 33), (3, 1, 8, 8)])
def test_equal_images_are_alike(shape):
    x = rng.random(shape)
    assert ssim(x, x) == pytest.approx(np.ones(len(x)))
    assert (mse(x, x) == 0).all()
    assert np.isinf(psnr(x, x)).all()


def test_flat_images_differ_in_luminance_alone():
    a, b = np.full((1, 1, 20, 20), 0.3), np.full((1, 1, 20, 20), 0.8)
    assert ssim(a, b)[0] == pytest.approx((2 * 0.3 * 0.8 + K1**2) / (0.3**2 + 0.8**2 + K1**2))
    assert mse(a, b)[0] == pytest.approx(0.25)
    assert psnr(a, b)[0] == pytest.approx(20 * np.log10(2))


def test_one_window_by_hand():
    """Of an 11×11 image there is one place: eq. 13 written out."""
    x, y = rng.random((2, 1, 1, 11, 11))
    at = np.exp(-0.5 * ((np.arange(11) - 5) / 1.5) ** 2)
    w = np.outer(at, at) / at.sum() ** 2
    mx, my = (w * x).sum(), (w * y).sum()
    vx, vy, both = (w * (x - mx) ** 2).sum(), (w * (y - my) ** 2).sum(), (w * (x - mx) * (y - my)).sum()
    c1, c2 = K1**2, K2**2
    by_hand = (2 * mx * my + c1) * (2 * both + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    assert ssim(x, y)[0] == pytest.approx(by_hand)


def test_ssim_is_symmetric_bounded_and_negative_for_opposites():
    x, y = rng.random((2, 5, 3, 16, 16))
    assert ssim(x, y) == pytest.approx(ssim(y, x))
    assert (np.abs(ssim(x, y)) <= 1).all()
    assert (ssim(x, 1 - x) < 0).all()


def test_more_noise_is_less_alike():
    x = rng.random((6, 1, 28, 28))
    noise = rng.normal(size=x.shape)
    means = [ssim(x, x + s * noise).mean() for s in (0.0, 0.1, 0.3, 1.0)]
    assert means == sorted(means, reverse=True)


def test_figures_carry_their_errors():
    x = rng.random((50, 1, 12, 12))
    y = x + 0.1 * rng.normal(size=x.shape)
    y[0] = x[0]
    found = reconstruction_figures(x, y)
    assert found["mse"].error == pytest.approx(mse(x, y).std(ddof=1) / np.sqrt(50))
    assert found["psnr"].images == 49  # the equal one has no ratio
    assert np.isfinite(found["psnr"].value)
