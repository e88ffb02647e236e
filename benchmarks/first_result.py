"""How long somebody waits: for the help, for the import, for the images, for the first training step."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

from benchmarks.figures import summary
from benchmarks.plan import Plan, environment
from benchmarks.session import take_turns

__all__ = ["measure"]

TRAINED = ("keras", "pythae", "pytorch", "morphospace:reference", "morphospace:vae")
IMPORT = "import time; t = time.perf_counter(); import morphospace; print(time.perf_counter() - t)"
HELP = [sys.executable, "-m", "morphospace", "--help"]
IMPORTS_OF_HELP = (
    "import sys; from morphospace.cli import run; code = run(['--help']); "
    "sys.exit(code or ('torch' in sys.modules and 'torch was imported'))"
)
STAGES = ("imported", "loaded", "first_step")


def measure(plan: Plan) -> dict[str, Any]:
    """Fresh processes, in turns."""
    names = plan.installed(TRAINED)
    _help_without_torch()
    _timed_help()  # once for the disk's cache
    helps = [_timed_help() for _ in range(3 * plan.starts)]
    imports = [float(_output([sys.executable, "-c", IMPORT])) for _ in range(3 * plan.starts)]

    def turn(name: str, i: int) -> dict[str, Any]:
        plan.say(f"first result: start {i + 1} of {plan.starts}, {name}")
        return _start(plan, name)

    starts = take_turns(names, plan.starts, turn)
    return {
        "help_seconds": summary(helps),
        "help_imports_torch": False,  # or `_help_without_torch` had raised
        "import_seconds": summary(imports),
        "subjects": {
            name: {stage: summary([start[stage] for start in starts[name]]) for stage in STAGES}
            for name in names
        },
    }


def _start(plan: Plan, name: str) -> dict[str, float]:
    """Seconds from the start of a process until it has imported what it trains with, loaded, and done one step."""
    with plan.start(name, "train", {"source": plan.source, "seed": plan.seed}) as subject:
        answer = subject.answer()
        times = {
            "imported": answer["imported"],
            "loaded": answer["loaded"],
            "first_step": answer["first_steps"][0],
        }
        return {stage: times[stage] - subject.spawned for stage in STAGES}


def _output(command: list[str]) -> str:
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    return done.stdout


def _timed_help() -> float:
    begun = time.perf_counter()
    _output(HELP)
    return time.perf_counter() - begun


def _help_without_torch() -> None:
    _output([sys.executable, "-c", IMPORTS_OF_HELP])
