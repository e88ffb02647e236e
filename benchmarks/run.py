"""Measure this package beside its peers.

    python -m benchmarks.run                                     # everything: an hour on two cores
    python -m benchmarks.run --only throughput                   # one part, and its file
    python -m benchmarks.run --only time-to-elbo --subject keras # one subject's curve; the others' stay as they are
    python -m benchmarks.run --plan quick                        # ten minutes; prints its tables
    python -m benchmarks.run --plan tiny                         # minutes; shows that it runs

Each part writes a file of its own name: the full plan's into ``benchmarks/results``, the others' into
``runs/bench-PLAN``. ``python -m benchmarks.table`` makes the tables of the texts from the former.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import first_result, inference, machine, memory, table, throughput, time_to_elbo
from benchmarks.plan import PLANS, RESULTS, Plan, options
from morphospace.files import write_text

__all__ = ["PARTS", "main"]

ROOT = Path(__file__).parent.parent

Keep = Callable[[dict[str, Any]], None]

PARTS: dict[str, Callable[[Plan, Keep], dict[str, Any]]] = {
    "throughput": lambda plan, _: throughput.measure(plan),
    "inference": lambda plan, _: inference.measure(plan),
    "memory": lambda plan, _: memory.measure(plan),
    "first-result": lambda plan, _: first_result.measure(plan),
    "time-to-elbo": time_to_elbo.measure,
}
"""Every part, the long one last."""


def main(arguments: list[str] | None = None) -> None:
    assert __doc__ is not None
    parser = options("benchmarks.run", __doc__)
    parser.add_argument("--plan", choices=PLANS, default="full", help="how much is measured")
    parser.add_argument("--only", choices=PARTS, action="append", help="this part alone; may be given again")
    parser.add_argument(
        "--subject",
        action="append",
        default=[],
        help="in time-to-elbo, this subject alone; may be given again",
    )
    parser.add_argument("--out", type=Path, help="a folder for the results")
    given = parser.parse_args(arguments)
    plan = PLANS[given.plan]
    folder = given.out or (RESULTS if plan.name == "full" else ROOT / "runs" / f"bench-{plan.name}")
    folder.mkdir(parents=True, exist_ok=True)
    known = [name for name, _ in plan.curves]
    if not set(given.subject) <= set(known):
        parser.error(f"the plan '{plan.name}' has curves of {', '.join(dict.fromkeys(known)) or 'nobody'}")
    plan = replace(plan, folder=folder, only=tuple(given.subject))
    for name in given.only or PARTS:
        run_part(name, plan)
    print(table.summary_of(table.read(folder)))
    print(table.details_of(table.read(folder)))


def run_part(name: str, plan: Plan) -> None:
    """Measure one part and write its file."""
    about = {
        "part": name,
        "plan": plan.name,
        "source": plan.source,
        "rounds": plan.rounds,
        "seconds": plan.seconds,
        "seed": plan.seed,
        **machine.describe(),
    }
    path = plan.folder / f"{name}.json"

    def keep(found: dict[str, Any]) -> None:
        record = {**about, **found, "left_out": list(plan.left_out)}
        write_text(path, json.dumps(record, indent=1, ensure_ascii=False) + "\n")

    keep(PARTS[name](plan, keep))
    plan.say(f"{name}: written to {path}")


if __name__ == "__main__":
    main()
