"""Every recipe under one equal budget: trained, measured, kept as a line of ``benchmarks/results/scoreboard.jsonl``.

    python -m benchmarks.reproduce                            # one seed of every recipe, two minutes of one core each
    python -m benchmarks.reproduce --seeds 3                  # make reproduce: hours on two cores
    python -m benchmarks.reproduce --recipes vae vamp --minutes 10
    python -m benchmarks.reproduce --device cuda --seeds 3    # on a GPU: minutes of its time, one run after another
    python -m benchmarks.reproduce --plan tiny                # shows that it runs; its figures mean nothing

What is in the file is not run again, so it may be stopped at any time and goes on where it was; ``--retry`` repeats the
runs that failed. A recipe whose default arguments have changed since is run anew. ``docs/scoreboard.md`` is made from
the file after each run, by `benchmarks.scoreboard`.

The budget is processor time of the run's own process while it trains, with as many threads as ``--threads`` says: other
work on the machine takes seconds of the clock from a run, but also some steps, since cores share caches and memory: run
it on a machine that is free, and look at the epochs that each came to. How many
steps fit is found by timing some beforehand, so that the learning rate's schedule ends with the budget; what a run took
in the end is kept. On a GPU the budget is seconds of the clock, and there is one job.

All runs compute in one precision, bfloat16 where a GPU or a processor has matrix units for it (AMX): chosen for each by
timing, as training does otherwise, a busy machine would give some recipes twice the steps of others.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks import machine, scoreboard, study
from benchmarks.one_run import Line, Run, measure, stamp
from benchmarks.plan import environment, options
from morphospace import recipes
from morphospace.files import write_text

__all__ = ["main", "run_all"]

ROOT = Path(__file__).parent.parent
STOPPED = 130
"""The exit code of a run that was asked to stop: no result, and nothing that went wrong."""


@dataclass(frozen=True)
class Plan:
    """What the options leave open: the images, and how much is measured of each run."""

    source: dict[str, Any]
    minutes: float
    images: int
    draws: int
    arguments: Mapping[str, Any]
    lines: Path
    page: Path


PLANS = {
    "full": Plan({"source": "fashion-mnist"}, 2.0, 1000, 200, {}, scoreboard.LINES, scoreboard.PAGE),
    "tiny": Plan(
        {"source": "garments", "count": 400},
        0.02,
        20,
        8,
        {"size": "tiny"},
        ROOT / "runs" / "scoreboard-tiny" / scoreboard.LINES.name,
        ROOT / "runs" / "scoreboard-tiny" / scoreboard.PAGE.name,
    ),
}


# ---------------------------------------------------------------- which runs


def main(arguments: Sequence[str] | None = None) -> None:
    given = _options(arguments)
    if given.run is not None:
        print(json.dumps(measure(Run(**json.loads(given.run)))))
        return
    plan = PLANS[given.plan]
    if given.out is not None:
        plan = replace(plan, lines=given.out / scoreboard.LINES.name, page=given.out / scoreboard.PAGE.name)
    runs = wanted(plan, given)
    kept = scoreboard.read(plan.lines)
    left = not_done(runs, kept, given.retry)
    say(f"{len(runs)} runs, {len(runs) - len(left)} of them in {plan.lines} already")
    begun = time.monotonic()

    def keep(line: Line) -> None:
        kept.append(line)
        append(plan.lines, line)
        write_text(plan.page, scoreboard.page(kept))
        say(f"{told(line)} [{len(kept)} lines, {(time.monotonic() - begun) / 60:.1f} min]")

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(STOPPED))
    try:
        run_all(left, 1 if given.device == "cuda" else given.jobs or max(1, cores() // given.threads), keep)
    except KeyboardInterrupt:
        sys.exit(STOPPED)
    finally:
        say(f"{plan.lines} has {len(kept)} lines; the table is {plan.page}")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    assert __doc__ is not None
    parser = options("benchmarks.reproduce", __doc__)
    parser.add_argument("--plan", choices=PLANS, default="full")
    parser.add_argument(
        "--recipes", nargs="+", metavar="NAME", help="these alone; all of the registry by default"
    )
    parser.add_argument(
        "--seeds", type=int, default=1, help="how many, from 0; every recipe's first comes first"
    )
    parser.add_argument("--minutes", type=float, help="of processor time for each run's training (2)")
    parser.add_argument("--threads", type=int, default=1, help="of each run")
    parser.add_argument("--jobs", type=int, help="runs side by side; as many as there are cores by default")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), help="of training, for all alike")
    parser.add_argument("--retry", action="store_true", help="repeat the runs that failed")
    parser.add_argument(
        "--out", type=Path, help="a folder for the lines and the table, in place of the kept ones"
    )
    parser.add_argument("--run", help=argparse.SUPPRESS)  # one run, in a process of its own
    given = parser.parse_args(arguments)
    for name in ("seeds", "minutes", "threads", "jobs"):
        value = getattr(given, name)
        if value is not None and not value > 0:
            parser.error(f"--{name} is {value}; expected more than nought")
    fast = given.device == "cuda" or "amx_bf16" in machine.describe()["machine"]["instructions"]
    given.precision = given.precision or ("bfloat16" if fast else "float32")
    return given


def wanted(plan: Plan, given: argparse.Namespace) -> list[Run]:
    """The runs that the options ask for, one seed of every recipe before the next seed of any."""
    spec = study.images(plan.source).spec
    chosen = []
    for name in given.recipes or [name for names in recipes.themes().values() for name in names]:
        known = recipes.get(name, spec).arguments  # an unknown name is refused here, with the close match
        changes = {k: v for k, v in plan.arguments.items() if k in known}
        chosen.append((name, recipes.get(name, spec, changes).arguments))
    return [
        Run(
            recipe=name,
            arguments=arguments,
            seed=seed,
            minutes=given.minutes or plan.minutes,
            threads=given.threads,
            precision=given.precision,
            device=given.device,
            source=plan.source,
            images=plan.images,
            draws=plan.draws,
        )
        for seed in range(given.seeds)
        for name, arguments in chosen
    ]


def not_done(runs: Sequence[Run], kept: Sequence[Line], retry: bool) -> list[Run]:
    """The runs that have no line yet; with ``retry``, those too that have none but of failures."""
    done = {Run(**line["run"]).key() for line in kept if not (retry and "failed" in line)}
    return [run for run in runs if run.key() not in done]


# ---------------------------------------------------------------- side by side


def run_all(runs: Sequence[Run], jobs: int, keep: Callable[[Line], None]) -> None:
    """Make each run in a process of its own, ``jobs`` at a time; ``keep`` is given the line of each as it ends."""
    waiting, running = deque(runs), list[tuple[Run, "_Process"]]()
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                run = waiting.popleft()
                running.append((run, _Process(run)))
            for run, process in [pair for pair in running if pair[1].ended]:
                running.remove((run, process))
                if (line := process.line(run, jobs)) is not None:
                    keep(line)
            time.sleep(0.1)
    finally:
        for _, process in running:
            process.stop()


class _Process:
    """A run in a process of its own, and in a session of its own: whoever stops all, stops it by `stop`."""

    def __init__(self, run: Run) -> None:
        self._out = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed by `line` or `stop`)
        self._err = tempfile.TemporaryFile("w+")  # noqa: SIM115
        threads = dict.fromkeys(
            ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(run.threads)
        )
        self._popen = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.reproduce", "--run", json.dumps(asdict(run))],
            stdin=subprocess.DEVNULL,
            stdout=self._out,
            stderr=self._err,
            env=environment() | threads,
            cwd=ROOT,
            start_new_session=True,
        )

    @property
    def ended(self) -> bool:
        return self._popen.poll() is not None

    def line(self, run: Run, jobs: int) -> Line | None:
        """What came of it; None if it was asked to stop."""
        code = self._popen.returncode
        theme = next(theme for theme, names in recipes.themes().items() if run.recipe in names)
        about: Line = {"run": asdict(run), "theme": theme, "jobs": jobs}
        with self._out, self._err:
            said = [self._read(file) for file in (self._out, self._err)]
        if code == 0:
            return {**about, **json.loads(said[0])}
        if code in (STOPPED, -signal.SIGINT, -signal.SIGTERM):
            return None
        last = said[1].strip().splitlines()[-1:] or ["it said nothing"]
        return {**about, **stamp(), "failed": f"exit code {code}: {last[0]}"}

    @staticmethod
    def _read(file: Any) -> str:
        file.seek(0)
        text: str = file.read()
        return text

    def stop(self) -> None:
        self._popen.kill()
        self._popen.wait()
        self._out.close()
        self._err.close()


def cores() -> int:
    """Cores that this process may use."""
    return int(machine.describe()["machine"]["cores"])


# ---------------------------------------------------------------- the file


def append(path: Path, line: Line) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")


def told(line: Line) -> str:
    """A line in a few words."""
    name = f"{line['run']['recipe']}, seed {line['run']['seed']}"
    if "failed" in line:
        return f"{name}: FAILED, {line['failed']}"
    bound = line["figures"].get("neg_elbo")
    what = "no likelihood" if bound is None else f"−ELBO {bound:.2f} nats"
    return f"{name}: {line['epochs']:.2f} epochs, {what}"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
