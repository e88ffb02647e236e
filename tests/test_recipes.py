"""One contract over the whole registry: every recipe, for every shape that it takes, keeps every promise."""

from __future__ import annotations

import inspect
import json
import math
from functools import cache

import pytest
import torch
from torch import Tensor

from fixtures.small import make_images, unit
from fixtures.stopping import whole_and_stopped
from morphospace import recipes
from morphospace.data.images import Images
from morphospace.families import Likelihood
from morphospace.fitting import fit
from morphospace.model import VAE, Trace
from morphospace.recipes import Parts, Recipe
from morphospace.settings import Settings
from morphospace.space import Space
from morphospace.types import ImageSpec, UnknownName, UsageError

CHANNELS = (1, 3)
SIDES = ((28, 28), (32, 32), (48, 40))
SPECS = [ImageSpec(c, *sides) for sides in SIDES for c in CHANNELS]
ODD_SPECS = [ImageSpec(1, 9, 31), ImageSpec(3, 8, 8)]
ONE_SHAPE = {"reference": ImageSpec(1, 28, 28)}
"""Recipes that take images of one shape alone; all others take any."""
PLANES = {"sighted"}
"""Recipes of spaces of two dimensions alone."""


def signature(name: str) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(getattr(recipes, name.replace("-", "_"))).parameters)


def arguments(name: str) -> dict[str, str]:
    """Small, and for the three classes of `make_images` where it is told of classes."""
    return {k: v for k, v in {"size": "tiny", "classes": "3"}.items() if k in signature(name)}


def trace_of(parts: Parts, images: Images) -> Trace:
    return parts.model.trace(unit(images), parts.objective.draws, labels=labels_of(parts.model, images))


def labels_of(model: VAE, images: Images) -> Tensor | None:
    return torch.from_numpy(images.labels) if model.classes else None


def made(name: str, spec: ImageSpec) -> Recipe:
    return recipes.get(name, spec, arguments(name))


@cache
def built(name: str, spec: ImageSpec) -> Parts:
    """Built once for all tests that only look."""
    return made(name, spec).build(seed=0)


def admitted(specs: list[ImageSpec]) -> list[tuple[str, ImageSpec]]:
    return [(name, spec) for name in recipes.names() for spec in specs if ONE_SHAPE.get(name, spec) == spec]


def cases(specs: list[ImageSpec]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("name", "spec"), admitted(specs), ids=str)


CASES = cases([SPECS[0], SPECS[-1]])
"""The shapes that differ most, for what hangs on the method more than on the shape."""
NAMES = pytest.mark.parametrize("name", recipes.names())


def own_shape(name: str) -> ImageSpec:
    return ONE_SHAPE.get(name, ImageSpec(1, 8, 8))


@pytest.fixture(autouse=True)
def _noise():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


# ---------------------------------------------------------------- every recipe and every shape


@cases(SPECS)
def test_every_weight_gets_a_gradient_and_every_shape_is_right(name, spec):
    parts = built(name, spec)
    parts.model.zero_grad()
    trace = trace_of(parts, make_images(4, spec.shape))
    latent = trace.z.shape[-1]
    assert trace.q.mean.shape == trace.q.stddev.shape == (4, latent)
    assert trace.px.mean.shape == (parts.objective.draws, 4, *spec.shape)
    values = parts.objective(trace)
    assert all(value.shape == () and torch.isfinite(value) for value in values.values())
    assert all(value.dtype == torch.float32 for value in values.values())
    # Halfway, where no schedule holds a weight at nought.
    parts.objective.total(values, parts.objective.weights(0.5)).backward()
    for weight, p in parts.model.named_parameters():
        if p.requires_grad:
            assert p.grad is not None, weight
            assert torch.isfinite(p.grad).all(), weight
            assert p.grad.abs().max() > 0, weight


@cases([SPECS[0], SPECS[-1], *ODD_SPECS])
@torch.no_grad()
def test_rows_in_are_rows_out_in_order_and_images_are_images(name, spec):
    model = built(name, spec).model.eval()
    images = make_images(6, spec.shape)
    x, y = unit(images), labels_of(model, images)
    turned = None if y is None else y.flip(0)
    forwards, again, backwards = model.encode(x, y), model.encode(x, y), model.encode(x.flip(0), turned)
    assert torch.equal(forwards.mean, again.mean)  # an embedding is no random draw
    assert torch.equal(forwards.stddev, again.stddev)
    torch.testing.assert_close(backwards.mean.flip(0), forwards.mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(backwards.stddev.flip(0), forwards.stddev, rtol=1e-4, atol=1e-5)
    alone = model.encode(x[2:3], None if y is None else y[2:3])
    torch.testing.assert_close(alone.mean[0], forwards.mean[2], rtol=1e-4, atol=1e-5)
    assert forwards.mean.std(0).max() > 0  # different images lie in different places
    drawn = model.sample(3, None if y is None else y[:3])
    assert drawn.shape == (3, *spec.shape)
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    model.train()


def part_of(model: VAE, trace: Trace, rows: slice) -> Trace:
    """The trace of some of the images, with the draws that they had."""
    z, y = trace.z[:, rows], None if trace.labels is None else trace.labels[rows]
    q, px, pz = (
        model.encode(trace.x[rows], y),
        model.decoder(z, y),
        model.prior_of(y) if model.classes else trace.pz,
    )
    return Trace(trace.x[rows], q, z, px, pz, trace.decoder, trace.images, y, trace.model)


@CASES
def test_a_loss_does_not_depend_on_the_batch_size(name, spec):
    """The value of a batch is the mean of its halves' values, draw for draw.

    Terms that say ``pools`` are exempt: they estimate a property of the whole set, such as a covariance, which is no
    mean over images. What a larger batch means for them is tested with each term. So are terms that say ``random``:
    they draw numbers of their own, so they agree on average alone.
    """
    parts = built(name, spec)
    parts.model.eval()
    trace = trace_of(parts, make_images(4, spec.shape))
    halves = [part_of(parts.model, trace, rows) for rows in (slice(0, 2), slice(2, 4))]
    for called, term in parts.objective.terms.items():
        if not (getattr(term, "pools", False) or getattr(term, "random", False)):
            whole = term(trace)
            torch.testing.assert_close(
                (term(halves[0]) + term(halves[1])) / 2, whole, rtol=1e-4, atol=1e-4, msg=called
            )
    parts.model.train()


# ---------------------------------------------------------------- every recipe


@NAMES
def test_every_default_weight_has_an_effect(name):
    """Each term alone moves some weight of the model, at the start or with a wider posterior than at the start."""
    parts = made(name, own_shape(name)).build(seed=0)
    images = make_images(8, own_shape(name).shape)
    learned = [p for p in parts.model.parameters() if p.requires_grad]
    weights = parts.objective.weights(0.5)
    idle = {called for called in parts.objective.terms if weights[called] != 0}
    assert idle
    for factor in (1.0, 4.0, 4.0):  # free bits count only from a rate on that a new model has not
        with torch.no_grad():
            for p in parts.model.encoder.parameters():
                p.mul_(factor)
        trace = trace_of(parts, images)
        for called in sorted(idle):
            value = parts.objective.terms[called](trace)
            found = torch.autograd.grad(value, learned, retain_graph=True, allow_unused=True)
            if any(g is not None and g.abs().max() > 0 for g in found):
                idle.discard(called)
    assert not idle


@NAMES
def test_it_starts_near_the_cost_of_guessing_grey(name):
    """Distortion in nats per image, summed over pixels: about ln 2 for each pixel that is a coin's throw."""
    spec = own_shape(name)
    model = built(name, spec).model
    family = model.decoder.family
    images = make_images(8, spec.shape)
    trace = model.trace(unit(images), labels=labels_of(model, images))
    if isinstance(family, Likelihood) and family.support == "binary":
        assert trace.distortion.mean().item() == pytest.approx(math.log(2) * spec.pixels, rel=0.3)
    assert torch.isfinite(trace.distortion).all()
    assert torch.isfinite(trace.rate).all()


@NAMES
def test_its_argument_for_the_space_is_obeyed(name):
    for latent in (2,) if name in PLANES else (2, 7):
        parts = recipes.get(name, own_shape(name), arguments(name) | {"latent": latent}).build()
        # Where images become codes, it is the numbers of a code.
        total = latent * getattr(parts.model.encoder.family, "length", 1)
        assert parts.model.prior(parts.model.encoder).rsample(torch.Size((1,))).shape[-1] == total
        assert parts.model.decoder.network.input_shape == (total,)


@NAMES
def test_the_same_seed_builds_the_same_weights_and_touches_no_other_generator(name):
    recipe = made(name, own_shape(name))
    state = torch.get_rng_state()
    first, again, other = (recipe.build(seed).model.state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)
    assert torch.equal(torch.get_rng_state(), state)


@NAMES
def test_on_paper_it_is_what_it_is_when_built(name):
    """Its settings can be read without the memory for its weights."""
    recipe, parts = made(name, own_shape(name)), built(name, own_shape(name))
    assert recipe.settings == parts.settings
    assert isinstance(recipe.settings, Settings)
    assert recipe.unnormalised == parts.unnormalised
    assert all(p.device.type == "cpu" for p in parts.model.parameters())


@NAMES
def test_it_trains_saves_and_loads(name, tmp_path):
    spec = own_shape(name)
    images = make_images(20, spec.shape)
    space = fit(made(name, spec), images, steps=3, out=tmp_path / "run")
    again = Space.load(tmp_path / "run")
    assert torch.equal(space.encode(images).mean, again.encode(images).mean)
    assert torch.isfinite(space.encode(images).mean).all()
    assert torch.isfinite(space.sample(3, labels="bar" if space.conditional else None)).all()
    assert again.recipe == space.recipe
    assert json.loads(json.dumps(space.recipe.arguments)) == space.recipe.arguments


ADVERSARIAL = [name for name in recipes.names() if built(name, own_shape(name)).objective.adversaries]


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_with_a_critic_it_resumes_exactly(name, tmp_path):
    """The critic, its optimizer and the random numbers of both are part of what is taken up again."""
    spec = own_shape(name)
    images, recipe = make_images(20, spec.shape), made(name, spec)
    whole_and_stopped(recipe, images, tmp_path, steps=5, at=2)


def test_the_adversarial_ones_are_those_that_one_would_think():
    assert set(ADVERSARIAL) >= {"factor-vae", "aae", "wae-gan", "vae-gan"}
    assert "vae" not in ADVERSARIAL


@NAMES
def test_its_page_says_what_it_does_and_where_it_comes_from(name):
    page = recipes.page(name)
    assert 10 < len(page.splitlines()[0]) <= 120
    assert "References:" in page
    for argument in signature(name):
        assert f"{argument}:" in page, f"{argument} is not told of"


@NAMES
def test_by_name_and_by_function_it_is_the_same(name):
    function = getattr(recipes, name.replace("-", "_"))
    spec = own_shape(name)
    assert function(spec) == recipes.get(name, spec)
    latent = 2 if name in PLANES else 5
    assert function(spec, latent=latent) == recipes.get(name, spec, {"latent": str(latent)})


def test_every_recipe_stands_under_one_theme():
    listed = [name for found in recipes.themes().values() for name in found]
    assert sorted(listed) == list(recipes.names())
    assert recipes.themes()["basic"] == ("vae", "beta-vae", "reference")


@pytest.mark.parametrize("spec", SPECS + ODD_SPECS, ids=str)
def test_another_shape_than_its_only_one_is_refused_with_the_way_out(spec):
    for name, only in ONE_SHAPE.items():
        if spec != only:
            with pytest.raises(UsageError, match=r"28×28×1.*conv"):
                recipes.get(name, spec)


@pytest.mark.parametrize("latent", [0, -1])
@NAMES
def test_a_space_without_dimensions_is_refused(name, latent):
    with pytest.raises(UsageError, match="latent"):
        recipes.get(name, own_shape(name), {"latent": latent})


WRONG = {
    "beta-vae": {"beta": (0.0, -1.0, math.nan, math.inf), "warmup": (-0.5, 1.5, math.nan)},
    "iwae": {"draws": (0, -3)},
    "miwae": {"draws": (0,), "bounds": (0,)},
    "piwae": {"draws": (0,), "bounds": (0,)},
    "dreg": {"draws": (0,)},
    "ciwae": {"beta": (-0.1, 1.1, math.nan)},
    "free-bits": {"nats": (0.0, -1.0)},
    "free-nats": {"nats": (0.0, math.inf)},
    "capacity": {"nats": (0.0,), "strength": (-1.0,), "until": (2.0,)},
    "cyclical": {"beta": (0.0,), "cycles": (0,), "rising": (-1.0,)},
    "beta-tc": {"beta": (0.0,), "alpha": (-1.0,), "gamma": (math.nan,), "estimator": ("best",)},
    "factor-vae": {"gamma": (0.0,)},
    "dip-i": {"off_diagonal": (0.0,), "diagonal": (-1.0,)},
    "dip-ii": {"off_diagonal": (math.nan,), "diagonal": (0.0,)},
    "info-vae": {"alpha": (1.5,), "weight": (0.5,), "kernel": ("linear",)},
    "wae-mmd": {"weight": (0.0,), "kernel": ("linear",)},
    "sliced-wasserstein": {"weight": (0.0,), "directions": (0,)},
    "aae": {"weight": (0.0,)},
    "wae-gan": {"weight": (0.0,)},
    "rae-l2": {"beta": (0.0,), "weight": (0.0,)},
    "rae-gp": {"beta": (0.0,), "weight": (0.0,)},
    "rae-sn": {"beta": (0.0,)},
    "vae-gan": {"weight": (0.0,)},
    "perceptual": {"weight": (0.0,)},
}


@pytest.mark.parametrize("name", WRONG)
def test_values_that_make_no_sense_are_refused_by_name(name):
    for argument, values in WRONG[name].items():
        for value in values:
            with pytest.raises(UsageError, match=argument):
                recipes.get(name, SPEC, {argument: value})


# ---------------------------------------------------------------- names and arguments

SPEC = ImageSpec(1, 8, 8)


def test_an_unknown_recipe_is_refused_with_the_close_match():
    with pytest.raises(UnknownName, match="Did you mean 'beta-vae'"):
        recipes.get("betavae", SPEC)


def test_an_unknown_argument_is_refused_with_the_close_match():
    with pytest.raises(UnknownName, match="Did you mean 'latent'"):
        recipes.get("vae", SPEC, {"latnt": "3"})
    with pytest.raises(UnknownName, match="beta"):
        recipes.get("vae", SPEC, {"beta": "3"})  # an argument of another recipe


def test_a_choice_is_refused_with_the_close_match():
    with pytest.raises(UnknownName, match="Did you mean 'weighted'"):
        recipes.get("beta-tc", SPEC, {"estimator": "weigthed"})


@pytest.mark.parametrize(
    ("argument", "text"),
    [("latent", "two"), ("latent", "2.5"), ("latent", ""), ("beta", "much"), ("warmup", "x")],
)
def test_a_text_that_is_no_such_value_is_refused(argument, text):
    with pytest.raises(UsageError, match=f"'{argument}'.*'{text}'"):
        recipes.get("beta-vae", SPEC, {argument: text})


def test_texts_are_read_as_what_the_signature_asks_for(register):
    def mine(spec: ImageSpec, latent: int = 2, learned: bool = True, most: int | None = None) -> Parts:
        """Mine."""
        return recipes.vae(spec, latent=latent, size="tiny").build()

    register(mine)
    assert recipes.get("mine", SPEC, {"learned": "no", "most": "7"}).arguments["learned"] is False
    assert recipes.get("mine", SPEC, {"most": "7"}).arguments["most"] == 7
    assert recipes.get("mine", SPEC, {"most": "none"}).arguments["most"] is None
    with pytest.raises(UsageError, match="true or false"):
        recipes.get("mine", SPEC, {"learned": "perhaps"})


def test_dashes_and_texts_are_read_as_people_type_them():
    recipe = recipes.get("beta-vae", SPEC, {"beta": "2.5", "latent": "3", "size": "tiny"})
    assert recipe == recipes.beta_vae(SPEC, latent=3, size="tiny", beta=2.5)


# ---------------------------------------------------------------- some recipes


def same_weights(a: Parts, b: Parts) -> bool:
    first, second = a.model.state_dict(), b.model.state_dict()
    return all(torch.equal(first[key], second[key]) for key in first)


def test_beta_is_a_number():
    """β-VAE is the VAE with another weight: nothing else differs."""
    vae, beta = (
        recipes.vae(SPEC, size="tiny", anchors=0).build(1),
        recipes.beta_vae(SPEC, size="tiny", beta=6.0).build(1),
    )
    assert vae.objective.weights(0.3) == {"distortion": 1, "rate": 1}
    assert beta.objective.weights(0.3) == {"distortion": 1, "rate": 6}
    assert same_weights(vae, beta)
    assert vae.settings == beta.settings


def losses(*parts: Parts) -> list[Tensor]:
    found = []
    for each in parts:
        torch.manual_seed(1)
        trace = each.model.trace(unit(make_images(8)), 4)
        found.append(each.objective.total(each.objective(trace), each.objective.weights(1.0)))
    return found


def test_at_the_ends_of_their_arguments_methods_are_one_another():
    """Identities between recipes, with the same weights and the same noise."""
    vae = recipes.vae(SPEC, latent=3, size="tiny", corrupted=0.0).build(1)

    def loss(name: str, **given: float) -> Tensor:
        parts = recipes.get(name, SPEC, {"latent": 3, "size": "tiny", **given}).build(1)
        assert same_weights(vae, parts)
        return losses(parts)[0]

    (elbo,) = losses(vae)
    for name, given in (
        ("beta-vae", {"beta": 1.0, "corrupted": 0.0}),
        ("ciwae", {"beta": 1.0, "draws": 4}),
        ("beta-tc", {"beta": 1.0}),
        ("cyclical", {"beta": 1.0}),
        ("free-bits", {"nats": 1e-9}),
        ("free-nats", {"nats": 1e-9}),
    ):
        torch.testing.assert_close(loss(name, **given), elbo, msg=name)
    iwae = loss("iwae", draws=4)
    for name, given in (
        ("ciwae", {"beta": 0.0, "draws": 4}),
        ("miwae", {"bounds": 1, "draws": 4}),
        ("piwae", {"bounds": 1, "draws": 4}),
        ("dreg", {"draws": 4}),
    ):
        torch.testing.assert_close(loss(name, **given), iwae, msg=name)
    torch.testing.assert_close(loss("miwae", bounds=4, draws=1), loss("sticking-the-landing"))


def test_the_weight_of_the_rate_warms_up():
    objective = recipes.beta_vae(SPEC, size="tiny", beta=4.0, warmup=0.5).build().objective
    assert [objective.weights(done)["rate"] for done in (0.0, 0.25, 0.5, 1.0)] == [0.0, 2.0, 4.0, 4.0]


def test_the_capacity_rises_and_the_rate_is_held_there():
    objective = recipes.capacity(SPEC, size="tiny", nats=20.0, strength=50.0).build().objective
    assert objective.weights(0.25) == {"distortion": 1.0, "rate": 50.0, "rate_target": 5.0}
    values = {"distortion": torch.tensor(3.0), "rate": torch.tensor(4.0)}
    assert objective.total(values, objective.weights(0.25)) == 3 + 50 * 1
    assert objective.total(values, objective.weights(0.0)) == 3 + 50 * 4


def test_total_correlation_counts_beta_times_in_all():
    """The rate holds it once, so β − 1 are added."""
    objective = recipes.beta_tc(SPEC, size="tiny", beta=6.0).build().objective
    assert objective.weights(0.5) == {"distortion": 1, "rate": 1, "total_correlation": 5}


def test_the_reference_is_trained_as_the_study_trained_it():
    settings = recipes.reference(ImageSpec(1, 28, 28)).settings
    assert (settings.epochs, settings.batch, settings.lr, settings.eps) == (30, 128, 1e-3, 1e-7)
    assert (settings.optimizer, settings.betas, settings.schedule) == ("adam", (0.9, 0.999), "constant")
    assert (settings.ema, settings.clip, settings.weight_decay) == (0.0, None, 0.0)


def test_a_recipe_of_ones_own_is_a_function(register):
    def mine(spec: ImageSpec, latent: int = 3) -> Parts:
        """Mine."""
        return recipes.vae(spec, latent=latent, size="tiny").build()

    recipe = register(mine)
    assert "mine" in recipes.names()
    assert recipe(SPEC) == recipes.get("mine", SPEC) == Recipe("mine", SPEC, {"latent": 3})
    assert recipes.page("mine") == "Mine."
    assert recipes.themes()["test_recipes"] == ("mine",)
