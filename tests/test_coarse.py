"""Coarse arrays come back to within half a step, whole numbers exactly, and damage is told."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from morphospace.coarse import Steps, coarsened, restored
from morphospace.types import UsageError


def back(values: np.ndarray, steps: Steps) -> np.ndarray:
    content, about = coarsened(values, steps)
    assert content.dtype == np.uint8
    return restored(content, json.loads(json.dumps(about)))


@settings(max_examples=40, deadline=None)
@given(
    shape=st.lists(st.integers(1, 7), min_size=2, max_size=3),
    size=st.sampled_from([0.001, 0.02, 0.5]),
    differences=st.integers(0, 2),
    seed=st.integers(0, 1000),
)
def test_values_come_back_to_within_half_a_step(shape, size, differences, seed):
    values = np.random.default_rng(seed).normal(3, 4, shape)
    again = back(values, Steps(size, differences=differences))
    assert again.shape == values.shape
    np.testing.assert_allclose(again, values, atol=size / 2 * (1 + 1e-9))


def test_logarithms_keep_the_error_a_part_of_the_value():
    values = np.geomspace(1e-6, 1e5, 500).astype(np.float32)
    again = back(values, Steps(0.01, log=True, differences=1))
    assert again.dtype == np.float32
    assert np.abs(np.log(again / values)).max() <= 0.005 + 1e-6


@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_whole_numbers_come_back_exactly(dtype):
    values = np.random.default_rng(0).integers(0, 200, (50, 3)).astype(dtype)
    again = back(values, Steps())
    assert again.dtype == dtype
    np.testing.assert_array_equal(again, values)


def test_an_empty_array_and_a_constant_one():
    assert back(np.zeros((0, 2)), Steps()).shape == (0, 2)
    np.testing.assert_allclose(back(np.full((4, 5), -7.25), Steps(0.25, differences=2)), -7.25)


def test_a_smooth_field_takes_fewer_bytes_as_differences():
    x, y = np.meshgrid(np.linspace(-2, 2, 100), np.linspace(-2, 2, 100))
    field = np.exp(-(x**2) - y**2)
    plain, each = (len(coarsened(field, Steps(1e-3, differences=n))[0]) for n in (0, 2))
    assert each < 0.85 * plain


def test_what_cannot_be_rounded_is_refused():
    with pytest.raises(UsageError, match="finite"):
        coarsened(np.array([1.0, np.nan]), Steps())
    with pytest.raises(UsageError, match="above nought"):
        coarsened(np.array([1.0, 0.0]), Steps(log=True))
    with pytest.raises(UsageError, match="spans 1,000,000 steps"):
        coarsened(np.array([0.0, 1.0]), Steps(1e-6))


def test_damaged_bytes_are_told():
    content, about = coarsened(np.random.default_rng(0).normal(size=(30, 2)), Steps(0.01))
    with pytest.raises(ValueError, match="bytes"):
        restored(content[:-20], about)
    with pytest.raises(ValueError, match="damaged"):
        restored(np.zeros_like(content), about)
    with pytest.raises(ValueError, match="expected 59"):
        restored(content, {**about, "shape": [59], "bytes": 1})
