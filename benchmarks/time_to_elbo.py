"""Seconds of training until the test −ELBO passes a level, from curves of (seconds, test −ELBO).

Seconds are counted from the call of each project's ``fit``, with all that it sets up, traces and probes; imports,
loading, and every evaluation are not counted, for anybody. Each point of a curve has one draw of z for each test image.

The quick plan has no time for Keras' half hour: it takes from the kept full run how many epochs each needed, and from
`benchmarks.throughput` how long an epoch takes now, and says so.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.figures import seconds_to, significant, summary
from benchmarks.plan import Plan

__all__ = ["LEVELS", "estimate", "measure", "summed_up"]

LEVELS = (262.0, 260.0, 257.5)


def measure(plan: Plan, keep: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Every subject's curve, one after another; kept after each, since together they take most of an hour.

    Where the plan names subjects, the runs of the others are taken over from the file that is there.
    """
    if not plan.curves:
        return estimate(_read(plan.kept, "time-to-elbo"), _read(plan.folder, "throughput"))
    wanted = plan.installed(plan.only or dict.fromkeys(name for name, _ in plan.curves))
    runs = [
        run
        for run in _read(plan.folder, "time-to-elbo").get("runs", ())
        if plan.only and run["subject"] not in wanted
    ]
    seeds: dict[str, int] = {}
    for name, epochs in plan.curves:
        if name not in wanted:
            continue
        seed = seeds[name] = seeds.get(name, plan.seed - 1) + 1
        runs.append(_run(plan, name, epochs, seed))
        keep({"runs": runs, "subjects": summed_up(runs)})
    return {"runs": runs, "subjects": summed_up(runs)}


def _run(plan: Plan, name: str, epochs: float | None, seed: int) -> dict[str, Any]:
    """One curve, and when, where and how it was made."""
    plan.say(f"time-to-elbo: {name}, seed {seed}; this takes a while")
    stamp = machine.describe()
    options = {"source": plan.source, "seed": seed} | ({} if epochs is None else {"epochs": epochs})
    points = []
    with plan.start(name.partition("@")[0], "curve", options) as subject:
        while "done" not in (answer := subject.answer()):
            points.append({k: v if v is True else significant(v, 6) for k, v in answer.items()})
            plan.say(f"time-to-elbo: {name}: {answer['seconds']:.1f} s, {answer['neg_elbo']:.2f} nats")
    return {
        "subject": name,
        "seed": seed,
        **{k: stamp[k] for k in ("date", "machine", "commit")},
        **{k: v for k, v in answer.items() if k != "done"},
        "points": points,
    }


def summed_up(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """For each subject when its runs passed each level and where they ended; a level that one missed has no figures."""
    found: dict[str, Any] = {}
    for name in dict.fromkeys(run["subject"] for run in runs):
        curves = [run["points"] for run in runs if run["subject"] == name]
        found[name] = {
            "runs": len(curves),
            "seconds_to": {f"{level:g}": _passed(curves, level, "seconds") for level in LEVELS},
            "epochs_to": {f"{level:g}": _passed(curves, level, "epoch") for level in LEVELS},
            "end": {
                "epochs": curves[0][-1]["epoch"],
                "seconds": summary([points[-1]["seconds"] for points in curves]),
                "neg_elbo": summary([points[-1]["neg_elbo"] for points in curves]),
            },
        }
    return found


def _passed(curves: list[list[dict[str, Any]]], level: float, x: str) -> dict[str, float] | None:
    passed = [seconds_to(level, points, x) for points in curves]
    return None if None in passed else summary([value for value in passed if value is not None])


def estimate(full: dict[str, Any], throughput: dict[str, Any]) -> dict[str, Any]:
    """Seconds now, from the epochs of a kept full run and the speeds measured now."""
    found = {}
    for name, kept in full.get("subjects", {}).items():
        speed = throughput.get("subjects", {}).get(name.partition("@")[0], {}).get("images_per_second")
        if speed is not None:
            epoch = full["runs"][0]["images"] / speed["median"]
            seconds = {
                level: None if epochs is None else {k: significant(v * epoch) for k, v in epochs.items()}
                for level, epochs in kept["epochs_to"].items()
            }
            end = {"epochs": kept["end"]["epochs"], "neg_elbo": kept["end"]["neg_elbo"]}
            end["seconds"] = {"median": significant(end["epochs"] * epoch)}
            found[name] = {
                "runs": kept["runs"],
                "seconds_to": seconds,
                "epochs_to": kept["epochs_to"],
                "end": end,
            }
    return {"estimated_from": full.get("date"), "subjects": found}


def _read(folder: Path, part: str) -> dict[str, Any]:
    path = folder / f"{part}.json"
    if not path.is_file():
        return {}
    record: dict[str, Any] = json.loads(path.read_text())
    return record
