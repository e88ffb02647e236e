"""The probe of the precision runs on every registered recipe: no other test trains long enough to be probed."""

from __future__ import annotations

import pytest

from fixtures.small import make_images
from morphospace import recipes
from morphospace.training import loop
from morphospace.training.loop import settled


@pytest.mark.parametrize("name", [n for n in recipes.names() if n != "reference"])  # which takes 28×28 alone
def test_every_recipe_can_be_probed(name, monkeypatch):
    found = []
    plain = loop.probe
    monkeypatch.setattr(loop, "probe", lambda *args: found.append(plain(*args)) or found[0])
    images = make_images()
    recipe = recipes.get(name, images.spec, {"size": "tiny"}).met(images)
    settings = settled(recipe, images, recipe.settings.changed(steps=200))
    assert settings.precision == found[0].precision
    assert found[0].gain > 0
    assert found[0].loss_error < 0.1  # so not nan either
