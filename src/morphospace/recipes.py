"""Recipes: each published method is a short function that picks parts and weights.

    recipe = beta_vae(images.spec, latent=2, beta=4.0)   # a Recipe: checked, not yet built
    parts = recipe.build(seed=0)                         # model, objective and settings

`get` finds a recipe by the name that people type, and checks arguments against the function's signature.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, get_type_hints

import torch

from morphospace.families import Bernoulli, DiagonalNormal
from morphospace.model import VAE, Conditional
from morphospace.networks import (
    ConvDecoder,
    ConvEncoder,
    ReferenceDecoder,
    ReferenceEncoder,
    require_reference_shape,
)
from morphospace.networks import size as dial
from morphospace.objective import Objective, Ramp
from morphospace.priors import StandardNormal
from morphospace.seeds import seeded
from morphospace.settings import Settings
from morphospace.types import ImageSpec, UnknownName, UsageError

__all__ = ["Parts", "Recipe", "beta_vae", "get", "names", "reference", "vae"]

P = ParamSpec("P")


@dataclass(frozen=True)
class Parts:
    """What a recipe picks: a model, an objective, and how to train them."""

    model: VAE
    objective: Objective
    settings: Settings


@dataclass(frozen=True)
class Recipe:
    """A method with its arguments bound, ready to be built for images of one shape."""

    name: str
    spec: ImageSpec
    arguments: dict[str, Any]

    def build(self, seed: int = 0) -> Parts:
        """The parts, with weights drawn from ``seed``."""
        with seeded(seed, "weights"):
            return _FUNCTIONS[self.name](self.spec, **self.arguments)

    @property
    def settings(self) -> Settings:
        """How this recipe is trained by default."""
        return _on_paper(self.name, self.spec, self.arguments).settings


_FUNCTIONS: dict[str, Callable[..., Parts]] = {}


def recipe(
    function: Callable[Concatenate[ImageSpec, P], Parts],
) -> Callable[Concatenate[ImageSpec, P], Recipe]:
    """Register a method. Calling it gives a `Recipe`, its arguments checked and its defaults written out."""
    name = function.__name__.replace("_", "-")
    signature = inspect.signature(function)

    @functools.wraps(function)
    def bind(spec: ImageSpec, *args: P.args, **kwargs: P.kwargs) -> Recipe:
        bound = signature.bind(spec, *args, **kwargs)
        bound.apply_defaults()
        arguments = dict(list(bound.arguments.items())[1:])
        _on_paper(name, spec, arguments)
        return Recipe(name, spec, arguments)

    _FUNCTIONS[name] = function
    return bind  # type: ignore[return-value]  # wraps() keeps the name of the first argument, the type cannot


def _on_paper(name: str, spec: ImageSpec, arguments: Mapping[str, Any]) -> Parts:
    """The parts without memory for their weights: cheap, and every check of shapes and arguments runs."""
    with torch.device("meta"):
        return _FUNCTIONS[name](spec, **arguments)


def names() -> tuple[str, ...]:
    """The registered recipes, as people type them."""
    return tuple(sorted(_FUNCTIONS))


def page(name: str) -> str:
    """A recipe's docstring: what it does, when to use it, its cost and its sources."""
    return inspect.getdoc(_function(name)) or ""


def get(name: str, spec: ImageSpec, arguments: Mapping[str, Any] | None = None) -> Recipe:
    """A recipe by name; arguments may be texts, which are read as their defaults' types.

    Raises:
        UnknownName: for a recipe or an argument that does not exist, with the close match.
        UsageError: for a value that cannot be read.
    """
    function = _function(name)
    hints = get_type_hints(function)
    parameters = list(inspect.signature(function).parameters.values())[1:]
    known = {p.name: hints[p.name] for p in parameters}
    values = {p.name: p.default for p in parameters}
    for key, value in (arguments or {}).items():
        argument = key.replace("-", "_")
        if argument not in known:
            raise UnknownName(f"argument of the recipe '{name}' called", key, known)
        values[argument] = _read(name, argument, value, known[argument]) if isinstance(value, str) else value
    _on_paper(name, spec, values)
    return Recipe(name, spec, values)


def _function(name: str) -> Callable[..., Parts]:
    if name not in _FUNCTIONS:
        raise UnknownName("recipe", name, names())
    return _FUNCTIONS[name]


def _read(recipe_name: str, argument: str, text: str, kind: type) -> Any:
    """A text as the type that the recipe's signature asks for."""
    try:
        return kind(text)
    except ValueError:
        raise UsageError(
            f"argument '{argument}' of the recipe '{recipe_name}' is '{text}'; expected {kind.__name__}"
        ) from None


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not 0 < value < math.inf:
            raise UsageError(f"{name} is {value}; expected a number greater than nought")


# ---------------------------------------------------------------- the methods


@recipe
def vae(spec: ImageSpec, latent: int = 2, size: str = "small") -> Parts:
    """The variational autoencoder.

    Maximises the ELBO, E log p(x given z) − KL(q(z given x) ‖ p(z)), with a diagonal normal posterior, a standard
    normal prior and Bernoulli pixels. Begin here: every other method is measured against it.

    Cost: one pass of a small convolutional network. Known problem: with many latent dimensions some carry nothing.

    Args:
        spec: the images' shape.
        latent: dimensions of the space.
        size: tiny, small, medium or large; sets width, depth and learning rate together.

    References:
        Kingma & Welling (2014), Auto-Encoding Variational Bayes, arXiv:1312.6114.
    """
    return beta_parts(spec, latent, size, beta=1.0, warmup=0.0)


@recipe
def beta_vae(
    spec: ImageSpec, latent: int = 2, size: str = "small", beta: float = 4.0, warmup: float = 0.0
) -> Parts:
    """The β-VAE: the rate counts β times.

    β > 1 presses the posterior towards the prior and tends to separate factors of variation, at the price of
    blurrier pictures; β < 1 does the reverse. The reported −ELBO stays the one with β = 1.

    Args:
        spec: the images' shape.
        latent: dimensions of the space.
        size: tiny, small, medium or large.
        beta: the weight of the rate. 4 is the least value in the paper's experiments on natural images.
        warmup: the part of the run over which the weight grows from 0 to β (Bowman et al. 2016, arXiv:1511.06349).

    References:
        Higgins et al. (2017), β-VAE: Learning Basic Visual Concepts with a Constrained Variational Framework, ICLR.
    """
    return beta_parts(spec, latent, size, beta, warmup)


@recipe
def reference(spec: ImageSpec, latent: int = 2) -> Parts:
    """The original study's model: its networks, its initial weights, Adam at 1e-3, batches of 128, 30 epochs.

    For comparison: it is slower than `vae` and ends higher. It takes 28×28 grey images and no others.

    Args:
        spec: the images' shape, 28×28×1.
        latent: dimensions of the space; the study used 2.

    References:
        Kingma & Welling (2014), arXiv:1312.6114; Kingma & Ba (2015), Adam, arXiv:1412.6980 (with Keras' ε = 1e-7).
    """
    require_reference_shape(spec)
    _positive(latent=latent)
    return Parts(
        model=VAE(
            encoder=Conditional(ReferenceEncoder(latent), DiagonalNormal()),
            decoder=Conditional(ReferenceDecoder(latent), Bernoulli()),
            prior=StandardNormal(latent),
        ),
        objective=Objective(distortion=1, rate=1),
        settings=Settings(
            epochs=30,
            batch=128,
            lr=1e-3,
            optimizer="adam",
            betas=(0.9, 0.999),
            eps=1e-7,
            schedule="constant",
            weight_decay=0.0,
            clip=None,
            ema=0.0,
        ),
    )


def beta_parts(spec: ImageSpec, latent: int, size: str, beta: float, warmup: float) -> Parts:
    """What `vae` and `beta_vae` share: the conv networks and a weighted rate."""
    _positive(latent=latent, beta=beta)
    if not 0 <= warmup <= 1:
        raise UsageError(f"warmup is {warmup}; expected a part of the run, from 0 to 1")
    width = dial(size)
    return Parts(
        model=VAE(
            encoder=Conditional(ConvEncoder(spec, DiagonalNormal.factor * latent, width), DiagonalNormal()),
            decoder=Conditional(ConvDecoder(spec, latent, width, Bernoulli.factor), Bernoulli()),
            prior=StandardNormal(latent),
        ),
        objective=Objective(distortion=1, rate=Ramp(0, beta, until=warmup) if warmup > 0 else beta),
        settings=Settings(lr=width.lr, matrix_lr=width.matrix_lr),
    )
