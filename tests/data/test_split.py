"""The split: a pure function of seed and labels, near 80/10/10, and sound for sets of any size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from morphospace.data.split import stratified


@given(st.lists(st.integers(0, 5), min_size=1, max_size=200), st.integers(0, 2**40))
def test_every_class_is_learned_from_and_measured_on(labels, seed):
    labels = np.array(labels)
    splits = stratified(len(labels), labels, seed)
    np.testing.assert_array_equal(splits, stratified(len(labels), labels, seed))
    assert (splits == 0).any()
    assert (splits == 2).any() or len(labels) == 1
    for label in np.unique(labels):
        counts = np.bincount(splits[labels == label], minlength=3)
        size = counts.sum()
        if size >= 3:
            assert counts[0] >= 1
            assert counts[2] >= 1
        if size >= 5:
            assert counts[1] >= 1
        if size >= 10:
            assert abs(counts[1] - size / 10) <= 0.5
            assert abs(counts[2] - size / 10) <= 0.5


@pytest.mark.parametrize("count", range(1, 12))
def test_small_sets_without_classes(count):
    splits = stratified(count, None, 0)
    assert (splits == 0).any()
    assert (splits == 2).any() == (count > 1)


def test_one_image_per_class_still_leaves_some_to_measure_on():
    assert (stratified(20, np.arange(20), 0) == 2).sum() == 2


def test_seeds_differ_and_neither_order_nor_neighbours_decide():
    labels = np.repeat([0, 1], 500)
    one, other = stratified(1000, labels, 1), stratified(1000, labels, 2)
    assert (one != other).sum() > 100
    drawn = np.flatnonzero(one == 2)
    assert drawn.max() - drawn.min() > 900
    # A class keeps its split whatever else is in the set.
    np.testing.assert_array_equal(one[:500], stratified(500, np.zeros(500, int), 1))


def test_the_split_never_changes():
    """Frozen: a run that is loaded again must find the images on the side where they were."""
    assert "".join(map(str, stratified(30, None, 0))) == "000200010120000200000000010000"
