"""How long torch's threads should spin while they wait for one another, on an idle machine and beside other work.

    python -m benchmarks.threads

Times the default recipe's training step in processes of their own, alone and beside one more process that trains too,
for several values of ``GOMP_SPINCOUNT`` (turns of an empty loop before a waiting thread goes to sleep), interleaved.
Prints a table and keeps it in ``benchmarks/results/threads.json``.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "threads.json"
COUNTS = ("1000", "5000", "20000", "default")
ROUNDS = 3
SECONDS = 4.0


def time_steps() -> None:
    """Print images per second of the default recipe's training step."""
    import morphospace as ms
    from morphospace.training.loop import _Run, settled

    images = ms.load("garments", count=4096)
    recipe = ms.recipes.vae(images.spec)
    settings = settled(recipe, images, recipe.settings.changed(steps=10**6, device="cpu"))
    run = _Run(recipe, images, settings, {}, None)
    run.update()
    begun, steps = time.monotonic(), 0
    while time.monotonic() - begun < SECONDS:
        run.update()
        steps += 1
    print(steps * settings.batch / (time.monotonic() - begun))


def measure(count: str, *, beside: bool) -> float:
    """Images per second with a spin count, alone or beside another training process."""
    environment = {k: v for k, v in os.environ.items() if k != "GOMP_SPINCOUNT"}
    if count != "default":
        environment["GOMP_SPINCOUNT"] = count
    command = [sys.executable, "-m", "benchmarks.threads", "--steps"]
    with ExitStack() as stack:
        if beside:
            endless = [sys.executable, "-m", "benchmarks.threads", "--endless"]
            other = stack.enter_context(subprocess.Popen(endless, env=environment))
            stack.callback(other.kill)
            time.sleep(5)  # until it has begun
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    found: dict[str, dict[str, list[float]]] = {c: {"alone": [], "beside": []} for c in COUNTS}
    for _ in range(ROUNDS):
        for count in COUNTS:
            for beside in (False, True):
                found[count]["beside" if beside else "alone"].append(round(measure(count, beside=beside), 1))
    print("| spin count | images/s alone | beside another training process |\n|---|---|---|")
    for count, speeds in found.items():
        row = (f"{statistics.median(s):,.0f} ({min(s):,.0f} to {max(s):,.0f})" for s in speeds.values())
        print(f"| {count} | {' | '.join(row)} |")
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1:] == ["--steps"]:
        time_steps()
    elif sys.argv[1:] == ["--endless"]:
        SECONDS = float("inf")
        time_steps()
    else:
        main()
