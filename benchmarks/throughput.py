"""Images per second of a whole training step: the same network, batch and images for every subject; and the roofline.

The parameters and the loss of all are compared before anything is timed. ``morphospace:vae`` is the default recipe,
which has another network: its speed is kept for what follows from it, and does not compare with the others'.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from benchmarks.figures import ratios, significant, summary
from benchmarks.plan import Plan, Unequal
from benchmarks.session import Subject, take_turns
from benchmarks.study import BATCH, PARAMETERS

__all__ = ["REFERENCE", "compare", "measure"]

REFERENCE = ("keras", "pytorch", "pytorch:bfloat16", "pythae", "morphospace:reference")
"""Those that train the study's network."""
OTHERS = ("morphospace:vae",)
PRECISIONS = ("float32", "bfloat16")
CLOSE = {"float32": 1e-4, "bfloat16": 1e-2}
"""How far a loss may be from PyTorch's in float32, relative to it: sums have another order, bfloat16 has eight bits."""


def measure(plan: Plan) -> dict[str, Any]:
    """Speeds of all subjects that are installed, in turns, with the machine's peak measured in the same rounds."""
    names = plan.installed((*REFERENCE, *OTHERS))
    with ExitStack() as stack:
        subjects: dict[str, Subject] = {}
        about: dict[str, dict[str, Any]] = {}
        for name in ("matmul", *names):
            options = {"seed": plan.seed} | ({} if name == "matmul" else {"source": plan.source})
            subjects[name] = stack.enter_context(plan.start(name, "train", options))
            about[name] = subjects[name].answer()
            plan.say(f"throughput: {name} is ready")
        compare({name: about[name] for name in names if name in REFERENCE})

        def turn(name: str, i: int) -> dict[str, Any]:
            plan.say(f"throughput: round {i + 1} of {plan.rounds}, {name}")
            return subjects[name].ask(seconds=plan.seconds)

        rounds = take_turns(("matmul", *names), plan.rounds, turn)
    speeds = {
        name: [r["steps"] * about[name]["batch"] / r["seconds"] for r in rounds[name]] for name in names
    }
    flops = about["matmul"]["flops_per_image"]
    peak = {name: max(r[name] for r in rounds["matmul"]) for name in PRECISIONS}
    return {
        "flops_per_image": significant(flops),
        "peak_flops": {name: significant(value) for name, value in peak.items()},
        "peak_rounds": {name: [significant(r[name]) for r in rounds["matmul"]] for name in PRECISIONS},
        "subjects": {
            name: _result(about[name], speeds[name], speeds.get("keras"), flops, peak, same=name in REFERENCE)
            for name in names
        },
    }


def _result(
    about: dict[str, Any],
    speeds: list[float],
    keras: list[float] | None,
    flops: float,
    peak: dict[str, float],
    *,
    same: bool,
) -> dict[str, Any]:
    """One subject's figures; ratios and fractions only for those that train the same network."""
    found: dict[str, Any] = {
        "how": about["how"],
        "threads": about["threads"],
        "batch": about["batch"],
        "parameters": about["parameters"],
        "images_per_second": summary(speeds),
        "rounds": [significant(s) for s in speeds],
    }
    if same:
        found["loss"] = significant(about["loss"], 8)
        found["fraction_of_peak"] = {
            name: significant(found["images_per_second"]["median"] * flops / value, 3)
            for name, value in peak.items()
        }
        if keras is not None:
            found["times_keras"] = ratios(speeds, keras)
    return found


def compare(about: dict[str, dict[str, Any]]) -> None:
    """Refuse to time subjects that do not train the same network to the same end.

    Raises:
        Unequal: if the parameters or the batch of one are not the study's, or its loss on the given weights and images
            is another.
    """
    for name, told in about.items():
        if told["parameters"] != PARAMETERS:
            raise Unequal(
                f"'{name}' learns {told['parameters']} numbers; the study's network has {PARAMETERS}"
            )
        if told["batch"] != BATCH:
            raise Unequal(f"'{name}' takes {told['batch']} images a step; expected {BATCH}")
    expected = about["pytorch"]["loss"]
    for name, told in about.items():
        allowed = CLOSE["bfloat16" if "bfloat16" in told["how"] else "float32"]
        if not abs(told["loss"] / expected - 1) <= allowed:
            raise Unequal(
                f"'{name}' finds a loss of {told['loss']:.4f} nats where PyTorch finds {expected:.4f} with the same "
                f"weights and images; expected them within {allowed:g} of each other"
            )
