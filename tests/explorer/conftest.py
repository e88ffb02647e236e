"""A space of drawn clothes with a map, and its page."""

from __future__ import annotations

import pytest

from fixtures.small import make_images
from morphospace import recipes
from morphospace.atlas import Atlas, make_atlas
from morphospace.explorer import Site, make_site
from morphospace.fitting import fit
from morphospace.space import Space


@pytest.fixture(scope="package")
def mapped(tmp_path_factory) -> tuple[Space, Atlas]:
    """A run in a folder with a small map of densities and metric."""
    from morphospace.atlas import save_atlas

    images = make_images(120, (1, 12, 10))
    folder = tmp_path_factory.mktemp("explorer") / "patches"
    space = fit(recipes.vae(images.spec, latent=2, size="tiny", anchors=0), images, steps=60, out=folder)
    atlas = make_atlas(space, parts=("metric",), cells=40)
    save_atlas(atlas, space)
    return Space.load(folder), atlas


@pytest.fixture(scope="package")
def site(mapped) -> Site:
    return make_site(mapped[0])
