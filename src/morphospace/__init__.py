"""Turn a set of images into a space that people can walk in.

    import morphospace as ms
    images = ms.load("fashion-mnist")
    space = ms.fit(ms.recipes.vae(images.spec, latent=2), images)
    space.encode(images.test).mean
    space.decode(z)
    ms.morph(space, "Bag", "Sneaker", steps=9)

Names are imported when they are first used, so that ``import morphospace`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from morphospace import recipes as recipes
    from morphospace.data import load as load
    from morphospace.data.images import Images as Images
    from morphospace.fitting import fit as fit
    from morphospace.latents import Latents as Latents
    from morphospace.morphing import morph as morph
    from morphospace.settings import Settings as Settings
    from morphospace.space import Space as Space
    from morphospace.types import MorphospaceError as MorphospaceError

_HOMES = {
    "Images": "data.images",
    "Latents": "latents",
    "MorphospaceError": "types",
    "Settings": "settings",
    "Space": "space",
    "fit": "fitting",
    "load": "data",
    "morph": "morphing",
}

__all__ = ["Images", "Latents", "MorphospaceError", "Settings", "Space", "fit", "load", "morph", "recipes"]


def __getattr__(name: str) -> Any:
    if name == "recipes":
        return importlib.import_module("morphospace.recipes")
    if name not in _HOMES:
        raise AttributeError(f"module 'morphospace' has no attribute '{name}'")
    return getattr(importlib.import_module(f"morphospace.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
