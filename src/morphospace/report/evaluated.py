"""What an evaluation found: the doctor's words, every figure with its error, and the embedding beside PCA."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from morphospace.evaluation import ORDINARY, Evaluation, read_evaluation
from morphospace.plots import paired_bars
from morphospace.report.facts import Facts
from morphospace.report.page import Drawing, Section, Table

__all__ = ["evaluated"]

TITLE = "Evaluation"
BESIDE = {
    "knn_1": "1-NN accuracy",
    "knn_5": "5-NN accuracy",
    "knn_10": "10-NN accuracy",
    "linear_probe": "linear probe accuracy",
    "kmeans_nmi": "k-means NMI",
    "silhouette": "silhouette",
    "trustworthiness": "trustworthiness",
    "continuity": "continuity",
}
"""Measures that are drawn beside those of PCA, and how they are called."""


def evaluated(facts: Facts) -> Section:
    """The figures of ``evaluation.json``; where there is none, how to have them measured."""
    folder = facts.space.folder
    assert folder is not None
    found = read_evaluation(folder)
    if found is None:
        return Section(
            "evaluation",
            TITLE,
            "This run has not been evaluated. “morphospace evaluate” with the run's folder measures log p(x), "
            "reconstructions, the use of the latent space, the embedding, disentanglement and samples.",
        )
    tables = [_findings(found)] if found.findings else []
    tables += [_figures(part) for part in found.parts.values() if part["figures"]]
    notes = [(part["title"], note) for part in found.parts.values() for note in part["notes"]]
    if notes:
        tables.append(Table(notes, ("part", "note"), "What must be known to read these figures"))
    return Section("evaluation", TITLE, _words(found), _beside_pca(found, facts), tables)


def _words(found: Evaluation) -> str:
    figures = found.parts.get("likelihood", {}).get("figures", {})
    words = ""
    if "doctor" in found.parts:
        names = ", ".join(finding["name"] for finding in found.findings)
        words = f"The doctor finds: {names}. " if names else "The doctor finds nothing wrong. "
    exact, bound = figures.get("nll_exact"), figures.get("neg_elbo")
    if exact and exact["images"] == bound["images"]:  # it may be known of some of them only, of other cost
        words += (
            f"A {_split(found, 'likelihood')} image costs exactly {exact['value']:.2f} ± {exact['error']:.2f} nats "
            f"(by quadrature, to {exact['extra']['quadrature_error']:.1g}); the −ELBO is {bound['value']:.2f}, so the "
            f"encoder's posteriors give away {figures['elbo_gap']['value']:.2f}. "
        )
    elif "nll_importance" in figures:
        weighted = figures["nll_importance"]
        words += (
            f"A {_split(found, 'likelihood')} image costs at most {weighted['value']:.2f} ± {weighted['error']:.2f} "
            f"nats ({weighted['draws']:,} importance-weighted draws). "
        )
    missing = [name for name in ORDINARY if name not in found.parts]
    if missing:
        words += f"Not measured: {', '.join(missing)}. "
    return words + "Every figure stands with its error; evaluation.json defines each."


def _split(found: Evaluation, part: str) -> str:
    split: str = found.parts[part]["settings"]["split"]
    return {"train": "training"}.get(split, split)


def _findings(found: Evaluation) -> Table:
    rows = [(f["name"], f["words"], f["remedy"]) for f in found.findings]
    return Table(rows, ("finding", "what is wrong", "what to change"), "What the doctor says")


def _figures(part: Mapping[str, Any]) -> Table:
    rows = [
        (name.replace("_", " "), _value(figure), figure["definition"] + _more(figure))
        for name, figure in part["figures"].items()
    ]
    settings = part["settings"]
    title = f"{part['title']} ({settings['images']:,} {settings['split']} images, {part['seconds']:.0f} s)"
    return Table(rows, ("", "value", "what it is"), title)


def _value(figure: Mapping[str, Any]) -> str:
    """A value to as many places as its error has meaning, or to four figures."""
    value, error, unit = figure["value"], figure.get("error"), figure.get("unit", "")
    if value is None:
        return "not finite"
    if not error:
        told = f"{value:,.0f}" if float(value).is_integer() else f"{value:.4g}"
    else:
        places = max(0, 1 - math.floor(math.log10(error)))
        told = f"{value:,.{places}f} ± {error:,.{places}f}"
    return f"{told} {unit}".rstrip().replace("-", "−")


def _more(figure: Mapping[str, Any]) -> str:
    """What else belongs to a figure, where it is short enough to be read."""
    extra = figure.get("extra", {})
    if not 0 < len(extra) <= 10:
        return ""
    each = ", ".join(
        f"{name.replace('_', ' ')} {value:.4g}" for name, value in extra.items() if value is not None
    )
    return f" ({each})".replace("-", "−") if each else ""


def _beside_pca(found: Evaluation, facts: Facts) -> list[Drawing]:
    figures = found.parts.get("embedding", {}).get("figures", {})
    keys = [key for key in BESIDE if key in figures and f"pca_{key}" in figures]
    if not keys:
        return []
    pairs = [[figures[key], figures[f"pca_{key}"]] for key in keys]
    values = np.array([[figure["value"] for figure in pair] for pair in pairs])
    errors = np.array([[figure.get("error", math.nan) for figure in pair] for pair in pairs])
    dimensions = facts.space.dimensions
    drawing = paired_bars(
        [BESIDE[key] for key in keys],
        values,
        errors,
        ("this space", f"PCA, {dimensions} dimensions"),
        title="The latent means as an embedding, beside PCA",
    )
    better = int((values[:, 0] > values[:, 1]).sum())
    caption = (
        f"Accuracies are on {_split(found, 'embedding')} images, the rest on training images; higher is better in all. "
        f"The space is ahead of PCA with as many dimensions in {better} of {len(keys)}. Lines at the ends of the bars "
        "are standard errors (for k-means, the spread over its starts)."
    )
    alt = f"Pairs of bars, this space and PCA: {', '.join(BESIDE[key] for key in keys)}."
    return [Drawing("embedding", drawing, alt, caption, "svg")]
