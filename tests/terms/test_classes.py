"""Learning from few labels: the bounds of Kingma et al. (2014) are what they say, and few labels are kept."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from fixtures.small import Linear, make_images, unit
from morphospace import recipes
from morphospace.families import Choices, DiagonalNormal, Gaussian
from morphospace.fitting import fit
from morphospace.model import VAE, Conditional
from morphospace.priors import StandardNormal
from morphospace.space import Space
from morphospace.terms import Classification, SemiSupervised, cost_of_classes, marginal_cost
from morphospace.training import make_feed
from morphospace.training.feed import some_of_each
from morphospace.types import UsageError

SHAPE, LATENT, CLASSES, SIGMA = (1, 2, 3), 2, 3, 0.5


@pytest.fixture(autouse=True)
def _noise():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def model() -> VAE:
    torch.manual_seed(3)
    return VAE(
        Conditional(Linear(SHAPE, (2 * LATENT,), CLASSES), DiagonalNormal()),
        Conditional(Linear((LATENT,), SHAPE, CLASSES), Gaussian(SIGMA, learned=False)),
        StandardNormal(LATENT),
        Conditional(Linear(SHAPE, (CLASSES,)), Choices(CLASSES, 1.0)),
    ).double()


def images(batch: int = 5) -> Tensor:
    return torch.randn(batch, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def brute_force(vae: VAE, x: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """log q(y|x) and the cost as each class, (Y, B), class after class by torch's own normals and matrices."""
    torch.manual_seed(seed)
    batch = len(x)
    noise = torch.normal(
        torch.zeros(CLASSES, batch, LATENT).double(), torch.ones(CLASSES, batch, LATENT).double()
    )
    (A, a), (W, b), (V, v) = (
        [p.detach() for p in part.network.linear.parameters()]
        for part in (vae.encoder, vae.decoder, vae.classifier)
    )
    sigma = vae.decoder.family.log_sigma.exp().detach()
    flat, costs = x.flatten(1), []
    for y in range(CLASSES):
        one = torch.eye(CLASSES, dtype=torch.float64)[y].expand(batch, -1)
        mean, log_variance = (torch.cat([flat, one], 1) @ A.T + a).chunk(2, 1)
        z = mean + (0.5 * log_variance).exp() * noise[y]
        center = torch.cat([z, one], 1) @ W.T + b
        distortion = -Normal(center, sigma).log_prob(flat).sum(1)
        rate = 0.5 * (log_variance.exp() + mean.square() - 1 - log_variance).sum(1)
        costs.append(distortion + rate - math.log(1 / CLASSES))
    return (flat @ V.T + v).log_softmax(1), torch.stack(costs)


@torch.no_grad()
def test_the_bound_without_labels_is_the_brute_force_over_the_classes():
    vae, x = model(), images()
    trace = vae.trace(x, labels=torch.full((5,), -1))
    log_q, costs = brute_force(vae, x, seed=7)
    by_hand = sum(log_q[:, y].exp() * (costs[y] + log_q[:, y]) for y in range(CLASSES))
    torch.manual_seed(7)
    torch.testing.assert_close(SemiSupervised()(trace), by_hand.mean(), rtol=0, atol=1e-12)


@torch.no_grad()
def test_with_every_label_known_the_bound_is_the_labelled_one():
    vae, x, y = model(), images(), torch.tensor([0, 1, 2, 2, 0])
    _, costs = brute_force(vae, x, seed=7)
    trace = vae.trace(x, labels=y)
    torch.manual_seed(7)
    found = SemiSupervised()(trace)
    torch.testing.assert_close(found, costs[y, torch.arange(5)].mean(), rtol=0, atol=1e-12)


@torch.no_grad()
def test_some_labelled_and_some_not_are_each_by_its_own_bound():
    vae, x, y = model(), images(), torch.tensor([0, -1, 2, -1, -1])
    log_q, costs = brute_force(vae, x, seed=2)
    unknown = marginal_cost(log_q, costs)
    expected = torch.stack([costs[0, 0], unknown[1], costs[2, 2], unknown[3], unknown[4]]).mean()
    trace = vae.trace(x, labels=y)
    torch.manual_seed(2)
    torch.testing.assert_close(SemiSupervised()(trace), expected, rtol=0, atol=1e-12)
    known = -(log_q[0, 0] + log_q[2, 2]) / 2
    torch.testing.assert_close(Classification()(trace).double(), known, rtol=0, atol=1e-6)


def test_with_the_exact_class_posterior_the_bound_is_the_evidence_and_else_above_it():
    """−log Σ_y p(x, y), where the cost of a class is −log p(x, y)."""
    cost = torch.randn(CLASSES, 50, dtype=torch.float64) * 3
    exact = (-cost).log_softmax(0).T
    torch.testing.assert_close(marginal_cost(exact, cost), -(-cost).logsumexp(0), rtol=0, atol=1e-12)
    other = torch.randn(50, CLASSES, dtype=torch.float64).log_softmax(1)
    gap = marginal_cost(other, cost) + (-cost).logsumexp(0)
    divergence = (other.exp() * (other - exact)).sum(1)
    torch.testing.assert_close(gap, divergence, rtol=0, atol=1e-12)


@torch.no_grad()
def test_the_cost_as_the_own_class_is_the_traces_own_and_the_classs_share():
    vae, x, y = model(), images(), torch.tensor([0, 1, 2, 2, 0])
    many = torch.stack([cost_of_classes(vae.trace(x, labels=y))[y, torch.arange(5)] for _ in range(4000)])
    trace = vae.trace(x, 4000, labels=y)
    mean = (trace.distortion + trace.rate).mean(0) + math.log(CLASSES)
    error = many.std(0) / 4000**0.5 + trace.distortion.std(0) / 4000**0.5
    assert ((many.mean(0) - mean).abs() < 5 * error).all()


@torch.no_grad()
def test_a_class_that_is_not_known_is_the_most_probable_one():
    vae, x = model(), images()
    guess = vae.classify(x).argmax(1)
    filled = vae.filled(x, torch.tensor([0, -1, 1, -1, 2]))
    assert filled.tolist() == [0, guess[1], 1, guess[3], 2]
    torch.testing.assert_close(vae.trace(x).q.mean, vae.encode(x, guess).mean)
    with pytest.raises(UsageError, match="no classifier"):
        recipes.vae(make_images(1).spec, size="tiny").build().model.classify(x)


def test_so_many_labels_of_each_class_are_kept_as_the_seed_says():
    labels = np.arange(100) % 4
    kept = some_of_each(labels, 7, seed=0)
    assert [(kept == c).sum() for c in range(4)] == [7] * 4
    assert ((kept == labels) | (kept == -1)).all()
    assert np.array_equal(kept, some_of_each(labels, 7, seed=0))
    assert not np.array_equal(kept, some_of_each(labels, 7, seed=1))
    assert np.array_equal(some_of_each(labels, 100, seed=0), labels)


def test_a_few_labels_name_the_classes(tmp_path):
    pictures = make_images(300, (1, 12, 12))
    recipe = recipes.m2(pictures.spec, size="tiny", labelled=5).met(pictures)
    parts = recipe.build()
    settings = parts.settings.changed(device="cpu")
    assert (make_feed(parts, pictures, "train", settings).labels >= 0).sum() == 15
    assert (make_feed(parts, pictures, "test", settings).labels >= 0).all()
    space = fit(recipe, pictures, steps=200, out=tmp_path / "run")
    assert space.results["test"]["accuracy"] > 0.9
    lines = [
        line for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines() if '"test"' in line
    ]
    assert lines
    assert all('"accuracy"' in line for line in lines)
    again = Space.load(tmp_path / "run")
    said = again.classify(pictures)
    torch.testing.assert_close(said.sum(1), torch.ones(300))
    assert (said.argmax(1).numpy() == pictures.labels).mean() > 0.9
    x = unit(pictures)[:20]
    torch.testing.assert_close(again.encode(x).mean, again.encode(x, labels=said[:20].argmax(1)).mean)
    assert again.sample(2, labels="bar").shape == (2, 1, 12, 12)
