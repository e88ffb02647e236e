"""Images of which not every pixel is known: the law of what is, what is seen, and what is imputed.

Of a linear-Gaussian model p(z) = N(0, I), p(x given z) = N(Wz + b, σ²I) all is known: of observed pixels o and missing
ones m, x_o is N(b_o, W_o·W_oᵀ + σ²I), and E(x_m given x_o) = b_m + W_m·M⁻¹·W_oᵀ(x_o − b_o) with M = W_oᵀW_o + σ²I.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from benchmarks import imputation
from torch import Tensor
from torch.distributions import MultivariateNormal

import morphospace as ms
from fixtures.small import Linear, make_images, unit
from morphospace import recipes
from morphospace.distributions import Masked, OptimalNormal, image_bernoulli, image_normal
from morphospace.distributions.pixels import ContinuousBernoulli, LevelCategorical
from morphospace.evaluation import evaluate
from morphospace.evaluation.quadrature import exact_log_likelihood
from morphospace.families import DiagonalNormal, Gaussian
from morphospace.families import Masked as MaskedFamily
from morphospace.fitting import fit
from morphospace.imputation import flattened, impute
from morphospace.model import VAE, Conditional
from morphospace.networks import ZeroImputed, zero_imputed
from morphospace.priors import StandardNormal
from morphospace.training.feed import Batches, Feed, Order, hidden
from morphospace.types import DataError, UsageError

SHAPE, LATENT, SIGMA = (1, 2, 3), 2, 0.5
PIXELS = math.prod(SHAPE)
SPEC = make_images(1).spec


@pytest.fixture(autouse=True)
def _noise():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def linear_vae() -> VAE:
    """With an encoder that is somewhat like the posterior of whole images, and so wrong for incomplete ones."""
    model = VAE(
        Conditional(ZeroImputed(Linear(SHAPE, (2 * LATENT,))), DiagonalNormal()),
        Conditional(Linear((LATENT,), SHAPE), MaskedFamily(Gaussian(SIGMA, learned=False))),
        StandardNormal(LATENT),
    ).double()
    with torch.no_grad():
        model.decoder.family.whole.log_sigma.fill_(math.log(SIGMA))
        W = normal(PIXELS, LATENT)
        decoder, encoder = model.decoder.network.linear, model.encoder.network.filled.linear
        decoder.weight.copy_(W)
        decoder.bias.copy_(normal(PIXELS, seed=1))
        encoder.weight.copy_(torch.cat([0.1 * W.T, torch.zeros(LATENT, PIXELS, dtype=torch.float64)]))
        encoder.bias.fill_(0.0)
    return model


def incomplete(batch: int = 5) -> Tensor:
    """Images with nan: the first has all pixels, the second none, the others some."""
    x = normal(batch, *SHAPE, seed=2)
    gone = normal(batch, *SHAPE, seed=3) < -0.2
    gone[0], gone[1] = False, True
    return x.masked_fill(gone, torch.nan)


def parts(model: VAE, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """W and b of the observed and of the missing pixels of one image, and which are observed."""
    W, b = (p.detach() for p in model.decoder.network.linear.parameters())
    seen = ~x.flatten().isnan()
    return W[seen], b[seen], W[~seen], b[~seen], seen


def evidence(model: VAE, x: Tensor) -> Tensor:
    found = []
    for image in x:
        W, b, _, _, seen = parts(model, image)
        if not seen.any():
            found.append(torch.zeros((), dtype=torch.float64))
            continue
        covariance = W @ W.T + SIGMA**2 * torch.eye(len(W), dtype=torch.float64)
        found.append(MultivariateNormal(b, covariance).log_prob(image.flatten()[seen]))
    return torch.stack(found)


# ---------------------------------------------------------------- laws


@pytest.mark.parametrize(
    "law",
    [image_bernoulli, ContinuousBernoulli, lambda h: image_normal(h, torch.tensor(0.7, dtype=torch.float64))],
)
def test_the_law_of_what_is_known_sums_over_it_alone(law):
    h, x = normal(4, 2, 3, 5), torch.rand(4, 2, 3, 5, dtype=torch.float64)
    whole = law(h)
    torch.testing.assert_close(Masked(whole).log_prob(x), whole.log_prob(x))
    seen = normal(4, 2, 3, 5, seed=5) > 0
    found = Masked(whole).log_prob(x.masked_fill(~seen, torch.nan))
    for i in range(4):  # each pixel alone, as an image of one
        alone = [law(h[i].reshape(-1, 1, 1, 1)[j]).log_prob(x[i].reshape(-1, 1, 1, 1)[j]) for j in range(30)]
        torch.testing.assert_close(found[i], torch.stack(alone)[seen[i].flatten()].sum())
    nothing = Masked(whole).log_prob(torch.full_like(x, torch.nan))
    assert torch.equal(nothing, torch.zeros(4, dtype=torch.float64))


def test_the_best_sigma_is_that_of_what_is_known():
    """As if the pixels that are missing were none of the image's: the density, its σ and the decoder's gradient."""
    h, x = normal(4, 2, 3, 5).requires_grad_(), torch.rand(4, 2, 3, 5, dtype=torch.float64)
    seen, noted = normal(4, 2, 3, 5, seed=5) > 0, []
    found = Masked(OptimalNormal(h, torch.ones(()), noted.append)).log_prob(x.masked_fill(~seen, torch.nan))
    alone = OptimalNormal(h[seen].reshape(1, 1, -1), torch.ones(()), noted.append)
    known = alone.log_prob(x[seen].reshape(1, 1, -1))
    torch.testing.assert_close(found.sum(), known)
    torch.testing.assert_close(noted[0], noted[1])
    (a,), (b,) = (torch.autograd.grad(value.sum(), h) for value in (found, known))
    torch.testing.assert_close(a, b)
    whole = OptimalNormal(h, torch.ones(()), noted.append)
    torch.testing.assert_close(Masked(whole).log_prob(x), whole.log_prob(x))


def test_what_is_missing_has_no_gradient_and_no_nan():
    h = normal(3, 1, 4, 4).requires_grad_()
    x = torch.rand(3, 1, 4, 4, dtype=torch.float64)
    seen = normal(3, 1, 4, 4, seed=1) > 0
    Masked(image_bernoulli(h)).log_prob(x.masked_fill(~seen, torch.nan)).sum().backward()
    assert torch.isfinite(h.grad).all()
    assert torch.equal(h.grad != 0, seen)


def test_pixels_that_hang_on_one_another_cannot_be_left_out():
    with pytest.raises(UsageError, match="one by one"):
        Masked(LevelCategorical(normal(1, 1, 256, 2, 2))).log_prob(torch.zeros(1, 1, 2, 2))


@torch.no_grad()
def test_the_evidence_of_what_is_known_is_found_by_weights_and_exactly_by_quadrature():
    model, x = linear_vae(), incomplete()
    truth = evidence(model, x)
    estimate, error = model.log_likelihood(x, 40_000, 4000)
    assert ((estimate - truth).abs() < 5 * error + 1e-9).all()
    assert error.max() < 0.03
    found = exact_log_likelihood(model, x)
    np.testing.assert_allclose(found.log_p, truth.numpy(), atol=1e-3)


@torch.no_grad()
def test_the_bound_is_below_the_evidence_of_what_is_known():
    model, x = linear_vae(), incomplete()
    trace = model.trace(x, 4000)
    slack = evidence(model, x) + (trace.distortion + trace.rate).mean(0)
    assert (slack[[0, 2, 3, 4]] > 0.01).all()
    assert slack[1] >= 0  # of nothing the evidence is nought, and so is its bound, whatever is guessed


# ---------------------------------------------------------------- what the encoder sees


def test_few_pixels_weigh_as_much_as_all():
    """Of a linear map: each pixel known in exactly one of three images, their mean is the map of the whole one."""
    x, which = normal(1, 2, 3, 5), torch.arange(30).reshape(2, 3, 5) % 3
    thirds = torch.cat([x.masked_fill(which != i, torch.nan) for i in range(3)])
    linear = Linear((2, 3, 5), (7,)).double()
    torch.nn.init.zeros_(linear.linear.bias)
    torch.testing.assert_close(ZeroImputed(linear)(thirds).mean(0), linear(x)[0])
    assert torch.equal(zero_imputed(x), x)
    assert torch.equal(zero_imputed(torch.full_like(x, torch.nan)), torch.zeros_like(x))


# ---------------------------------------------------------------- imputation


@torch.no_grad()
def test_imputed_means_and_draws_are_those_of_the_exact_conditional():
    model, x = linear_vae(), incomplete()
    found = impute(model, x, draws=60_000, ways=20_000)
    assert torch.equal(found.mean[0], x[0])
    assert found.effective.min() > 500
    for i in range(1, len(x)):
        W_o, b_o, W_m, b_m, seen = parts(model, x[i])
        M = W_o.T @ W_o + SIGMA**2 * torch.eye(LATENT, dtype=torch.float64)
        known = x[i].flatten()[seen]
        mean = b_m + W_m @ torch.linalg.solve(M, W_o.T @ (known - b_o))
        covariance = (
            SIGMA**2 * W_m @ torch.linalg.inv(M) @ W_m.T
        )  # of mean images: without the pixels' own noise
        torch.testing.assert_close(found.mean[i].flatten()[~seen], mean, rtol=0, atol=0.05)
        ways = found.draws[:, i].flatten(1)
        assert torch.equal(ways[:, seen], known.expand(20_000, -1))
        torch.testing.assert_close(ways[:, ~seen].mean(0), mean, rtol=0, atol=0.1)
        torch.testing.assert_close(
            torch.cov(ways[:, ~seen].T).reshape(covariance.shape), covariance, rtol=0.1, atol=0.05
        )


@torch.no_grad()
def test_an_encoder_that_is_far_off_is_made_up_for():
    """Its proposals are 4 from where the points are, 0.05 wide: by them alone, no draw would ever come near."""
    model, x = linear_vae(), incomplete()
    encoder = model.encoder.network.filled.linear
    encoder.weight.fill_(0.0)
    encoder.bias.copy_(torch.tensor([4.0, -4.0, math.log(0.05), math.log(0.05)], dtype=torch.float64))
    found = impute(model, x, draws=4000, ways=10)
    assert found.effective.min() > 400
    for i in range(1, len(x)):
        W_o, b_o, W_m, b_m, seen = parts(model, x[i])
        M = W_o.T @ W_o + SIGMA**2 * torch.eye(LATENT, dtype=torch.float64)
        mean = b_m + W_m @ torch.linalg.solve(M, W_o.T @ (x[i].flatten()[seen] - b_o))
        torch.testing.assert_close(found.mean[i].flatten()[~seen], mean, rtol=0, atol=0.15)


@torch.no_grad()
@pytest.mark.parametrize("draws", [1, 2, 7, 25])
def test_few_draws_are_as_many_as_were_asked_for(draws):
    model, x = linear_vae(), incomplete()
    found = impute(model, x, draws, ways=3)
    assert torch.isfinite(found.mean).all()
    assert ((found.effective >= 1 - 1e-9) & (found.effective <= draws + 1e-9)).all()


def test_weights_are_flattened_until_they_amount_to_enough_draws():
    log_w = normal(200, 4) * torch.tensor([0.1, 1.0, 100.0, 1e4])
    log_w[:50, 2] = -torch.inf  # no mass there
    w = flattened(log_w, 20.0)
    torch.testing.assert_close(w.sum(0), torch.ones(4, dtype=torch.float64))
    effective = 1 / w.square().sum(0)
    torch.testing.assert_close(w[:, :2], log_w[:, :2].softmax(0), rtol=1e-6, atol=0)  # these were enough
    torch.testing.assert_close(effective[2:], torch.full((2,), 20.0, dtype=torch.float64), rtol=1e-3, atol=0)
    assert (w[:50, 2] < 1e-9).all()


@pytest.mark.parametrize(
    "name",
    [
        "hyperspherical",
        "poincare",
        "gumbel-softmax",
        "flow-posterior",
        "low-rank-posterior",
        "cvae",
        "m2",
        "ladder",
    ],
)
def test_spaces_of_every_kind_impute(name):
    images = make_images(40)
    space = fit(recipes.get(name, SPEC, {"size": "tiny"}), images, steps=1)
    observed = np.ones((40, 8, 8), bool)
    observed[:, 4:] = False
    found = space.impute(images, observed, draws=30, ways=2)
    assert torch.equal(found.mean[:, :, :4], unit(images)[:, :, :4])
    assert ((found.mean >= 0) & (found.mean <= 1)).all()
    assert ((found.draws >= 0) & (found.draws <= 1)).all()
    assert ((found.effective >= 0.999) & (found.effective <= 30.001)).all()
    assert torch.equal(found.mean, space.impute(images, observed, draws=30, ways=2).mean)


# ---------------------------------------------------------------- on the way


def holey(count: int = 60) -> np.ndarray:
    """Floats of three classes with a missing column in each second image."""
    x = unit(make_images(count)).numpy()[:, 0]
    x[::2, :, 5] = np.nan
    return x


def test_floats_that_are_nan_are_not_known():
    images = ms.load(holey())
    assert images.observed.shape == (60, 1, 8, 8)
    assert not images.observed[::2, :, :, 5].any()
    assert images.observed[1::2].all()
    assert (images.pixels[::2, :, :, 5] == 0).all()
    assert np.array_equal(images.test.observed, images.observed[images.splits == 2])
    assert images.sha256 != ms.load(np.nan_to_num(holey())).sha256
    assert ms.load(np.nan_to_num(holey())).observed is None
    colour = np.repeat(holey()[..., None], 3, -1)
    colour[1, 2, 3, 0] = np.nan
    assert not ms.load(colour).observed[1, 0, 2, 3]


def test_what_cannot_be_known_is_refused():
    nothing = holey()
    nothing[3] = np.nan
    with pytest.raises(DataError, match="image 3 is nan"):
        ms.load(nothing)
    with pytest.raises(DataError, match="resize them before"):
        ms.load(holey(), image_size=16)
    with pytest.raises(UsageError, match=r"30 of these images have missing pixels.*'vae'.*'missing-pixels'"):
        fit(recipes.vae(SPEC, size="tiny"), ms.load(holey()), steps=1)


def test_what_is_hidden_is_a_function_of_seed_and_place():
    shape = (200, 1, 8, 8)
    first = hidden(None, shape, 0.3, 0, "hidden", "train")
    assert np.array_equal(first, hidden(None, shape, 0.3, 0, "hidden", "train"))
    assert not np.array_equal(first, hidden(None, shape, 0.3, 1, "hidden", "train"))
    assert not np.array_equal(first, hidden(None, shape, 0.3, 0, "hidden", "test"))
    assert first.mean() == pytest.approx(0.7, abs=0.02)
    assert not np.array_equal(first[0], first[1])
    some = np.zeros(shape, bool)
    some[:, :, 2] = True
    assert np.array_equal(hidden(some, shape, 0.3, 0, "hidden", "train"), first & some)
    assert np.array_equal(hidden(some, shape, 0.0, 0), some)


def test_what_is_staged_is_nan_where_it_is_hidden():
    images = make_images(50)
    observed = hidden(None, (50, 1, 8, 8), 0.5, 0)
    feed = Feed(images.pixels, torch.device("cpu"), observed=observed)
    order = Order(50, 16, seed=0)
    batches = Batches(feed, order)
    for step in range(4):
        batches.stage(step)
        index = order(step)
        x = batches.staged()
        assert torch.equal(x.isnan(), torch.from_numpy(~observed)[index])
        assert torch.equal(x.nan_to_num(), unit(images)[index] * torch.from_numpy(observed)[index])
        assert torch.equal(feed(index).isnan(), x.isnan())


# ---------------------------------------------------------------- the recipe


@pytest.mark.parametrize("hide", [-0.1, 1.0, math.nan])
def test_a_part_that_is_none_is_refused(hide):
    with pytest.raises(UsageError, match="hide"):
        recipes.missing_pixels(SPEC, hide=hide)


def test_with_nothing_hidden_it_is_the_vae():
    images = make_images(60)
    plain = fit(recipes.vae(SPEC, size="tiny", corrupted=0.0, anchors=0), images, steps=20)
    other = fit(recipes.missing_pixels(SPEC, size="tiny", hide=0.0), images, steps=20)
    assert other.results["test"] == pytest.approx(plain.results["test"], rel=1e-6)
    halves = fit(recipes.missing_pixels(SPEC, size="tiny", hide=0.5), images, steps=20)
    assert halves.results["test"]["distortion"] < 0.6 * plain.results["test"]["distortion"]


def test_it_learns_from_incomplete_images_and_fills_them_in(tmp_path):
    """The classes differ in where they are bright, so half of an image says what the other half is like."""
    images = make_images(300, (1, 12, 12))
    space = fit(
        recipes.missing_pixels(images.spec, size="tiny", hide=0.5), images, steps=300, out=tmp_path / "run"
    )
    truth = unit(images.test)
    observed = torch.ones(len(truth), 12, 12, dtype=torch.bool)
    observed[:, :, ::2] = False
    found = space.impute(images.test, observed, draws=200, ways=3)
    gone = ~observed[:, None]
    average = unit(images.train).mean(0).expand_as(truth)
    error, naive = ((guess - truth)[gone].square().mean() for guess in (found.mean, average))
    assert error < 0.25 * naive
    assert torch.equal(found.mean[~gone], truth[~gone])
    assert found.draws.shape == (3, *truth.shape)
    again = type(space).load(tmp_path / "run").impute(images.test, observed[:, None], draws=200, ways=3)
    assert torch.equal(again.mean, found.mean)
    nan = truth.masked_fill(gone, torch.nan)
    assert torch.equal(space.impute(nan, draws=200, ways=3).mean, found.mean)
    assert torch.equal(space.impute(nan.numpy(), draws=200, ways=3).draws, found.draws)
    # The space takes them as they are, and does as well on what it was not shown.
    assert torch.isfinite(space.encode(nan).mean).all()


def test_images_that_lack_pixels_go_all_the_way(tmp_path):
    images = ms.load(holey(100), labels=np.arange(100) % 3)
    recipe = recipes.missing_pixels(images.spec, size="tiny", latent=3, hide=0.0, draws=3)
    space = fit(recipe, images, steps=60, out=tmp_path / "run")
    assert np.isfinite(space.latents.mean).all()
    found = evaluate(space, images, parts=("doctor", "likelihood", "reconstruction", "latents"), draws=4)
    assert math.isfinite(found.value("likelihood", "nll_importance"))
    assert "missing" in found.parts["reconstruction"]["notes"][0]
    assert found.parts["latents"]["figures"]
    filled = space.impute(images, draws=50, ways=2)
    assert torch.isfinite(filled.mean).all()
    from morphospace.report import write_report

    assert write_report(space, images).is_file()


def test_a_space_of_whole_images_refuses_others_but_fills_them_in(space):
    x = unit(make_images(4))
    x[:, :, 2] = torch.nan
    with pytest.raises(UsageError, match=r"needs all: space\.impute"):
        space.encode(x)
    found = space.impute(x, draws=20, ways=2)
    assert torch.isfinite(found.mean).all()
    assert torch.equal(found.mean[~x.isnan()], x[~x.isnan()])
    assert space.impute(x[:0], draws=20, ways=2).draws.shape == (2, 0, 1, 8, 8)
    with pytest.raises(UsageError, match=r"expected bool, \(4, 8, 8\)"):
        space.impute(x, np.ones((4, 8, 7), bool))
    with pytest.raises(UsageError, match="at least one"):
        space.impute(x, draws=0)


def test_what_the_images_lack_is_never_taken_for_black():
    images = ms.load(holey(40))
    space = fit(recipes.missing_pixels(images.spec, size="tiny"), images, steps=20)
    observed = np.ones((40, 8, 8), bool)
    observed[:, 0] = False
    found = space.impute(images, observed, draws=50, ways=2)
    assert (found.mean[::2, :, 1:, 5] > 0).all()
    both = torch.from_numpy(images.observed & observed[:, None])
    assert torch.equal(found.mean[both], unit(images)[both])


def test_a_space_without_a_likelihood_or_with_pixels_that_hang_together_refuses():
    images = make_images(30)
    for name, match in (
        ("ae", "no likelihood"),
        ("vae-gan", "no likelihood"),
        ("categorical-pixels", "one by one"),
    ):
        space = fit(recipes.get(name, SPEC, {"size": "tiny"}), images, steps=1)
        with pytest.raises(UsageError, match=match):
            space.impute(images, np.ones((30, 8, 8), bool), draws=2)


def test_the_benchmark_takes_away_what_it_says(space):
    x = unit(make_images(6))
    found = imputation.measure(space, x, unit(make_images(20)).mean(0))
    assert set(found) == set(imputation.taken(x.shape))
    assert all(0 < of["error"] < 1 and 0 <= of["few"] <= 1 for of in found.values())
    assert imputation.table(found).count("\n") == 1 + len(found)
    lower = imputation.taken(x.shape)["the lower half"]
    assert lower[:, :, 4:].all()
    assert not lower[:, :, :4].any()
