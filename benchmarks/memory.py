"""The most memory that training takes, above that of a process which has only imported the framework."""

from __future__ import annotations

from typing import Any

from benchmarks.plan import Plan

__all__ = ["measure"]

PEERS = {"keras": "keras", "pytorch": "torch", "pythae": "torch"}
"""Subjects that train the study's network, and the framework that each stands on."""


def measure(plan: Plan) -> dict[str, Any]:
    """MiB of the default run from `fit` to its end, and of each peer while it trains."""
    frameworks: dict[str, float] = {}
    found: dict[str, Any] = {}
    for name in ("morphospace:vae", *plan.installed(PEERS)):
        framework = PEERS.get(name, "torch")
        if framework not in frameworks:
            frameworks[framework] = _idle(plan, framework)
        plan.say(f"memory: {name}")
        peak = _training(plan, name) if name in PEERS else _whole_run(plan, name)
        found[name] = {
            "framework": framework,
            "peak_mib": round(peak, 1),
            "above_framework_mib": round(peak - frameworks[framework], 1),
        }
    return {"frameworks_mib": {k: round(v, 1) for k, v in frameworks.items()}, "subjects": found}


def _idle(plan: Plan, framework: str) -> float:
    with plan.start(f"idle:{framework}", "rest", {}) as subject:
        return float(subject.answer()["mib"])


def _training(plan: Plan, name: str) -> float:
    """Memory after some seconds of steps, which all are alike; neither a test nor an end belongs to them."""
    with plan.start(name, "train", {"source": plan.source, "seed": plan.seed}) as subject:
        subject.answer()
        subject.ask(seconds=plan.seconds)
        return float(subject.ask(do="memory")["mib"])


def _whole_run(plan: Plan, name: str) -> float:
    """Memory of a run with its tests, checkpoints, final measures and encoding."""
    options = {"source": plan.source, "seed": plan.seed, "epochs": plan.default_epochs}
    with plan.start(name, "curve", options) as subject:
        while "done" not in (answer := subject.answer()):
            pass
        return float(answer["mib"])
