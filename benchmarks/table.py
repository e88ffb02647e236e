"""Tables of the texts, made from the files of ``benchmarks/results``.

    python -m benchmarks.table            # rewrite README.md and docs/benchmarks.md between their marks
    python -m benchmarks.table --check    # fail if that would change anything

Nothing in them is written by hand; what has not been measured says so.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.figures import summary
from benchmarks.plan import RESULTS

__all__ = ["TEXTS", "details_of", "read", "summary_of", "written"]

ROOT = Path(__file__).parent.parent
BEGIN = "<!-- benchmarks: made by `python -m benchmarks.table`; changes by hand are lost -->"
END = "<!-- benchmarks: end -->"

Record = dict[str, Any]
Records = dict[str, Record]

NAMES = {
    "keras": "Keras {keras} on TensorFlow {tensorflow_cpu}",
    "pythae": "pythae {pythae}, its trainer",
    "pytorch": "PyTorch {torch}, a plain loop",
    "pytorch:bfloat16": "PyTorch {torch}, autocast to bfloat16, channels last",
    "morphospace:reference": "**Morphospace**, the same network",
    "morphospace:vae": "**Morphospace**, the default recipe",
    "morphospace:vae@3.5": "**Morphospace**, the default recipe, `--epochs 3.5`",
}
ABSENT = "not measured"
INSTRUCTIONS = (
    ("avx512f", "AVX-512"),
    ("avx512_bf16", "its bfloat16"),
    ("amx_bf16", "AMX"),
    ("asimd", "NEON"),
)
"""The instruction sets that decide between precisions, as people call them."""


def read(folder: Path) -> Records:
    """Every part's record, by the part's name; and the lines that ``benchmarks.quality`` kept, as "quality"."""
    records = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
    kept = folder / "quality.jsonl"
    lines = kept.read_text().splitlines() if kept.is_file() else []
    return records | {"quality": {"lines": [json.loads(line) for line in lines]}}


# ---------------------------------------------------------------- numbers as people read them


def number(value: float) -> str:
    """Three digits at least, thousands apart: 1,234; 56.7; 0.123."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


def spread(found: Mapping[str, float] | None, show: Callable[[float], str] = number) -> str:
    """Median (least to most), or the one figure that there is."""
    if found is None:
        return "not reached"
    least, most = (show(found.get(end, found["median"])) for end in ("least", "most"))
    return show(found["median"]) + (f" ({least} to {most})" if least != most else "")


def rows(header: list[str], lines: list[list[str]]) -> str:
    """A table in Markdown; columns of figures stand right."""
    rule = ["---"] + ["--:"] * (len(header) - 1)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *lines))


def label(name: str, record: Record) -> str:
    """A subject's name, with its versions."""
    versions = {k: (v or "?").split("+")[0] for k, v in record["versions"].items()}
    return NAMES[name].format(**versions)


def where(record: Record) -> str:
    """When and on what a part was measured."""
    machine = record["machine"]
    known = [name for flag, name in INSTRUCTIONS if flag in machine["instructions"]]
    with_what = f" ({', '.join(known)})" if known else ""
    return (
        f"{record['date']}, {machine['cores']} cores of an {machine['processor']}{with_what}, "
        f"{machine['memory_gib']:.0f} GiB, commit {record['commit']}"
    )


def caution(record: Record) -> str:
    """A word of warning where a part is not the full measurement."""
    if record["plan"] == "tiny":
        return " **A trial on a few drawn images: its figures mean nothing.**"
    return " A quick run: fewer and shorter rounds than the full one." if record["plan"] == "quick" else ""


# ---------------------------------------------------------------- the tables


def throughput(record: Record) -> str:
    subjects = record["subjects"]
    weights = sum(subjects["morphospace:reference"]["parameters"].values())
    lines = [
        [
            label(name, record),
            spread(found["images_per_second"]),
            spread(found.get("times_keras"), "{:.2f}".format) if "times_keras" in found else ABSENT,
        ]
        for name, found in subjects.items()
        if "loss" in found
    ]
    return (
        f"Training the original study's network ({weights:,} weights) in batches of 128, images per second of the "
        f"whole step, all subjects by turns in one session: the median of {record['rounds']} rounds (least to most). "
        f"Measured {where(record)}.{caution(record)}\n\n" + rows(["", "images/s", "× Keras"], lines)
    )


def roofline(record: Record) -> str:
    peak, flops = record["peak_flops"], record["flops_per_image"]
    lines = [
        [
            label(name, record),
            found["how"],
            str(found["threads"]),
            number(found["images_per_second"]["median"] * flops / 1e9),
            f"{found['fraction_of_peak']['float32']:.0%}",
            f"{found['fraction_of_peak']['bfloat16']:.0%}",
            f"{found['loss']:.3f}",
        ]
        for name, found in record["subjects"].items()
        if "loss" in found
    ]
    floors = " and ".join(f"{number(peak[name] / flops)} in {name}" for name in peak)
    return (
        f"One training step of that network costs {flops / 1e6:.0f} MFLOP an image, forwards and backwards. Large "
        f"matrix products, timed in the same rounds, reach {number(peak['float32'] / 1e9)} GFLOP/s in float32 and "
        f"{number(peak['bfloat16'] / 1e9)} in bfloat16 at best, so no step could exceed {floors} images per second. "
        f"The loss is each subject's own on the same weights and images, in nats.\n\n"
        + rows(["", "how", "threads", "GFLOP/s", "of float32", "of bfloat16", "loss"], lines)
    )


def time_to_elbo(record: Record) -> str:
    levels = list(next(iter(record["subjects"].values()))["seconds_to"])
    lines = []
    for name, found in record["subjects"].items():
        end = found["end"]
        lines.append(
            [
                label(name, record) if name != "keras" else label(name, record) + ", the study's network",
                *(spread(found["seconds_to"][level]) for level in levels),
                f"{spread(end['neg_elbo'], '{:.2f}'.format)} after {end['epochs']:.3g} epochs, "
                f"{number(end['seconds']['median'])} s",
            ]
        )
    how = "Seconds of training until the test −ELBO, nats, is reached (evaluation is not counted, for anybody). "
    if "estimated_from" in record:
        how += (
            f"**Computed, not measured**: the epochs that each needed in the full run of {record['estimated_from']}, "
            f"times the seconds that an epoch takes now. {where(record)}."
        )
    else:
        # Runs may be made one at a time, days apart.
        dates = " and ".join(dict.fromkeys(run["date"][:10] for run in record["runs"]))
        commits = " and ".join(dict.fromkeys(str(run["commit"]) for run in record["runs"]))
        how += f"Measured {where({**record, 'date': dates, 'commit': commits})}.{caution(record)}"
    return how + "\n\n" + rows(["", *levels, "at the end"], lines)


def inference(record: Record) -> str:
    lines = []
    for name, found in record["subjects"].items():
        for direction in ("encode", "decode"):
            single = found[direction]["single_ms"]
            lines.append(
                [
                    f"{label(name, record)}: {direction}",
                    spread(found[direction]["per_second"]),
                    f"{number(single['p50'])} / {number(single['p95'])}",
                    spread(found["whole_seconds"]) if direction == "encode" else "",
                ]
            )
    header = ["", "images/s", "one image, ms (p50 / p95)", f"{record['encoded']:,} images, s"]
    return (
        f"Encoding and decoding, calls of 10,000 images and of one. {where(record)}.{caution(record)}\n\n"
        + rows(header, lines)
    )


def memory(record: Record) -> str:
    lines = [
        [label(name, record), number(found["peak_mib"]), number(found["above_framework_mib"])]
        for name, found in record["subjects"].items()
    ]
    frameworks = ", ".join(f"{name} {number(mib)} MiB" for name, mib in record["frameworks_mib"].items())
    return (
        f"The most memory while training (ours: a whole run, tests and checkpoints included), and what of it lies "
        f"above a process that has only imported the framework ({frameworks}). {where(record)}.{caution(record)}\n\n"
        + rows(["", "MiB", "above the framework"], lines)
    )


def first_result(record: Record) -> str:
    lines = [
        [label(name, record), *(spread(found[stage]) for stage in ("imported", "loaded", "first_step"))]
        for name, found in record["subjects"].items()
    ]
    return (
        f"Seconds from the start of a process until it has imported what it trains with, holds the images, and has "
        f"done its first step. `morphospace --help` takes {spread(record['help_seconds'])} s without importing torch, "
        f"`import morphospace` {spread(record['import_seconds'])} s. {where(record)}.{caution(record)}\n\n"
        + rows(["", "imported", "images loaded", "first step done"], lines)
    )


# ---------------------------------------------------------------- what was to be reached


@dataclass(frozen=True)
class Bar:
    """Something to be reached, and how to find in the records whether it was.

    ``found`` gives the figure as a text and whether it is enough; a KeyError or TypeError says that it is not known.
    """

    what: str
    bar: str
    found: Callable[[Records], tuple[str, bool]]


def _times_keras(records: Records) -> tuple[str, bool]:
    times = records["throughput"]["subjects"]["morphospace:reference"]["times_keras"]
    return spread(times, "{:.2f}".format) + " ×", times["median"] >= 1.8


def _fraction(records: Records) -> tuple[str, bool]:
    fraction = records["throughput"]["subjects"]["morphospace:reference"]["fraction_of_peak"]["bfloat16"]
    return f"{fraction:.2f}", fraction >= 0.65


def _level(records: Records) -> tuple[str, bool]:
    """When the default's runs pass Keras' level."""
    subjects = records["time-to-elbo"]["subjects"]
    ours, keras = (subjects[name]["seconds_to"]["257.5"] for name in ("morphospace:vae", "keras"))
    if ours is None:
        return "not reached", False
    # Where Keras' run ends above the level, all its seconds were not enough.
    theirs = keras["median"] if keras else subjects["keras"]["end"]["seconds"]["median"]
    part, than = ours["median"] / theirs, "" if keras else "less than "
    return f"{spread(ours)} s, {than}1/{1 / part:.0f}", part <= 1 / 30 and ours["median"] <= 65


def _half_an_hours(records: Records) -> list[Record]:
    """The test figures of the default recipe's runs of half an hour."""
    kept = [line for line in records["quality"]["lines"] if line.get("measured_on", "test") == "test"]
    lines = [line for line in kept if line["changes"].get("minutes") == "30"]
    alike = [line["results"]["test"] for line in lines if line["changes"].keys() <= {"minutes", "seed"}]
    if not alike or {test["draws"] for test in alike} != {10}:
        raise KeyError("minutes")
    return alike


def _half_an_hour(records: Records) -> tuple[str, bool]:
    found = summary([test["neg_elbo"] for test in _half_an_hours(records)])
    return spread(found, "{:.2f}".format), found["median"] <= 253.0


def _above_exact(name: str) -> Callable[[Records], tuple[str, bool]]:
    """How far one of the −ELBOs of half an hour lies above the exact −log p(x)."""

    def found(records: Records) -> tuple[str, bool]:
        known = [test for test in _half_an_hours(records) if {name, "nll_exact"} <= set(test)]
        if not known:
            raise KeyError(name)
        above = summary([test[name] - test["nll_exact"] for test in known])
        return spread(above, "{:.2f}".format), above["median"] <= 1.5

    return found


def _gpu(records: Records) -> Record:
    """What `benchmarks.gpu` found on a GPU; a trial of that harness does not count."""
    record = records["gpu"]
    if record["tiny"]:
        raise KeyError("gpu")
    return record


def _gpu_level(records: Records) -> tuple[str, bool]:
    record = _gpu(records)
    seconds = record["default"]["warm"]["seconds_to"]["257.5"]
    if seconds is None:
        return "not reached", False
    return f"{number(seconds)} s, {record['device']}", seconds <= 5


def _gpu_epoch(records: Records) -> tuple[str, bool]:
    record = _gpu(records)
    seconds = record["reference_epoch"]["as chosen"]["seconds"]
    return f"{spread(seconds)} s, {record['device']}", seconds["median"] <= 0.15


def _encoded(records: Records) -> tuple[str, bool]:
    record = records["inference"]
    whole = record["subjects"]["morphospace:vae"]["whole_seconds"]
    return f"{spread(whole)} s for {record['encoded']:,}", record["encoded"] >= 70_000 and whole[
        "median"
    ] <= 20


def _memory(records: Records) -> tuple[str, bool]:
    mib = records["memory"]["subjects"]["morphospace:vae"]["above_framework_mib"]
    return f"{number(mib)} MiB", mib <= 1024


def _help(records: Records) -> tuple[str, bool]:
    record = records["first-result"]
    return f"{spread(record['help_seconds'])} s, not imported", (
        record["help_seconds"]["median"] <= 0.3 and not record["help_imports_torch"]
    )


BARS = (
    Bar("the study's network, images/s against Keras", "≥ 1.8 ×", _times_keras),
    Bar("fraction of the bfloat16 matrix peak in its training step", "≥ 0.65", _fraction),
    Bar("default recipe to 257.5 nats, against Keras' time", "≤ 65 s and ≤ 1/30", _level),
    Bar("default recipe given 30 minutes, test −ELBO with 10 draws of z", "≤ 253.0", _half_an_hour),
    Bar("the same above the exact −log p(x), nats", "≤ 1.5", _above_exact("neg_elbo")),
    Bar("the same with refined posteriors", "≤ 1.5", _above_exact("neg_elbo_refined")),
    Bar("one GPU: default recipe to 257.5 nats, warm", "≤ 5 s", _gpu_level),
    Bar("one GPU: an epoch of the study's network, warm", "≤ 0.15 s", _gpu_epoch),
    Bar("70,000 images encoded with the default", "≤ 20 s", _encoded),
    Bar("memory of the default run above torch's own", "≤ 1 GiB", _memory),
    Bar("`morphospace --help`, torch not imported", "≤ 0.3 s", _help),
)


def bars(records: Records) -> str:
    lines = []
    for bar in BARS:
        try:
            figure, enough = bar.found(records)
            lines.append([bar.what, bar.bar, figure, "yes" if enough else "**no**"])
        except (KeyError, TypeError):
            lines.append([bar.what, bar.bar, ABSENT, ""])
    return rows(["to reach", "bar", "here", "reached"], lines)


# ---------------------------------------------------------------- into the texts

SUMMARY = {"throughput": throughput, "time-to-elbo": time_to_elbo}
DETAILS = {"throughput": roofline, "inference": inference, "memory": memory, "first-result": first_result}


def summary_of(records: Records) -> str:
    """The README's tables: speed, time to quality, and what was to be reached."""
    return "\n\n".join([*_parts(SUMMARY, records), bars(records)])


def details_of(records: Records) -> str:
    """The tables of ``docs/benchmarks.md``."""
    return "\n\n".join(_parts(DETAILS, records))


def _parts(makers: Mapping[str, Callable[[Record], str]], records: Records) -> list[str]:
    return [
        make(records[name])
        if records.get(name, {}).get("subjects")
        else f"`{name}`: {ABSENT} yet; `make bench` does."
        for name, make in makers.items()
    ]


TEXTS: dict[Path, Callable[[Records], str]] = {
    ROOT / "README.md": summary_of,
    ROOT / "docs" / "benchmarks.md": details_of,
}


def written(text: str, tables: str) -> str:
    """A text with ``tables`` between its marks.

    Raises:
        ValueError: if the marks are not there, once each and in order.
    """
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    if len(pattern.findall(text)) != 1 or text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"expected one '{BEGIN}', and after it one '{END}'")
    return pattern.sub(lambda _: f"{BEGIN}\n\n{tables}\n\n{END}", text)


def main(arguments: list[str]) -> None:
    records = read(RESULTS)
    for path, make in TEXTS.items():
        before = path.read_text(encoding="utf-8")
        after = written(before, make(records))
        if after != before and "--check" in arguments:
            sys.exit(
                f"{path.name} does not say what benchmarks/results holds; run: python -m benchmarks.table"
            )
        path.write_text(after, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
