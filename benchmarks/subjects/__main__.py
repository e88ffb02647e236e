"""``python -m benchmarks.subjects NAME TASK OPTIONS``: one subject at one task, speaking JSON lines.

Begun by `benchmarks.session.Subject`. NAME may carry a variant after a colon: ``morphospace:vae``.
"""

from __future__ import annotations

import importlib
import json
import sys

from benchmarks.session import Line

MODULES = {
    "keras": "keras_fit",
    "pytorch": "eager",
    "pythae": "pythae_trainer",
    "morphospace": "ours",
    "matmul": "matmul",
    "idle": "idle",
}


def main(name: str, task: str, options: str) -> None:
    line = Line()  # first of all: whatever is imported from here on may print
    name, _, variant = name.partition(":")
    module = importlib.import_module(f"benchmarks.subjects.{MODULES[name]}")
    given = json.loads(options)
    getattr(module, task)(line, **({"variant": variant} if variant else {}), **given)


main(*sys.argv[1:])
