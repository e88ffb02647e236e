"""The table of a run: what was measured, and all that is needed to say how."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from morphospace.data.images import SPLITS
from morphospace.families import Likelihood
from morphospace.report.facts import Facts
from morphospace.report.page import Section, Table, counted, measured_terms
from morphospace.space import Space

__all__ = [
    "bound_words",
    "duration",
    "measured_rows",
    "numbers",
    "pixel_words",
    "processor",
    "source_words",
    "split_counts",
]

MOST_SKIPPED = 100


def numbers(facts: Facts) -> Section:
    """Every number of the run."""
    config, results = facts.space.config, facts.space.results
    tables = [
        Table(measured_rows(facts.space), _measured_head(results), numbers=True),
        Table(_training(config, results), title="Training"),
        Table(_machine(config, results), title="Machine and versions"),
        Table(_data(config["images"]), title="Images"),
    ]
    skipped = config["images"]["skipped"]
    if skipped:
        rows = [(entry["path"], entry["reason"]) for entry in skipped[:MOST_SKIPPED]]
        more = f", the first {MOST_SKIPPED}" if len(skipped) > MOST_SKIPPED else ""
        tables.append(Table(rows, ("file", "reason"), f"Skipped files ({len(skipped)}{more})"))
    words = (
        "Nats per image, summed over pixels and latent dimensions; draws of z are averaged. Lower is better. "
        + bound_words(facts.space)
        + " "
        + pixel_words(facts.space)
    ).rstrip()
    if "test" not in results:
        words += " The run has no test images, so there is nothing but the training images to measure on."
    return Section("numbers", "The numbers", words, tables=tables)


def bound_words(space: Space) -> str:
    """What −ELBO is, or why there is none."""
    if reason := space.recipe.unnormalised:
        return f"There is no −ELBO, since the model has no likelihood: {reason}."
    return "−ELBO = distortion + rate, always with β = 1."


PIXELS = {
    "binary": "Pixels are Bernoulli: of values between black and white −ELBO is a cross-entropy and no density, to be "
    "compared only between runs on the same images.",
    "levels": "Pixels are one of 256 levels, each with a probability: −ELBO bounds the length of a code, in nats.",
    "unit": "Pixels have a density on [0, 1]: −ELBO may be negative, and compares only with that of other densities.",
    "real": "Pixels have a density, normal or Laplace: −ELBO may be negative, and compares only with that of other "
    "densities.",
}
"""What −ELBO is of, by what the likelihood is a law of."""


def pixel_words(space: Space) -> str:
    """What law the pixels have; nothing of a model without a likelihood."""
    family = space.model.decoder.family
    return "" if space.recipe.unnormalised or not isinstance(family, Likelihood) else PIXELS[family.support]


def measured_rows(space: Space) -> list[list[str]]:
    """−ELBO, distortion and rate, as far as there are any, draws and images; a column for each split measured."""
    results = space.results
    splits = [results[name] for name in ("test", "train") if name in results]
    rows = [
        [f"{label} (nats)", *(f"{split[key]:.2f}" for split in splits)]
        for label, key in measured_terms(space)
    ]
    rows.append(["draws of z per image", *(str(split["draws"]) for split in splits)])
    rows.append(["images", *(f"{split['images']:,}" for split in splits)])
    if any("accuracy" in split for split in splits):
        rows.append(
            [
                "labels that the classifier says",
                *(f"{split.get('accuracy', math.nan):.1%}" for split in splits),
            ]
        )
    return rows


def _measured_head(results: Mapping[str, Any]) -> list[str]:
    return ["", *(name for name in ("test", "train") if name in results)]


def _training(config: Mapping[str, Any], results: Mapping[str, Any]) -> list[tuple[str, str]]:
    settings, recipe, parts = config["training"], config["recipe"], results.get("parameters", {})
    arguments = ", ".join(f"{key} = {value}" for key, value in sorted(recipe["arguments"].items()))
    rows = [("recipe", f"{recipe['name']} ({arguments})" if arguments else recipe["name"])]
    if parts:
        each = ", ".join(f"{name} {count:,}" for name, count in parts.items() if count)
        rows.append(("parameters", f"{sum(parts.values()):,} ({each})"))
    if "steps" in results:
        rows.append(
            ("steps", f"{results['steps']:,} of {settings['batch']} images, {results['epochs']:g} epochs")
        )
    if "seconds" in results:
        rows.append(("time", duration(results["seconds"])))
        rows.append(("speed", f"{results['images_per_second']:,.0f} images/s"))
    rate = f"{settings['optimizer']}, learning rate {settings['lr']:g}, {settings['schedule']} schedule"
    rows += [("optimizer", rate), ("precision", settings["precision"]), ("seed", str(settings["seed"]))]
    return rows


def _machine(config: Mapping[str, Any], results: Mapping[str, Any]) -> list[tuple[str, str]]:
    versions = {"morphospace": config["version"], **config["versions"]}
    rows = [
        ("machine", processor(config)),
        ("versions", ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))),
    ]
    finished = results.get("finished_on", {})
    if any(versions.get(name) != version for name, version in finished.items()):
        rows.append(("finished on", ", ".join(f"{name} {version}" for name, version in finished.items())))
    return rows


def _data(images: Mapping[str, Any]) -> list[tuple[str, str]]:
    channels, height, width = images["shape"]
    kind = {1: "grey", 3: "RGB"}.get(channels, f"{channels} channels")
    return [
        ("source", source_words(images)),
        ("shape", f"{height}×{width}, {kind}"),
        ("counts", split_counts(images)),
        ("classes", ", ".join(images["classes"]) or "none"),
        ("SHA-256 of the content", images["sha256"]),
        ("how files became pixels", "; ".join(_flat(images["policy"])) or "not recorded"),
        ("skipped files", counted(len(images["skipped"]), "file") if images["skipped"] else "none"),
    ]


def source_words(images: Mapping[str, Any]) -> str:
    """Where the images came from."""
    source = images["source"].get("source", "array")
    options = [f"{key} = {value}" for key, value in sorted(images["source"].items()) if key != "source"]
    return ", ".join(["arrays in Python" if source == "array" else str(source), *options])


def split_counts(images: Mapping[str, Any]) -> str:
    """How many images each split has, in the splits' order."""
    counts = images["counts"]
    return ", ".join(f"{counts[name]:,} {name}" for name in SPLITS if counts.get(name))


def _flat(policy: Mapping[str, Any], prefix: str = "") -> list[str]:
    """A policy's entries, nested ones too, as "name: value"."""
    entries = []
    for key, value in sorted(policy.items()):
        name = f"{prefix}{str(key).replace('_', ' ')}"
        if isinstance(value, dict):
            entries += _flat(value, f"{name}, ")
        else:
            entries.append(f"{name}: {'×'.join(map(str, value)) if isinstance(value, list) else value}")
    return entries


def processor(config: Mapping[str, Any]) -> str:
    """The machine in words."""
    machine = config["machine"]
    words = f"{machine['processor']}, {machine['system']}, {counted(machine['threads'], 'thread')}"
    return f"{machine['accelerator']}; {words}" if machine.get("accelerator") else words


def duration(seconds: float) -> str:
    """Seconds in words: "94.0 s", or "31 min 12 s (1,872 s)"."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60)} s ({seconds:,.0f} s)"
