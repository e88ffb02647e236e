"""The model, and how it learned."""

from __future__ import annotations

import numpy as np

from morphospace.ladder import Descent
from morphospace.networks import ConvDecoder, Sight, count_parameters, layer_table
from morphospace.plots import Curve, architecture, learning_curves
from morphospace.report.facts import Facts
from morphospace.report.numbers import bound_words
from morphospace.report.page import Drawing, Section, counted, measured_terms
from morphospace.training.schedule import finish_from

__all__ = ["the_learning", "the_model"]


def the_model(facts: Facts) -> Section:
    """The architecture."""
    model, spec = facts.space.model, facts.space.spec
    encoder, decoder = model.encoder.network, model.decoder.network
    tables = layer_table(encoder), layer_table(decoder)
    q = model.encoder.family
    figure = architecture(*tables, spec.shape, facts.space.dimensions, reads=q.reads, gives=q.gives)
    sizes = [count_parameters(part) for part in (model.encoder, model.decoder)]
    caption = (
        "Read the encoder down the left, z at the foot, the decoder up the right. Shapes are height×width×channels; "
        "a box is the wider, the more values its layer puts out. The kernel and the stride stand beside the layer's "
        f"kind. Encoder: {counted(len(tables[0]), 'layer')}, {sizes[0]:,} parameters; decoder: "
        f"{counted(len(tables[1]), 'layer')}, {sizes[1]:,} parameters."
    )
    sights = [part for part in encoder.modules() if isinstance(part, Sight)]
    if sights:
        caption += (
            f" Beside the image the encoder is shown {sights[0].features} numbers, how well the decoder explains it at "
            f"{len(sights[0].places)} points of the plane and the posterior's Laplace approximation from the best of "
            "them: the second dense layer reads these, and what it puts out is added to the first one's."
        )
    if facts.space.recipe.finishes:
        caption += (
            " It was taught last, beside a decoder that rested; the decoder learned with an encoder that was shown "
            "the image alone."
        )
    if isinstance(decoder, ConvDecoder):
        caption += (
            " After a convolution of the decoder channels become height and width (sub-pixel convolution); shapes are "
            "those before that. Its dense layers of equal width come in pairs, and a way past each pair leads on "
            "unchanged (residual blocks)."
        )
        if isinstance(decoder.stem, Descent):
            caption += (
                f" The {facts.space.dimensions} dimensions of z enter in {len(decoder.stem.levels)} levels, one after "
                "the other; where a level enters, two layers more read what those above let one expect of it and bring "
                "it in."
            )
    alt = (
        f"Diagram of the layers: {len(tables[0])} of the encoder at the left lead to z, "
        f"{len(tables[1])} of the decoder at the right lead from z back to an image."
    )
    return Section(
        "architecture", "Architecture", drawings=[Drawing("architecture", figure, alt, caption, "svg")]
    )


def the_learning(facts: Facts) -> Section:
    """Both terms along the run."""
    curves = [curve for split in ("train", "test") if (curve := _curve(facts, split)) is not None]
    title = "Learning curves"
    if not curves:
        return Section("learning", title, "This run keeps no metrics.jsonl, so there are no curves to draw.")
    terms = measured_terms(facts.space)
    parts = []
    for curve in curves:
        where = "training" if curve.name == "train" else curve.name
        values = [(name, getattr(curve, key)) for name, key in terms]
        moves = [f"{name} from {along[0]:.1f} to {along[-1]:.1f}" for name, along in values]
        parts.append(f"on the {where} images {', '.join(moves)} nats")
    caption = (
        f"Lower is better. {bound_words(facts.space)} "
        f"From the first logged point to the last: {'; '.join(parts)}. "
        "Training values are means over the steps since the line before, with the weights as they learn"
        + (
            "; test values are of the weights that are kept."
            if len(curves) > 1
            else "; there are no test images."
        )
        + " The steepest beginning may lie outside the frame."
    )
    anew = None
    if facts.space.recipe.finishes:
        steps = facts.space.settings.steps or 1
        anew = float(curves[0].epoch[-1]) * finish_from(steps) / steps
        caption += " At the dashed line a new encoder begins, and the decoder rests from there on."
    shown, names = ", ".join(name for name, _ in terms), " and ".join(c.name for c in curves)
    alt = f"{counted(len(terms), 'panel')} against epochs: {shown}; for {names}."
    drawing = Drawing(
        "learning-curves", learning_curves(curves, [key for _, key in terms], anew), alt, caption, "svg"
    )
    return Section("learning", title, drawings=[drawing])


def _curve(facts: Facts, split: str) -> Curve | None:
    lines = [line for line in facts.metrics if line["split"] == split]
    if not lines:
        return None
    columns = (np.array([float(line[key]) for line in lines]) for key in ("epoch", "distortion", "rate"))
    return Curve(split, *columns)
