"""The classifier learns, is the same each time, and comes back from its cache whole or not at all."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fixtures.small import make_images, unit
from morphospace.evaluation import classifier
from morphospace.evaluation.classifier import cached, classifier_for, train_classifier
from morphospace.types import UsageError


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    monkeypatch.setattr(classifier, "LEAST_STEPS", 25)
    monkeypatch.setattr(classifier, "BATCH", 16)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


IMAGES = make_images(120, classes=("dot", "bar"))


def test_it_learns_and_keeps_nothing_of_the_users_generator():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    made = train_classifier(IMAGES)
    assert torch.equal(torch.rand(1), expected)
    assert made.accuracy > 0.9
    p = made.probabilities(unit(IMAGES))
    assert p.sum(1) == pytest.approx(np.ones(120))
    assert made.features(unit(IMAGES)).shape == (120, 64)
    assert not any(parameter.requires_grad for parameter in made.network.parameters())


def test_the_same_images_give_the_same_weights_and_others_others():
    assert train_classifier(IMAGES).sha256 == train_classifier(IMAGES).sha256
    assert train_classifier(IMAGES).sha256 != train_classifier(make_images(120, seed=1)).sha256


def test_the_cache_gives_back_what_was_put_there(monkeypatch):
    assert cached(IMAGES) is None
    made = classifier_for(IMAGES)
    monkeypatch.setattr(classifier, "train_classifier", lambda *_: pytest.fail("trained again"))
    again = classifier_for(IMAGES)
    assert (again.sha256, again.accuracy, again.classes) == (made.sha256, made.accuracy, made.classes)
    assert np.array_equal(again.features(unit(IMAGES)), made.features(unit(IMAGES)))
    assert cached(make_images(120, seed=1)) is None


def test_what_it_says_of_an_image_hangs_on_no_other():
    """Batch normalisation has its running moments when it is asked, of a cached one too."""
    made = train_classifier(IMAGES)
    classifier._remember(made)
    again = cached(IMAGES)
    assert again is not None
    x = unit(IMAGES)
    alone = np.concatenate([made.probabilities(x[i : i + 1]) for i in range(7)])
    odd = torch.cat([x[:7], torch.ones(300, *x.shape[1:])])  # neighbours like none that it has seen
    for each in (made, again):
        assert not each.network.training
        moments = {k: v.clone() for k, v in each.network.state_dict().items()}
        np.testing.assert_allclose(each.probabilities(odd)[:7], alone, atol=1e-6)
        assert all(torch.equal(v, moments[k]) for k, v in each.network.state_dict().items())


def test_its_hash_is_of_the_running_moments_too():
    made = train_classifier(IMAGES)
    moved = next(b for name, b in made.network.named_buffers() if name.endswith("running_mean"))
    moved += 1e-3
    assert classifier._hash(made.network) != made.sha256


@pytest.mark.parametrize("damage", [lambda b: b[:-9], lambda b: b"", lambda b: b[:-4] + b"\1\2\3\4"])
def test_a_damaged_cache_is_as_good_as_none(damage):
    made = classifier_for(IMAGES)
    path = classifier._place(IMAGES.sha256)
    path.write_bytes(damage(path.read_bytes()))
    assert cached(IMAGES) is None
    assert classifier_for(IMAGES).sha256 == made.sha256
    assert cached(IMAGES) is not None


def test_a_cache_that_cannot_be_written_is_done_without(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert classifier_for(IMAGES).accuracy > 0.9


def test_what_it_cannot_learn_or_see_is_refused():
    with pytest.raises(UsageError, match="classes"):
        train_classifier(make_images(30, classes=()))
    with pytest.raises(UsageError, match="8×8"):
        train_classifier(IMAGES).features(torch.zeros(2, 1, 9, 8))
