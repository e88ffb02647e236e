"""`Space`: a trained model with all that is needed to use it, as an object and as a folder."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from safetensors import safe_open
from torch import Tensor

import morphospace
from morphospace import recipes
from morphospace.data.images import Images
from morphospace.distributions import Alphabet, Distribution
from morphospace.files import write_text
from morphospace.latents import Latents, Prototypes
from morphospace.model import VAE, Conditional
from morphospace.networks import count_parameters
from morphospace.priors import Prior, fit_prior, fitted_prior
from morphospace.recipes import Recipe
from morphospace.seeds import seed_of
from morphospace.settings import Settings
from morphospace.training import checkpoint
from morphospace.training.config import config_sha256, read_config, write_config
from morphospace.training.device import channels_last
from morphospace.training.feed import to_unit
from morphospace.training.measure import chunk_size
from morphospace.types import ImageSpec, Progress, RunError, UsageError, silent

__all__ = ["Space"]


@dataclass(eq=False)
class Space:
    """A trained model: weights, recipe, image shape, class names, and the latents of the images it learned from.

    Attributes:
        model: the network, with the weights that were kept.
        recipe: what it was built from.
        config: ``config.json``: recipe, images, training settings, machine, versions.
        results: ``results.json``: the final figures, in nats and seconds.
        latents: the posteriors of the images it was trained and tested on; None where the cache was deleted.
        folder: where the run lies, or None.
    """

    model: VAE
    recipe: Recipe
    config: dict[str, Any]
    results: dict[str, Any]
    latents: Latents | None = None
    folder: Path | None = None

    # ------------------------------------------------------------ what it knows

    @property
    def spec(self) -> ImageSpec:
        """The shape of its images."""
        return self.recipe.spec

    @property
    def dimensions(self) -> int:
        """D, its latent dimensions."""
        return int(self.model.decoder.network.input_shape[0])

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.config["images"]["classes"])

    @property
    def settings(self) -> Settings:
        return Settings.from_json(self.config["training"])

    @cached_property
    def prototypes(self) -> Prototypes:
        """The mean latent of each class, or of each cluster where there are no classes."""
        return self.known_latents().prototypes(self.settings.seed)

    def known_latents(self) -> Latents:
        """The latents of its own images.

        Raises:
            RunError: if the cache was deleted.
        """
        if self.latents is None:
            raise RunError(
                f"the latents of {self.folder} are gone (latents.safetensors was deleted or is of other weights); "
                f"'morphospace report {self.folder}' encodes its images anew"
            )
        return self.latents

    # ------------------------------------------------------------ what it does

    @torch.inference_mode()
    def encode(self, images: Images | NDArray[Any] | Tensor, progress: Progress = silent) -> Distribution:
        """q(z given x) of N images, in order; an embedding is its ``.mean``, (N, D).

        Args:
            images: `Images`, or uint8 pixels (N, C, H, W), or floats of that shape in [0, 1].
            progress: told of each chunk.

        Raises:
            UsageError: for images of another shape, or other values.
        """
        pixels = images.pixels if isinstance(images, Images) else images
        if tuple(pixels.shape[1:]) != self.spec.shape:
            expected = ", ".join(map(str, self.spec.shape))
            raise UsageError(f"the images have shape {tuple(pixels.shape)}; this space takes (N, {expected})")
        h = self._stream(self.model.encoder, pixels, "encoding", progress, _as_pixels)
        # The parameters came back chunk by chunk; a family with weights of its own must lie beside them,
        # and they were made without a graph, so it may not ask for one.
        q: Distribution = copy.deepcopy(self.model.encoder.family).cpu().requires_grad_(False)(h)
        return q

    @torch.inference_mode()
    def decode(self, z: ArrayLike | Tensor, progress: Progress = silent) -> Tensor:
        """The mean images (N, C, H, W), values in [0, 1], at N points (N, D).

        Raises:
            UsageError: for points of another dimension, or that are not finite numbers.
        """
        z = z if isinstance(z, Tensor) else np.asarray(z)
        if z.ndim != 2 or z.shape[1] != self.dimensions:
            raise UsageError(
                f"the points have shape {tuple(z.shape)}; this space takes (N, {self.dimensions})"
            )

        def mean(h: Tensor) -> Tensor:
            images: Tensor = self.model.decoder.family(h).mean
            return images

        return self._stream(self.model.decoder, z, "decoding", progress, _as_points, mean).contiguous()

    def sample(self, n: int, seed: int = 0) -> Tensor:
        """Mean images (n, C, H, W) at ``n`` points drawn from the prior; a function of the seed."""
        return self.decode(self.draw(n, seed))

    @torch.inference_mode()
    def draw(self, n: int, seed: int = 0) -> Tensor:
        """``n`` points (n, D) drawn from the prior."""
        if n < 1:
            raise UsageError(f"{n} samples were asked for; expected at least 1")
        with torch.random.fork_rng():
            torch.manual_seed(seed_of(seed, "sample"))
            points: Tensor = self.model.prior(self.model.encoder).rsample(torch.Size((n,)))
            return points.cpu()

    @torch.inference_mode()
    def assign(self, z: ArrayLike | Tensor) -> Tensor:
        """How likely each of N points (N, D) is to come from each component of a mixture prior, (N, M); rows sum to
        one.

        Raises:
            UsageError: if the prior is no mixture.
        """
        prior = self.model.prior(self.model.encoder)
        if not hasattr(prior, "assignments"):
            raise UsageError(
                "the prior of this space is no mixture; train 'vade', or use space.with_prior('mixture')"
            )
        points = torch.as_tensor(np.asarray(z) if not isinstance(z, Tensor) else z)
        shares: Tensor = prior.assignments(_as_points(points.to(next(self.model.parameters()).device))).cpu()
        return shares

    def with_prior(self, name: str, *, seed: int = 0, progress: Progress = silent, **arguments: Any) -> Space:
        """This space with a prior fitted to where its encoder puts the training images, from which samples are drawn.

            space.with_prior("mixture", components=10).sample(64)

            space.with_prior("autoregressive").sample(64)  # of a space whose points are rows of codes

        Args:
            name: "mixture", of normals; "flow" (needs the extra `flows`); or "two-stage", a second VAE, which has no
            density. Of rows of codes: "autoregressive".
            seed: the prior is a function of it and of the latents.
            progress: told of the fit.
            arguments: of the prior (see `morphospace.priors.fit_prior`).

        Returns:
            Another space, of no folder yet; ``save`` writes it. Figures that were measured with the old prior are left
            out.

        Raises:
            UsageError: for a name or argument that does not exist, or a space whose points are neither any numbers nor
            rows of codes.
        """
        alphabet = _alphabet(self.model)
        if alphabet is None and not self.model.encoder.family.plane:
            raise UsageError(
                f"the points of this space ({type(self.model.encoder.family).__name__}) are not any {self.dimensions} "
                "numbers, as those of a fitted prior are; train with another posterior, such as that of 'vae'"
            )
        latents = self.known_latents()
        train = latents.train if (latents.splits == 0).any() else latents
        prior = fit_prior(name, train.mean, train.scale, arguments, seed, progress, alphabet)
        model = copy.deepcopy(self.model)
        model.prior = prior.to(next(model.parameters()).device).eval()
        config = {**self.config, "prior": {"name": name, "arguments": arguments, "seed": seed}}
        results = {key: value for key, value in self.results.items() if key not in ("test", "train")}
        if "parameters" in results:
            results["parameters"] = {**results["parameters"], "prior": count_parameters(prior)}
        return replace(self, model=model, config=config, results=results, folder=None)

    def _stream(
        self,
        conditional: Conditional,
        inputs: NDArray[Any] | Tensor,
        what: str,
        progress: Progress,
        ready: Callable[[Tensor], Tensor],
        after: Callable[[Tensor], Tensor] = lambda h: h,
    ) -> Tensor:
        """A conditional's parameters for any number of inputs, chunk by chunk, each made ``ready`` first."""
        device = next(self.model.parameters()).device
        size = chunk_size(self.spec.pixels)
        parts = []
        for start in range(0, max(len(inputs), 1), size):
            chunk = inputs[start : start + size]
            chunk = chunk if isinstance(chunk, Tensor) else torch.from_numpy(np.array(chunk))
            if chunk.dtype == torch.float64:
                chunk = chunk.float()  # before the move: not every device has float64
            parts.append(after(conditional.parameters_of(ready(chunk.to(device)))).cpu())
            progress(what, min(start + size, len(inputs)), len(inputs))
        return torch.cat(parts)

    # ------------------------------------------------------------ as a folder

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the run's files; ``model.safetensors`` last, since it marks a finished run."""
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        write_config(path, self.config)
        write_text(path / "results.json", json.dumps(self.results, indent=1) + "\n")
        checkpoint.save_tensors(
            path / "model.safetensors",
            self.model.state_dict(),
            {"config_sha256": config_sha256(self.config)},
        )
        if self.latents is not None:
            self.save_latents(path)
        self.folder = path

    def save_latents(self, folder: Path) -> None:
        """Write the cache of latents, tagged with the configuration they belong to."""
        assert self.latents is not None
        tensors = {
            name: torch.from_numpy(np.ascontiguousarray(value))
            for name in ("mean", "scale", "splits", "labels")
            if (value := getattr(self.latents, name)) is not None
        }
        checkpoint.save_tensors(
            folder / "latents.safetensors",
            tensors,
            {"model_sha256": checkpoint.sha256(folder / "model.safetensors")},
        )

    @classmethod
    def load(cls, folder: str | os.PathLike[str], device: str = "cpu") -> Space:
        """The space that a finished run holds.

        Raises:
            RunError: if the folder is not a finished run, or is damaged.
        """
        path = Path(folder)
        config = read_config(path)
        weights = path / "model.safetensors"
        if not weights.is_file():
            raise RunError(f"{path} is not finished; continue with: morphospace train --resume {path}")
        tensors = checkpoint.load_tensors(weights)
        with safe_open(weights, "pt") as file:
            header = file.metadata() or {}
        if header.get("config_sha256") != config_sha256(config):
            raise RunError(
                f"{weights} does not belong to {path / 'config.json'}, or one was changed; train again"
            )
        recipe, _ = made_from(config, path)
        model = recipe.build().model
        if "prior" in config:
            model.prior = _prior_from(config["prior"], model, path)
        try:
            model.load_state_dict(tensors)
        except RuntimeError:
            raise RunError(
                f"the weights in {weights} do not fit the network that the recipe '{recipe.name}' builds here "
                f"(the run's version is {config['version']}, this is {morphospace.__version__}); train again"
            ) from None
        try:
            results = json.loads((path / "results.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(f"{path} is damaged ({str(error).splitlines()[0]}); train again") from None
        space = cls(channels_last(model.to(device)).eval(), recipe, config, results, folder=path)
        space.latents = _load_latents(path, space.classes)
        return space


def _as_pixels(chunk: Tensor) -> Tensor:
    """Images as numbers in [0, 1]; whole numbers of another kind than uint8 could be pixels of any range."""
    if chunk.dtype == torch.uint8:
        return to_unit(chunk)
    kind = str(chunk.dtype).removeprefix("torch.")
    if not chunk.dtype.is_floating_point:
        raise UsageError(f"the images are {kind}; expected uint8 from 0 to 255, or floats from 0 to 1")
    if len(chunk) and not (chunk.min() >= 0 and chunk.max() <= 1):  # so written that nan is refused too
        raise UsageError(
            f"the images hold values from {chunk.min():g} to {chunk.max():g}; expected floats from 0 to 1, or uint8"
        )
    return chunk.float()


def _as_points(chunk: Tensor) -> Tensor:
    """Points as float32."""
    if not torch.isfinite(chunk).all():
        raise UsageError("some of the points are not finite numbers")
    return chunk.float()


def made_from(config: dict[str, Any], folder: Path) -> tuple[Recipe, Settings]:
    """The recipe and the settings that a run's configuration names.

    Raises:
        RunError: if it names none.
    """
    try:
        channels, height, width = config["images"]["shape"]
        record = config["recipe"]
        recipe = recipes.get(record["name"], ImageSpec(channels, height, width), record["arguments"])
        return recipe, Settings.from_json(config["training"])
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"{folder / 'config.json'} cannot be used ({error}); restore it, or train again"
        ) from None


def _alphabet(model: VAE) -> Alphabet | None:
    """What a space's points are written in, where they are rows of codes."""
    family = copy.deepcopy(model.encoder.family).cpu()  # latents lie there
    return family if isinstance(family, Alphabet) else None


def _prior_from(record: dict[str, Any], model: VAE, folder: Path) -> Prior:
    """The prior that was fitted after training, still without its weights."""
    latent = int(model.decoder.network.input_shape[0])
    try:
        prior = fitted_prior(record["name"], latent, record["arguments"], _alphabet(model))
        return prior.requires_grad_(False)
    except (KeyError, TypeError, UsageError) as error:
        raise RunError(
            f"the prior in {folder / 'config.json'} cannot be made ({error}); restore it, or fit another"
        ) from None


def _load_latents(folder: Path, classes: tuple[str, ...]) -> Latents | None:
    """The cache of latents, if it is there, whole, and of these weights."""
    path = folder / "latents.safetensors"
    if not path.is_file():
        return None
    try:
        with safe_open(path, "np") as file:
            if (file.metadata() or {}).get("model_sha256") != checkpoint.sha256(folder / "model.safetensors"):
                return None
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return Latents(**arrays, classes=classes)
    except Exception:  # a damaged cache is as good as none: it is made again
        return None
