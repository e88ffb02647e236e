"""`Space`: a trained model with all that is needed to use it, as an object and as a folder."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from safetensors import safe_open
from torch import Tensor

import morphospace
from morphospace import recipes
from morphospace.coarse import Steps
from morphospace.data.images import Images
from morphospace.data.labels import chosen
from morphospace.distributions import Alphabet, Distribution
from morphospace.families import Masked
from morphospace.files import write_text
from morphospace.imputation import Imputed, as_mask, impute
from morphospace.latents import Latents, Prototypes
from morphospace.model import VAE, Labels
from morphospace.networks import count_parameters
from morphospace.pretrained import comes_with_the_package, place_of
from morphospace.priors import SAMPLER, Encoded, Fitted, Prior, fit_prior, fitted_prior, sampler_arguments
from morphospace.recipes import Recipe
from morphospace.refining import JUDGED
from morphospace.refining import refine as refined
from morphospace.seeds import seed_of, seeded
from morphospace.settings import Settings
from morphospace.training import checkpoint
from morphospace.training.config import config_sha256, read_config, require_same_images, write_config
from morphospace.training.device import channels_last, pick_device
from morphospace.training.feed import Incomplete, to_unit
from morphospace.training.measure import chunk_size
from morphospace.types import ImageSpec, Progress, RunError, UsageError, silent

__all__ = ["Classes", "Space"]

Classes = str | int | Sequence[str] | Sequence[int] | NDArray[Any] | Tensor
"""One class for all, or one for each of N: by its name, or by its position in `Space.classes`; or (N, Y) weights of
all Y classes, whose rows sum to one: a picture between two classes has a part of each."""


@dataclass(eq=False)
class Space:
    """A trained model: weights, recipe, image shape, class names, and the latents of the images it learned from.

    Attributes:
        model: the network, with the weights that were kept.
        recipe: what it was built from.
        config: ``config.json``: recipe, images, training settings, machine, versions.
        results: ``results.json``: the final figures, in nats and seconds.
        latents: the posteriors of the images it was trained and tested on; None where the cache was deleted.
        sampler: a mixture fitted to them after training, from which samples are drawn; None where the prior itself is
            drawn from, and before it is fitted.
        folder: where the run lies, or None.
    """

    model: VAE
    recipe: Recipe
    config: dict[str, Any]
    results: dict[str, Any]
    latents: Latents | None = None
    folder: Path | None = None
    sampler: Fitted | None = None

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

    @property
    def own_folder(self) -> Path | None:
        """Where what is made of it is written: its folder; None without one, and if it came with the package."""
        return None if self.folder is None or comes_with_the_package(self.folder) else self.folder

    @property
    def conditional(self) -> bool:
        """Whether its decoder is told the class of what it decodes: ``labels`` must then be said."""
        return self.model.decoder.classes > 0

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
    def encode(
        self,
        images: Images | NDArray[Any] | Tensor,
        progress: Progress = silent,
        labels: Classes | None = None,
        refine: int = 0,
    ) -> Distribution:
        """q(z given x) of N images, in order; an embedding is its ``.mean``, (N, D).

        Args:
            images: `Images`, or uint8 pixels (N, C, H, W), or floats of that shape in [0, 1]; nan where pixels are
                missing, for a recipe that allows it.
            progress: told of each chunk.
            labels: for an encoder that is told of classes, and images that bring none: see `Classes`.
            refine: steps of gradient descent on each image's own posterior, from where the encoder puts it (see
                `morphospace.refining`); 150 are plenty, and take a hundred times as long as encoding.

        Raises:
            UsageError: for images of another shape, or other values; for labels that are missing or unknown; for
                posteriors that cannot be refined.
        """
        pixels = self._pixels_of(images)
        classes = self.model.classes if refine else self.model.encoder.classes
        if labels is None and isinstance(images, Images) and classes:
            labels = self._own_labels(images)
        if labels is None and self.model.classifier is not None and len(pixels):
            labels = self.classify(images).argmax(1)
        y = self._told(classes, labels, len(pixels), "model" if refine else "encoder")
        ready = partial(_as_pixels, missing=isinstance(self.model.decoder.family, Masked))
        inputs: NDArray[Any] | Tensor | Incomplete = pixels
        if isinstance(images, Images) and images.observed is not None:
            inputs = Incomplete(images.pixels, images.observed)
        compute, draws = self.model.encoder.parameters_of, 1
        if refine:
            if reason := self.recipe.build().objective.unnormalised:
                raise UsageError(
                    f"posteriors of this space cannot be refined, since it has no −ELBO: {reason}"
                )
            compute, draws = partial(refined, self.model, steps=refine), JUDGED
        with seeded(self.settings.seed, "refining"):
            h = self._stream(compute, inputs, "encoding", progress, ready, labels=y, draws=draws)
        # The parameters came back chunk by chunk; a family with weights of its own must lie beside them,
        # and they were made without a graph, so it may not ask for one.
        q: Distribution = copy.deepcopy(self.model.encoder.family).cpu().requires_grad_(False)(h)
        return q

    @torch.inference_mode()
    def decode(
        self, z: ArrayLike | Tensor, progress: Progress = silent, labels: Classes | None = None
    ) -> Tensor:
        """The mean images (N, C, H, W), values in [0, 1], at N points (N, D).

        Args:
            z: the points.
            progress: told of each chunk.
            labels: for a decoder that is told of classes, what the images are to be of: see `Classes`.

        Raises:
            UsageError: for points of another dimension, or that are not finite numbers; for labels that are missing or
                unknown.
        """
        z = z if isinstance(z, Tensor) else np.asarray(z)
        if z.ndim != 2 or z.shape[1] != self.dimensions:
            raise UsageError(
                f"the points have shape {tuple(z.shape)}; this space takes (N, {self.dimensions})"
            )

        def mean(h: Tensor) -> Tensor:
            images: Tensor = self.model.decoder.family(h).mean
            return images

        y = self._told(self.model.decoder.classes, labels, len(z), "decoder")
        images = self._stream(
            self.model.decoder.parameters_of, z, "decoding", progress, _as_points, mean, y
        ).contiguous()
        if not images.isfinite().all():
            raise UsageError(
                "the decoder gives no finite images there: the points lie too far from where the images are, such as "
                f"{float(torch.as_tensor(z).abs().max()):.3g}"
            )
        return images

    @torch.inference_mode()
    def classify(self, images: Images | NDArray[Any] | Tensor, progress: Progress = silent) -> Tensor:
        """The probability of each class for each of N images, (N, Y), of a space that learned to tell (``m2``).

        Raises:
            UsageError: for images of another shape, or a space without a classifier.
        """
        if self.model.classifier is None:
            raise UsageError("this space has no classifier; train 'm2' for one")
        compute = self.model.classifier.parameters_of
        h = self._stream(compute, self._pixels_of(images), "classifying", progress, _as_pixels)
        return h.float().softmax(-1)

    def _pixels_of(self, images: Images | NDArray[Any] | Tensor) -> NDArray[Any] | Tensor:
        pixels = images.pixels if isinstance(images, Images) else images
        if tuple(pixels.shape[1:]) != self.spec.shape:
            expected = ", ".join(map(str, self.spec.shape))
            raise UsageError(f"the images have shape {tuple(pixels.shape)}; this space takes (N, {expected})")
        return pixels

    def impute(
        self,
        images: Images | NDArray[Any] | Tensor,
        observed: NDArray[np.bool_] | Tensor | None = None,
        *,
        draws: int = 1000,
        ways: int = 10,
        seed: int = 0,
        labels: Classes | None = None,
        progress: Progress = silent,
    ) -> Imputed:
        """What is missing from N images, given what is there, by importance weighting; a function of the seed.

        Args:
            images: as in `encode`; floats may be nan where they are not known.
            observed: (N, H, W), (N, 1, H, W) or (N, C, H, W), true where a pixel is known; None: all that are not nan.
            draws: points of the space that are weighted, for each image; more where `Imputed.effective` is small.
            ways: of them, how many are drawn as ways in which the image could be.
            seed: of the draws.
            labels: as in `encode`.
            progress: told of each chunk.

        Raises:
            UsageError: for images or a mask of another shape, a space without a likelihood, or one whose pixels hang on
                one another.
        """
        pixels = self._pixels_of(images)
        if draws < 1 or ways < 1:
            raise UsageError(f"{draws} draws and {ways} ways were asked for; expected at least one of each")
        if reason := self.recipe.build().objective.unnormalised:
            raise UsageError(f"this space has no likelihood to weigh by: {reason}")
        known = None if observed is None else as_mask(observed, len(pixels), self.spec)
        if isinstance(images, Images) and images.observed is not None:
            own = torch.from_numpy(images.observed)
            known = own if known is None else known & own
        if labels is None and isinstance(images, Images):
            labels = self._own_labels(images)
        told = self.model.encoder.classes or self.model.decoder.classes
        y = self._told(told, labels, len(pixels), "model")
        device = next(self.model.parameters()).device
        size, parts = chunk_size(self.spec.pixels, draws), []
        for start in range(0, max(len(pixels), 1), size):
            some = slice(start, start + size)
            chunk = pixels[some] if isinstance(pixels, Tensor) else torch.from_numpy(np.array(pixels[some]))
            x = _as_pixels(chunk, missing=True).to(device)
            x = x if known is None else x.masked_fill(~known[some].to(device), torch.nan)
            with seeded(seed, "impute", start):
                parts.append(impute(self.model, x, draws, ways, None if y is None else y[some].to(device)))
            progress("imputing", min(start + size, len(pixels)), len(pixels))
        return Imputed(
            torch.cat([part.mean for part in parts]).cpu(),
            torch.cat([part.draws for part in parts], 1).cpu(),
            torch.cat([part.effective for part in parts]).cpu(),
        )

    def sample(self, n: int, seed: int = 0, labels: Classes | None = None, *, prior: bool = False) -> Tensor:
        """Mean images (n, C, H, W) at ``n`` points as `draw` gives them; a function of the seed.

        ``labels`` say what they are to be of, where a part of the space is told of classes: see `Classes`.
        """
        return self.decode(self.draw(n, seed, labels, prior=prior), labels=labels)

    @torch.inference_mode()
    def draw(self, n: int, seed: int = 0, labels: Classes | None = None, *, prior: bool = False) -> Tensor:
        """``n`` points (n, D) from where the encoder puts the training images, by the space's sampler.

        The prior p(z), of which −ELBO and likelihoods speak, also has mass where no image is ever encoded, and the
        decoder makes nothing there that anybody would recognise. A space with a fitted prior draws from that; from
        their own prior draw a space whose points are not any numbers (a sphere, a ball, choices) and one that is told
        of classes.

        Args:
            n: how many.
            seed: the points are a function of it.
            labels: of which classes, for a prior that is told of them: see `Classes`.
            prior: draw from the model's own prior p(z).

        Raises:
            UsageError: for fewer than one, or labels that the space does not take.
            RunError: if the sampler is missing and the latents, to which it could be fitted, too.
        """
        if n < 1:
            raise UsageError(f"{n} samples were asked for; expected at least 1")
        y = self._told(0, labels, n, "prior")  # without labels, a prior that is told of classes is their mean
        fitted = None if prior else self.fit_sampler()
        with torch.random.fork_rng():
            torch.manual_seed(seed_of(seed, "sample"))
            each = y is not None and self.model.prior.classes > 0
            if fitted is not None:
                law = fitted(self.model.encoder)
            else:
                law = self.model.prior_of(None if y is None else y.to(next(self.model.parameters()).device))
            points: Tensor = law.rsample(torch.Size(() if each else (n,)))
            return points.cpu()

    @property
    def draws_from_prior(self) -> bool:
        """Whether samples come from the prior: a fitted one is a sampler; other spaces than a plane, and those that are
        told of classes, have none.
        """
        return "prior" in self.config or self.model.classes > 0 or not self.model.encoder.family.plane

    @cached_property
    def former_prior(self) -> Prior | None:
        """The prior that the model was trained with, where `with_prior` put another in its place; None elsewhere, and
        where it had learned something, since that is gone.
        """
        if "prior" not in self.config:
            return None
        made = self.recipe.build().model.prior
        return None if made.state_dict() else made.to(next(self.model.parameters()).device).eval()

    def fit_sampler(self, progress: Progress = silent) -> Fitted | None:
        """The sampler, fitted to the training images' latents where that has not been done; None if it is the prior.

        Raises:
            RunError: if it must be fitted and the latents are gone.
        """
        if self.sampler is None and not self.draws_from_prior:
            latents = self.known_latents()
            train = latents.learned
            arguments = sampler_arguments(self.dimensions, len(train))
            made = fit_prior(SAMPLER, train.mean, train.scale, arguments, self.settings.seed, progress)
            assert isinstance(made, Fitted)
            self.sampler = made
        return self.sampler

    def _own_labels(self, images: Images) -> list[str] | None:
        """The labels that images bring, by name: another set may count its classes otherwise."""
        told = self.model.classes and images.labels is not None
        return [images.classes[c] for c in images.labels] if told and images.labels is not None else None

    def _told(self, classes: int, labels: Classes | None, count: int, part: str) -> Tensor | None:
        """Labels for a part that is told of so many classes, or of none."""
        if labels is None:
            if classes:
                raise UsageError(
                    f"the {part} of this space is told the class of each image: say labels, such as "
                    f"labels='{self.classes[0]}' or --label '{self.classes[0]}', or one for each. Known: "
                    f"{', '.join(self.classes)}"
                )
            return None
        if not self.model.classes:
            raise UsageError(
                "no part of this space is told of classes: it takes no labels. Train 'cvae' for one"
            )
        return torch.from_numpy(chosen(labels, self.classes, count))

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

    def with_prior(
        self,
        name: str,
        *,
        images: Images | None = None,
        seed: int = 0,
        progress: Progress = silent,
        **arguments: Any,
    ) -> Space:
        """This space with a prior fitted to where its encoder puts the training images, from which samples are drawn.

            space.with_prior("mixture", components=10).sample(64)

            space.with_prior("vamp", images=images).sample(64)

            space.with_prior("autoregressive").sample(64)  # of a space whose points are rows of codes

        Args:
            name: "mixture", of normals; "flow" (needs the extra `flows`); "two-stage", a second VAE, which has no
            density; or "vamp", the encoder's own posteriors of pseudo-inputs. Of rows of codes: "autoregressive".
            images: those that the space was trained on, for "vamp", whose pseudo-inputs begin as some and lie
                in the new space's file.
            seed: the prior is a function of it and of the latents.
            progress: told of the fit.
            arguments: of the prior (see `morphospace.priors.fit_prior`).

        Returns:
            Another space, of no folder yet; ``save`` writes it. Figures that were measured with the old prior are left
            out.

        Raises:
            UsageError: for a name or argument that does not exist, or a space whose points are neither any numbers nor
            rows of codes; for "vamp" without images, or an encoder that is told of classes.
            RunError: for images that are not those of the space; where its latents are gone.
        """
        alphabet = _alphabet(self.model)
        if alphabet is None and not self.model.encoder.family.plane:
            raise UsageError(
                f"the points of this space ({type(self.model.encoder.family).__name__}) are not any {self.dimensions} "
                "numbers, as those of a fitted prior are; train with another posterior, such as that of 'vae'"
            )
        latents = self.known_latents()
        train = latents.learned
        encoded = None if images is None else self._encoded(images)
        prior = fit_prior(name, train.mean, train.scale, arguments, seed, progress, alphabet, encoded)
        model = copy.deepcopy(self.model)
        model.prior = prior.to(next(model.parameters()).device).eval()
        config = {**self.config, "prior": {"name": name, "arguments": arguments, "seed": seed}}
        results = {key: value for key, value in self.results.items() if key not in ("test", "train")}
        if "parameters" in results:
            results["parameters"] = {**results["parameters"], "prior": count_parameters(prior)}
        return replace(self, model=model, config=config, results=results, folder=None, sampler=None)

    def _encoded(self, images: Images) -> Encoded:
        """The images of the training latents, in their order, and this space's encoder."""
        require_same_images(images, self.config, self.folder or Path("this space"))
        if self.model.encoder.classes:
            raise UsageError(
                "the encoder of this space is told the class of each image, so that a pseudo-input, which has none, "
                "has no posterior; fit 'mixture'"
            )
        train = images.train if (images.splits == 0).any() else images
        return Encoded(
            torch.from_numpy(np.array(train.pixels)), copy.deepcopy(self.model.encoder).cpu().eval()
        )

    def _stream(
        self,
        compute: Callable[[Tensor, Labels | None], Tensor],
        inputs: NDArray[Any] | Tensor | Incomplete,
        what: str,
        progress: Progress,
        ready: Callable[[Tensor], Tensor],
        after: Callable[[Tensor], Tensor] = lambda h: h,
        labels: Tensor | None = None,
        draws: int = 1,
    ) -> Tensor:
        """A conditional's parameters for any number of inputs, chunk by chunk, each made ``ready`` first."""
        device = next(self.model.parameters()).device
        size = chunk_size(self.spec.pixels, draws)
        parts = []
        for start in range(0, max(len(inputs), 1), size):
            chunk = inputs[start : start + size]
            chunk = chunk if isinstance(chunk, Tensor) else torch.from_numpy(np.array(chunk))
            if chunk.dtype == torch.float64:
                chunk = chunk.float()  # before the move: not every device has float64
            y = None if labels is None else labels[start : start + size].to(device)
            parts.append(after(compute(ready(chunk.to(device)), y)).cpu())
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
        if self.sampler is not None:
            self.save_sampler(path)
        self.folder = path

    def save_latents(self, folder: Path, coarse: Mapping[str, Steps] | None = None) -> None:
        """Write the cache of latents, tagged with the weights they belong to; ``coarse`` names arrays to round."""
        assert self.latents is not None
        arrays = {
            name: value
            for name in ("mean", "scale", "splits", "labels")
            if (value := getattr(self.latents, name)) is not None
        }
        owner = checkpoint.sha256(folder / "model.safetensors")
        checkpoint.save_arrays(folder / "latents.safetensors", arrays, owner, coarse)

    def save_sampler(self, folder: Path) -> None:
        """Write the sampler, tagged with the weights that it belongs to, and with what it was made by."""
        assert self.sampler is not None
        made = {
            "name": self.sampler.name,
            "arguments": self.sampler.arguments,
            "model_sha256": checkpoint.sha256(folder / "model.safetensors"),
        }
        about = json.dumps(made)
        checkpoint.save_tensors(folder / "sampler.safetensors", self.sampler.state_dict(), {"about": about})

    @classmethod
    def load(cls, folder: str | os.PathLike[str], device: str = "cpu") -> Space:
        """The space that a finished run holds, or one that comes with the package, by its name: "fashion-mnist".

        Args:
            folder: of the run, or the name; a folder of that name, where one is, wins.
            device: "cpu", "cuda", "mps", or "auto" for the fastest there is.

        Raises:
            UsageError: if this machine lacks the device.
            RunError: if the folder is not a finished run, or is damaged; for a name that stands for neither.
        """
        path = place_of(folder)
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
            if not isinstance(results, dict):
                raise ValueError("results.json holds no figures by name")
        except (OSError, ValueError) as error:
            raise RunError(f"{path} is damaged ({str(error).splitlines()[0]}); train again") from None
        space = cls(channels_last(model.to(pick_device(device))).eval(), recipe, config, results, folder=path)
        space.latents = _load_latents(path, space.classes)
        space.sampler = _load_sampler(path, space.dimensions)
        return space


def _as_pixels(chunk: Tensor, *, missing: bool = False) -> Tensor:
    """Images as numbers in [0, 1], or nan if pixels may be ``missing``; whole numbers of another kind than uint8 could
    be pixels of any range.
    """
    if chunk.dtype == torch.uint8:
        return to_unit(chunk)
    kind = str(chunk.dtype).removeprefix("torch.")
    if not chunk.dtype.is_floating_point:
        raise UsageError(f"the images are {kind}; expected uint8 from 0 to 255, or floats from 0 to 1")
    known = chunk[~chunk.isnan()]
    if not missing and known.numel() < chunk.numel():
        raise UsageError(
            "some pixels are nan, and this space needs all: space.impute fills them in; 'missing-pixels' trains on such"
        )
    if known.numel() and not (known.min() >= 0 and known.max() <= 1):
        raise UsageError(
            f"the images hold values from {known.min():g} to {known.max():g}; expected floats from 0 to 1, or uint8"
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
        spec = ImageSpec(*model.encoder.network.input_shape)
        prior = fitted_prior(record["name"], latent, record["arguments"], _alphabet(model), spec)
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
        owner, arrays = checkpoint.load_arrays(path)
        if owner != checkpoint.sha256(folder / "model.safetensors"):
            return None
        return Latents(**arrays, classes=classes)
    except Exception:  # a damaged cache is as good as none: it is made again
        return None


def _load_sampler(folder: Path, latent: int) -> Fitted | None:
    """The sampler, if it is there, whole, and of these weights."""
    path = folder / "sampler.safetensors"
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {})["about"])
        if about["model_sha256"] != checkpoint.sha256(folder / "model.safetensors"):
            return None
        sampler = fitted_prior(about["name"], latent, about["arguments"])
        assert isinstance(sampler, Fitted)
        sampler.load_state_dict(checkpoint.load_tensors(path))
        return sampler.requires_grad_(False).eval()
    except Exception:  # a damaged one is as good as none: it is fitted again
        return None
