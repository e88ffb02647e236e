"""The nearest image is the one that looking at each by itself finds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fixtures.small import make_images
from morphospace.atlas.nearest import nearest_images, sparseness


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 6, 5)])
def test_it_is_the_nearest_of_all(shape, monkeypatch):
    monkeypatch.setattr("morphospace.atlas.nearest.AT_ONCE", 13 * 7)  # many parts
    pixels = make_images(60, shape).pixels
    decoded = torch.rand(13, *shape, generator=torch.Generator().manual_seed(0))
    decoded[4] = torch.from_numpy(pixels[33]).float() / 255  # one that is there
    distance, which = nearest_images(decoded, pixels)
    apart = decoded.double().flatten(1)[:, None] - torch.from_numpy(pixels).double().flatten(1) / 255
    every = apart.square().sum(2).sqrt()
    np.testing.assert_allclose(distance, every.min(1).values, atol=1e-6)
    assert np.array_equal(which, every.argmin(1))
    assert which[4] == 33


def test_large_sets_are_searched_at_fewer_points():
    assert sparseness(512**2, 60_000, 784) == 4
    assert sparseness(512**2, 60_000, 3 * 128**2) == 32
    assert sparseness(64**2, 100, 64) == 4
