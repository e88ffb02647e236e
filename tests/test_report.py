"""A report says what was computed, for any set; it is one file, and needs nothing from anywhere else."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

from morphospace import cli, recipes
from morphospace.data.images import Images, Skipped
from morphospace.fitting import fit
from morphospace.morphing import Morph, Place
from morphospace.report import SECTIONS, card, morph_figure_png, write_card, write_report
from morphospace.report.facts import gather, means_by, nearest
from morphospace.report.places import the_manifold
from morphospace.report.transitions import STUDY, choose_pairs, hybrids, spans
from morphospace.space import Space
from morphospace.types import RunError, UsageError

STUDY_NAMES = tuple(dict.fromkeys(name for pair in STUDY for name in pair))
FIGURES = (
    "architecture", "learning-curves", "latent-space", "manifold", "reconstructions", "worst-reconstructions",
    "class-averages", "prototypes", "hybrids", "hybrids-best", "transitions",
)  # fmt: skip


def images_of(count, shape=(1, 8, 8), classes=(), test=0, seed=0, **more):
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % max(len(classes), 1)
    pixels = rng.integers(0, 256, (count, *shape)) // (1 + labels.reshape(-1, 1, 1, 1) % 3)
    splits = np.zeros(count, np.uint8)
    splits[count - test :] = 2
    return Images(pixels.astype(np.uint8), splits, labels if classes else None, tuple(classes), **more)


def trained(images, out, latent=2, steps=3):
    return fit(
        recipes.vae(images.spec, latent=latent, size="tiny", anchors=0),
        images,
        steps=steps,
        test_draws=2,
        out=out,
    )


def sections_of(images, out, latent=2):
    """Every section's words, without the pictures' bytes."""
    facts = gather(trained(images, out, latent), images)
    made = {what: make(facts) for what, make in SECTIONS}
    return facts, made, {what: said(section) for what, section in made.items()}


def said(section):
    cells = [cell for table in section.tables for row in table.rows for cell in row]
    return " ".join([section.title, section.words, *(d.caption for d in section.drawings), *cells])


def labels_in(figure):
    from matplotlib.text import Text

    return [t.get_text() for t in figure.findobj(Text) if t.get_text()]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with the study's classes and one with a dangerous name, and its report."""
    images = images_of(
        74, classes=(*STUDY_NAMES, "<script>alert('x')</script> & co"), test=14, policy={"alpha": "<over> white"},
        skipped=(Skipped("bad<1>.png", "truncated & wrong"),),
    )  # fmt: skip
    space = trained(images, tmp_path_factory.mktemp("runs") / "a <run>")
    told = []
    path = write_report(
        space, images, lambda what, done, total, figures=None: told.append((what, done, total))
    )
    return space, images, path, path.read_text(encoding="utf-8"), told


# ---------------------------------------------------------------- the file


def test_every_figure_is_written_as_png_and_svg_and_shown_in_order(run):
    space, _, path, html, _ = run
    files = {p.name for p in (space.folder / "figures").iterdir()}
    assert files == {f"{name}.{kind}" for name in FIGURES for kind in ("png", "svg")}
    assert re.findall(r'<figure id="figure-([^"]+)"', html) == list(FIGURES)
    for name in FIGURES:
        with Image.open(space.folder / "figures" / f"{name}.png") as picture:
            assert min(picture.size) > 200
    assert path == space.folder / "report.html"
    assert not list(space.folder.rglob(".*")), "temporary files were left"


def test_the_page_loads_nothing_and_its_links_lead_somewhere(run):
    html = run[3]
    assert all(source.startswith("data:image/") for source in re.findall(r'src="([^"]*)"', html))
    anchors, ids = re.findall(r'href="([^"]*)"', html), re.findall(r' id="([^"]*)"', html)
    assert anchors == [f"#{slug}" for slug in re.findall(r'<section id="([^"]*)"', html)]
    assert len(ids) == len(set(ids))
    assert {a[1:] for a in anchors} <= set(ids)
    assert not re.search(r"https?://|@import|url\(|<script|<link|<iframe", html)
    assert all(alt for alt in re.findall(r'alt="([^"]*)"', html))


def test_names_from_outside_are_escaped(run):
    space, _, _, html, _ = run
    assert "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt; &amp; co" in html
    assert "<h1>a &lt;run&gt;</h1>" in html
    assert "bad&lt;1&gt;.png" in html
    assert "truncated &amp; wrong" in html
    assert "&lt;over&gt; white" in html
    readme = (space.folder / "README.md").read_text(encoding="utf-8")
    assert "<script" not in readme.replace("\\<script", "")


def test_the_numbers_are_the_run_s(run):
    space, images, _, html, _ = run
    text = unescape(re.sub(r"<[^>]+>", " ", re.sub(r"<style>.*?</style>", "", html, flags=re.S)))
    for split in ("test", "train"):
        for key in ("neg_elbo", "distortion", "rate"):
            assert f"{space.results[split][key]:.2f}" in text
    head = html[: html.index("<main>")]
    for key in ("neg_elbo", "distortion", "rate"):
        assert f"<dd>{space.results['test'][key]:.1f} <small>nats</small></dd>" in head
    config = space.config
    parameters = f"{sum(space.results['parameters'].values()):,}"
    for expected in (
        images.sha256, config["versions"]["torch"], config["machine"]["processor"], parameters,
        "float32", "60 train, 14 test", "1 file", config["version"], "images/s",
    ):  # fmt: skip
        assert expected in text, expected
    assert "| −ELBO (nats) | " + f"{space.results['test']['neg_elbo']:.2f}" in (
        space.folder / "README.md"
    ).read_text(encoding="utf-8")


def test_a_report_made_again_is_the_same_and_progress_tells_of_each_figure(run, tmp_path):
    space, images, path, html, told = run
    again = Space.load(space.folder)
    (space.folder / "latents.safetensors").unlink()
    without_cache = Space.load(space.folder)
    assert without_cache.latents is None
    write_report(without_cache, images)
    assert path.read_text(encoding="utf-8") == html
    np.testing.assert_array_equal(Space.load(space.folder).latents.mean, again.latents.mean)
    assert [what for what, done, total in told if what.startswith("drawing")] == [
        f"drawing {what}" for what, _ in SECTIONS
    ]


def test_other_images_and_a_space_without_a_folder_are_refused(run):
    space, images, *_ = run
    with pytest.raises(RunError, match="not those"):
        write_report(space, images_of(74, classes=images.classes, test=14, seed=1))
    homeless = Space(space.model, space.recipe, space.config, space.results, space.latents)
    with pytest.raises(UsageError, match="save it first"):
        write_report(homeless, images)
    with pytest.raises(UsageError, match="save it first"):
        write_card(homeless)


# ---------------------------------------------------------------- what the sections say


def test_the_study_s_ways_are_taken_where_its_classes_are(run):
    space, images, *_ = run
    facts = gather(space, images)
    assert choose_pairs(facts) == (list(STUDY), True)
    section = hybrids(facts)
    shown = labels_in(section.drawings[0].figure)
    assert [t for t in shown if t.startswith("x =")] == [
        "x = 0",
        "x = 0.2",
        "x = 0.4",
        "x = 0.6",
        "x = 0.8",
        "x = 1",
    ]
    assert "From Bag to Sneaker" in section.drawings[0].alt or "Bag to Sneaker" in section.title


def test_the_best_paths_stand_beside_the_straight_ones(run):
    space, images, *_ = run
    facts = gather(space, images)
    best = hybrids(facts).drawings[1]
    assert "Best is " in best.caption
    assert "% of its points in holes" in best.caption
    shown = labels_in(dict(SECTIONS)["other transitions"](facts).drawings[0].figure)
    for a, b in STUDY[1:]:
        assert any(t.startswith(f"{a} to {b}, straight: ") for t in shown)
        assert any(t.startswith(f"{a} to {b}, best (") for t in shown)


def test_prototypes_of_every_class_tell_their_density(run):
    space, images, *_ = run
    (drawing,) = dict(SECTIONS)["prototypes"](gather(space, images)).drawings
    shown = labels_in(drawing.figure)
    assert sum(t.startswith("q/p ") for t in shown) == 4 * len(space.prototypes.names)
    assert {"medoid,", "density mode,", "geodesic mean,"} <= {t.split("\n")[0] for t in shown}


@pytest.mark.parametrize("name", ["hyperspherical", "gumbel-softmax"])
def test_spaces_that_are_no_plane_have_their_own_lines_or_none(tmp_path, name):
    images = images_of(40, classes=("a", "b", "c"), test=8)
    recipe = recipes.get(name, images.spec, {"size": "tiny", "latent": 20 if name == "gumbel-softmax" else 3})
    space = fit(recipe, images, steps=3, test_draws=2, out=tmp_path / "run")
    facts = gather(space, images)
    made = {title: make(facts) for title, make in SECTIONS}
    if name == "gumbel-softmax":
        assert "nothing lies between" in made["hybrids"].words
        assert "nothing lies between" in made["prototypes"].words
    else:
        assert "geodesic of the space's own manifold" in made["hybrids"].drawings[0].caption
        assert len(made["hybrids"].drawings) == 1


def test_distortions_and_means_are_what_they_are_called(run):
    space, images, *_ = run
    facts = gather(space, images)
    index, nats = facts.compared
    p = facts.decode(facts.latents.mean[index]).astype(np.float64)
    x = images.pixels[index] / 255
    expected = -(x * np.log(p) + (1 - x) * np.log1p(-p)).sum((1, 2, 3))
    np.testing.assert_allclose(nats, expected, rtol=1e-4)
    means = means_by(images, facts.train, facts.groups, len(facts.prototypes.names))
    for c in range(len(images.classes)):
        np.testing.assert_allclose(
            means[c], images.train.pixels[images.train.labels == c].mean(0) / 255, atol=1e-6
        )
    z = np.random.default_rng(0).normal(size=(20, 3))
    points = np.random.default_rng(1).normal(size=(4, 3))
    away = np.linalg.norm(z[:, None] - points, axis=2)
    np.testing.assert_array_equal(nearest(z, points), away.argmin(1))


def test_the_worst_are_the_worst(run):
    space, images, *_ = run
    facts = gather(space, images)
    _, nats = facts.compared
    drawings = dict(SECTIONS)["reconstructions"](facts).drawings
    notes = [float(t.split()[0]) for t in labels_in(drawings[1].figure) if t.endswith("nats")]
    assert notes == [float(f"{v:.0f}") for v in np.sort(nats)[::-1][:10]]
    assert "times the median" in drawings[1].caption


def test_distortions_of_densities_are_not_called_so_many_times_one_another(run):
    space, images, *_ = run
    facts = gather(space, images)
    index, nats = facts.compared
    facts.__dict__["compared"] = index, nats - nats.max() - 1  # as of a density: nought means nothing
    caption = dict(SECTIONS)["reconstructions"](facts).drawings[1].caption
    assert "up to -1.0 nats, where the median is -" in caption
    assert "times" not in caption


def test_a_set_without_classes_gets_clusters_said_so(tmp_path):
    images = images_of(40, (3, 9, 12), test=8)
    facts, made, words = sections_of(images, tmp_path / "run", latent=5)
    assert facts.prototypes.clusters
    for what in ("the latent space", "averages", "hybrids"):
        assert "k-means" in words[what], what
    assert made["averages"].title == "Cluster prototypes"
    for what in ("the latent space", "the manifold"):
        labels = labels_in(made[what].drawings[0].figure)
        assert any("first direction of greatest variance" in t and "%" in t for t in labels), what
        assert "5 dimensions" in words[what]
    assert "RGB" in words["the numbers"]


def test_one_dimension_without_a_test_split(tmp_path):
    images = images_of(24, (1, 16, 8), classes=("a", "A", "absent")[:2])
    facts, made, words = sections_of(images, tmp_path / "run", latent=1)
    assert facts.shown_split[0] == "training"
    assert "no test images" in words["reconstructions"]
    assert "no test images" in words["the numbers"]
    assert "no test images" in words["the learning curves"]
    assert made["the manifold"].drawings[0].figure.get_figheight() < 3
    assert choose_pairs(facts) == ([("a", "A")], False)


def test_hardly_any_images_of_a_single_class(tmp_path):
    images = images_of(3, classes=("only",))
    _, made, words = sections_of(images, tmp_path / "run")
    assert "no two classes" in words["hybrids"]
    assert not made["other transitions"].drawings
    assert "not enough" in words["other transitions"]


def test_activations_are_no_layers_of_the_architecture(run):
    facts = gather(run[0], run[1])
    shown = labels_in(dict(SECTIONS)["the architecture"](facts).drawings[0].figure)
    boxes = [t for t in shown if t.startswith(("dense", "convolution"))]
    weights = [p for net in (facts.space.model.encoder, facts.space.model.decoder) for p in net.parameters()]
    assert len(boxes) == sum(p.dim() > 1 for p in weights)
    assert not {"SiLU", "ReLU"} & set(shown)


def test_many_classes_show_the_largest(tmp_path):
    images = images_of(260, classes=[f"class {i}" for i in range(128)], test=4)
    _, made, words = sections_of(images, tmp_path / "run", latent=3)
    assert "40 largest of 128" in words["averages"]
    assert "only where there is room" in words["the latent space"]
    assert len(made["other transitions"].drawings) == 1


def test_a_run_that_kept_no_metrics_says_so(tmp_path):
    images = images_of(12, test=4)
    space = trained(images, None)
    space.save(tmp_path / "run")
    section = dict(SECTIONS)["the learning curves"](gather(space, images))
    assert not section.drawings
    assert "no metrics.jsonl" in section.words


# ---------------------------------------------------------------- the rest


def way(nearest):
    steps = len(nearest)
    z = np.zeros(2, np.float32)
    images = np.random.default_rng(0).random((steps, 1, 8, 8)).astype(np.float32)
    return Morph(
        Place("a", z), Place("b", z), np.linspace(0, 1, steps), np.zeros((steps, 2), np.float32), images,
        tuple(nearest), np.full(steps, 0.5),
    )  # fmt: skip


def test_spans_say_what_lies_where():
    assert spans(way(["Bag", "Bag", "Boot", "Boot", "Boot", "Shoe"])) == (
        "x\u00a0=\u00a00–0.2 lie nearest to Bag, 0.4–0.8 to Boot, 1 to Shoe"
    )
    assert spans(way(["Bag", "Shoe", "Bag"])) == "x\u00a0=\u00a00 lies nearest to Bag, 0.5 to Shoe, 1 to Bag"


def test_a_morph_is_written_as_one_picture(tmp_path):
    morph_figure_png(way(["a"] * 20), tmp_path / "way.png")
    with Image.open(tmp_path / "way.png") as picture:
        assert picture.size[0] == 1800
    assert [p.name for p in tmp_path.iterdir()] == ["way.png"]


def test_card_words_are_plain_markdown():
    assert card.plain("<b>|a|*b*\n`c`") == r"\<b\>\|a\|\*b\* \`c\`"


def test_the_card_says_what_law_the_pixels_have(space):
    assert "Bernoulli" in card.card_text(space)
    images = images_of(20, (3, 8, 8))
    kinds = {
        "vae": "normal or Laplace",
        "continuous-bernoulli": "on [0, 1]",
        "logistic-mixture": "256 levels",
    }
    for name, words in kinds.items():
        told = card.card_text(fit(recipes.get(name, images.spec, {"size": "tiny"}), images, steps=1))
        assert words in told
        assert "Bernoulli" not in told
        assert told.count("−ELBO") > 2
    unlike = card.card_text(fit(recipes.vae_gan(images.spec, size="tiny"), images, steps=1))
    assert "Pixels" not in unlike


# ---------------------------------------------------------------- models without a likelihood


@pytest.mark.parametrize(("name", "rate"), [("ae", False), ("vae-gan", True)])
def test_a_model_without_a_likelihood_is_told_of_without_an_elbo(tmp_path, capsys, name, rate):
    images = images_of(40, (1, 16, 16), ("a", "b"), test=8)
    recipe = recipes.get(name, images.spec, {"size": "tiny"})
    space = fit(recipe, images, steps=3, test_draws=2, out=tmp_path / "run")
    html = write_report(space, images).read_text(encoding="utf-8")
    card_text = (tmp_path / "run" / "README.md").read_text(encoding="utf-8")
    facts = gather(space, images)
    learning = dict(SECTIONS)["the learning curves"](facts)
    for text in (html, card_text):
        assert f"There is no −ELBO, since the model has no likelihood: {recipe.unnormalised}" in unescape(
            text
        )
        assert "−ELBO (nats)" not in text
        assert "distortion (nats)" in text
        assert ("rate (nats)" in text) == rate
    words = labels_in(learning.drawings[0].figure)
    assert "Distortion" in words
    assert ("Rate" in words) == rate
    assert not [text for text in words if "ELBO" in text]
    assert "ELBO" not in learning.drawings[0].alt
    assert cli.run(["info", str(tmp_path / "run")]) == 0
    shown = capsys.readouterr().out
    assert "neg_elbo" not in shown
    assert "distortion" in shown


def test_the_decoded_grid_follows_the_images_where_no_standard_normal_holds_them(space, images, tmp_path):
    """A grid over quantiles of N(0, I) would stand beside latents whose prior lies elsewhere."""
    words = the_manifold(gather(space, images)).drawings[0].caption
    assert "even in the quantiles of the prior" in words
    fitted = space.with_prior("mixture", components=2)
    fitted.latents = replace(space.latents, mean=space.latents.mean + np.float32([30, -20]))
    fitted.save(tmp_path / "run")
    drawing = the_manifold(gather(fitted, images)).drawings[0]
    assert "even in the quantiles of the training images' latents" in drawing.caption
    assert "share of the prior" not in drawing.caption
    texts = [text.get_text().replace("−", "-") for text in drawing.figure.findobj(Text)]
    told = [float(text) for text in texts if re.fullmatch(r"-?\d+\.\d", text)]
    assert told
    train = fitted.latents.train.mean
    low, high = train.min(0) - 0.1, train.max(0) + 0.1
    assert all(low[0] < value < high[0] or low[1] < value < high[1] for value in told)
