"""What each verb does: read the options, call the library, say the figures."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from morphospace.cli.common import Flag, Json, require_own_folder
from morphospace.cli.common import images_of as _images_of
from morphospace.cli.common import open_run as _open
from morphospace.cli.common import own_images as _own_images
from morphospace.cli.common import say as _say
from morphospace.cli.progress import shown
from morphospace.types import ImageSpec, RunError, UsageError

if TYPE_CHECKING:
    from morphospace.data.images import Images
    from morphospace.evaluation import Evaluation
    from morphospace.recipes import Recipe
    from morphospace.space import Space
    from morphospace.types import Progress

__all__ = ["VERBS"]

ANY_SHAPE = ImageSpec(1, 28, 28)
"""A shape of images that every recipe takes."""


def train(
    data: str | None = None,
    /,
    *,
    recipe: str | None = None,
    latent: int | None = None,
    size: str | None = None,
    set_: Annotated[list[str] | None, Parameter(name="--set", negative="", consume_multiple=False)] = None,
    epochs: float | None = None,
    minutes: float | None = None,
    batch: int | None = None,
    lr: float | None = None,
    seed: int | None = None,
    device: str | None = None,
    precision: Literal["auto", "float32", "bfloat16"] | None = None,
    out: Path | None = None,
    overwrite: Flag = False,
    resume: Path | None = None,
    data_root: Path | None = None,
    image_size: str | None = None,
    mode: Literal["auto", "grey", "rgb"] | None = None,
    count: int | None = None,
    validation: int = 0,
    strict: Flag = False,
    no_report: Flag = False,
    json: Json = False,
) -> None:
    """Train a space on images and write its run folder and report.

    Args:
        data: fashion-mnist, garments (drawn, no download), a folder of images, or a .npy, .npz or IDX file.
        recipe: the method, vae by default; 'morphospace recipes' lists them.
        latent: dimensions of the space.
        size: tiny, small, medium or large; sets width, depth and learning rate together.
        set_: a recipe argument, NAME=VALUE; may be given more than once.
        epochs: passes over the training images.
        minutes: time to train for, in place of epochs.
        batch: images per step.
        lr: the highest learning rate.
        seed: of everything random, the split of an own folder included.
        device: auto, cpu, cuda or mps.
        precision: of the networks in training: float32, bfloat16, or auto, which probes what this machine is best at.
        out: the run's folder; runs/NAME by default.
        overwrite: replace a run that is in that folder.
        resume: continue this run, exactly; takes no other options but --data-root.
        data_root: a folder in which known sets are looked for first.
        image_size: side, or HEIGHTxWIDTH, to bring images to.
        mode: bring images to grey or rgb; auto, the default, keeps colour where there is any.
        count: how many images to draw, for garments.
        validation: how many of the last training images to hold back, for sets that bring none to choose settings by.
        strict: stop at the first file that cannot be read, in place of leaving it out.
        no_report: write no report and no figures.
        json: print the figures as JSON.
    """
    from morphospace.data import load
    from morphospace.fitting import fit, refit
    from morphospace.training.config import read_config

    chosen = _chosen({"latent": latent, "size": size}, set_ or [])
    length: dict[str, Any] = {"epochs": epochs, "minutes": minutes, "batch": batch, "lr": lr}
    length |= {"seed": seed, "device": device, "precision": precision}
    with shown() as progress:
        if resume is not None:
            others = {"recipe": recipe, "mode": mode, "count": count, "image_size": image_size}
            others |= {"validation": validation or None, "strict": strict or None}
            _refuse_beside_resume(data, out, overwrite, {**chosen, **length, **others})
            images = _images_of(read_config(resume), resume, data_root, progress)
            space = refit(resume, images, progress)
        else:
            if data is None:
                raise UsageError(
                    "no images were named: morphospace train fashion-mnist, garments, or a folder"
                )
            place = Path(data).expanduser()
            name = place.resolve().name if place.is_dir() else place.stem
            out = out or Path("runs") / (name or "images")
            _refuse_run(out, overwrite)
            # What is wrong with the options is said before images are read or drawn, which may take minutes.
            recipe = recipe or "vae"
            _recipe(recipe, ANY_SHAPE, chosen).settings.changed(**length)
            images = load(
                data,
                root=data_root,
                image_size=image_size,
                mode=mode or "auto",
                strict=strict,
                seed=seed or 0,
                count=count,
                validation=validation,
                progress=progress,
            )
            _say_skipped(images)
            made = _recipe(recipe, images.spec, chosen)
            space = fit(made, images, out=out, overwrite=overwrite, progress=progress, **length)
        record = _facts(space)
        if not no_report:
            record["report"] = str(_write_report(space, images, progress))
    _say(record, _trained_lines(space, record), json)


def report(run: Path, /, *, data_root: Path | None = None, json: Json = False) -> None:
    """Write a run's report and figures anew.

    Args:
        run: the run's folder.
        data_root: a folder in which known sets are looked for first.
        json: print the result as JSON.
    """
    from morphospace.fitting import encode_own

    space = _open(run)
    require_own_folder(space)
    with shown() as progress:
        images = _own_images(space, data_root, progress)
        if space.latents is None:
            space.latents = encode_own(space, images, progress)
            space.save_latents(run)
        path = _write_report(space, images, progress)
    _say({"report": str(path)}, [f"report: {path}"], json)


def evaluate(
    run: Path,
    /,
    *,
    only: Annotated[list[str] | None, Parameter(negative="", consume_multiple=True)] = None,
    protocol: Literal["own", "binarised"] = "own",
    draws: int | None = None,
    images: int = 10_000,
    seed: int = 0,
    device: str = "auto",
    data_root: Path | None = None,
    no_report: Flag = False,
    json: Json = False,
) -> None:
    """Measure a run: likelihood, reconstruction, embedding, disentanglement, samples; and what is wrong with it.

    Args:
        run: the run's folder; evaluation.json is written into it, and the report anew. Or a space that comes with the
            package, by name; its figures are only printed.
        only: parts: doctor, likelihood, reconstruction, latents, embedding, disentanglement, samples.
        protocol: own, or binarised: log p(x) of Fashion-MNIST as it is published, with 5,000 draws, and nothing else.
        draws: of z for each image, where importance is weighted; 100 by default.
        images: how many to measure on, at most; fewer are quicker.
        seed: of everything random.
        device: auto, cpu, cuda or mps.
        data_root: a folder in which known sets are looked for first.
        no_report: leave the report as it is.
        json: print evaluation.json.
    """
    from morphospace.evaluation import FILE, ORDINARY
    from morphospace.evaluation import evaluate as measure
    from morphospace.space import Space
    from morphospace.training.device import pick_device

    if only is not None and protocol != "own":
        raise UsageError("--protocol binarised measures log p(x) alone, so it does not go with --only")
    parts = tuple(only) if only is not None else ORDINARY
    parts = parts if protocol == "own" else (protocol,)
    space = Space.load(run, pick_device(device))
    with shown() as progress:
        own = _own_images(space, data_root, progress)
        found = measure(space, own, parts=parts, draws=draws, count=images, seed=seed, progress=progress)
        if not no_report and space.own_folder is not None:
            _write_report(space, own, progress)
    wrote = [] if space.own_folder is None else [f"wrote {space.own_folder / FILE}"]
    _say(found.record, [*_evaluated_lines(found, parts), *wrote], json)


def classifier(data: str, /, *, data_root: Path | None = None, json: Json = False) -> None:
    """Train the classifier that the samples of a set are judged by, or tell of the one in the cache.

    Args:
        data: fashion-mnist, garments, or a folder of images in sub-folders by class.
        data_root: a folder in which known sets are looked for first.
        json: print the result as JSON.
    """
    from morphospace.data import load
    from morphospace.evaluation.classifier import classifier_for

    with shown() as progress:
        made = classifier_for(load(data, root=data_root, progress=progress), progress)
    record = {
        "classes": list(made.classes),
        "test_accuracy": None if made.accuracy != made.accuracy else round(made.accuracy, 4),
        "sha256": made.sha256,
        "data_sha256": made.data,
    }
    told = {**record, "test_accuracy": "none" if made.accuracy != made.accuracy else f"{made.accuracy:.4f}"}
    _say(record, [f"{name:14} {_plain(value)}" for name, value in told.items()], json)


def info(run: Path, /, *, json: Json = False) -> None:
    """Tell what a run is and what it reached.

    Args:
        run: the run's folder, or a space that comes with the package, by name (a folder of that name wins).
        json: print the figures as JSON.
    """
    space = _open(run)
    record = _facts(space)
    _say(record, [f"{name:18} {_plain(value)}" for name, value in record.items()], json)


def sample(
    run: Path,
    /,
    *,
    n: Annotated[int, Parameter(name=["-n", "--count"])] = 64,
    seed: int = 0,
    label: str | None = None,
    from_prior: Flag = False,
    out: Path = Path("samples.png"),
    json: Json = False,
) -> None:
    """Draw new images from the space: from where its training images lie.

    Args:
        run: the run's folder, or a space that comes with the package, by name (a folder of that name wins).
        n: how many.
        seed: the same seed draws the same images.
        label: the class to draw, for a space that is told of classes; without it, all of them by turns.
        from_prior: draw from the model's prior, holes included, rather than from the sampler that was fitted to the
            training images.
        out: a .png of all of them.
        json: print the result as JSON.
    """
    from morphospace import pictures

    target = pictures.check_target(out, (".png",))
    space = _open(run)
    source = "prior" if from_prior or space.draws_from_prior else "sampler"
    labels: Any = label
    if label is None and space.conditional:
        labels = [space.classes[i * len(space.classes) // n] for i in range(n)]
    with shown() as progress:
        if source == "sampler":
            space.fit_sampler(progress)  # a run of an earlier version has none yet
        images = space.sample(n, seed, labels, prior=from_prior).numpy()
    pictures.write_png(target, pictures.contact_sheet(images))
    record: dict[str, Any] = {"images": n, "seed": seed, "from": source, "out": str(target)}
    of = ""
    if labels is not None:
        record["labels"] = sorted(set(labels), key=labels.index) if label is None else [label]
        of = f" of {', '.join(record['labels'])}"
    _say(record, [f"wrote {n} images{of} to {target}, drawn from the {source}"], json)


def decode(run: Path, points: Path, /, *, out: Path, label: str | None = None, json: Json = False) -> None:
    """Decode points of the space, one picture for each row of a table.

    Args:
        run: the run's folder, or a space that comes with the package, by name (a folder of that name wins).
        points: a .csv, .npz or .parquet with a row of numbers for each point, as 'encode' writes them.
        label: the class to decode them as, for a space whose decoder is told of classes.
        out: a new folder for the pictures, named by row.
        json: print the result as JSON.
    """
    from morphospace import pictures
    from morphospace.tables import read_points

    space = _open(run)
    z = read_points(points, space.dimensions)
    with shown() as progress:
        images = space.decode(z, progress, label).numpy()
    digits = len(str(len(z) - 1))
    pictures.write_folder(out, images, [f"{i:0{digits}}" for i in range(len(z))])
    _say({"images": len(z), "out": str(out)}, [f"wrote {len(z)} images to {out}"], json)


def encode(
    run: Path,
    images: str,
    /,
    *,
    out: Path,
    label: str | None = None,
    refine: int = 0,
    data_root: Path | None = None,
    strict: Flag = False,
    json: Json = False,
) -> None:
    """Encode images to a table: file, label, mean and standard deviation of each.

    Args:
        run: the run's folder, or a space that comes with the package, by name (a folder of that name wins).
        images: a folder, an image, a .npy, .npz or IDX file, or a known set such as fashion-mnist.
        out: a .csv, .npz or .parquet file.
        label: what all of them are of, for a space whose encoder is told of classes, and images that bring no labels.
        refine: steps by which each image's posterior is fitted to it, from where the encoder puts it; 150 are plenty.
        data_root: a folder in which known sets are looked for first.
        strict: stop at the first file that cannot be read, in place of leaving it out.
        json: print the result as JSON.
    """
    import numpy as np

    from morphospace import pictures, tables
    from morphospace.data import SETS, SPLITS, load, read_images

    target = pictures.check_target(out, tables.SUFFIXES)
    if target.suffix.lower() == ".parquet":
        tables.need_parquet()
    space = _open(run)
    with shown() as progress:
        if images in SETS:
            found = load(images, root=data_root, progress=progress)
        else:
            policy = space.config["images"]["policy"]
            found = read_images(images, space.spec, policy, strict=strict, progress=progress)
        q = space.encode(found, progress, label, refine)
    columns: dict[str, Any] = {"file": found.names or [str(i) for i in range(len(found))]}
    if found.labels is not None:
        columns["label"] = [found.classes[i] for i in found.labels]
    if images in SETS:
        columns["split"] = [SPLITS[i] for i in found.splits]
    for stem, values in (("mean", q.mean), ("std", q.stddev)):
        for d in range(space.dimensions):
            columns[f"{stem}_{d}"] = values[:, d].numpy().astype(np.float32)
    tables.write_table(target, columns)
    _say_skipped(found)
    skipped = [{"path": s.path, "reason": s.reason} for s in found.skipped]
    record = {"rows": len(found), "columns": list(columns), "skipped": skipped, "out": str(target)}
    _say(record, [f"wrote {len(found)} rows to {target}"], json)


def recipes(name: str | None = None, /, *, json: Json = False) -> None:
    """List the recipes, or show the page of one.

    Args:
        name: a recipe.
        json: print as JSON.
    """
    from morphospace import recipes as registry

    if name is not None:
        page = registry.page(name)
        _say({"name": name, "page": page}, [page], json)
        return
    first = {
        theme: {known: registry.page(known).splitlines()[0] for known in found}
        for theme, found in registry.themes().items()
    }
    width = max(len(known) for found in first.values() for known in found)
    lines = []
    for theme, found in first.items():
        lines += ["", f"{theme}:", *(f"  {known:{width}}  {line}" for known, line in found.items())]
    _say(first, lines[1:], json)


def cite(run: Path, /, *, json: Json = False) -> None:
    """Print the BibTeX of what a run used: the recipe's papers, the optimizer's, the images', and this package.

    Args:
        run: the run's folder, or a space that comes with the package, by name (a folder of that name wins).
        json: print as JSON.
    """
    from morphospace.pretrained import place_of
    from morphospace.references import cited_by
    from morphospace.training.config import read_config

    found = cited_by(read_config(place_of(run)))
    _say({"bibtex": found}, ["\n".join(found).rstrip()], json)


VERBS = (train, report, evaluate, info, sample, encode, decode, recipes, cite, classifier)


# ---------------------------------------------------------------- what the verbs share


def _recipe(name: str, spec: ImageSpec, chosen: Mapping[str, Any]) -> Recipe:
    from morphospace.recipes import get

    return get(name, spec, {key: value for key, value in chosen.items() if value is not None})


def _chosen(options: Mapping[str, Any], texts: list[str]) -> dict[str, Any]:
    """A recipe's arguments: those with options of their own, and NAME=VALUE texts; none of them twice."""
    pairs = dict(options)
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise UsageError(f"--set is '{text}'; expected NAME=VALUE, such as --set beta=4")
        if pairs.get(name) is not None:
            raise UsageError(f"{name} was given twice, as {pairs[name]} and as {value}; expected it once")
        pairs[name] = value
    return pairs


def _refuse_beside_resume(
    data: str | None, out: Path | None, overwrite: bool, options: Mapping[str, Any]
) -> None:
    """A resumed run is the run that was begun: nothing of it can be changed."""
    given = [f"--{name.replace('_', '-')}" for name, value in options.items() if value is not None]
    given += [
        name for name, value in (("the images", data), ("--out", out), ("--overwrite", overwrite)) if value
    ]
    if given:
        raise UsageError(
            f"--resume continues a run as it was begun, so it does not go with {', '.join(given)}"
        )


def _refuse_run(out: Path, overwrite: bool) -> None:
    if (out / "config.json").exists() and not overwrite:
        raise UsageError(
            f"{out} holds a run already; continue it with --resume {out}, replace it with --overwrite, "
            "or choose another --out"
        )


def _write_report(space: Space, images: Images, progress: Progress) -> Path:
    from morphospace.report import write_card, write_report

    write_card(space)
    return write_report(space, images, progress)


def _facts(space: Space) -> dict[str, Any]:
    """The figures of a run, as ``info --json`` gives them."""
    results, config = space.results, space.config
    if missing := {"parameters", "epochs", "steps", "seconds", "images_per_second"} - set(results):
        raise RunError(f"{space.folder}/results.json is damaged (no {min(missing)}); train again")
    packed = {"packed": config["packed"]} if "packed" in config else {}

    return {
        "run": str(space.folder),
        **packed,
        "recipe": space.recipe.name,
        "arguments": space.recipe.arguments,
        "latent": space.dimensions,
        "images": str(space.spec),
        "classes": list(space.classes),
        "counts": config["images"]["counts"],
        "skipped": len(config["images"]["skipped"]),
        "parameters": sum(results["parameters"].values()),
        "test": _told(space, "test"),
        "train": _told(space, "train"),
        "epochs": results["epochs"],
        "steps": results["steps"],
        "seconds": results["seconds"],
        "images_per_second": results["images_per_second"],
        "precision": config["training"]["precision"],
        "device": config["training"]["device"],
        "seed": config["training"]["seed"],
        "data_sha256": config["images"]["sha256"],
        "version": config["version"],
    }


def _told(space: Space, split: str) -> dict[str, Any] | None:
    """What was measured of a split, without what means nothing for a model that has no likelihood."""
    from morphospace.report.page import measured_terms

    if split not in space.results:
        return None
    known = {key for _, key in measured_terms(space)}
    hidden = {"neg_elbo", "rate"} - known
    return {name: value for name, value in space.results[split].items() if name not in hidden}


def _trained_lines(space: Space, record: Mapping[str, Any]) -> list[str]:
    lines = [
        f"trained {record['recipe']} for {record['epochs']:g} epochs in {record['seconds']:.0f} s "
        f"({record['images_per_second']:,.0f} images/s)"
    ]
    measured = record["test"] or record["train"]
    split = "test" if record["test"] else "train"
    if reason := space.recipe.unnormalised:
        figures = f"{split} distortion {measured['distortion']:.2f} nats; no −ELBO: {reason}"
    else:
        figures = (
            f"{split} −ELBO {measured['neg_elbo']:.2f} nats "
            f"(distortion {measured['distortion']:.2f} + rate {measured['rate']:.2f})"
        )
    return [*lines, f"{record.get('report', space.folder)}: {figures}"]


def _evaluated_lines(found: Evaluation, parts: Sequence[str]) -> list[str]:
    """The figures of the parts that were asked for, with their errors, and the doctor's words."""
    lines = []
    for name in parts:
        part = found.parts[name]
        settings = part["settings"]
        about = f"{settings['images']:,} {settings['split']} images, {part['seconds']:.1f} s"
        lines.append(f"{part['title']} ({about})")
        for finding in part.get("findings", []):
            lines += [f"  {finding['name']}: {finding['words']}", f"    {finding['remedy']}"]
        if part.get("findings") == []:
            lines.append("  nothing is wrong")
        for key, figure in part["figures"].items():
            value, error = figure["value"], figure.get("error")
            told = "not finite" if value is None else f"{value:.5g}"
            told += "" if error is None else f" ± {error:.2g}"
            lines.append(f"  {key:26} {told} {figure.get('unit', '')}".rstrip())
        lines += [f"  {note}" for note in part["notes"]]
    return lines


def _say_skipped(images: Images) -> None:
    """Name the files that were left out."""
    if images.skipped:
        count = len(images.skipped)
        print(f"left out {count} file{'s' * (count > 1)} or folder{'s' * (count > 1)}:", file=sys.stderr)
        for skipped in images.skipped:
            print(f"  {skipped.path}: {skipped.reason}", file=sys.stderr)


def _plain(value: Any) -> str:
    """A value of a record as one line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_plain(v)}" for k, v in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, float):
        return f"{value:,.2f}"
    return "none" if value is None else str(value)
