"""The model card: the run's README.md."""

from __future__ import annotations

import json
import re
from typing import Any

from morphospace.atlas import read_estimates
from morphospace.report.numbers import (
    bound_words,
    duration,
    measured_rows,
    pixel_words,
    processor,
    source_words,
    split_counts,
)
from morphospace.report.page import counted
from morphospace.space import Space

__all__ = ["card_text", "compared_with_run"]

RUN_FIGURES = "Figures: `figures/`; all of them explained: `report.html`."
PACKED_FIGURES = "Figures of its map, with their definitions and errors: `atlas.json`."


def card_text(space: Space) -> str:
    """The card in Markdown."""
    config, results = space.config, space.results
    name = space.folder.name if space.folder else "space"
    arguments = ", ".join(f"`{key}={value}`" for key, value in sorted(config["recipe"]["arguments"].items()))
    images = config["images"]
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    classes = ", ".join(plain(c) for c in images["classes"]) or "none"
    packed = "packed" in config
    told = f", labels={json.dumps(space.classes[0], ensure_ascii=False)}" if space.conditional else ""
    return f"""# {plain(name)}

A variational autoencoder's space of {counted(space.dimensions, "dimension")} for images of {space.spec}, made with
Morphospace {plain(config["version"])}. Every point of the space decodes to an image.

- Recipe: `{config["recipe"]["name"]}`{f" with {arguments}" if arguments else ""}
- Images: {split_counts(images)}; source {plain(source_words(images))};
  content SHA-256 `{images["sha256"]}`
- Classes: {classes}
- Training: {_training(config, results)}
- Machine: {plain(processor(config))}
{_packed(space) if packed else ""}
## Measured

{_table(space)}

Nats per image. {bound_words(space)} {PACKED_FIGURES if packed else RUN_FIGURES}

## Use

```python
import morphospace as ms

space = ms.Space.load("{quoted}")  # the path of this folder
images = space.sample(16, seed=0{told})  # (16, {", ".join(map(str, space.spec.shape))}), values in [0, 1]
again = space.decode(space.encode(images{told if space.model.encoder.classes else ""}).mean{told})
```

## Limits

- It knows images like those above, of this size; of others it makes the nearest that it knows.
- Decoded images are means over what a point may stand for, so fine detail is blurred.
{_limit(space)}- `latents.safetensors` holds the latents of the training images; delete it before sharing a run of
  private images.
"""


def _limit(space: Space) -> str:
    words = pixel_words(space)
    return f"- {words}\n" if words else ""


def compared_with_run(space: Space) -> dict[str, tuple[float, float]]:
    """Figures of the run that a packed space was made from, as far as they were known, beside those of the copy."""
    before, found = space.results["before_packing"], {}
    for split in ("test", "train"):
        for name in ("neg_elbo", "distortion", "rate") if split in before and split in space.results else ():
            if name in before[split]:
                found[f"{split}_{name}"] = (before[split][name], space.results[split][name])
    mapped = None if space.folder is None else read_estimates(space.folder)
    if mapped is not None:
        known = before.get("atlas", {})
        found |= {name: (known[name], figure.value) for name, figure in mapped[0].items() if name in known}
    return found


def _packed(space: Space) -> str:
    """What was rounded, and what that did."""
    hidden = ("neg_elbo", "rate") if space.recipe.unnormalised else ()
    rows = [
        f"| {name} | {before:.5g} | {after:.5g} |"
        for name, (before, after) in compared_with_run(space).items()
        if not name.endswith(hidden)
    ]
    table = "\n".join(["| | the run | this copy |", "| --- | ---: | ---: |", *rows])
    return f"""\
- A small copy of a run, made by `morphospace pack`, without any image: weights are rounded to float16 (and compute
  in float32), latents and map are rounded too. All figures were measured anew.

{table}
"""


def _training(config: dict[str, Any], results: dict[str, Any]) -> str:
    words = f"seed {config['training']['seed']}, {config['training']['precision']}"
    if "steps" in results:
        words = f"{results['steps']:,} steps ({results['epochs']:g} epochs), {words}"
    return f"{words}, {duration(results['seconds'])}" if "seconds" in results else words


def _table(space: Space) -> str:
    splits = [name for name in ("test", "train") if name in space.results]
    rows = [["", *splits], ["---", *("---:" for _ in splits)], *measured_rows(space)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def plain(words: str) -> str:
    """Words that Markdown and HTML leave as they are, in one line."""
    return re.sub(r"([\\`*_{}\[\]<>|#])", r"\\\1", " ".join(str(words).split()))
