"""What an encoder is shown of its decoder: exact where theorems say so, and never of weights that are no more."""

from __future__ import annotations

import copy

import pytest
import torch

from fixtures.small import Linear
from morphospace import recipes
from morphospace.distributions import affine_form, image_bernoulli, image_laplace
from morphospace.families import Bernoulli, ContinuousBernoulli, Gaussian, OptimalGaussian, PixelGaussian
from morphospace.networks import Sight, layer_table
from morphospace.networks.sight import FURTHEST, NOWHERE, PERIOD, TEMPERATURES
from morphospace.types import ImageSpec, UsageError

SHAPE = (1, 4, 5)
LAPLACE = slice(5 * len(TEMPERATURES), None)
"""The features after those of the weights: here, here + step, log deviations, correlation, gain."""


@pytest.fixture(autouse=True)
def _noise():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def sight(family, anchors: int = 64, shape=SHAPE, in_turn: bool = False) -> Sight:
    decoder = Linear((2,), shape).double()
    return Sight(decoder, family.double(), anchors, in_turn).double().eval()


def whole_step(found: torch.Tensor) -> torch.Tensor:
    """The last Gauss-Newton step of the features: it is shortened, smoothly, on its way to the longest."""
    short = found[:, LAPLACE][:, 2:4] - found[:, LAPLACE][:, :2]
    return short / (1 - short.norm(dim=1, keepdim=True) / FURTHEST)


class Curved(Linear):
    """A linear map of a bent plane."""

    def forward(self, x):
        return super().forward(torch.sin(2 * x))


@pytest.mark.parametrize(
    "family",
    [Bernoulli(), ContinuousBernoulli(), Gaussian(0.3), OptimalGaussian(), OptimalGaussian(squash=True)],
    ids=lambda family: type(family).__name__,
)
@pytest.mark.parametrize("training", [True, False])
def test_the_affine_form_is_the_log_density_but_for_what_x_alone_says(family, training):
    family = family.double().train(training)
    h, x = torch.randn(7, *SHAPE, dtype=torch.float64), torch.rand(5, *SHAPE, dtype=torch.float64)
    form = affine_form(family(h))
    table = form.precision * (x.flatten(1) @ form.slope.T + form.offset)
    law = family.eval()(h)  # in training σ would be that of these images
    exact = torch.stack([law.log_prob(image) for image in x])
    apart = exact - table
    torch.testing.assert_close(apart, apart[:, :1].expand_as(apart))
    torch.testing.assert_close(form.mean, law.mean.flatten(1))
    # Of an exponential family the variance is what the mean rises with the natural parameter.
    torch.testing.assert_close(form.rise / form.precision, law.variance.flatten(1))


def test_laws_that_are_not_affine_have_no_such_form():
    h = torch.randn(3, *SHAPE)
    assert affine_form(image_laplace(h, torch.ones(()))) is None
    assert affine_form(PixelGaussian()(torch.randn(3, 2, 4, 5))) is None
    with pytest.raises(UsageError, match=r"affine in x.*PixelGaussian is not"):
        sight(PixelGaussian(), shape=(2, 4, 5))(torch.rand(1, *SHAPE))


@pytest.mark.parametrize(("in_turn", "anchors"), [(True, 512), (False, 512), (False, 16)])
def test_of_a_linear_gaussian_decoder_the_steps_lead_to_the_exact_posterior(in_turn, anchors):
    """Its posterior is normal, with precision I + WᵀW/σ² (Tipping & Bishop 1999, doi:10.1111/1467-9868.00196)."""
    sigma = 3.0  # wide enough for every image's mean to lie nearer to an anchor than a step may go
    shown = sight(Gaussian(sigma), anchors, in_turn=in_turn)
    decoder, _ = shown._behind
    x = torch.randn(20, *SHAPE, dtype=torch.float64)
    W, b = decoder.linear.weight, decoder.linear.bias
    covariance = torch.linalg.inv(torch.eye(2, dtype=torch.float64) + W.T @ W / sigma**2)
    mean = (x.flatten(1) - b) @ W @ covariance / sigma**2
    found = shown(x)
    here, _, log_deviation, correlation, _ = found[:, LAPLACE].split([2, 2, 2, 1, 1], 1)
    torch.testing.assert_close(here + whole_step(found), mean)
    deviation = covariance.diagonal().sqrt()
    torch.testing.assert_close(log_deviation, deviation.log().expand(20, 2))
    expected = covariance[0, 1] / deviation.prod()
    torch.testing.assert_close(correlation, expected.expand(20, 1).to(correlation))


def test_a_second_step_leads_nearer_to_the_mode_of_a_bent_decoder():
    decoder = Curved((2,), SHAPE).double()
    family = Bernoulli()
    z = 0.7 * torch.randn(40, 2, dtype=torch.float64)
    x = family(decoder(z)).mean.detach()
    one, two = (Sight(decoder, family, 256, in_turn).double().eval()(x) for in_turn in (True, False))
    start = two[:, LAPLACE][:, 2:4].detach()
    mode = start.clone().requires_grad_()
    climb = torch.optim.LBFGS([mode], max_iter=200, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def below() -> torch.Tensor:
        climb.zero_grad()
        loss = 0.5 * mode.square().sum() - family(decoder(mode)).log_prob(x).sum()
        loss.backward()
        return loss

    climb.step(below)
    first, second = ((found[:, LAPLACE][:, 2:4] - mode).norm(dim=1) for found in (one, two))
    assert (start - mode).norm(dim=1).max() < 0.3  # it is the mode beside it
    assert second.mean() < 0.5 * first.mean()
    assert (second <= first).float().mean() > 0.9


def test_the_first_weights_are_the_posterior_over_the_anchors():
    shown = sight(Bernoulli(), anchors=50)
    decoder, _ = shown._behind
    x = torch.rand(6, *SHAPE, dtype=torch.float64).round()
    law = image_bernoulli(decoder(shown.places))
    weight = torch.stack([law.log_prob(image) for image in x]).softmax(1)
    torch.testing.assert_close(shown(x)[:, :2], weight @ shown.places)


def change_in_place(shown: Sight) -> None:
    with torch.no_grad():
        shown._behind[0].linear.weight.mul_(1.5)


def load_others(shown: Sight) -> None:
    shown._behind[0].load_state_dict({k: 2 * v for k, v in shown._behind[0].state_dict().items()})


def unseen_by_torch(shown: Sight) -> None:
    """As the replay of a captured step changes weights; every training step lies between two calls of eval()."""
    shown.train()
    shown._behind[0].linear.weight.data.mul_(1.5)
    shown.eval()


def replace_the_weights(shown: Sight) -> None:
    linear = shown._behind[0].linear
    for factor in (3.0, 1.5):  # twice, so that the first ones' place in memory may be taken again
        linear.weight = torch.nn.Parameter(factor * linear.weight.detach())


@pytest.mark.parametrize("change", [change_in_place, load_others, unseen_by_torch, replace_the_weights])
@pytest.mark.parametrize("mode", [torch.inference_mode, torch.enable_grad])
@pytest.mark.parametrize("in_turn", [True, False])
def test_what_is_shown_is_the_decoder_as_it_is_now(change, mode, in_turn):
    shown, x = sight(Bernoulli(), in_turn=in_turn), torch.rand(3, *SHAPE, dtype=torch.float64)
    with mode():
        before = shown(x)
        assert torch.equal(shown(x), before)
        change(shown)
        after = shown(x)
    assert not torch.equal(after, before)
    fresh = Sight(*shown._behind, 64, in_turn).double().eval()
    torch.testing.assert_close(after, fresh(x))


def test_a_likelihood_that_changes_is_seen_too():
    shown, x = sight(OptimalGaussian()), torch.rand(3, *SHAPE, dtype=torch.float64)
    before = shown(x)
    shown._behind[1].variance.fill_(0.01)
    assert not torch.equal(shown(x), before)


def test_anchors_looked_at_with_different_widths_of_pixels_can_be_compared():
    """While it is trained, the σ of `OptimalGaussian` falls with every step."""
    shown, x = sight(OptimalGaussian(), anchors=100, in_turn=True), torch.rand(8, *SHAPE, dtype=torch.float64)
    shown.train()
    for step in range(PERIOD):
        shown._behind[1].variance.fill_(0.5**step)
        last = shown(x)
    torch.testing.assert_close(last, shown.eval()(x))


def test_of_a_decoder_that_knows_one_direction_only_the_features_are_numbers():
    """In float32 the determinant of I + Fisher information is then a difference of numbers that are nearly the same."""
    decoder, family = Linear((2,), (3, 32, 32)), Gaussian(1e-3)
    with torch.no_grad():
        decoder.linear.weight[:, 1] = 2 * decoder.linear.weight[:, 0]
    shown = Sight(decoder, family, 64).eval()(torch.rand(64, 3, 32, 32))
    assert shown.isfinite().all()
    assert (shown[:, LAPLACE][:, 6].abs() <= 1.001).all()


def test_in_training_all_anchors_are_seen_after_a_period_and_none_before_it_was_looked_at():
    shown, x = sight(Bernoulli(), anchors=100, in_turn=True), torch.rand(3, *SHAPE, dtype=torch.float64)
    whole = shown(x)
    shown.train()
    for step in range(PERIOD):
        assert int((shown.offset > NOWHERE).sum()) == min(100, step * shown.at_once)
        assert shown(x).isfinite().all()
    torch.testing.assert_close(shown(x), whole)


def test_the_decoder_is_asked_in_full_precision_whatever_the_network_computes_in():
    model = recipes.sighted(ImageSpec(1, 8, 8), size="tiny", anchors=32).build().model
    found = set()
    for layer in model.decoder.network.modules():
        layer.register_forward_hook(lambda _m, _i, out: found.add(out.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        shown = model.encoder.network.sight(torch.rand(2, 1, 8, 8))
    assert found == {shown.dtype} == {torch.float32}


def test_what_training_remembers_is_no_part_of_the_weights():
    model = recipes.sighted(ImageSpec(1, 8, 8), size="tiny", anchors=32).build().model
    names = set(model.state_dict())
    assert names == {name for name, _ in model.named_parameters()}
    assert len({id(p) for p in model.parameters()}) == len(list(model.named_parameters()))


def test_a_copy_of_the_model_or_of_its_encoder_is_shown_its_own_decoder():
    model = recipes.sighted(ImageSpec(1, 8, 8), size="tiny", anchors=32).build().model.eval()
    x = torch.rand(2, 1, 8, 8)

    def shown_to(encoder):
        return encoder.network.sight._behind[0]

    whole, alone = copy.deepcopy(model), copy.deepcopy(model.encoder)
    assert shown_to(model.encoder) is model.decoder.network
    assert shown_to(whole.encoder) is whole.decoder.network is not model.decoder.network
    assert shown_to(alone) is not model.decoder.network
    expected = model.encoder(x).mean
    for encoder in (whole.encoder, alone):
        torch.testing.assert_close(encoder(x).mean, expected)
    halved = copy.deepcopy(model).half()
    torch.testing.assert_close(halved.encoder(x.half()).mean, expected, rtol=0.05, atol=0.05)
    alone.double()  # as where it goes to another device
    assert {p.dtype for p in shown_to(alone).parameters()} == {torch.float64}
    torch.testing.assert_close(alone(x.double()).mean.float(), expected, rtol=1e-3, atol=1e-4)


def test_gradients_reach_the_image_by_way_of_what_is_shown():
    """For pseudo-inputs: what `vamp` learns are images."""
    shown = sight(Bernoulli(), in_turn=True)
    x = torch.rand(1, *SHAPE, dtype=torch.float64, requires_grad=True)
    keep = [i for i in range(shown.features) if i not in (5 * len(TEMPERATURES), 5 * len(TEMPERATURES) + 1)]
    assert torch.autograd.gradcheck(lambda image: shown(image)[:, keep], (x,))


def test_the_second_steps_gradient_is_that_of_the_posteriors_mean():
    shown = sight(Gaussian(3.0))
    W = shown._behind[0].linear.weight.detach()
    x = torch.rand(1, *SHAPE, dtype=torch.float64)
    short = whole_step(shown(x)).detach()
    found = torch.autograd.functional.jacobian(lambda image: whole_step(shown(image)), x).flatten(2)[0]
    covariance = torch.linalg.inv(torch.eye(2, dtype=torch.float64) + W.T @ W / 9)
    assert short.norm() > 0
    torch.testing.assert_close(found, covariance @ W.T / 9)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"anchors": -1}, "anchors is -1"),
        ({"anchors": "some"}, "anchors"),
    ],
)
def test_wrong_numbers_of_anchors_are_refused(given, words):
    with pytest.raises(UsageError, match=words):
        recipes.get("sighted", ImageSpec(1, 8, 8), given)


def test_other_dimensions_are_refused_and_large_images_have_fewer_anchors():
    with pytest.raises(UsageError, match="2 latent dimensions; there are 3"):
        recipes.sighted(ImageSpec(1, 8, 8), latent=3)
    large = recipes.sighted(ImageSpec(3, 128, 128), size="tiny").build().model.encoder.network
    assert len(large.sight.places) == 2**22 // (3 * 128 * 128)


def test_to_be_told_its_layers_a_network_is_not_taught():
    network = recipes.sighted(ImageSpec(1, 8, 8), size="tiny", anchors=32).build().model.encoder.network
    rows = layer_table(network)
    assert network.training
    assert int(network.sight.turn) == 0
    kinds = [kind for kind, _, _ in rows]
    assert kinds.index("convolution") < kinds.index(
        "dense"
    )  # what the sight is read by stands after the image


def test_what_is_shown_reaches_the_posterior():
    model = recipes.sighted(ImageSpec(1, 8, 8), size="tiny", anchors=32).build().model.eval()
    x = torch.rand(2, 1, 8, 8)
    before = model.encode(x).mean
    with torch.no_grad():
        model.decoder.network.tiles.bias.add_(torch.linspace(-1, 1, 16))
    assert not torch.equal(model.encode(x).mean, before)
