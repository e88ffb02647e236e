"""Recipes: each published method is a short function that picks parts and weights.

    recipe = beta_vae(images.spec, latent=2, beta=4.0)   # a Recipe: checked, not yet built
    parts = recipe.build(seed=0)                         # model, objective and settings

`get` finds a recipe by the name that people type, and checks arguments against the function's signature. The
methods lie in one module for each theme; `themes` lists them so.
"""

from morphospace.recipes.basic import beta_vae, reference, vae
from morphospace.recipes.registry import Parts, Recipe, get, names, page, recipe, themes

__all__ = [
    "Parts",
    "Recipe",
    "beta_vae",
    "get",
    "names",
    "page",
    "recipe",
    "reference",
    "themes",
    "vae",
]
