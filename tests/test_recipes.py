"""One contract over the whole registry: every recipe, for every shape that it takes, keeps every promise."""

from __future__ import annotations

import inspect
import json
import math

import pytest
import torch

from fixtures.small import make_images, unit
from morphospace import recipes
from morphospace.fitting import fit
from morphospace.recipes import Parts, Recipe
from morphospace.settings import Settings
from morphospace.space import Space
from morphospace.types import ImageSpec, UnknownName, UsageError

CHANNELS = (1, 3)
SIDES = ((28, 28), (32, 32), (48, 40), (9, 31), (8, 8))
SPECS = [ImageSpec(c, *sides) for sides in SIDES for c in CHANNELS]
ONE_SHAPE = {"reference": ImageSpec(1, 28, 28)}
"""Recipes that take images of one shape alone; all others take any."""


def arguments(name: str) -> dict[str, str]:
    known = inspect.signature(getattr(recipes, name.replace("-", "_"))).parameters
    return {"size": "tiny"} if "size" in known else {}


def made(name: str, spec: ImageSpec) -> Recipe:
    return recipes.get(name, spec, arguments(name))


def admitted() -> list[tuple[str, ImageSpec]]:
    return [(name, spec) for name in recipes.names() for spec in SPECS if ONE_SHAPE.get(name, spec) == spec]


CASES = pytest.mark.parametrize(("name", "spec"), admitted(), ids=lambda value: str(value))
NAMES = pytest.mark.parametrize("name", recipes.names())


def own_shape(name: str) -> ImageSpec:
    return ONE_SHAPE.get(name, ImageSpec(1, 8, 8))


# ---------------------------------------------------------------- every recipe and every shape


@CASES
def test_every_weight_gets_a_gradient_and_every_shape_is_right(name, spec):
    parts = made(name, spec).build(seed=0)
    x = unit(make_images(8, spec.shape))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        trace = parts.model.trace(x, parts.objective.draws)
    latent = trace.z.shape[-1]
    assert trace.q.mean.shape == trace.q.stddev.shape == (8, latent)
    assert trace.px.mean.shape == (parts.objective.draws, 8, *spec.shape)
    values = parts.objective(trace)
    assert all(value.shape == () and torch.isfinite(value) for value in values.values())
    # Halfway, where no schedule holds a weight at nought.
    parts.objective.total(values, parts.objective.weights(0.5)).backward()
    for weight, p in parts.model.named_parameters():
        assert torch.isfinite(p.grad).all(), weight
        assert p.grad.abs().max() > 0, weight


@CASES
@torch.no_grad()
def test_decoded_images_are_images(name, spec):
    model = made(name, spec).build(seed=0).model
    z = model.prior(model.encoder).rsample(torch.Size((3,)))
    images = model.decode(z)
    assert images.shape == (3, *spec.shape)
    assert images.min() >= 0
    assert images.max() <= 1


@CASES
@torch.no_grad()
def test_rows_in_are_rows_out_in_order(name, spec):
    model = made(name, spec).build(seed=0).model
    x = unit(make_images(6, spec.shape))
    forwards, backwards = model.encode(x), model.encode(x.flip(0))
    torch.testing.assert_close(backwards.mean.flip(0), forwards.mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(backwards.stddev.flip(0), forwards.stddev, rtol=1e-4, atol=1e-5)
    alone = model.encode(x[2:3])
    torch.testing.assert_close(alone.mean[0], forwards.mean[2], rtol=1e-4, atol=1e-5)
    assert forwards.mean.std(0).min() > 0  # different images lie in different places


@CASES
def test_it_starts_near_the_cost_of_guessing_grey(name, spec):
    """Distortion in nats per image, summed over pixels: about ln 2 for each, whatever the shape."""
    model = made(name, spec).build(seed=0).model
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        trace = model.trace(unit(make_images(8, spec.shape)))
    assert trace.distortion.mean().item() == pytest.approx(math.log(2) * spec.pixels, rel=0.3)
    assert 0 < trace.rate.mean().item() < 20


# ---------------------------------------------------------------- every recipe


@NAMES
def test_its_argument_for_the_space_is_obeyed(name):
    for latent in (1, 2, 7):
        parts = recipes.get(name, own_shape(name), arguments(name) | {"latent": latent}).build()
        assert parts.model.prior(parts.model.encoder).mean.shape == (latent,)
        assert parts.model.decoder.network.input_shape == (latent,)


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
    recipe = made(name, own_shape(name))
    assert recipe.settings == recipe.build().settings
    assert isinstance(recipe.settings, Settings)
    assert all(p.device.type == "cpu" for p in recipe.build().model.parameters())


@NAMES
def test_it_trains_saves_and_loads(name, tmp_path):
    spec = own_shape(name)
    images = make_images(20, spec.shape)
    space = fit(made(name, spec), images, steps=2, out=tmp_path / "run")
    again = Space.load(tmp_path / "run")
    assert torch.equal(space.encode(images).mean, again.encode(images).mean)
    assert again.recipe == space.recipe
    assert json.loads(json.dumps(space.recipe.arguments)) == space.recipe.arguments


@NAMES
def test_its_page_says_what_it_does_and_where_it_comes_from(name):
    page = recipes.page(name)
    assert len(page.splitlines()[0]) > 10
    assert "References:" in page
    assert "arXiv" in page or "ICLR" in page or "doi" in page
    for argument in inspect.signature(getattr(recipes, name.replace("-", "_"))).parameters:
        assert f"{argument}:" in page, f"{argument} is not told of"


@NAMES
def test_by_name_and_by_function_it_is_the_same(name):
    function = getattr(recipes, name.replace("-", "_"))
    spec = own_shape(name)
    assert function(spec) == recipes.get(name, spec)
    assert function(spec, latent=5) == recipes.get(name, spec, {"latent": "5"})


@pytest.mark.parametrize("spec", SPECS, ids=str)
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


@pytest.mark.parametrize(
    ("argument", "text"),
    [("latent", "two"), ("latent", "2.5"), ("latent", ""), ("beta", "much"), ("warmup", "x")],
)
def test_a_text_that_is_no_such_value_is_refused(argument, text):
    with pytest.raises(UsageError, match=f"'{argument}'.*'{text}'"):
        recipes.get("beta-vae", SPEC, {argument: text})


@pytest.mark.parametrize("beta", [0.0, -1.0, math.nan, math.inf])
def test_a_beta_that_is_no_weight_is_refused(beta):
    with pytest.raises(UsageError, match="beta"):
        recipes.beta_vae(SPEC, beta=beta)


@pytest.mark.parametrize("warmup", [-0.5, 1.5, math.nan])
def test_a_warmup_that_is_no_part_of_the_run_is_refused(warmup):
    with pytest.raises(UsageError, match="warmup"):
        recipes.beta_vae(SPEC, warmup=warmup)


def test_dashes_and_texts_are_read_as_people_type_them():
    recipe = recipes.get("beta-vae", SPEC, {"beta": "2.5", "latent": "3", "size": "tiny"})
    assert recipe == recipes.beta_vae(SPEC, latent=3, size="tiny", beta=2.5)


def test_beta_is_a_number():
    """β-VAE is the VAE with another weight: nothing else differs."""
    vae, beta = (
        recipes.vae(SPEC, size="tiny").build(1),
        recipes.beta_vae(SPEC, size="tiny", beta=6.0).build(1),
    )
    assert vae.objective.weights(0.3) == {"distortion": 1, "rate": 1}
    assert beta.objective.weights(0.3) == {"distortion": 1, "rate": 6}
    a, b = vae.model.state_dict(), beta.model.state_dict()
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert vae.settings == beta.settings


def test_the_weight_of_the_rate_warms_up():
    objective = recipes.beta_vae(SPEC, size="tiny", beta=4.0, warmup=0.5).build().objective
    assert [objective.weights(done)["rate"] for done in (0.0, 0.25, 0.5, 1.0)] == [0.0, 2.0, 4.0, 4.0]


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
