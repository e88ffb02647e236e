"""The registry of recipes: what a recipe is, and how one is found by the name that people type."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import NoneType, UnionType
from typing import Any, Concatenate, Literal, ParamSpec, Union, get_args, get_origin, get_type_hints

import torch

from morphospace.data.images import Images
from morphospace.families import Likelihood
from morphospace.model import VAE, Conditional
from morphospace.objective import Objective
from morphospace.seeds import seeded
from morphospace.settings import Settings
from morphospace.types import ImageSpec, UnknownName, UsageError

__all__ = ["Parts", "Recipe", "get", "names", "page", "recipe", "themes"]

P = ParamSpec("P")


@dataclass(frozen=True)
class Parts:
    """What a recipe picks: a model, an objective, and how to train them.

    Attributes:
        model: the model.
        objective: what it learns from.
        settings: how it is trained by default.
        hide: the part of each image's pixels that is hidden from training and its figures; the same pixels throughout.
        labelled: how many labels of each class training sees; None: all.
        first: the encoder that the decoder learns with, where it is not the model's own: that one then learns alone,
            over the last part of the run, beside a decoder and a prior that rest.
        decided: arguments that were left to the recipe, and what it made of them. They are the run's own, so that it
            can be built again when the recipe would decide otherwise.
    """

    model: VAE
    objective: Objective
    settings: Settings
    hide: float = 0.0
    labelled: int | None = None
    first: Conditional | None = None
    decided: Mapping[str, Any] = field(default_factory=dict)

    @property
    def first_model(self) -> VAE:
        """The model that a run begins with; it shares all but the encoder with the one that it ends with."""
        if self.first is None:
            return self.model
        return VAE(self.first, self.model.decoder, self.model.prior, self.model.classifier)

    @property
    def unnormalised(self) -> str:
        """Why a model trained so has no likelihood to speak of; empty where it has one."""
        if not self.model.encoder.family.normalised:
            return "its encoder gives points, which have no density"
        if not self.model.decoder.family.normalised:
            return "its decoder's law does not sum to one"
        return self.objective.unnormalised


@dataclass(frozen=True)
class Recipe:
    """A method with its arguments bound, ready to be built for images of one shape."""

    name: str
    spec: ImageSpec
    arguments: dict[str, Any]

    def met(self, images: Images) -> Recipe:
        """This recipe with what it leaves to the images decided: ``classes``, where it is None, is how many they have.

        Raises:
            UsageError: if it is told of classes and the images have none, or another number of them; if pixels are
                missing, and it is not for that.
        """
        likelihood = _on_paper(self.name, self.spec, self.arguments).model.decoder.family
        if images.observed is not None and not (isinstance(likelihood, Likelihood) and likelihood.missing):
            raise UsageError(
                f"{int((~images.observed).any((1, 2, 3)).sum())} of these images have missing pixels, and the recipe "
                f"'{self.name}' needs all; 'missing-pixels' learns from those that there are"
            )
        if "classes" not in self.arguments:
            return self
        if images.labels is None:
            raise UsageError(
                f"the recipe '{self.name}' is told of the class of each image, and these images have no labels; bring "
                "a folder with a sub-folder for each class, or arrays with labels. 'vae' needs none"
            )
        count, asked = len(images.classes), self.arguments["classes"]
        if asked not in (None, count):
            raise UsageError(
                f"the recipe '{self.name}' was made for {asked} classes; these images have {count}. Leave classes out"
            )
        return replace(self, arguments={**self.arguments, "classes": count})

    def build(self, seed: int = 0) -> Parts:
        """The parts, with weights drawn from ``seed``.

        Raises:
            UsageError: if something is left to images that it has not met.
        """
        if self.arguments.get("classes", 1) is None:
            raise UsageError(
                f"the recipe '{self.name}' takes the number of classes from images: recipe.met(images).build(), or "
                "give it as classes"
            )
        with seeded(seed, "weights"):
            return _FUNCTIONS[self.name](self.spec, **self.arguments)

    @property
    def settings(self) -> Settings:
        """How this recipe is trained by default."""
        return _on_paper(self.name, self.spec, self.arguments).settings

    @property
    def finishes(self) -> bool:
        """Whether the model's own encoder is taught last, beside a decoder that rests: see `Parts.first`."""
        return _on_paper(self.name, self.spec, self.arguments).first is not None

    @property
    def unnormalised(self) -> str:
        """Why a model that this recipe trains has no likelihood to speak of; empty where it has one."""
        return _on_paper(self.name, self.spec, self.arguments).unnormalised


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
        return _bound(name, spec, dict(list(bound.arguments.items())[1:]))

    _FUNCTIONS[name] = function
    return bind  # type: ignore[return-value]  # wraps() keeps the name of the first argument, the type cannot


def _bound(name: str, spec: ImageSpec, arguments: dict[str, Any]) -> Recipe:
    """The recipe with these arguments, if it can be built with them, and with what it decides itself."""
    # A recipe that is made from another's parts has what that one decided beside its own.
    decided = _on_paper(name, spec, arguments).decided
    return Recipe(name, spec, {key: decided.get(key, value) for key, value in arguments.items()})


def _on_paper(name: str, spec: ImageSpec, arguments: Mapping[str, Any]) -> Parts:
    """The parts without memory for their weights: cheap, and every check of shapes and arguments runs."""
    _require_choices(name, arguments)
    with torch.device("meta"):
        return _FUNCTIONS[name](spec, **arguments)


def names() -> tuple[str, ...]:
    """The registered recipes, as people type them."""
    return tuple(sorted(_FUNCTIONS))


def themes() -> dict[str, tuple[str, ...]]:
    """The recipes by theme, which is the module that holds them."""
    found: dict[str, tuple[str, ...]] = {}
    for name, function in _FUNCTIONS.items():
        theme = function.__module__.rpartition(".")[2]
        found[theme] = (*found.get(theme, ()), name)
    return found


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
    return _bound(name, spec, values)


def _function(name: str) -> Callable[..., Parts]:
    if name not in _FUNCTIONS:
        raise UnknownName("recipe", name, names())
    return _FUNCTIONS[name]


def _read(recipe_name: str, argument: str, text: str, kind: Any) -> Any:
    """A text as the type that the recipe's signature asks for."""
    kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    if NoneType in kinds and text.lower() == "none":
        return None
    (kind,) = [each for each in kinds if each is not NoneType]
    if get_origin(kind) is Literal:
        return text  # what it may be is checked for values of every source
    try:
        return _TRUTHS[text.lower()] if kind is bool else kind(text)
    except (KeyError, ValueError):
        expected = "true or false" if kind is bool else kind.__name__
        raise UsageError(
            f"argument '{argument}' of the recipe '{recipe_name}' is '{text}'; expected {expected}"
        ) from None


_TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def _require_choices(name: str, values: Mapping[str, Any]) -> None:
    """Refuse a value that is not among those that the signature names."""
    for argument, kind in get_type_hints(_FUNCTIONS[name]).items():
        if get_origin(kind) is Literal and argument in values and values[argument] not in get_args(kind):
            raise UnknownName(
                f"{argument} of the recipe '{name}' called", str(values[argument]), get_args(kind)
            )
