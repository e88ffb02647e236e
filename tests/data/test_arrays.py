"""Arrays in Python: layouts, types, labels, sizes; each rule, and each refusal in words."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from making import picture
from PIL import Image

from morphospace.data import load
from morphospace.data.pixels import conform, to_pixels
from morphospace.data.sizes import parse_size
from morphospace.types import DataError, UsageError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (20, 10, 12), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (20, 10, 12, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((5, 10, 12), (5, 1, 10, 12)),
        ((5, 10, 12, 1), (5, 1, 10, 12)),
        ((5, 10, 12, 3), (5, 3, 10, 12)),
        ((5, 1, 10, 12), (5, 1, 10, 12)),
        ((5, 3, 10, 12), (5, 3, 10, 12)),
        ((5, 3, 10, 3), (5, 3, 3, 10)),  # both fit: the last
        ((5, 10, 12, 4), (5, 4, 10, 12)),
    ],
)
def test_layouts(shape, expected):
    array = RNG.integers(0, 256, shape, dtype=np.uint8)
    pixels = to_pixels(array, "a")
    assert pixels.shape == expected
    if shape != expected and len(shape) == 4:
        np.testing.assert_array_equal(
            pixels[:, 2 if shape[3] > 2 else 0], array[..., 2 if shape[3] > 2 else 0]
        )


@pytest.mark.parametrize(
    "shape", [(5,), (5, 10), (5, 10, 12, 2), (5, 2, 10, 12), (1, 1, 3, 9, 9), (0, 9, 9), (3, 0, 9)]
)
def test_other_layouts_are_refused(shape):
    with pytest.raises(DataError, match="shape"):
        load(np.zeros(shape, np.uint8))


def test_uint8_is_not_copied():
    assert np.shares_memory(to_pixels(COLOUR, "a"), COLOUR)


def test_types_are_scaled_by_their_depth():
    ramp = np.linspace(0, 1, 256).reshape(1, 16, 16)
    expected = np.arange(256).reshape(1, 1, 16, 16)
    for dtype in (np.float16, np.float32, np.float64):
        assert np.abs(to_pixels(ramp.astype(dtype), "a").astype(int) - expected).max() <= (
            dtype == np.float16
        )
    np.testing.assert_array_equal(to_pixels((ramp * 65535).round().astype(np.uint16), "a"), expected)
    np.testing.assert_array_equal(to_pixels((ramp * 65535).round().astype(">u2"), "a"), expected)
    np.testing.assert_array_equal(to_pixels(ramp > 0.5, "a"), np.where(expected > 127, 255, 0))


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (GREY.astype(np.int64), r"int64.*astype\('uint8'\)"),
        (GREY.astype(np.complex64), "complex64"),
        (GREY.astype(np.float32), "from 0 to 255; floats are expected from 0 to 1"),
        (GREY / -255.0, "expected from 0 to 1"),
        (np.full((2, 9, 9), np.nan), "nan"),
        ((GREY > 9).astype(np.uint8), "never above 1"),
        (np.array([["a"]]), "shape|values"),
    ],
)
def test_other_types_and_ranges_are_refused(array, words):
    with pytest.raises(DataError, match=words):
        load(array)


def test_black_is_an_image():
    assert load(np.zeros((4, 9, 9), np.uint8)).pixels.max() == 0


def test_grey_is_the_luma_that_files_get():
    image = picture(16, 16)
    pixels = load(np.asarray(image)[None], mode="grey").pixels
    np.testing.assert_array_equal(pixels[0, 0], np.asarray(image.convert("L")))


def test_alpha_lies_over_white():
    rgba = np.zeros((2, 9, 9, 4), np.uint8)
    rgba[1, ..., 3] = 255
    images = load(rgba)
    assert images.pixels[0].min() == 255
    assert images.pixels[1].max() == 0


def test_resizing_is_that_of_files():
    image = picture(40, 60)
    pixels = load(np.asarray(image)[None], image_size="20x30").pixels
    expected = np.asarray(image.resize((30, 20), Image.Resampling.LANCZOS))
    np.testing.assert_array_equal(np.moveaxis(pixels[0], 0, 2), expected)
    assert load(np.zeros((2, 200, 200), np.uint8)).spec.shape == (1, 64, 64)
    assert load(np.zeros((2, 100, 90), np.uint8)).spec.shape == (1, 100, 90)


@given(
    st.sampled_from([1, 3, 4]), st.sampled_from(["auto", "grey", "rgb"]), st.integers(1, 9), st.integers(1, 9)
)
def test_conforming_gives_what_was_asked(channels, mode, height, width):
    pixels = conform(np.full((2, channels, 5, 7), 255, np.uint8), (height, width), mode)
    assert pixels.shape == (2, {"auto": min(channels, 3), "grey": 1, "rgb": 3}[mode], height, width)
    assert pixels.min() == 255


@pytest.mark.parametrize(
    ("size", "expected"), [(64, (64, 64)), ("64", (64, 64)), ("48x64", (48, 64)), ((9, 8), (9, 8))]
)
def test_sizes(size, expected):
    assert parse_size(size) == expected


@pytest.mark.parametrize("size", [0, -1, 2000, "", "x", "64x", "a", "1x2x3", (1, 2, 3), ()])
def test_other_sizes_are_refused(size):
    with pytest.raises(UsageError, match="image size"):
        parse_size(size)


@pytest.mark.parametrize(
    ("labels", "classes", "positions", "names"),
    [
        ([7, 3, 7], None, [1, 0, 1], ("3", "7")),
        ([0, 2, 0], ["a", "b", "c"], [0, 2, 0], ("a", "b", "c")),
        (["cat10", "cat9", "cat10"], None, [1, 0, 1], ("cat9", "cat10")),
        (["b", "a", "b"], ["b", "a"], [0, 1, 0], ("b", "a")),
        ([b"b", b"a", b"b"], None, [1, 0, 1], ("a", "b")),
        ([True, False, True], None, [1, 0, 1], ("False", "True")),
        ([[1], [0], [1]], None, [1, 0, 1], ("0", "1")),
    ],
)
def test_labels(labels, classes, positions, names):
    images = load(GREY[:3], labels=labels, classes=classes)
    assert images.labels.tolist() == positions
    assert images.classes == names


@pytest.mark.parametrize(
    ("labels", "classes", "words"),
    [
        ([1, 2], None, r"shape \(2,\); expected \(3,\)"),
        ([0.5, 1, 2], None, "float64; expected whole numbers or names"),
        ([0, 1, 3], ["a", "b", "c"], "from 0 to 3.*expected from 0 to 2"),
        ([0, 1, -1], ["a", "b", "c"], "from -1"),
        (["a", "b", "x"], ["a", "b"], "'x' is not among"),
        ([0, 1, 1], ["a", "a"], "occurs twice"),
        (np.eye(3, dtype=int), None, "shape"),
    ],
)
def test_labels_that_do_not_fit(labels, classes, words):
    with pytest.raises(DataError, match=words):
        load(GREY[:3], labels=labels, classes=classes)


def test_classes_without_labels():
    with pytest.raises(UsageError, match="give labels"):
        load(GREY, classes=["a"])


def test_whatever_becomes_an_array():
    class Tensor:
        def __array__(self, dtype=None, copy=None):
            return GREY

    assert load(Tensor()).pixels.shape == (20, 1, 10, 12)
