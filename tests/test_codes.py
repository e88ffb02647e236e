"""Codes by their theorems: symbols and points are one, gradients go straight through, rates are lengths."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

import morphospace.distributions as d
from fixtures.small import make_images, unit
from fixtures.stopping import whole_and_stopped
from morphospace import recipes, terms
from morphospace.distributions import normal
from morphospace.families import Bernoulli, Codebooks, FiniteScalar, codes
from morphospace.families.codes import LEAST_USE
from morphospace.model import Trace
from morphospace.networks import SIZES, GridDecoder, GridEncoder, grid_sides, size
from morphospace.types import ImageSpec, UsageError

F64 = torch.float64
SIDES = [(28, 28), (32, 32), (48, 40), (9, 31), (8, 8), (8, 128), (13, 8), (17, 33), (128, 128)]


@pytest.fixture(autouse=True)
def _noise():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def books(
    levels: int = 1, *, averaged: bool = True, places: int = 3, numbers: int = 2, codes: int = 5
) -> Codebooks:
    """Codes as far apart as standard normals, finer from level to level."""
    family = Codebooks(places, numbers, codes, levels, averaged=averaged).double().eval()
    scale = 0.5 ** torch.arange(levels, dtype=F64)[:, None, None]
    family.codebook.data = scale * torch.randn(levels, codes, numbers, dtype=F64)
    return family


FAMILIES = {
    "vq": lambda: books(),
    "gradient": lambda: books(averaged=False),
    "residual": lambda: books(3),
    "fsq": lambda: FiniteScalar(3, (5, 4)).double().eval(),
}
ALL = pytest.mark.parametrize("make", FAMILIES.values(), ids=FAMILIES)


def inputs(family, batch: int = 4) -> Tensor:
    values = family.outputs(family.length * family.numbers)
    return torch.randn(batch, values, dtype=F64).requires_grad_()


# ---------------------------------------------------------------- networks with a grid


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("sides", SIDES)
def test_networks_with_a_grid_take_images_of_any_shape(channels, sides):
    spec = ImageSpec(channels, *sides)
    encoder, decoder = GridEncoder(spec, 3, size("tiny")), GridDecoder(spec, 3, size("tiny"))
    height, width = grid_sides(spec)
    assert max(height, width) <= 8
    x, z = torch.rand(2, *spec.shape, requires_grad=True), torch.randn(16, 3 * height * width)
    h, images = encoder(x), decoder(z)
    assert h.shape == (2, *encoder.output_shape) == (2, 3 * height * width)
    assert decoder.input_shape == (3 * height * width,)
    assert images.shape == (16, *decoder.output_shape) == (16, *spec.shape)
    h.square().sum().backward()
    assert (x.grad.abs().amax(0) > 0).all()  # every pixel reaches the grid, and is reached from it
    assert (images.std(0) > 0).all()


@pytest.mark.parametrize("name", SIZES)
def test_every_weight_feels_and_rows_do_not_feel_one_another(name):
    spec = ImageSpec(3, 17, 33)
    encoder, decoder = GridEncoder(spec, 2, size(name)), GridDecoder(spec, 2, size(name), layers=2)
    for network, x in (
        (encoder, torch.rand(3, *spec.shape)),
        (decoder, torch.randn(3, *decoder.input_shape)),
    ):
        whole = network(x)
        torch.testing.assert_close(network(x[1:2])[0], whole[1], rtol=1e-4, atol=1e-5)
        whole.square().sum().backward()
        for weight, p in network.named_parameters():
            assert p.grad.abs().max() > 0, weight


def test_numbers_lie_place_by_place_and_layers_of_a_place_are_summed():
    spec = ImageSpec(1, 12, 8)  # 3×2 places
    encoder, decoder = GridEncoder(spec, 5, size("tiny")), GridDecoder(spec, 5, size("tiny"), layers=2)
    x = torch.rand(1, *spec.shape)
    shifted = x.clone()
    shifted[:, :, -1, -1] += 1  # the last pixel is seen by the last places, and by the first only from afar
    change = (encoder(shifted) - encoder(x)).abs().reshape(3, 2, 5).sum(-1)
    assert change[2, 1] == change.max()
    z = torch.randn(4, 6, 2, 5)
    moved = torch.stack([z.sum(2) - 1, torch.ones(4, 6, 5)], 2)
    torch.testing.assert_close(decoder(z.flatten(1)), decoder(moved.flatten(1)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("sides", [(7, 28), (28, 129)])
def test_sides_that_are_too_short_or_too_long_are_refused(sides):
    for network in (GridEncoder, GridDecoder):
        with pytest.raises(UsageError, match=rf"8 to 128.*{sides[0]}×{sides[1]}"):
            network(ImageSpec(1, *sides), 2, size("tiny"))


# ---------------------------------------------------------------- points and symbols


@ALL
def test_symbols_and_points_are_one_to_one(make):
    family = make()
    rows = list(itertools.product(range(family.size), repeat=2))[:: max(1, family.size // 3)]
    symbols = torch.tensor(rows).repeat(1, family.length)[:, : family.length]
    z = family.vectors(symbols)
    assert z.shape == (len(rows), family.length * family.numbers)
    assert torch.equal(family.symbols(z), symbols)
    assert len(z.unique(dim=0)) == len(symbols.unique(dim=0))
    moved = family.symbols(z + 1e-9 * torch.randn_like(z))
    assert torch.equal(moved, symbols)


def test_every_code_of_finite_scalars_is_met_and_no_other():
    """3·4·5 codes, counted: numbers are −⌊L/2⌋ … ⌊(L − 1)/2⌋, over ⌊L/2⌋."""
    family = FiniteScalar(1, (3, 4, 5)).double()
    assert family.size == 60
    z = family.vectors(torch.arange(60)[:, None])
    expected = itertools.product((-1.0, 0.0, 1.0), (-1.0, -0.5, 0.0, 0.5), (-1.0, -0.5, 0.0, 0.5, 1.0))
    assert {tuple(row) for row in z.tolist()} == set(expected)
    met = family(3 * torch.randn(20_000, 3, dtype=F64)).chosen.flatten().unique()
    assert torch.equal(met, torch.arange(60))


@pytest.mark.parametrize("levels", [3, 4, 5, 6, 7, 8, 9])
def test_a_finite_scalar_keeps_within_its_bounds_and_nought_at_nought(levels):
    family = FiniteScalar(1, (levels,)).double()
    far = family.bound(torch.tensor([-1e3, 0.0, 1e3], dtype=F64)[:, None]).squeeze(1)
    assert far.round().tolist() == [-(levels // 2), 0, (levels - 1) // 2]
    assert far[1].abs() < 1e-12
    q = family(torch.linspace(-9, 9, 1001, dtype=F64)[:, None])
    assert torch.equal(q.chosen.flatten().unique(), torch.arange(levels))
    assert (q.chosen.flatten().diff() >= 0).all()  # and in their order


@pytest.mark.parametrize("levels", [1, 3])
def test_each_level_takes_the_code_nearest_to_what_is_left(levels):
    family = books(levels)
    h = inputs(family)
    q, left = family(h), h.detach().unflatten(-1, (3, 2))
    for level in range(levels):
        nearest = torch.cdist(left, family.codebook[level].expand(len(h), -1, -1)).argmin(-1)
        assert torch.equal(q.chosen[..., level], nearest)
        torch.testing.assert_close(q.before[..., level, :], left)
        left = left - family.codebook[level][nearest]
    torch.testing.assert_close(family.vectors(q.chosen.flatten(-2)), q.mean)


# ---------------------------------------------------------------- gradients


@ALL
def test_the_gradient_goes_straight_through(make):
    """d f(z) / d h is f's own gradient at the codes, as if h had been they; of summed codes it arrives once."""
    family = make()
    h = inputs(family)
    q = family(h)
    places, numbers = q.before.shape[-3], q.before.shape[-1]
    weight = torch.randn(places, numbers, dtype=F64)

    def f(summed: Tensor) -> Tensor:  # of what the decoder sees: the sum of a place's codes
        return (weight * summed.sin() + summed.square()).sum()

    z = q.rsample(torch.Size((1,)))[0].unflatten(-1, (places, -1, numbers))
    assert torch.equal(z.flatten(-3), q.mean)
    assert torch.equal(z, q.after)  # exactly the codes
    (found,) = torch.autograd.grad(f(z.sum(-2)), h)
    at_codes = q.after.detach().sum(-2).requires_grad_()
    (own,) = torch.autograd.grad(f(at_codes), at_codes)
    if isinstance(family, FiniteScalar):  # by way of the bound, which has a slope of its own
        bounded = h.unflatten(-1, (places, numbers))
        slope = torch.autograd.functional.jacobian(lambda a: family.bound(a).sum((0, 1)), bounded)
        own = own * torch.diagonal(slope, dim1=0, dim2=3).permute(0, 1, 2) / (family.counts // 2)
    torch.testing.assert_close(found, own.flatten(-2), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("levels", [1, 2])
def test_commitment_moves_the_encoder_and_the_other_term_the_codes(levels):
    """Both are Σ over levels of ‖r − e‖²; their gradients are 2·Σ (r − e) and −2·Σ (r − e) of those that chose it."""
    family = books(levels, averaged=False)
    h = inputs(family)
    q = family(h)
    trace = trace_of(q)
    gaps = (q.before - q.after).detach()
    for term in (terms.commitment, terms.codebook):
        torch.testing.assert_close(term(trace), gaps.square().sum() / len(h))
    to_h, to_codes = torch.autograd.grad(
        terms.commitment(trace), [h, family.codebook], retain_graph=True, allow_unused=True
    )
    torch.testing.assert_close(to_h, 2 * gaps.sum(-2).flatten(-2) / len(h))
    assert to_codes is None
    to_h, to_codes = torch.autograd.grad(terms.codebook(trace), [h, family.codebook], allow_unused=True)
    assert to_h is None
    expected = torch.zeros_like(family.codebook)
    for level in range(levels):
        expected[level].index_add_(
            0, q.chosen[..., level].flatten(), -2 * gaps[..., level, :].reshape(-1, 2) / len(h)
        )
    torch.testing.assert_close(to_codes, expected)


def trace_of(q: d.Codes) -> Trace:
    z = q.rsample(torch.Size((1,)))
    one = torch.ones_like(z[0, 0])
    return Trace(torch.zeros(z.shape[1], 1, 1, 1), q, z, q, normal(0 * one, one))


def test_the_terms_are_of_codes_alone():
    one = torch.ones(2, 3)
    q = normal(0 * one, one)
    trace = Trace(torch.zeros(2, 1, 1, 1), q, q.rsample(torch.Size((1,))), q, q)
    for term in (terms.codebook, terms.commitment, terms.perplexity):
        with pytest.raises(UsageError, match="quantises"):
            term(trace)


# ---------------------------------------------------------------- use


@pytest.mark.parametrize(
    ("use", "expected"),
    [([8, 8, 8, 8], 4.0), ([32, 0, 0, 0], 1.0), ([16, 16, 0, 0], 2.0), ([16, 8, 4, 4], 2**1.75)],
)
def test_the_perplexity_of_a_known_use(use, expected):
    """Even use of n codes gives n; shares of ½, ¼, ⅛, ⅛ have 1¾ bits."""
    chosen = torch.repeat_interleave(torch.arange(4), torch.tensor(use))[torch.randperm(32)].reshape(4, 8, 1)
    value = torch.zeros(4, 8, 1, 2)
    torch.testing.assert_close(
        terms.perplexity(trace_of(d.Codes(value, value, chosen, 4))), torch.tensor(expected)
    )
    second = torch.arange(4).repeat(8).reshape(4, 8, 1)  # a level that uses all alike beside it
    both = d.Codes(value.expand(4, 8, 2, 2), value.expand(4, 8, 2, 2), torch.cat([chosen, second], -1), 4)
    torch.testing.assert_close(terms.perplexity(trace_of(both)), torch.tensor((expected * 4) ** 0.5))


def test_codes_that_are_averaged_go_to_the_mean_of_what_chose_them():
    """Fed the same vectors again and again, each code ends at the mean of its own, as in k-means."""
    family = books(numbers=2, codes=3, places=4)
    family.codebook[0] = torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 3.0]], dtype=F64)
    family.sums.copy_(family.codebook / 3)
    h = family.codebook[0][torch.arange(60) % 3] + 0.5 * torch.randn(60, 2, dtype=F64).clamp(-1.5, 1.5)
    h = h.reshape(15, 8)
    chosen = family.train()(h).chosen
    for _ in range(1500):
        family(h)
    for code in range(3):
        own = h.reshape(-1, 2)[chosen.flatten() == code].mean(0)
        torch.testing.assert_close(family.codebook[0, code], own, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(family.use.sum(), torch.tensor(1.0, dtype=F64))


def test_each_step_of_the_running_means_is_that_of_the_paper():
    """N ← γN + (1 − γ)n, m ← γm + (1 − γ)Σz, e = m / N with γ = 0.99 (appendix A.1), batch after batch."""
    family = books(codes=3).train()
    family.sums.copy_(family.codebook / 3)
    e, n = family.codebook[0].clone(), torch.full((3,), 1 / 3, dtype=F64)
    m = e / 3
    family.use.fill_(1 / 3)
    for _ in range(4):
        h = torch.randn(5, 6, dtype=F64)
        z = h.reshape(-1, 2)
        own = torch.nn.functional.one_hot(torch.cdist(z, e).argmin(1), 3).double()
        n = 0.99 * n + 0.01 * own.mean(0)
        m = 0.99 * m + 0.01 * own.T @ z / len(z)
        e = m / n[:, None]
        family(h)
        torch.testing.assert_close(family.use[0], n, rtol=0, atol=1e-12)
        torch.testing.assert_close(family.codebook[0], e, rtol=0, atol=1e-12)


@pytest.mark.parametrize("averaged", [True, False])
def test_what_is_learned_does_not_depend_on_the_batch_size(averaged):
    one, two = (books(2, averaged=averaged) for _ in range(2))
    two.load_state_dict(one.state_dict())
    h = inputs(one).detach()
    one.train()(h)
    two.train()(h.repeat(3, 1))
    for key, value in one.state_dict().items():
        torch.testing.assert_close(two.state_dict()[key], value)


@pytest.mark.parametrize("averaged", [True, False])
def test_a_dead_code_comes_back_where_something_is_and_depends_on_the_seed_alone(averaged):
    def learned(seed: int) -> Codebooks:
        torch.manual_seed(1)
        family = books(averaged=averaged, codes=6)
        with torch.no_grad():
            family.codebook[0, 4] = 1e3  # nothing is near it
            if averaged:
                family.sums.copy_(family.codebook / 6)
        h = torch.randn(50, 6, dtype=F64)
        family.train()
        for _ in range(400):
            torch.manual_seed(seed)
            family(h)
            if family.codebook.detach()[0, 4].abs().max() < 100:
                break  # it has been put elsewhere
        assert family.use[0, 4] == pytest.approx(1 / 6)
        distance = torch.cdist(family.codebook.detach()[0, 4:5], h.reshape(-1, 2)).min()
        assert distance < 0.1
        return family

    first, again, other = learned(3), learned(3), learned(4)
    assert torch.equal(first.codebook, again.codebook)
    assert not torch.equal(first.codebook[0, 4], other.codebook[0, 4])


def test_a_code_in_use_stays():
    family = books(codes=4, averaged=False).train()
    before = family.codebook.detach().clone()
    h = before[0][torch.tensor([[0, 1, 2], [3, 0, 1]])].flatten(1)
    for _ in range(500):
        family(h)
    assert torch.equal(family.codebook, before)
    assert (family.use > LEAST_USE / 4).all()


def test_looking_teaches_nothing():
    family = books(2)
    before = {k: v.clone() for k, v in family.state_dict().items()}
    family(inputs(family))
    assert all(torch.equal(before[k], v) for k, v in family.state_dict().items())


def test_codes_begin_as_clusters_of_what_the_encoder_makes():
    """Images whose places are three points: three codes are these, and more are no two the same."""
    points = torch.tensor([[3.0, 0.0], [-3.0, 0.0], [0.0, 4.0]])

    def pick(n: int) -> Tensor:
        return torch.arange(n, dtype=torch.float32).reshape(n, 1, 1, 1)

    for count in (3, 8):
        family = Codebooks(places=4, numbers=2, size=count, averaged=True)

        def encode(x: Tensor, family=family) -> d.Codes:
            kinds = (x.flatten()[:, None] + torch.arange(4)).long() % 3
            return family((points[kinds] + 0.01 * torch.randn(len(x), 4, 2)).flatten(1))

        family.begin_with(pick, encode)
        assert family.training
        assert len(family.codebook[0].unique(dim=0)) == count
        away = torch.cdist(points, family.codebook[0]).amin(1)
        assert (away < 0.1).all()
        torch.testing.assert_close(family.sums / family.use[..., None], family.codebook)


# ---------------------------------------------------------------- laws


@ALL
def test_the_law_of_codes_alike_sums_to_one_and_its_rate_is_a_length(make):
    family = make()
    family.length, family.places = 2, 2 // getattr(family, "levels", 1) or 1
    if getattr(family, "levels", 1) == 3:
        family.length, family.places = 3, 1
    p = d.UniformCodes(family, torch.zeros(family.length, dtype=torch.long))
    every = torch.cartesian_prod(*[torch.arange(family.size)] * family.length)
    assert p.log_prob(family.vectors(every)).double().exp().sum() == pytest.approx(1, rel=1e-6)
    q = family(inputs(family))
    nats = family.length * math.log(family.size)
    z = q.rsample(torch.Size((2,)))
    torch.testing.assert_close(d.divergence(q, p, z), torch.full((2, 4), nats, dtype=F64))
    torch.testing.assert_close(q.log_prob(z) - p.log_prob(z), torch.full((2, 4), nats, dtype=F64))
    assert (q.log_prob(z + 0.1) == -math.inf).all()
    assert (p.log_prob(z + 0.1) == -math.inf).all()
    drawn = p.rsample(torch.Size((4000,)))
    error = 5 * p.stddev / 4000**0.5 + 1e-12
    assert ((drawn.mean(0) - p.mean).abs() < error).all()
    assert (p.log_prob(drawn) > -math.inf).all()


def test_importance_weights_of_a_point_are_its_own_bound():
    parts = recipes.vq(ImageSpec(1, 8, 8), size="tiny", codes=4).build()
    model, x = parts.model.eval(), unit(make_images(5))
    trace = model.trace(x, 3)
    torch.testing.assert_close(trace.log_weight, -(trace.distortion + trace.rate))
    assert trace.rate[0, 0].item() == pytest.approx(4 * math.log(4))
    log_p, error = model.log_likelihood(x, 4)
    torch.testing.assert_close(log_p.float(), trace.log_weight[0], rtol=1e-5, atol=1e-3)
    assert (error < 1e-6).all()


# ---------------------------------------------------------------- recipes


@pytest.mark.parametrize(
    ("name", "given", "code", "count"),
    [
        ("vq", {}, 512, 49),
        ("vq", {"codes": 17, "learning": "gradient"}, 17, 49),
        ("residual-vq", {"levels": 3, "codes": 32}, 32, 147),
        ("fsq", {}, 1000, 49),
        ("fsq", {"latent": 3}, 240, 49),
        ("fsq", {"latent": 5}, 4375, 49),
        ("fsq", {"latent": 6}, 64_000, 49),
        ("fsq", {"latent": 2}, 25, 49),
        ("fsq", {"latent": 2, "levels": "3, 4"}, 12, 49),
    ],
)
def test_recipes_have_the_alphabets_that_they_say(name, given, code, count):
    parts = recipes.get(name, ImageSpec(1, 28, 28), {"size": "tiny", **given}).build()
    family = parts.model.encoder.family
    assert (family.size, family.length) == (code, count)
    assert isinstance(family, d.Alphabet)
    assert isinstance(parts.model.decoder.family, Bernoulli)
    assert parts.unnormalised == ""
    assert parts.objective.weights(0.5)["perplexity"] == 0


def test_how_codes_learn_is_an_argument():
    spec = ImageSpec(1, 8, 8)
    taught, averaged = (recipes.vq(spec, size="tiny", learning=how).build() for how in ("gradient", "ema"))
    assert taught.objective.weights(0)["codebook"] == 1
    assert "codebook" not in averaged.objective.terms
    assert "encoder.family.codebook" in dict(taught.model.named_parameters())
    assert "encoder.family.codebook" in dict(averaged.model.named_buffers())


@pytest.mark.parametrize(
    ("name", "argument", "value"),
    [
        ("vq", "codes", 1), ("vq", "beta", 0.0), ("vq", "learning", "hebb"),
        ("residual-vq", "levels", 0), ("residual-vq", "codes", 0),
        ("fsq", "levels", "8,6"), ("fsq", "levels", "8,x,5,5"), ("fsq", "levels", "8,2,5,5"), ("fsq", "latent", 12),
    ],
)  # fmt: skip
def test_values_that_make_no_sense_are_refused_by_name(name, argument, value):
    match = "levels" if (name, argument) == ("fsq", "latent") else argument
    with pytest.raises(UsageError, match=match):
        recipes.get(name, ImageSpec(1, 8, 8), {argument: value})


@pytest.mark.parametrize(
    ("name", "given"),
    [("vq", {}), ("vq", {"learning": "gradient"}), ("residual-vq", {}), ("fsq", {"codes": None})],
)
def test_interrupted_while_codes_die_it_ends_with_the_same_bytes(name, given, tmp_path, monkeypatch):
    """Running means are taken up again, and what replaces the dead is a function of seed and step."""
    monkeypatch.setattr(codes, "LEAST_USE", 0.995)  # what one batch does not use is dead
    replaced = []
    plain = Codebooks._jittered

    def jittered(self: Codebooks, some: Tensor, every: Tensor) -> Tensor:
        replaced.append(len(some))
        return plain(self, some, every)

    monkeypatch.setattr(Codebooks, "_jittered", jittered)

    images = make_images(40)
    arguments = {k: v for k, v in {"size": "tiny", "codes": 30, **given}.items() if v is not None}
    whole_and_stopped(recipes.get(name, images.spec, arguments), images, tmp_path, steps=6, at=3)
    assert bool(replaced) == (name != "fsq")
