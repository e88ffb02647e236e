"""``docs/scoreboard.md``, made from the lines that `benchmarks.reproduce` keeps.

    python -m benchmarks.scoreboard            # rewrite the page
    python -m benchmarks.scoreboard --check    # fail if that would change anything

A row is a recipe with its arguments; where these have changed between runs, the newest are shown. Nothing on the page
is written by hand, and nothing is left out: what has no likelihood says why, and what failed says how.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.plan import RESULTS
from benchmarks.table import number, rows
from morphospace.files import write_text

__all__ = ["LINES", "PAGE", "page", "read"]

LINES = RESULTS / "scoreboard.jsonl"
PAGE = Path(__file__).parent.parent / "docs" / "scoreboard.md"

Line = dict[str, Any]

PIXELS = {"binary": "Bernoulli", "levels": "256 levels", "unit": "density", "real": "density"}
REFUSED = "refused"
HEADER = [
    "recipe",
    "D",
    "seeds",
    "pixels",
    "−ELBO",
    "−log p(x), weighted",
    "−log p(x), exact",
    "active",
    "5-NN",
    "MSE",
    "epochs",
    "images/s",
    "s",
]

INTRODUCTION = """# Scoreboard

<!-- made by `python -m benchmarks.scoreboard` from benchmarks/results/scoreboard.jsonl; changes by hand are lost -->

```
make reproduce                                       # three seeds of every recipe; hours on two cores; resumable
python -m benchmarks.reproduce --recipes vae vamp    # or one seed of some
```

Every recipe with its own default arguments and settings, trained under one equal budget. **The budgets are short: the
tables compare methods at their beginning, and say nothing about where they end.** How far each came, in passes over
the training images, stands beside it: cores that are shared with other work do less in the same processor time, and
then a method is compared at an earlier beginning than others. `missing-pixels` learns with half of the pixels hidden
and is measured, as all are, with every pixel known, which its encoder never saw.

- **−ELBO**: distortion + rate with β = 1, whatever the recipe was trained with; all test images, one draw of z each.
  Nats per image, as are the next two.
- **−log p(x)**, *weighted* by importance (an upper bound in expectation) and, where D = 2, *exact* by quadrature: the
  −ELBO of all test images less the distance between the two on some of them, so that the choice of these does not
  matter. `±` in brackets is the standard error of that distance. All rows are of the same test images; that these are
  a sample of all images is in no error here.
- **pixels**: the likelihood's law. Only rows of one law compare: "Bernoulli" are nats of binary images drawn with the
  greys, "density" of a density (it may be negative), "256 levels" of 8-bit images. "class told": the model is given
  each image's class, so that its nats are of log p(x given y), and its latents may hold what they were told.
- **active**: latent dimensions whose mean varies by more than 0.01. **5-NN**: accuracy of the latent means, learned
  from the first 50,000 training images. **MSE** of reconstructions, pixel values from 0 to 1.
- **epochs**, **images/s**, **s**: how far the budget went, at what rate, and the seconds that training took in the end.
- **seeds**: several are shown as their mean ± standard deviation; one has no spread. "2 of 3" means that one failed.
- **refused**: a model without a normalised likelihood has no such figure; the reason stands below its table.
"""


def read(path: Path) -> list[Line]:
    """The lines that are there; one that was cut short as it was written is taken out of the file."""
    if not path.is_file():
        return []
    texts, lines = path.read_text(encoding="utf-8").splitlines(), []
    for text in texts:
        try:
            lines.append(json.loads(text))
        except ValueError:
            if len(lines) + 1 < len(texts):
                raise
            write_text(path, "".join(f"{whole}\n" for whole in texts[:-1]))
    return lines


def page(lines: Sequence[Line]) -> str:
    """The whole page: a section for each budget, a table for each theme."""
    parts = [INTRODUCTION]
    for budget, found in _grouped(lines, _budget).items():
        parts.append(f"## {budget}\n\n{_where(found)}\n")
        for theme, members in _grouped(found, lambda line: str(line.get("theme") or "not known")).items():
            parts.append(f"### {theme.capitalize()}\n\n{_table(members)}\n")
        if older := len(found) - sum(len(group) for group in _newest(found)):
            parts.append(f"{older} lines of earlier arguments are kept in the file and not shown.\n")
    if not lines:
        parts.append("Nothing has been measured yet.\n")
    return "\n".join(parts)


def _grouped(lines: Iterable[Line], key: Callable[[Line], str]) -> dict[str, list[Line]]:
    found: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        found[key(line)].append(line)
    return dict(sorted(found.items()))


def _budget(line: Line) -> str:
    """What the runs of one section have in common, in words."""
    run = line["run"]
    source = run["source"]
    data = {"fashion-mnist": "Fashion-MNIST"}.get(source["source"], json.dumps(source))
    cores = "one core" if run["threads"] == 1 else f"{run['threads']} threads"
    time = f"{run['minutes']:g} minutes of " + ("one GPU" if run["device"] == "cuda" else cores)
    costly = f"{run['images']:,} images and {run['draws']:,} draws for −log p(x)"
    return f"{data}, {time}, {run['precision']}, {costly}"


def _where(lines: Sequence[Line]) -> str:
    """On what, when, and how fairly the runs of a section were made."""
    said = []
    gpu = lines[0]["run"]["device"] == "cuda"
    clock = "seconds of the clock" if gpu else "processor time of the run's own process"
    said.append(
        f"The budget is {clock} in training; evaluation, set-up of the timing and the reading of images are not in it."
    )
    jobs = sorted({line["jobs"] for line in lines})
    if not gpu:
        said.append(
            f"{' or '.join(map(str, jobs))} runs went side by side, and the machine may have had other work: that "
            "takes time by the clock from a run, and steps only as far as caches and memory are shared."
        )
    machines = {f"{line['machine']['cores']} cores of an {line['machine']['processor']}" for line in lines}
    versions = {f"torch {(line['versions']['torch'] or '?').split('+')[0]}" for line in lines}
    dates = sorted({line["date"].split()[0] for line in lines})
    commits = sorted({line["commit"] or "unknown" for line in lines})
    said.append(
        f"Measured {' to '.join(dict.fromkeys((dates[0], dates[-1])))} on {'; '.join(sorted(machines))}, "
        f"{', '.join(sorted(versions))}, at commit{'s' * (len(commits) > 1)} {', '.join(commits)}."
    )
    said.append(f"{len(_newest(lines))} recipes, {len(lines)} runs.")
    return " ".join(said)


def _newest(lines: Sequence[Line]) -> list[list[Line]]:
    """The lines of each recipe with the arguments that came last; one line for each seed, the last one."""
    found = []
    for of_recipe in _grouped(lines, lambda line: line["run"]["recipe"]).values():
        groups = _grouped(of_recipe, lambda line: json.dumps(line["run"]["arguments"], sort_keys=True))
        last = groups[json.dumps(of_recipe[-1]["run"]["arguments"], sort_keys=True)]
        found.append(list({line["run"]["seed"]: line for line in last}.values()))
    return found


# ---------------------------------------------------------------- a table


def _table(lines: Sequence[Line]) -> str:
    groups = _newest(lines)
    table = rows(HEADER, [_row(group) for group in groups])
    notes = [*_refusals(groups), *_failures(groups), *_levels(groups)]
    return table + "".join(f"\n\n{note}" for note in notes)


def _row(group: Sequence[Line]) -> list[str]:
    name = f"`{group[0]['run']['recipe']}`"
    ended = [line for line in group if "failed" not in line]
    if not ended:
        return [name, "", f"0 of {len(group)}", *["failed"] * 7, "", "", ""]
    first = ended[0]
    if refused := first["unnormalised"]:
        likelihood = [REFUSED] * 3
    else:
        likelihood = [
            _mean(_figures(ended, "neg_elbo"), "{:.2f}"),
            _with_error(ended, "nll_importance"),
            _with_error(ended, "nll_exact"),
        ]
    return [
        name,
        str(first["dimensions"]),
        str(len(ended)) if len(ended) == len(group) else f"{len(ended)} of {len(group)}",
        "" if refused else PIXELS.get(first["support"], first["support"]) + ", class told" * first["told"],
        *likelihood,
        _mean(_figures(ended, "active_units"), "{:g}"),
        _mean(_figures(ended, "knn"), "{:.3f}"),
        _mean(_figures(ended, "mse"), "{:.4f}"),
        _mean([line["epochs"] for line in ended], "{:.1f}"),
        number(statistics.mean(line["images_per_second"] for line in ended)),
        number(statistics.mean(line["seconds"]["budget"] for line in ended)),
    ]


def _figures(lines: Iterable[Line], name: str) -> list[float]:
    return [line["figures"][name] for line in lines if name in line["figures"]]


def _mean(values: Sequence[float], form: str) -> str:
    """The mean ± standard deviation over seeds; of one seed, itself; blank where there is none."""
    if not values:
        return ""
    shown = form.format(statistics.mean(values))
    return shown if len(values) == 1 else f"{shown} ± {form.format(statistics.stdev(values))}"


def _with_error(lines: Sequence[Line], name: str) -> str:
    """A figure and, in brackets, its own standard error: over seeds the mean of theirs.

    That is the most that the error of their mean can be: all seeds are measured on the same images, whose choice errs
    in one direction for all, so that it does not average out.
    """
    shown = _mean(_figures(lines, name), "{:.2f}")
    errors = _figures(lines, f"{name}_error")
    if not shown or len(errors) < len(_figures(lines, name)):
        return shown
    return f"{shown} (±{statistics.mean(errors):.2f})"


def _named(groups: Iterable[Sequence[Line]]) -> str:
    return ", ".join(f"`{group[0]['run']['recipe']}`" for group in groups)


def _refusals(groups: Sequence[Sequence[Line]]) -> list[str]:
    """Why recipes have no likelihood, those with one reason together."""
    reasons: dict[str, list[Sequence[Line]]] = defaultdict(list)
    for group in groups:
        for reason in {line["unnormalised"] for line in group if line.get("unnormalised")}:
            reasons[reason].append(group)
    return [f"{_named(some)}: no likelihood, since {reason}." for reason, some in reasons.items()]


def _failures(groups: Sequence[Sequence[Line]]) -> list[str]:
    return [
        f"`{line['run']['recipe']}`, seed {line['run']['seed']}, failed: {line['failed']}"
        for group in groups
        for line in group
        if "failed" in line
    ]


def _levels(groups: Sequence[Sequence[Line]]) -> list[str]:
    """Bits per dimension, where the images themselves have a probability."""
    found = [
        (group, _figures((line for line in group if "figures" in line), "bits_per_dimension"))
        for group in groups
    ]
    said = [f"{_named([group])} {_mean(values, '{:.3f}')}" for group, values in found if values]
    return [f"Bits per dimension: {'; '.join(said)}."] if said else []


def main(arguments: Sequence[str]) -> None:
    made = page(read(LINES))
    if "--check" in arguments and PAGE.read_text(encoding="utf-8") != made:
        sys.exit(f"{PAGE.name} does not say what the lines hold; run: python -m benchmarks.scoreboard")
    write_text(PAGE, made)


if __name__ == "__main__":
    main(sys.argv[1:])
