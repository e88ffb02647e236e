"""The prior of rows of codes: it sums to one, keeping is no forgetting, and it learns what there is to learn."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import Tensor

from fixtures.small import make_images, unit
from morphospace import cli, priors, recipes
from morphospace.data.images import Images
from morphospace.distributions import CodeLaw, divergence
from morphospace.families import Codebooks, DiagonalNormal, FiniteScalar
from morphospace.fitting import fit
from morphospace.model import Conditional
from morphospace.networks import ConvEncoder, size
from morphospace.priors import Autoregressive, fit_prior
from morphospace.priors.sequences import fit_autoregressive
from morphospace.space import Space
from morphospace.types import ImageSpec, UsageError

F64 = torch.float64


@pytest.fixture(autouse=True)
def _noise():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


class Encoder:
    """What a prior of codes asks of an encoder: its family."""

    def __init__(self, family) -> None:
        self.family = family

    def __call__(self, x: Tensor):
        raise AssertionError("this prior encodes nothing")


def rows(length: int, codes: int, **given: int) -> tuple[Autoregressive, CodeLaw]:
    """A prior with weights that say something, and its law."""
    family = Codebooks(length, 2, codes).double().eval()
    family.codebook.normal_()
    prior = Autoregressive(family, **{"width": 16, "layers": 2, "heads": 2, **given}).double().eval()
    for p in prior.parameters():
        p.data.normal_(std=0.4)
    law = prior(Encoder(family))
    assert isinstance(law, CodeLaw)
    return prior.requires_grad_(False), law


@pytest.mark.parametrize(("length", "codes"), [(1, 3), (2, 4), (4, 3)])
def test_all_rows_together_have_probability_one(length, codes):
    _, law = rows(length, codes)
    every = torch.cartesian_prod(*[torch.arange(codes)] * length).reshape(-1, length)
    log_p = law.log_prob_of(every)
    assert log_p.std() > 0.1  # it is not the uniform law that sums to one
    torch.testing.assert_close(log_p.exp().sum(), torch.tensor(1.0, dtype=F64), rtol=1e-12, atol=0)
    torch.testing.assert_close(law.log_prob(law.alphabet.vectors(every)), log_p)


def test_what_is_kept_is_what_was_seen():
    """Logits symbol by symbol, from kept keys and values, are those of the whole row at once."""
    prior, _ = rows(7, 5, layers=3)
    symbols = torch.randint(5, (6, 7))
    whole = prior.logits(symbols)
    kept, before = [None] * 3, torch.full((6,), 5)
    for place in range(7):
        logits, kept = prior.next(before, place, kept)
        torch.testing.assert_close(logits, whole[:, place], rtol=1e-12, atol=1e-12)
        before = symbols[:, place]


def test_no_symbol_sees_itself_or_those_after_it():
    prior, _ = rows(6, 5)
    symbols = torch.randint(5, (1, 6))
    whole = prior.logits(symbols)
    for place in range(6):
        changed = symbols.clone()
        changed[0, place] = (changed[0, place] + 1) % 5
        moved = (prior.logits(changed) - whole).abs().amax((0, 2)) > 0
        assert not moved[: place + 1].any()
        assert moved[place + 1 :].all()


def test_draws_follow_the_law():
    prior, law = rows(3, 3)
    every = torch.cartesian_prod(*[torch.arange(3)] * 3)
    p = law.log_prob_of(every).exp()
    drawn = prior.draw(20_000)
    counts = torch.bincount((drawn * torch.tensor([9, 3, 1])).sum(1), minlength=27) / 20_000
    assert ((counts - p).abs() < 5 * (p * (1 - p) / 20_000).sqrt() + 1e-4).all()
    z = law.rsample(torch.Size((2, 5)))
    assert z.shape == (2, 5, 6)
    assert (law.log_prob(z) > -math.inf).all()


def test_a_point_without_codes_has_no_probability():
    _, law = rows(2, 3)
    z = law.rsample(torch.Size((4,)))
    assert (law.log_prob(z + 0.01) == -math.inf).all()


def chains(n: int, length: int = 8, codes: int = 6, sure: float = 0.9) -> Tensor:
    """Each symbol is the next after the one before it, with probability ``sure``; else any."""
    found = [torch.randint(codes, (n,))]
    for _ in range(length - 1):
        other = torch.randint(codes, (n,))
        found.append(torch.where(torch.rand(n) < sure, (found[-1] + 1) % codes, other))
    return torch.stack(found, 1)


def test_fitted_it_beats_the_uniform_law_on_rows_that_it_has_not_seen():
    """And comes near to what there is to know: the entropy of the chain."""
    alphabet = FiniteScalar(8, (3, 4))  # 12 codes, of which 6 come up
    prior = Autoregressive(alphabet, width=32, layers=2, heads=2)
    fit_autoregressive(prior, chains(3000), 0, 400, lambda *_: None)
    held_out = chains(1000)
    nats = -prior(Encoder(alphabet)).log_prob_of(held_out).mean()
    right = 0.9 + 0.1 / 6
    entropy = math.log(6) + 7 * -(right * math.log(right) + 5 * (0.1 / 6) * math.log(0.1 / 6))
    assert nats < 8 * math.log(12) - 5
    assert entropy - 0.2 < nats < entropy + 0.5


def test_few_rows_are_not_learned_by_heart():
    """On rows of chance alone the best that can be known is that all are alike, and what is held out says so."""
    alphabet = FiniteScalar(6, (3, 3))
    prior = Autoregressive(alphabet, width=32, layers=2, heads=2)
    fit_autoregressive(prior, torch.randint(9, (60, 6)), 0, 150, lambda *_: None)
    nats = -prior(Encoder(alphabet)).log_prob_of(torch.randint(9, (2000, 6))).mean()
    assert nats < 6 * math.log(9) + 0.5


# ---------------------------------------------------------------- with a space


@pytest.fixture(scope="module")
def patches() -> Images:
    return make_images(120)


@pytest.fixture(scope="module", params=["vq", "residual-vq", "fsq"])
def coded(request, patches, tmp_path_factory) -> Space:
    given = {"size": "tiny"} | ({} if request.param == "fsq" else {"codes": 12, "latent": 3})
    folder = tmp_path_factory.mktemp(request.param) / "run"
    return fit(recipes.get(request.param, patches.spec, given), patches, steps=60, out=folder)


@pytest.fixture
def short(monkeypatch) -> None:
    make, fit, _ = priors.FITTED["autoregressive"]
    monkeypatch.setitem(priors.FITTED, "autoregressive", (make, fit, 60))


SMALL = {"width": 32, "layers": 1, "heads": 2}


@pytest.mark.usefixtures("short")
def test_it_is_fitted_to_a_space_saved_loaded_and_drawn_from(coded, patches, tmp_path, capsys):
    fitted = coded.with_prior("autoregressive", seed=2, **SMALL)
    assert fitted.folder is None
    fitted.save(tmp_path / "run")
    again = Space.load(tmp_path / "run")
    assert again.config["prior"] == {"name": "autoregressive", "arguments": SMALL, "seed": 2}
    assert torch.equal(again.draw(5, seed=1), fitted.draw(5, seed=1))
    assert not torch.equal(again.draw(5, seed=1), again.draw(5, seed=2))
    assert torch.equal(fitted.draw(5), coded.with_prior("autoregressive", seed=2, **SMALL).draw(5))
    assert again.sample(3).shape == (3, *patches.spec.shape)
    x = unit(patches.test)
    rates = [space.model.eval().trace(x).rate.mean() for space in (coded, again)]
    assert rates[1] < rates[0] - 1  # on images that neither has seen
    trace = again.model.trace(x, 2)
    torch.testing.assert_close(trace.log_weight, -(trace.distortion + trace.rate), rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(divergence(trace.q, trace.pz, trace.z), trace.rate)
    assert cli.run(["sample", str(tmp_path / "run"), "-n", "4", "--out", str(tmp_path / "s.png")]) == 0
    assert (tmp_path / "s.png").stat().st_size > 0
    capsys.readouterr()


def test_a_draw_of_the_untaught_prior_is_made_of_codes(coded):
    z = coded.draw(50)
    law = coded.model.prior(coded.model.encoder)
    nats = law.alphabet.length * math.log(law.alphabet.size)
    torch.testing.assert_close(law.log_prob(z), torch.full((50,), -nats))
    assert coded.results["test"]["rate"] == pytest.approx(nats, rel=1e-5)


def test_metrics_hold_the_perplexity(coded):
    lines = [json.loads(line) for line in (coded.folder / "metrics.jsonl").read_text().splitlines()]
    found = [line["terms"]["perplexity"] for line in lines if line["split"] == "train"]
    size = coded.model.encoder.family.size
    assert found
    assert all(1 <= value <= size for value in found)
    assert found[-1] > 3  # three kinds of images, and more to tell of each


def test_priors_of_numbers_and_of_codes_are_not_taken_for_one_another(coded, space):
    for name in ("mixture", "flow", "two-stage"):
        with pytest.raises(UsageError, match=r"rows of codes.*'autoregressive'"):
            coded.with_prior(name)
    with pytest.raises(UsageError, match=r"any numbers.*'mixture'"):
        space.with_prior("autoregressive")
    with pytest.raises(UsageError, match="Did you mean 'autoregressive'"):
        coded.with_prior("autoregresive")


@pytest.mark.parametrize("given", [{"width": 30}, {"layers": 0}, {"depth": 3}])
def test_sizes_that_make_no_network_are_refused(given):
    alphabet = FiniteScalar(2, (3, 3))
    means = alphabet.vectors(torch.randint(9, (20, 2))).numpy()
    with pytest.raises(UsageError, match=next(iter(given))):
        fit_prior("autoregressive", means, 0 * means, given, alphabet=alphabet)


def test_an_encoder_without_codes_is_refused():
    prior, _ = rows(2, 3)
    encoder = Conditional(ConvEncoder(ImageSpec(1, 8, 8), 4, size("tiny")), DiagonalNormal())
    with pytest.raises(UsageError, match=r"DiagonalNormal.*'vq'"):
        prior(encoder)
