"""The binarised protocol's order of random numbers."""

# ruff: noqa: NPY002 - the protocol is defined by numpy's legacy generator

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fixtures.small import make_images
from morphospace.evaluation.binarised import binarised_test
from morphospace.types import UsageError


def by_hand(held, test):
    """As the protocol is written down, on numpy's global generator."""
    before = np.random.get_state()
    np.random.seed(777)
    np.random.binomial(1, held / 255.0)
    found = np.random.binomial(1, test / 255.0)
    np.random.set_state(before)
    return found


def published(count=60):
    """Training images first, then test images; none of their own for validation; many pixels nought, some full."""
    images = make_images(count)
    pixels = images.pixels.copy()
    pixels[pixels < 20] = 0
    pixels[:, :, 0] = 255
    splits = np.where(np.arange(count) < 40, 0, 2).astype(np.uint8)
    return replace(images, pixels=pixels, splits=splits)


def test_validation_images_are_made_binary_first():
    images = published()
    found = binarised_test(images, validation=10)
    assert np.array_equal(found, by_hand(images.pixels[30:40], images.pixels[40:]))
    assert not np.array_equal(found, by_hand(images.pixels[40:], images.pixels[40:]))
    assert set(np.unique(found)) == {0, 1}


def test_a_set_with_validation_images_uses_them():
    images = make_images()
    found = binarised_test(images)
    assert np.array_equal(found, by_hand(images.validation.pixels, images.test.pixels))


def test_pixels_that_are_sure_stay_so_and_the_user_s_generator_is_left_alone():
    images = published()
    np.random.seed(1)
    expected = np.random.rand()
    np.random.seed(1)
    found = binarised_test(images, validation=10)
    assert np.random.rand() == expected
    test = images.test.pixels
    assert (found[test == 0] == 0).all()
    assert (found[test == 255] == 1).all()
    assert found.mean() == pytest.approx((test / 255).mean(), abs=0.02)


def test_sets_without_enough_images_are_refused():
    with pytest.raises(UsageError, match="hold some back"):
        binarised_test(published())
