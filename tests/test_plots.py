"""Figures show what they are given: right pixels, right words, nothing clipped, nothing overlapping."""

from __future__ import annotations

import io
import itertools
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb
from matplotlib.text import Text
from PIL import Image
from torch.nn.modules import activation

from fixtures.small import make_images
from morphospace import plots, recipes
from morphospace.families import DiagonalNormal
from morphospace.networks import layer_table
from morphospace.plots.charts import apart, first_come, settled
from morphospace.plots.style import PETROFF, shorten, style, text_width
from morphospace.types import ImageSpec

rng = np.random.default_rng(0)


def texts(figure):
    return [t.get_text() for t in figure.findobj(Text) if t.get_text()]


def boxes(figure):
    """Every drawn text's extent in pixels."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    with style():
        figure.draw(renderer)
        hidden = {t for axes in figure.axes for axis in (axes.xaxis, axes.yaxis) for t in beyond(axis)}
        shown = [t for t in figure.findobj(Text) if t.get_text() and t.get_visible() and t not in hidden]
        return {t: t.get_window_extent(renderer) for t in shown}


def beyond(axis):
    """Labels of ticks outside the view, which matplotlib keeps but does not draw."""
    low, high = sorted(axis.get_view_interval())
    return [
        t
        for tick in axis.get_major_ticks()
        if not low <= tick.get_loc() <= high
        for t in (tick.label1, tick.label2)
    ]


def assert_legible(figure):
    """No text leaves the figure, and no two overlap."""
    found = boxes(figure)
    width, height = figure.bbox.width, figure.bbox.height
    for text, box in found.items():
        assert box.x0 > -1, text
        assert box.y0 > -1, text
        assert box.x1 < width + 1, text
        assert box.y1 < height + 1, text
    for (a, box_a), (b, box_b) in itertools.combinations(found.items(), 2):
        wide = min(box_a.x1, box_b.x1) - max(box_a.x0, box_b.x0)
        high = min(box_a.y1, box_b.y1) - max(box_a.y0, box_b.y0)
        assert wide <= 1 or high <= 1, f"{a.get_text()!r} overlaps {b.get_text()!r}"


def sheet(figure):
    return np.asarray(figure.axes[0].images[0].get_array())


# ---------------------------------------------------------------- style


def test_importing_plots_leaves_matplotlib_alone():
    code = "import sys, morphospace.plots; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_figures_are_equal_files_and_leave_no_settings_behind():
    before = dict(mpl.rcParams)
    strip = plots.Strip("", np.zeros((3, 1, 8, 8), np.float32), ["a"] * 3, ["b"] * 3)
    first, second = (plots.picture_strips([strip], title="t") for _ in range(2))
    for kind in ("png", "svg"):
        assert plots.render(first, kind) == plots.render(second, kind)
    assert dict(mpl.rcParams) == before


def test_the_reader_s_own_settings_do_not_change_a_figure():
    def drawn():
        return plots.render(plots.latent_scatter(np.eye(2, dtype=np.float32)), "png")

    plain = drawn()
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "black", "lines.linewidth": 9}):
        assert drawn() == plain


def test_colours_begin_with_petroff_and_stay_apart_for_five_rounds():
    found = plots.colours(128)
    assert tuple(found[:10]) == PETROFF
    assert len(set(found[:50])) == 50
    assert all(to_hex(c) == c for c in found)


def test_shortened_names_fit_and_keep_their_ends():
    with style():
        name = shorten("a rather long class name, number 127", 1.0)
        assert text_width(name) <= 1.0
        assert shorten("short", 1.0) == "short"
    assert "…" in name
    assert name.endswith("127")


def test_letters_that_no_font_has_and_dollars_are_drawn_without_a_warning():
    names = ["日本語", "$\\frac$", "a<b>&c"]
    figure = plots.latent_scatter(rng.normal(size=(30, 2)), np.arange(30) % 3, names)
    plots.render(figure, "svg")
    assert set(names) <= set(texts(figure))


# ---------------------------------------------------------------- architecture


@pytest.mark.parametrize(
    ("name", "spec", "arguments"),
    [
        ("reference", ImageSpec(1, 28, 28), {}),
        ("vae", ImageSpec(1, 28, 28), {"size": "small"}),
        ("vae", ImageSpec(3, 128, 96), {"size": "large", "latent": 128}),
        ("vae", ImageSpec(3, 9, 8), {"size": "tiny", "latent": 1}),
    ],
)
def test_architecture_names_every_layer_legibly(name, spec, arguments):
    model = recipes.get(name, spec, arguments).build().model
    encoder, decoder = (
        [row for row in layer_table(part.network) if row[0] not in activation.__all__]
        for part in (model.encoder, model.decoder)
    )
    figure = plots.architecture(encoder, decoder, spec.shape, arguments.get("latent", 2))
    shown = texts(figure)
    for kind, shape, kernel in (*encoder, *decoder):
        assert f"{kind} {kernel}".strip() in shown
        assert "×".join(map(str, (*shape[1:], shape[0]))) in shown
    assert sum(t.startswith(("dense", "conv", "transposed")) for t in shown) == len(encoder) + len(decoder)
    assert_legible(figure)


@pytest.mark.parametrize("name", [name for name in recipes.names() if name != "reference"])
def test_architecture_says_what_the_encoder_puts_out(name):
    """Mean and log-variance alone is that of the diagonal normal, and fits beside the layers whatever it is."""
    family = (
        recipes.get(name, ImageSpec(1, 8, 8), {"size": "tiny"})
        .met(make_images(9))
        .build()
        .model.encoder.family
    )
    assert (family.reads == "mean and log-variance") is isinstance(family, DiagonalNormal)
    layers = [("dense", (64,), "")]
    figure = plots.architecture(layers, layers, (1, 8, 8), 2, family.reads, family.gives)
    assert {family.reads, family.gives} <= set(texts(figure))
    assert_legible(figure)


def test_architecture_of_many_equal_layers_says_how_many():
    deep = [("dense", (64,), "")] * 40
    figure = plots.architecture(deep, deep, (1, 8, 8), 2)
    assert "40 × dense" in texts(figure)
    assert figure.get_figheight() < 5


# ---------------------------------------------------------------- charts


def test_learning_curves_add_up_and_show_where_they_go():
    epoch = np.linspace(0.1, 7, 200)
    train = plots.Curve("train", epoch, 260 + 300 * np.exp(-20 * epoch), 6 - 6 * np.exp(-20 * epoch))
    test = plots.Curve("test", np.array([3.5, 7.0]), np.array([262.0, 261.0]), np.array([6.0, 6.1]))
    figure = plots.learning_curves([train, test])
    assert len(figure.axes) == 3
    neg_elbo, distortion, rate = ([line.get_ydata() for line in a.lines] for a in figure.axes)
    for curve in range(2):
        np.testing.assert_allclose(neg_elbo[curve], distortion[curve] + rate[curve])
    low, high = figure.axes[0].get_ylim()
    assert low < 266
    assert high < 300
    assert {"train", "test", "nats per image"} <= set(texts(figure))
    assert_legible(figure)


def test_learning_curves_may_leave_the_frame_where_an_encoder_begins_anew():
    epoch = np.linspace(0.05, 10, 200)
    leap = np.where((epoch > 9) & (epoch < 9.3), 480.0, 0.0)
    train = plots.Curve("train", epoch, 260 + 300 * np.exp(-3 * epoch) + leap, np.full(200, 6.0))
    tops = [plots.learning_curves([train], anew=anew).axes[0].get_ylim()[1] for anew in (None, 9.0)]
    assert tops[0] > 700
    assert tops[1] < 300
    assert_legible(plots.learning_curves([train], anew=9.0))


def test_learning_curves_of_large_values_and_of_one_point_are_legible():
    big = plots.Curve("train", np.arange(1.0, 31), 2e5 / np.arange(1, 31), np.full(30, 1e-3))
    assert_legible(plots.learning_curves([big]))
    point = np.array([1.0])
    assert_legible(plots.learning_curves([plots.Curve("train", point, 500 * point, point)]))
    assert settled([point])[0] < 1 < settled([point])[1]


def test_scatter_gives_each_point_its_class_s_colour_in_random_order():
    points = rng.normal(size=(600, 2)).astype(np.float32)
    labels = np.repeat(np.arange(3), 200)
    figure = plots.latent_scatter(points, labels, ["a", "b", "c"])
    axes = figure.axes[0]
    dots = axes.collections[0]
    assert dots.get_rasterized()
    assert axes.get_aspect() == 1
    drawn, hues = np.asarray(dots.get_offsets()), dots.get_facecolors()[:, :3]
    rows = [int(np.flatnonzero((points == p).all(1))[0]) for p in drawn]
    assert rows != sorted(rows)
    assert sorted(rows) == list(range(600))
    np.testing.assert_allclose(hues, np.array([to_rgb(PETROFF[labels[r]]) for r in rows]))
    (x0, x1), (y0, y1) = axes.get_xlim(), axes.get_ylim()
    assert x0 < points[:, 0].min() < points[:, 0].max() < x1
    assert y0 < points[:, 1].min() < points[:, 1].max() < y1


@pytest.mark.parametrize("classes", [2, 10, 24, 128])
def test_scatter_names_classes_without_overlap_even_if_their_centres_coincide(classes):
    points = rng.normal(size=(classes * 20, 2)).astype(np.float32)
    figure = plots.latent_scatter(
        points, np.arange(len(points)) % classes, [f"class {i}" for i in range(classes)]
    )
    assert_legible(figure)
    named = {t for t in texts(figure) if t.startswith("class")}
    assert len(named) == classes if classes <= 24 else 3 < len(named) < classes


def test_scatter_without_classes_or_with_an_absent_class():
    assert_legible(plots.latent_scatter(rng.normal(size=(5, 2))))
    figure = plots.latent_scatter(np.zeros((4, 2)), np.zeros(4, np.int64), ["here", "absent"])
    assert texts(figure).count("here") == 2  # at its centre, and in the legend
    assert texts(figure).count("absent") == 1


def test_boxes_are_pushed_apart_and_stay_inside():
    centres, sizes = np.full((8, 2), 0.1), np.full((8, 2), (0.9, 0.2))
    places = apart(centres, sizes, np.array([6.0, 4.0]))
    for a, b in itertools.combinations(places, 2):
        assert (np.abs(a - b) >= (0.9 - 1e-3, 0.2 - 1e-3)).any()
    assert (places >= sizes / 2 - 1e-9).all()
    assert first_come(centres, sizes).tolist() == [True] + [False] * 7


def test_rows_of_a_single_dimension_keep_values_and_classes():
    values, labels = rng.normal(size=50).astype(np.float32), np.arange(50) % 2
    figure = plots.latent_rows(values, labels, ["left", "right"])
    drawn = np.asarray(figure.axes[0].collections[0].get_offsets())
    np.testing.assert_allclose(np.sort(drawn[:, 0]), np.sort(values), rtol=1e-6)
    assert_legible(figure)


# ---------------------------------------------------------------- pictures


@pytest.mark.parametrize(("channels", "height", "width"), [(1, 8, 8), (3, 16, 9), (1, 9, 40)])
def test_grid_shows_every_pixel_and_y_grows_upwards(channels, height, width):
    images = rng.random((3, 4, channels, height, width)).astype(np.float32)
    x, y = np.array([-1.0, -0.3, 0.3, 1.0]), np.array([-1.0, 0.0, 1.0])
    figure = plots.decoded_grid(images, x, y)
    pixels = sheet(figure)
    drawn = np.flatnonzero((pixels != 255).any((1, 2)))
    top, bottom = drawn[0], drawn[-1] + 1
    columns = np.flatnonzero((pixels != 255).any((0, 2)))
    left, right = columns[0], columns[-1] + 1
    scale = (bottom - top) // (3 * height)
    assert (bottom - top, right - left) == (3 * height * scale, 4 * width * scale)
    upright = images[::-1].transpose(0, 3, 1, 4, 2).reshape(3 * height, 4 * width, channels)
    expected = (np.broadcast_to(upright, (*upright.shape[:2], 3)) * 255 + 0.5).astype(np.uint8)
    np.testing.assert_array_equal(pixels[top:bottom:scale, left:right:scale], expected)
    assert_legible(figure)


def test_a_png_holds_the_sheet_s_pixels_unblurred():
    images = rng.random((1, 5, 1, 8, 8)).astype(np.float32)
    figure = plots.decoded_grid(images, np.linspace(-1, 1, 5), None, xlabel="z")
    png = np.asarray(Image.open(io.BytesIO(plots.render(figure, "png"))).convert("RGB"))
    pixels = sheet(figure)
    assert png.shape == pixels.shape
    inside = (pixels != 255).any(2)
    np.testing.assert_array_equal(png[inside], pixels[inside])


def test_pairs_show_words_and_both_pictures():
    white, black = np.ones((3, 10, 30), np.float32), np.zeros((3, 10, 30), np.float32)
    pairs = [plots.Pair(white, black, f"a long class name {i}", f"{i} nats") for i in range(13)]
    figure = plots.picture_pairs(pairs, title="Pairs", above="upper", below="mean of\npixels")
    shown = texts(figure)
    assert {f"{i} nats" for i in range(13)} <= set(shown)
    assert shown.count("upper") == shown.count("pixels") == 2
    assert (sheet(figure) == 0).all(2).any()
    assert_legible(figure)


@pytest.mark.parametrize(("rows", "steps"), [(1, 6), (4, 6), (2, 9), (1, 2)])
def test_strips_put_x_above_and_the_class_below(rows, steps):
    x = [f"x = {i / 10}" for i in range(steps)]
    images, below = np.zeros((steps, 1, 28, 28), np.float32), ["Ankle boot\n97 %"] * steps
    strips = [plots.Strip(f"row {i}" if rows > 1 else "", images, x, below) for i in range(rows)]
    figure = plots.picture_strips(strips, title="Strips")
    shown = texts(figure)
    assert all(shown.count(word) == rows for word in x)
    assert shown.count("97 %") == rows * steps
    assert_legible(figure)
