"""Objectives: raw terms, weights beside them, and whatever a method of tomorrow may bring, in the loop as it is."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import Tensor, nn

from fixtures.small import make_images, unit
from fixtures.stopping import stop_at, whole_and_stopped
from morphospace import recipes
from morphospace.distributions import normal
from morphospace.families import Bernoulli, DiagonalNormal, Family
from morphospace.fitting import fit, refit
from morphospace.model import VAE, Conditional, Trace
from morphospace.networks import ConvDecoder, ConvEncoder
from morphospace.networks import size as dial
from morphospace.objective import Cycle, During, Objective, Ramp, Towards, distortion, rate
from morphospace.priors import Prior, StandardNormal
from morphospace.recipes import Parts
from morphospace.seeds import seed_of
from morphospace.settings import Settings
from morphospace.training import checkpoint
from morphospace.training.loop import _Run, settled
from morphospace.types import ImageSpec, Interrupted, NumericalError, UnknownName, UsageError


@pytest.fixture(scope="module")
def trace() -> Trace:
    images = make_images()
    model = recipes.vae(images.spec, latent=2, size="tiny").build().model
    with torch.random.fork_rng():
        return model.trace(unit(images), draws=2)


# ---------------------------------------------------------------- terms and weights


@pytest.mark.parametrize("weight", [0.0, 1.0, 250.0])
def test_terms_are_raw_whatever_their_weights(trace, weight):
    values = Objective(distortion=weight, rate=weight)(trace)
    assert set(values) == {"distortion", "rate"}
    assert values["distortion"] == trace.distortion.mean() == distortion(trace)
    assert values["rate"] == trace.rate.mean() == rate(trace)


def test_the_total_is_the_weighted_sum(trace):
    objective = Objective((0.5, lambda t: t.z.square().mean()), distortion=2, rate=3)
    values, weights = objective(trace), objective.weights(0.0)
    expected = 2 * trace.distortion.mean() + 3 * trace.rate.mean() + 0.5 * trace.z.square().mean()
    torch.testing.assert_close(Objective.total(values, weights), expected)


@pytest.mark.parametrize("poison", [math.inf, -math.inf, math.nan])
def test_a_weight_of_nought_leaves_its_term_out_of_the_loss(poison):
    values = {"distortion": torch.tensor(5.0), "rate": torch.tensor(poison)}
    assert Objective.total(values, {"distortion": 1.0, "rate": 0.0}) == 5
    assert not torch.isfinite(Objective.total(values, {"distortion": 1.0, "rate": 1e-9}))


@pytest.mark.parametrize(("done", "weight"), [(0, 0.5), (0.05, 1.25), (0.1, 2.0), (0.5, 2.0), (1, 2.0)])
def test_a_ramp_goes_linearly_and_stays(done, weight):
    assert Ramp(0.5, 2.0, until=0.1)(done) == pytest.approx(weight)


def test_a_ramp_over_nothing_is_at_its_end_at_once():
    assert Ramp(0.0, 2.0, until=0.0)(0.0) == 2.0


@pytest.mark.parametrize(
    ("done", "weight"),
    [(0, 0), (0.0625, 1), (0.125, 2), (0.2, 2), (0.25, 0), (0.3125, 1), (0.74, 2), (0.875, 2), (1, 2)],
)
def test_a_cycle_climbs_stays_and_begins_anew(done, weight):
    """Four cycles, each rising in its first half; the run ends at the top."""
    assert Cycle(0.0, 2.0, cycles=4, rising=0.5)(done) == pytest.approx(weight)


def test_one_cycle_is_a_ramp():
    for done in (0.0, 0.1, 0.3, 0.7, 1.0):
        assert Cycle(0.5, 2.0, cycles=1, rising=0.3)(done) == pytest.approx(Ramp(0.5, 2.0, until=0.3)(done))


def test_a_weight_may_count_during_a_part_of_the_run_alone():
    first, then = During(Ramp(0, 2, until=0.5), stop=0.5), During(3.0, start=0.5)
    assert [first(done) for done in (0.0, 0.25, 0.5, 1.0)] == [0, 1, 0, 0]
    assert [then(done) for done in (0.0, 0.25, 0.5, 1.0)] == [0, 0, 3, 3]


def test_a_term_may_be_held_at_a_level(trace):
    """The loss is the distance from the level, on either side; the term itself stays raw."""
    objective = Objective(distortion=1, rate=Towards(Ramp(0, 10, until=1), 3))
    assert objective.weights(0.5) == {"distortion": 1, "rate": 3, "rate_target": 5}
    assert objective.scheduled == {"rate_target"}
    values = objective(trace)
    assert values["rate"] == trace.rate.mean()
    for level in (0.0, 1000.0):
        total = objective.total(values, {"distortion": 1.0, "rate": 3.0, "rate_target": level})
        torch.testing.assert_close(total, trace.distortion.mean() + 3 * abs(trace.rate.mean() - level))


def test_a_level_and_its_strength_may_both_be_schedules():
    objective = Objective(distortion=1, rate=Towards(lambda done: 8 * done, lambda done: 1 - done))
    assert objective.scheduled == {"rate", "rate_target"}
    assert objective.weights(0.25) == {"distortion": 1, "rate": 0.75, "rate_target": 2}


def test_terms_say_why_there_is_no_likelihood_and_each_reason_once():
    def blurred(trace: Trace) -> Tensor:
        return trace.z.sum()

    def smeared(trace: Trace) -> Tensor:
        return trace.z.sum()

    blurred.unnormalised = smeared.unnormalised = "it was blurred"
    assert Objective((1, blurred), (1, smeared), distortion=1).unnormalised == "it was blurred"
    assert Objective(distortion=1, rate=1).unnormalised == ""


def test_schedules_are_functions_of_the_part_that_is_done():
    objective = Objective(distortion=1, rate=lambda done: 4 * done)
    assert objective.weights(0.25) == {"distortion": 1.0, "rate": 1.0}
    assert objective.weights(1.0) == {"distortion": 1.0, "rate": 4.0}


def test_an_unknown_term_is_refused_with_the_close_match():
    with pytest.raises(UnknownName, match="Did you mean 'distortion'"):
        Objective(distorsion=1)


def test_two_terms_of_one_name_are_refused():
    """The second would silently take the first one's place in the loss."""
    with pytest.raises(UsageError, match="rate"):
        Objective((1.0, rate), rate=1)
    with pytest.raises(UsageError, match="<lambda>"):
        Objective((1.0, lambda t: t.z.sum()), (1.0, lambda t: t.z.sum()))


def test_a_term_with_weights_that_nothing_teaches_is_refused():
    with pytest.raises(UsageError, match="critic_loss"):
        Objective((1, nn.Sequential(nn.Linear(2, 2))), distortion=1)


def test_extra_terms_are_named_by_their_function_or_class():
    def spread(trace: Trace) -> Tensor:
        return trace.z.std()

    assert list(Objective((1, spread), (1, Critic(2)), distortion=1).terms) == [
        "distortion",
        "spread",
        "critic",
    ]


def test_the_draws_are_the_most_that_any_term_asks_for():
    assert Objective(distortion=1, rate=1).draws == 1
    assert Objective((1, Bound()), distortion=1).draws == 5


# ---------------------------------------------------------------- other methods, made of parts alone


class Bound(nn.Module):
    """An importance-weighted bound of five draws (Burda et al. 2016)."""

    draws = 5

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def forward(self, trace: Trace) -> Tensor:
        self.seen.append(len(trace.z))
        return -(torch.logsumexp(trace.log_weight, 0) - math.log(len(trace.z))).mean()


class Critic(nn.Module):
    """A term with a network of its own that learns to tell posterior draws from draws of the prior."""

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(latent, 8), nn.ReLU(), nn.Linear(8, 1))
        self.register_buffer("lessons", torch.zeros(()))

    def forward(self, trace: Trace) -> Tensor:
        return self.network(trace.z).mean()

    def critic_loss(self, trace: Trace) -> Tensor:
        """Uses z with its graph still on: keeping gradients from the model is the loop's business."""
        self.lessons += 1
        prior = torch.randn_like(trace.z)
        softplus = nn.functional.softplus
        return softplus(-self.network(trace.z)).mean() + softplus(self.network(prior)).mean()


class Frozen(nn.Module):
    """A distance in the features of a network that does not learn, as perceptual losses have it; no critic."""

    def __init__(self, pixels: int) -> None:
        super().__init__()
        self.features = nn.Linear(pixels, 4).requires_grad_(False)

    def forward(self, trace: Trace) -> Tensor:
        made = self.features(trace.px.mean.flatten(2))
        return (made - self.features(trace.x.flatten(1))).square().mean()


class PseudoInputs(Prior):
    """A VampPrior (Tomczak & Welling 2018, arXiv:1705.07120): the mean of posteriors of images that are learned."""

    def __init__(self, count: int, spec: ImageSpec) -> None:
        super().__init__()
        self.images = nn.Parameter(torch.rand(count, *spec.shape))

    def forward(self, encode):
        each = encode(self.images)
        weights = torch.distributions.Categorical(logits=torch.zeros(len(self.images)), validate_args=False)
        return Mixture(each, weights)


class Mixture:
    """Not one of torch's distributions, and without a closed-form KL to any."""

    def __init__(self, each, weights) -> None:
        self.mixture = torch.distributions.MixtureSameFamily(weights, each, validate_args=False)
        self.mean, self.stddev = self.mixture.mean, self.mixture.stddev
        self.log_prob = self.mixture.log_prob

    def rsample(self, sample_shape) -> Tensor:
        return self.mixture.sample(sample_shape)


class Squashed(Family):
    """A posterior on (−1, 1): a normal through tanh, whose KL to a normal nobody writes down."""

    factor = 2

    def forward(self, h):
        loc, raw = h.chunk(2, -1)
        base = normal(loc, nn.functional.softplus(raw) + 0.1)
        squashed = torch.distributions.TransformedDistribution(
            base, [torch.distributions.TanhTransform(cache_size=1)], validate_args=False
        )
        return WithMoments(squashed, loc)


class WithMoments:
    def __init__(self, inner, loc) -> None:
        self.mean, self.stddev = loc.tanh(), torch.ones_like(loc)
        self.rsample, self.log_prob = inner.rsample, inner.log_prob


def tiny_vae(spec: ImageSpec, family: Family | None = None, prior: Prior | None = None) -> VAE:
    width = dial("tiny")
    return VAE(
        encoder=Conditional(ConvEncoder(spec, 4, width), family or DiagonalNormal()),
        decoder=Conditional(ConvDecoder(spec, 2, width), Bernoulli()),
        prior=prior or StandardNormal(2),
    )


SETTINGS = Settings(steps=12, batch=16, lr=1e-3, schedule="constant", ema=0.0)


def adversarial(spec: ImageSpec) -> Parts:
    return Parts(tiny_vae(spec), Objective((2.0, Critic(2)), distortion=1), SETTINGS)


def importance_weighted(spec: ImageSpec) -> Parts:
    return Parts(tiny_vae(spec), Objective((1.0, Bound())), SETTINGS)


def perceptual(spec: ImageSpec) -> Parts:
    return Parts(tiny_vae(spec), Objective((1.0, Frozen(spec.pixels)), distortion=1, rate=1), SETTINGS)


def vamp(spec: ImageSpec) -> Parts:
    return Parts(tiny_vae(spec, prior=PseudoInputs(3, spec)), Objective(distortion=1, rate=1), SETTINGS)


def squashed(spec: ImageSpec) -> Parts:
    return Parts(tiny_vae(spec, family=Squashed()), Objective(distortion=1, rate=1), SETTINGS)


METHODS = [adversarial, importance_weighted, perceptual, vamp, squashed]


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("method", METHODS)
def test_other_methods_need_only_terms_families_priors_and_recipes(method, images, register, tmp_path):
    """Each trains, is saved, loads, encodes, decodes and samples by the loop and the space as they are."""
    recipe = register(method)(images.spec)
    fit(recipe, images, out=tmp_path / "run", steps=60)
    space = refit(tmp_path / "run", images)  # finished, so this loads it
    curve = [line["distortion"] for line in lines(tmp_path / "run") if line["split"] == "train"]
    assert sum(curve[-10:]) < sum(curve[:10])
    assert math.isfinite(space.results["test"]["neg_elbo"])
    assert space.encode(images).mean.shape == (len(images), 2)
    assert space.sample(3).shape == (3, *images.spec.shape)


@pytest.mark.parametrize("method", METHODS)
def test_other_methods_resume_exactly(method, images, register, tmp_path):
    recipe = register(method)(images.spec)
    whole, stopped = whole_and_stopped(recipe, images, tmp_path, at=5)
    for a, b in zip(lines(whole), lines(stopped), strict=True):
        assert a.get("terms") == b.get("terms")
        assert (a["distortion"], a["rate"]) == (b["distortion"], b["rate"])


def loop_of(parts_of, images):
    """The loop's own state, to be stepped by hand."""
    recipe = recipes.recipe(parts_of)(images.spec)
    return _Run(recipe, images, settled(recipe, images, recipe.settings), {}, None)


def test_a_bound_of_five_draws_gets_five(images, register):
    run = loop_of(importance_weighted, images)
    with torch.random.fork_rng():
        run.update()
    assert run.objective.terms["bound"].seen == [5]


def test_a_critic_learns_and_the_model_does_not_learn_from_its_lesson(images, register):
    """One step with a critic leaves the model exactly where one step without its lesson would."""
    run, without = loop_of(adversarial, images), loop_of(adversarial, images)
    without.critics = []  # nobody to teach
    before = [p.clone() for p in run.critics]
    with torch.random.fork_rng():
        run.update()
        without.update()
    assert all(
        torch.equal(a, b) for a, b in zip(run.model.parameters(), without.model.parameters(), strict=True)
    )
    assert not any(torch.equal(a, b) for a, b in zip(before, run.critics, strict=True))
    assert [int(r.objective.terms["critic"].lessons) for r in (run, without)] == [1, 0]


def test_the_critic_descends_its_own_loss_and_not_the_models(images, register):
    """The model's loss also reaches the critic's weights; that gradient must not be what moves them."""
    run, again = loop_of(adversarial, images), loop_of(adversarial, images)
    with torch.random.fork_rng():
        run.update()
        # The same lesson by hand: same images, same noise, on the weights as they were before the step.
        torch.manual_seed(seed_of(0, "noise", 0))
        trace = again.model.trace(again.feed(again.order(0)), 1)
        expected = torch.autograd.grad(again.objective.terms["critic"].critic_loss(trace), again.critics)
    for weight, want in zip(run.critics, expected, strict=True):
        torch.testing.assert_close(weight.grad, want, rtol=1e-4, atol=1e-6)


def test_a_critic_is_checkpointed_with_its_optimizer(images, register, tmp_path):
    recipe = register(adversarial)(images.spec)
    with pytest.raises(Interrupted):
        fit(recipe, images, out=tmp_path / "run", progress=stop_at(5))
    tensors, record = checkpoint.load_newest(tmp_path / "run" / "checkpoints")
    assert record["step"] == 5
    assert tensors["objective.parts.critic.lessons"] == 5
    assert sum(name.startswith("critics.") for name in tensors) == 3 * 4  # step and two moments of each


def test_a_critic_that_breaks_stops_the_run_before_anything_broken_is_kept(images, register, tmp_path):
    class Broken(Critic):
        def critic_loss(self, trace: Trace) -> Tensor:
            loss = super().critic_loss(trace)
            return loss * math.nan if self.lessons == 4 else loss

    def broken(spec: ImageSpec) -> Parts:
        return Parts(tiny_vae(spec), Objective((1.0, Broken(2)), distortion=1), SETTINGS)

    recipe = register(broken)(images.spec)
    with pytest.raises(NumericalError, match="critic"):
        fit(recipe, images, out=tmp_path / "run", checkpoint_seconds=0)
    tensors, record = checkpoint.load_newest(tmp_path / "run" / "checkpoints")
    assert record["step"] == 3
    assert all(torch.isfinite(t).all() for t in tensors.values())
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_metrics_hold_every_raw_term_and_its_weight(images, register, tmp_path):
    def weighted(spec: ImageSpec) -> Parts:
        def poison(trace: Trace) -> Tensor:
            return trace.z.sum() * 0 + math.inf

        objective = Objective((0.0, poison), distortion=1, rate=Ramp(0, 7, until=0.5))
        return Parts(tiny_vae(spec), objective, SETTINGS)

    fit(register(weighted)(images.spec), images, out=tmp_path / "run")
    train = [line for line in lines(tmp_path / "run") if line["split"] == "train"]
    assert [line["weights"]["rate"] for line in train] == pytest.approx(
        [min(14 * s / 12, 7) for s in range(1, 13)]
    )
    assert all(line["weights"]["poison"] == 0 for line in train)
    # A term without a weight is still told, and its infinity hurts nobody.
    assert all(line["terms"]["poison"] == math.inf for line in train)
    assert all(math.isfinite(line["distortion"]) and line["rate"] > 0 for line in train)


def test_a_term_beside_the_elbo_does_not_change_what_is_called_distortion(images, register, tmp_path):
    """An objective without a rate still logs it: the ELBO of any run can be read from its metrics."""
    fit(register(importance_weighted)(images.spec), images, out=tmp_path / "run")
    line = lines(tmp_path / "run")[0]
    assert set(line["terms"]) == {"bound"}
    # One draw's expectation, beside the tighter bound of five.
    assert line["terms"]["bound"] < line["distortion"] + line["rate"]
