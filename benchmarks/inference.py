"""Encoding and decoding: images per second in large calls, and how long a call with one image takes."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from benchmarks.figures import percentile, ratios, significant, summary
from benchmarks.plan import Plan
from benchmarks.session import take_turns

__all__ = ["measure"]

NAMES = ("keras", "morphospace:reference", "morphospace:vae")
DIRECTIONS = ("encode", "decode")


def measure(plan: Plan) -> dict[str, Any]:
    """Both directions of every subject in turns, and the whole set encoded at one go."""
    names = plan.installed(NAMES)
    with ExitStack() as stack:
        options = {"source": plan.source, "seed": plan.seed}
        subjects = {name: stack.enter_context(plan.start(name, "infer", options)) for name in names}
        about = {name: subject.answer() for name, subject in subjects.items()}

        def turn(name: str, i: int) -> dict[str, Any]:
            plan.say(f"inference: round {i + 1} of {plan.rounds}, {name}")
            asked = {"seconds": plan.seconds / 2, "single": plan.single}
            return {direction: subjects[name].ask(do=direction, **asked) for direction in DIRECTIONS}

        rounds = take_turns(names, plan.rounds, turn)
        whole = take_turns(
            names,
            max(1, plan.rounds // 3),
            lambda name, _: subjects[name].ask(do="encode", count=plan.encoded),
        )
    speeds = {
        name: {d: [turn[d]["inputs"] / turn[d]["seconds"] for turn in rounds[name]] for d in DIRECTIONS}
        for name in names
    }
    return {
        "encoded": plan.encoded,
        "subjects": {
            name: {
                **about[name],
                **{
                    d: {
                        "per_second": summary(speeds[name][d]),
                        **(
                            {"times_keras": ratios(speeds[name][d], speeds["keras"][d])}
                            if "keras" in names
                            else {}
                        ),
                        "single_ms": _latency([turn[d]["singles"] for turn in rounds[name]]),
                    }
                    for d in DIRECTIONS
                },
                "whole_seconds": summary([turn["seconds"] for turn in whole[name]]),
            }
            for name in names
        },
    }


def _latency(rounds: list[list[float]]) -> dict[str, float]:
    """Milliseconds that half, and 95 of 100, of all calls stay within."""
    calls = [1000 * seconds for singles in rounds for seconds in singles]
    return {"p50": significant(percentile(calls, 0.5), 3), "p95": significant(percentile(calls, 0.95), 3)}
