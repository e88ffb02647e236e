"""Models that are told of classes: their theorems, how labels reach them, and what is refused."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from fixtures.small import Linear, make_images, unit
from fixtures.stopping import whole_and_stopped
from morphospace import recipes
from morphospace.data.images import Images
from morphospace.data.labels import chosen
from morphospace.evaluation.quadrature import exact_log_likelihood
from morphospace.families import DiagonalNormal, Gaussian
from morphospace.fitting import fit
from morphospace.model import VAE, Conditional
from morphospace.morphing import morph
from morphospace.priors import ClassNormals
from morphospace.space import Space
from morphospace.training.feed import Batches, Feed, Order
from morphospace.types import UnknownName, UsageError

SHAPE, LATENT, CLASSES, SIGMA = (1, 2, 3), 2, 3, 0.5
PIXELS = math.prod(SHAPE)


def pictures(count: int, classes: tuple[str, ...] = ("dot", "bar", "blob")) -> Images:
    """Of a size at which each class is bright in a place of its own."""
    return make_images(count, (1, 12, 12), classes)


SPEC = pictures(1).spec


@pytest.fixture(autouse=True)
def _noise():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


# ---------------------------------------------------------------- theorems


def exact_model() -> VAE:
    """p(z|y) = N(m_y, diag s_y²), p(x|z, y) = N(Wz + u_y + b, σ²I), and the exact posterior of it as the encoder.

    W's columns are orthogonal, so the posterior's precision 1/s_y² + WᵀW/σ² is diagonal; it depends on y, and so does
    not come out of one affine encoder: the classes' deviations are equal here, their means are not.
    """
    generator = torch.Generator().manual_seed(0)
    model = VAE(
        Conditional(Linear(SHAPE, (2 * LATENT,), CLASSES), DiagonalNormal()),
        Conditional(Linear((LATENT,), SHAPE, CLASSES), Gaussian(SIGMA, learned=False)),
        ClassNormals(LATENT, CLASSES),
    ).double()

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    with torch.no_grad():
        model.decoder.family.log_sigma.fill_(math.log(SIGMA))
        model.prior.log_scale.copy_(torch.tensor([0.3, -0.4]).expand(CLASSES, LATENT))
        model.prior.loc.copy_(normal(CLASSES, LATENT))
        W = torch.linalg.qr(normal(PIXELS, LATENT))[0] * torch.tensor([1.5, 0.7])
        U, b = normal(PIXELS, CLASSES), normal(PIXELS)
        decoder, encoder = model.decoder.network.linear, model.encoder.network.linear
        decoder.weight.copy_(torch.cat([W, U], 1))
        decoder.bias.copy_(b)
        prior = (-2 * model.prior.log_scale[0]).exp()
        precision = prior + (W**2).sum(0) / SIGMA**2
        to_mean = W.T / SIGMA**2 / precision[:, None]
        of_class = -to_mean @ U + (prior / precision)[:, None] * model.prior.loc.T
        nothing = torch.zeros(LATENT, PIXELS + CLASSES, dtype=torch.float64)
        encoder.weight.copy_(torch.cat([torch.cat([to_mean, of_class], 1), nothing]))
        encoder.bias.copy_(torch.cat([-to_mean @ b, -precision.log()]))
        model.prior.begin_with_labels(torch.tensor([0, 1, 1, 2, 2, 2]))
    return model


def evidence(model: VAE, x: Tensor, labels: Tensor) -> Tensor:
    """log N(x; W·m_y + u_y + b, W·diag(s²)·Wᵀ + σ²I)."""
    weight, b = (p.detach() for p in model.decoder.network.linear.parameters())
    W, U = weight[:, :LATENT], weight[:, LATENT:]
    m, s = model.prior.loc.detach(), model.prior.log_scale.detach()[0].exp()
    covariance = (W * s**2) @ W.T + SIGMA**2 * torch.eye(PIXELS, dtype=torch.float64)
    mean = m[labels] @ W.T + U.T[labels] + b
    return MultivariateNormal(mean, covariance).log_prob(x.flatten(1))


def some(batch: int = 7) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(batch, *SHAPE, dtype=torch.float64, generator=generator)
    return x, torch.arange(batch) % CLASSES


@torch.no_grad()
def test_with_the_exact_posterior_every_single_weight_is_the_evidence_of_the_class():
    model, (x, y) = exact_model(), some()
    log_weight = model.trace(x, 5, labels=y).log_weight
    torch.testing.assert_close(log_weight, evidence(model, x, y).expand(5, 7), rtol=0, atol=1e-9)
    other = model.trace(x, 5, labels=(y + 1) % CLASSES).log_weight
    assert (other - log_weight).abs().min() > 0.1  # so the label does matter


@torch.no_grad()
def test_importance_weighting_and_quadrature_find_the_evidence_of_each_images_class():
    model, (x, y) = exact_model(), some()
    truth = evidence(model, x, y)
    torch.testing.assert_close(model.log_likelihood(x, 4, labels=y)[0], truth, rtol=0, atol=1e-9)
    found = exact_log_likelihood(model, x, labels=y)
    np.testing.assert_allclose(found.log_p, truth.numpy(), atol=1e-3)
    assert abs(found.prior) < 1e-6


@torch.no_grad()
def test_a_model_of_one_class_is_the_model_told_of_that_class():
    model, (x, _) = exact_model(), some()
    for c in range(CLASSES):
        bound, y = model.of_class(c), torch.full((len(x),), c)
        assert bound.classes == 0
        torch.testing.assert_close(bound.encode(x).mean, model.encode(x, y).mean)
        z = torch.randn(4, 7, LATENT, dtype=torch.float64)
        torch.testing.assert_close(bound.decode(z), model.decode(z, y))
        torch.testing.assert_close(bound.prior_of().log_prob(z), model.prior_of(y).log_prob(z))


@torch.no_grad()
def test_the_prior_of_no_class_is_the_mean_over_the_classes_as_often_as_they_came():
    model = exact_model()
    z = torch.randn(50, LATENT, dtype=torch.float64)
    each = torch.stack([model.of_class(c).prior_of().log_prob(z) for c in range(CLASSES)])
    shares = torch.tensor([1 / 6, 2 / 6, 3 / 6], dtype=torch.float64)[:, None]
    torch.testing.assert_close(model.prior_of().log_prob(z), (each + shares.log()).logsumexp(0))


@torch.no_grad()
def test_samples_of_a_class_are_of_its_evidence():
    """Mean images of class y have mean W·m_y + u_y + b: the first moment of p(x|y)."""
    model = exact_model()
    y = torch.full((40_000,), 2)
    drawn = model.sample(len(y), y).flatten(1)
    at = evidence_mean(model)[2]
    torch.testing.assert_close(drawn.mean(0), at, rtol=0, atol=0.04)


def evidence_mean(model: VAE) -> Tensor:
    weight, b = (p.detach() for p in model.decoder.network.linear.parameters())
    return model.prior.loc.detach() @ weight[:, :LATENT].T + weight[:, LATENT:].T + b


@torch.no_grad()
def test_positions_and_weights_of_one_class_are_the_same_and_between_two_lies_what_is_between():
    model, (_, y) = exact_model(), some(2)
    z = torch.randn(2, LATENT, dtype=torch.float64)
    ones = torch.eye(CLASSES, dtype=torch.float64)
    torch.testing.assert_close(model.decode(z, ones[y]), model.decode(z, y))
    halves = (ones[[0, 0]] + ones[[1, 1]]) / 2
    ends = [model.decode(z, torch.tensor([c, c])) for c in (0, 1)]
    torch.testing.assert_close(model.decode(z, halves), (ends[0] + ends[1]) / 2)
    with pytest.raises(UsageError, match="weights"):
        model.prior_of(halves)


def test_a_model_that_is_told_refuses_to_do_without():
    model, (x, _) = exact_model(), some()
    with pytest.raises(UsageError, match="3 classes, and no labels"):
        model.trace(x)
    vae = recipes.vae(SPEC, size="tiny").build().model
    images = unit(pictures(4))
    torch.manual_seed(1)
    plain = vae.trace(images)
    torch.manual_seed(1)
    told = vae.trace(images, labels=torch.zeros(4, dtype=torch.int64))
    assert torch.equal(plain.z, told.z)  # one that is told of nothing has no use for labels


# ---------------------------------------------------------------- on the way to it


def test_labels_are_staged_beside_their_images_at_a_place_that_stays():
    images = pictures(50)
    feed = Feed(images.pixels, torch.device("cpu"), images.labels)
    order = Order(50, 16, seed=0)
    batches = Batches(feed, order)
    place = batches.labels.data_ptr()
    for step in range(5):
        batches.stage(step)
        assert np.array_equal(batches.labels.numpy(), images.labels[order(step).numpy()])
        assert torch.equal(batches.staged(), feed(order(step)))
    assert batches.labels.data_ptr() == place
    assert Batches(Feed(images.pixels, torch.device("cpu")), order).labels is None


def test_what_people_call_classes():
    names = ("dot", "Bar", "blob")
    for given in ("bar", 1, ["bar"] * 4, np.full(4, 1), torch.full((4,), 1), [1, 1, 1, 1]):
        assert chosen(given, names, 4).tolist() == [1] * 4
    weights = np.full((2, 3), 1 / 3)
    np.testing.assert_allclose(chosen(weights, names, 2), weights)
    for wrong, match in (
        ("bra", "Did you mean 'Bar'"),
        (3, "from 0 to 2"),
        (-1, "from 0 to 2"),
        (["dot"], r"one for all, or 4"),
        ([0.5, 0.5, 0.5, 0.5], "names or positions"),
        (np.full((4, 3), 0.5), "sum to one"),
        (np.full((4, 2), 0.5), r"\(4, 3\)"),
    ):
        with pytest.raises(UsageError, match=match):
            chosen(wrong, names, 4)


# ---------------------------------------------------------------- recipes


def test_a_recipe_takes_the_number_of_classes_from_the_images():
    recipe = recipes.cvae(SPEC, size="tiny")
    with pytest.raises(UsageError, match=r"recipe\.met\(images\)"):
        recipe.build()
    met = recipe.met(pictures(9))
    assert met.arguments["classes"] == 3
    assert met.build().model.classes == 3
    assert recipes.vae(SPEC).met(pictures(9)) == recipes.vae(SPEC)
    with pytest.raises(UsageError, match="made for 4 classes; these images have 3"):
        recipes.cvae(SPEC, classes=4).met(pictures(9))


@pytest.mark.parametrize("name", ["cvae", "class-prior"])
def test_images_without_labels_are_refused_in_words(name):
    with pytest.raises(UsageError, match=r"no labels.*sub-folder.*'vae'"):
        fit(recipes.get(name, SPEC, {"size": "tiny"}), pictures(9, classes=()), steps=1)


def test_each_part_is_told_if_asked():
    for encoder, decoder, prior in ((True, True, True), (False, True, False), (True, False, False)):
        recipe = recipes.cvae(SPEC, size="tiny", classes=3, encoder=encoder, decoder=decoder, prior=prior)
        model = recipe.build().model
        told = [part.classes > 0 for part in (model.encoder, model.decoder, model.prior)]
        assert told == [encoder, decoder, prior]
    with pytest.raises(UsageError, match="nobody is told"):
        recipes.cvae(SPEC, encoder=False, decoder=False)


@pytest.fixture(scope="module")
def cvae(tmp_path_factory) -> Space:
    images = pictures(300)
    recipe = recipes.cvae(SPEC, size="tiny")
    return fit(recipe, images, steps=250, out=tmp_path_factory.mktemp("cvae") / "run")


def patches() -> np.ndarray:
    """Where each class of `make_images` is bright: its mean image without noise, 0 and 1."""
    images = pictures(300)
    means = np.stack([images.pixels[images.labels == c].mean(0) for c in range(3)])
    return means > 120


def test_what_is_asked_for_is_drawn_wherever_z_lies(cvae):
    bright = patches()
    for c, name in enumerate(cvae.classes):
        drawn = cvae.sample(20, labels=name).numpy() > 0.45
        assert (drawn == bright[c]).mean() > 0.97
    z = cvae.draw(3)
    assert torch.equal(cvae.decode(z, labels=["blob"] * 3), cvae.decode(z, labels=2))
    assert torch.equal(cvae.sample(3, labels="DOT"), cvae.sample(3, labels=0))


def test_a_class_is_asked_for_and_known(cvae):
    z = np.zeros((2, 2), np.float32)
    for ask in (lambda: cvae.sample(2), lambda: cvae.decode(z), lambda: cvae.encode(pictures(2).pixels)):
        with pytest.raises(UsageError, match=r"told the class.*labels='dot'.*dot, bar, blob"):
            ask()
    with pytest.raises(UnknownName, match="Did you mean 'blob'"):
        cvae.decode(z, labels="blub")


def test_a_space_that_is_told_of_nothing_takes_no_labels(space):
    for ask in (lambda: space.sample(2, labels="dot"), lambda: space.decode([[0.0, 0.0]], labels="dot")):
        with pytest.raises(UsageError, match="no part of this space is told"):
            ask()


def test_images_bring_their_labels_by_name(cvae):
    images = pictures(10)
    q = cvae.encode(images)
    assert torch.equal(q.mean, cvae.encode(images.pixels, labels=images.labels).mean)
    assert not torch.allclose(q.mean, cvae.encode(images.pixels, labels="dot").mean)
    back = replace(images, classes=images.classes[::-1], labels=2 - images.labels)
    assert torch.equal(cvae.encode(back).mean, q.mean)
    with pytest.raises(UnknownName, match="boot"):
        cvae.encode(replace(images, classes=("dot", "bar", "boot")))
    with pytest.raises(UsageError, match="told the class"):
        cvae.encode(pictures(10, classes=()))


def test_what_is_loaded_is_what_was_saved(cvae):
    again = Space.load(cvae.folder)
    assert again.recipe == cvae.recipe
    assert again.config["recipe"]["arguments"]["classes"] == 3
    assert torch.equal(again.sample(4, labels="bar"), cvae.sample(4, labels="bar"))


def test_a_morph_goes_from_class_to_class(cvae):
    way = morph(cvae, "dot", "blob", 5, even="z")
    bright = patches()
    assert ((way.images[0] > 0.45) == bright[0]).mean() > 0.97
    assert ((way.images[-1] > 0.45) == bright[2]).mean() > 0.97
    assert (way.nearest[0], way.nearest[-1]) == ("dot", "blob")
    np.testing.assert_allclose(way.shares, [1, 0.75, 0.5, 0.75, 1], atol=1e-6)
    with pytest.raises(UsageError, match="go between classes: dot, bar, blob"):
        morph(cvae, np.zeros(2, np.float32), "dot")
    pictures = morph(cvae, "dot", "blob", 5).images.reshape(5, -1)
    steps = np.linalg.norm(np.diff(pictures, axis=0), axis=1)
    assert steps.max() / steps.mean() < 1.2
    with pytest.raises(UsageError, match="straight paths only"):
        morph(cvae, "dot", "blob", path="dense")


def test_the_prior_of_classes_puts_them_apart_and_draws_from_each():
    images = pictures(300)
    space = fit(recipes.class_prior(SPEC, size="tiny"), images, steps=250)
    assert not space.conditional
    z = space.draw(600)
    assert z.shape == (600, 2)
    shares = torch.tensor([(images.train.labels == c).mean() for c in range(3)]).float()
    torch.testing.assert_close(space.model.prior.log_share.exp(), shares)
    bright = patches()
    for c, name in enumerate(space.classes):
        drawn = space.sample(50, labels=name).numpy() > 0.45
        assert ((drawn == bright[c]).mean((1, 2, 3)) > 0.9).mean() > 0.5  # without labels it would be a third
    # At a point near the mean of a class its normal is the one of the greatest density.
    means = torch.from_numpy(space.prototypes.points)
    each = torch.stack([space.model.of_class(c).prior_of().log_prob(means) for c in range(3)])
    assert each.argmax(0).tolist() == [0, 1, 2]
    assert space.encode(images.pixels[:3]).mean.shape == (3, 2)  # without labels


def test_a_run_that_is_told_of_classes_resumes_exactly(tmp_path):
    images, recipe = pictures(20), recipes.cvae(SPEC, size="tiny", prior=True)
    whole_and_stopped(recipe, images, tmp_path, steps=5, at=2)


def test_labels_and_images_stay_together_in_training():
    """Labels that are said wrongly cost likelihood: those that the training saw were right."""
    images = pictures(300)
    space = fit(recipes.cvae(SPEC, size="tiny"), images, steps=150)
    x, y = unit(images), torch.from_numpy(images.labels)

    def cost(labels: Tensor) -> float:
        with torch.no_grad():
            trace = space.model.trace(x, labels=labels)
            return float((trace.distortion + trace.rate).mean())

    assert cost((y + 1) % 3) > cost(y) + 5


def test_of_an_unknown_class_log_p_is_the_mean_over_classes():
    """And not that of the class that the classifier guesses, which may lie above it by log Y."""
    images = pictures(60)
    model = fit(recipes.m2(SPEC, size="tiny", latent=1), images, steps=30).model.eval()
    x, labels = unit(images)[:12], torch.arange(12) % 4 - 1  # some are known
    torch.manual_seed(0)
    with torch.no_grad():
        found, _ = model.log_likelihood(x, 4000)
        of_each = torch.stack([model.of_class(c).log_likelihood(x, 4000)[0] for c in range(3)])
        some, _ = model.log_likelihood(x, 4000, labels=labels)
    mean = of_each.logsumexp(0) - math.log(3)
    assert (found - mean).abs().mean() < 0.15
    expected = torch.where(labels < 0, mean, of_each.gather(0, labels.clamp_min(0)[None])[0])
    assert (some - expected).abs().mean() < 0.15
    assert (of_each.amax(0) - mean).mean() > 0.5  # what a guess would say
