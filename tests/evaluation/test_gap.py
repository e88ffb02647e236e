"""What −ELBO loses to the encoder and to its family, where both are known in closed form."""

from __future__ import annotations

import pytest
import torch
from benchmarks.gap import measure, table
from test_quadrature import evidence, linear_gaussian, pictures


def test_the_best_posteriors_of_a_linear_model_lose_what_algebra_says():
    sigma = 0.3
    model = linear_gaussian(sigma)
    x = pictures(model, sigma, 6)
    weight = model.decoder.network.linear.weight
    precision = (torch.eye(2) + weight.T @ weight / sigma**2).detach()
    found = measure(model, x, draws=20_000)
    torch.testing.assert_close(found["exact"], -evidence(model, x, sigma), rtol=0, atol=0.01)
    # The true posterior is a full normal, so the best of those loses nothing; the best diagonal one has the precision's
    # own diagonal, and loses half of what the logarithms of that diagonal exceed the determinant's by.
    lost = 0.5 * (precision.diagonal().log().sum() - precision.logdet())
    full, diagonal, encoder = (
        (found[name] - found["exact"]).mean()
        for name in ("best full normal", "best diagonal normal", "encoder")
    )
    assert full == pytest.approx(0, abs=0.02)
    assert diagonal == pytest.approx(float(lost), abs=0.02)
    assert encoder > diagonal  # its variances are the true posterior's marginal ones, which are too wide
    assert "| best full normal |" in table(found)
