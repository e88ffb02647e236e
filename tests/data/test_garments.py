"""`garments`: a pure function of (seed, index) whose factors are independent, visible and continuous."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest
from sklearn.neighbors import KNeighborsClassifier

from morphospace.data.garments import CLASSES, FACTORS, draw, draw_from, garments
from morphospace.types import UsageError

F = len(FACTORS)

FIRST_WIDTHS = [4624297, 8670917, 6426202, 2803069]
MEANS = [71.7, 50.0, 74.3, 49.3, 76.8, 25.3, 69.1, 39.8, 66.1, 42.6]


def some_factors(n: int) -> np.ndarray:
    return np.random.default_rng(7).random((n, F)).astype(np.float32)


def difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n, H, W) absolute, in grey levels."""
    return np.abs(a[:, 0].astype(int) - b[:, 0])


@pytest.fixture(scope="module")
def images():
    return garments(7_000)


def test_the_set_says_what_it_is(images):
    assert str(images.spec) == "28×28×1"
    assert images.classes == CLASSES
    assert images.factor_names == tuple(FACTORS)
    assert images.factors is not None
    assert images.factors.shape == (7_000, F)
    assert json.loads(json.dumps(images.source)) == {
        "source": "garments",
        "count": 7_000,
        "image_size": [28, 28],
        "seed": 0,
    }
    assert images.policy == {"drawn": "garments", "version": 1}
    assert garments(1, start=5).source["start"] == 5


def test_the_split_is_the_publishers(images):
    assert (len(images.train), len(images.validation), len(images.test)) == (6_000, 0, 1_000)
    for part in (images.train, images.test):
        assert len(set(np.bincount(part.labels).tolist())) == 1


def test_an_image_does_not_depend_on_the_others(images):
    later = garments(50, start=6_900)
    for name in ("pixels", "labels", "splits", "factors"):
        assert np.array_equal(getattr(later, name), getattr(images, name)[6_900:6_950])


@settings(max_examples=20, deadline=None)
@given(
    index=st.lists(st.integers(0, 2**62), min_size=0, max_size=40),
    seed=st.integers(-(2**70), 2**70),
    canvas=st.tuples(st.integers(8, 40), st.integers(8, 40)),
)
def test_batch_and_order_do_not_matter(index, seed, canvas):
    height, width = canvas
    index = np.array(index, np.int64)
    together = draw(index, seed=seed, height=height, width=width)
    backwards = draw(index[::-1].copy(), seed=seed, height=height, width=width)
    for whole, turned in zip(together, backwards, strict=True):
        assert np.array_equal(whole, turned[::-1])
    for i in range(0, len(index), 9):
        alone = draw(index[i : i + 1], seed=seed, height=height, width=width)
        assert all(np.array_equal(one[0], whole[i]) for one, whole in zip(alone, together, strict=True))


def test_chunks_do_not_show():
    index = np.arange(1_500)  # at 28×28 a chunk holds 83 images of a class
    pixels = draw(index)[0]
    odd = np.concatenate([draw(part)[0] for part in np.array_split(index, 13)])
    assert np.array_equal(pixels, odd)


def test_drawing_again_from_the_factors_gives_the_image(images):
    assert np.array_equal(draw_from(images.labels[:200], images.factors[:200], 28, 28), images.pixels[:200])


def test_the_first_factors_stay_what_they_are():
    """Exact on every machine: integers, then one exact conversion. Runs that name a seed rely on it."""
    _, labels, factors = draw(np.array([0, 1, 69_999, 2**40]), seed=1)
    assert labels.tolist() == [0, 1, 9, 6]
    assert (factors[:, 0] * 2**24).tolist() == FIRST_WIDTHS


def test_version_one_keeps_its_pictures(images):
    """With ``policy["version"]`` 1 every class keeps its look: mean grey of its images, to half a level."""
    means = [images.pixels[images.labels == k].mean() for k in range(10)]
    np.testing.assert_allclose(means, MEANS, atol=0.5)


def test_seeds_give_other_sets():
    one, two = draw(np.arange(100), seed=0), draw(np.arange(100), seed=1)
    assert not np.any(one[2] == two[2])
    assert np.array_equal(one[1], two[1])
    assert np.all(difference(one[0], two[0]).max((1, 2)) > 0)


def test_factors_are_uniform_and_independent():
    index = np.arange(40_000)
    for seed in (0, 1):
        factors = draw(index, seed=seed, height=8, width=8)[2]
        assert factors.min() >= 0
        assert factors.max() < 1
        assert all(kstest(column, "uniform").pvalue > 1e-4 for column in factors.T)
        # Together with the class, the neighbour in the set and the squares: 5 standard errors of a correlation.
        table = np.c_[factors, index % 10, np.roll(factors, 1, axis=0), (factors - 0.5) ** 2]
        correlation = np.corrcoef(table.T) - np.eye(table.shape[1])
        assert np.abs(correlation).max() < 5 / np.sqrt(len(index))


@pytest.mark.parametrize("size", [12, 28, 64])
@pytest.mark.parametrize("label", range(10), ids=CLASSES)
def test_every_factor_shows_and_moves_smoothly(label, size):
    n = 24
    factors, labels = some_factors(n) * np.float32(0.98), np.full(n, label)
    for j, name in enumerate(FACTORS):
        low, high, near = factors.copy(), factors.copy(), factors.copy()
        low[:, j], high[:, j] = 0, 1
        near[:, j] += np.float32(0.004)
        change = difference(draw_from(labels, low, size, size), draw_from(labels, high, size, size))
        assert change.mean((1, 2)).min() > 0.3, name
        assert change.max((1, 2)).min() > 12, name
        here = draw_from(labels, factors, size, size)
        step = difference(here, draw_from(labels, near, size, size))
        assert step.max() < 20 * max(1, size / 28), name
        assert step.mean() < 1, name


def test_classes_differ_but_not_by_their_means_alone(images):
    train, test = images.train, images.test
    x, y = (part.pixels.reshape(len(part), -1) / 255.0 for part in (train, test))
    neighbour = KNeighborsClassifier(1).fit(x[:2_000], train.labels[:2_000])
    assert neighbour.score(y, test.labels) > 0.95
    means = np.stack([x[train.labels == k].mean(0) for k in range(10)])
    nearest = ((y[:, None] - means) ** 2).sum(2).argmin(1)
    assert 0.5 < (nearest == test.labels).mean() < 0.99


def test_garments_are_grey_on_black_with_soft_edges(images):
    x = images.pixels[:, 0] / 255.0
    assert 0.18 < x.mean() < 0.32  # Fashion-MNIST: 0.286
    assert 0.38 < (x > 0).mean() < 0.6  # 0.498
    border = np.concatenate([x[:, 0], x[:, -1], x[:, :, 0], x[:, :, -1]], axis=1)
    assert border.mean() < 0.06
    plain = np.full((10, F), 0.5, np.float32)
    plain[:, list(FACTORS).index("stripes")] = 0
    soft = draw_from(np.arange(10), plain, 28, 28)[:, 0]
    faint = ((soft > 5) & (soft < 90)).sum((1, 2))  # darker than any cloth: only partly covered
    assert faint.min() >= 10


def test_a_finer_drawing_averages_to_the_coarse_one():
    index = np.arange(400)
    coarse = draw(index)[0].astype(float)
    fine = draw(index, height=56, width=56)[0].astype(float)
    averaged = fine.reshape(-1, 1, 28, 2, 28, 2).mean((3, 5))
    assert np.abs(coarse - averaged).mean() < 2.5  # grey levels; without smooth edges it is above 5
    assert abs(coarse.mean() - averaged.mean()) < 0.6


@pytest.mark.parametrize(("height", "width"), [(8, 8), (8, 31), (33, 20), (28, 56), (64, 64), (130, 128)])
def test_any_canvas(height, width):
    pixels = draw(np.arange(20), height=height, width=width)[0]
    assert pixels.shape == (20, 1, height, width)
    assert pixels.dtype == np.uint8
    assert np.all(pixels.max((1, 2, 3)) > 60)
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    if (height - side) % 2 == (width - side) % 2 == 0:  # then the square's own grid is the canvas's
        square = draw(np.arange(20), height=side, width=side)[0]
        middle = pixels[:, :, top : top + side, left : left + side]
        assert difference(square, middle).mean() < 0.5


def test_speed():
    """A loose bar for shared machines, typing checks on; docs/garments.md has the measured figure."""
    draw(np.arange(500))
    begin = time.process_time()
    draw(np.arange(4_000))
    assert 4_000 / (time.process_time() - begin) > 2_000


def test_progress_ends_complete():
    seen = []
    garments(5_000, size=8, progress=lambda what, done, total, figures=None: seen.append((done, total)))
    assert seen == [(4096, 5_000), (5_000, 5_000)]
    assert len(garments(0)) == 0


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: garments(-1), "negative"),
        (lambda: garments(3, start=-1), "negative"),
        (lambda: garments(3, size=7), "7×7"),
        (lambda: garments(3, size=(28, 5)), "28×5"),
        (lambda: draw(np.array([4, -2])), "no image -2"),
        (lambda: draw_from(np.array([0]), np.zeros((1, F - 1), np.float32)), "expected"),
        (lambda: draw_from(np.array([10]), np.zeros((1, F), np.float32)), "labels"),
        (lambda: draw_from(np.array([0]), np.full((1, F), 1.5, np.float32)), "between 0 and 1"),
        (lambda: draw_from(np.array([0]), np.full((1, F), np.nan, np.float32)), "between 0 and 1"),
    ],
)
def test_what_cannot_be_drawn_is_refused(call, says):
    with pytest.raises(UsageError, match=says):
        call()
