"""The scoreboard: what its page says of its lines, and that its runs are measured, interrupted and resumed as told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from benchmarks import machine, one_run, reproduce, scoreboard
from benchmarks.one_run import Run

from morphospace.evaluation import evaluate
from morphospace.types import UnknownName

ROOT = Path(__file__).parent.parent


def line(recipe: str = "vae", seed: int = 0, theme: str = "basic", **changes: Any) -> dict[str, Any]:
    """A line as a run writes it."""
    found = machine.describe()
    run = Run(recipe, {"latent": 2}, seed, 2.0, 1, "float32", "cpu", {"source": "fashion-mnist"}, 1000, 200)
    figures = {"neg_elbo": 260.0, "nll_importance": 257.0, "nll_importance_error": 0.3}
    return {
        "run": {**vars(run), **changes.pop("run", {})},
        "theme": theme,
        "jobs": 2,
        **{key: found[key] for key in ("date", "machine", "versions", "commit")},
        "unnormalised": "",
        "told": False,
        "seconds": {"budget": 119.0, "clock": 130.0, "evaluation": 9.0},
        "epochs": 7.0,
        "images_per_second": 3500.0,
        "dimensions": 2,
        "support": "binary",
        "figures": {**figures, "active_units": 2, "knn": 0.7, "mse": 0.02, **changes.pop("figures", {})},
        "notes": [],
        **changes,
    }


def cells(page: str, recipe: str) -> dict[str, str]:
    """The row of a recipe by its columns' names."""
    (row,) = [text for text in page.splitlines() if text.startswith(f"| `{recipe}` |")]
    return dict(zip(scoreboard.HEADER, (cell.strip() for cell in row.strip("|").split("|")), strict=True))


# ---------------------------------------------------------------- the page


def test_the_committed_page_is_that_of_the_committed_lines():
    made = scoreboard.page(scoreboard.read(scoreboard.LINES))
    assert scoreboard.PAGE.read_text() == made, "run: python -m benchmarks.scoreboard"


def test_one_seed_has_no_spread_and_several_have_theirs():
    one = cells(scoreboard.page([line()]), "vae")
    assert one["seeds"] == "1"
    assert one["−ELBO"] == "260.00"
    assert one["−log p(x), weighted"] == "257.00 (±0.30)"
    assert one["−log p(x), exact"] == ""
    three = [line(seed=i, figures={"neg_elbo": 259.0 + i}) for i in range(3)]
    several = cells(scoreboard.page(three), "vae")
    assert several["seeds"] == "3"
    assert several["−ELBO"] == "260.00 ± 1.00"
    assert (
        several["−log p(x), weighted"] == "257.00 ± 0.00 (±0.30)"
    )  # the same images err alike for all seeds


def test_what_has_no_likelihood_is_refused_with_its_reason_and_no_number():
    reason = "its encoder gives points, which have no density"
    lines = [line(name, figures={}, unnormalised=reason) for name in ("ae", "rae-l2")]
    page = scoreboard.page([*lines, line()])
    for name in ("ae", "rae-l2"):
        row = cells(page, name)
        assert {row[c] for c in row if "log p" in c or "ELBO" in c} == {"refused"}
        assert row["pixels"] == ""
    assert f"`ae`, `rae-l2`: no likelihood, since {reason}." in page


def test_a_failed_run_is_shown_and_counted():
    failed = {k: v for k, v in line("vamp", 1).items() if k not in ("figures", "epochs")}
    page = scoreboard.page([line("vamp"), {**failed, "failed": "exit code 1: NumericalError: nan"}])
    assert cells(page, "vamp")["seeds"] == "1 of 2"
    assert "`vamp`, seed 1, failed: exit code 1: NumericalError: nan" in page
    alone = cells(scoreboard.page([{**failed, "failed": "exit code 1"}]), "vamp")
    assert (alone["seeds"], alone["−ELBO"]) == ("0 of 1", "failed")


def test_a_failure_that_was_repeated_is_forgotten():
    failed = {**line(), "failed": "exit code -9"}
    assert cells(scoreboard.page([failed, line()]), "vae")["seeds"] == "1"


def test_the_newest_arguments_are_shown_and_the_older_ones_counted():
    old = line(figures={"neg_elbo": 300.0}, run={"arguments": {"latent": 3}})
    page = scoreboard.page([old, line()])
    assert cells(page, "vae")["−ELBO"] == "260.00"
    assert "1 lines of earlier arguments are kept in the file and not shown" in page


def test_a_model_that_is_told_of_classes_is_marked():
    assert cells(scoreboard.page([line("cvae", told=True)]), "cvae")["pixels"] == "Bernoulli, class told"


def test_budgets_do_not_share_a_table():
    page = scoreboard.page([line(), line("vamp", run={"minutes": 10.0})])
    assert page.count("\n## Fashion-MNIST, ") == 2
    assert "2 minutes of one core, float32" in page
    assert "10 minutes of one core" in page


def test_bits_are_given_where_the_images_have_a_probability():
    page = scoreboard.page(
        [line("categorical-pixels", support="levels", figures={"bits_per_dimension": 3.21})]
    )
    assert "Bits per dimension: `categorical-pixels` 3.210." in page
    assert cells(page, "categorical-pixels")["pixels"] == "256 levels"


def test_a_line_that_was_cut_short_is_taken_out_and_a_damaged_file_refused(tmp_path):
    path = tmp_path / "lines.jsonl"
    path.write_text('{"a": 1}\n{"b": ')
    assert scoreboard.read(path) == [{"a": 1}]
    assert path.read_text() == '{"a": 1}\n'
    path.write_text('{"a": \n{"b": 2}\n')
    with pytest.raises(ValueError, match="Expecting value"):
        scoreboard.read(path)
    assert scoreboard.read(tmp_path / "none") == []


# ---------------------------------------------------------------- one run


def test_a_step_is_timed_without_the_first_and_for_as_long_as_asked(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(one_run, "_clock", lambda device: now[0])

    def train(progress):
        progress("something else", 1, 1)
        for step in range(1, 10**6):
            now[0] += 50.0 if step == 1 else 0.25
            progress("training", step, 10**6)

    assert one_run._seconds_of_a_step(train, 10.0, "cpu") == pytest.approx(0.25)
    assert now[0] == pytest.approx(50 + 10)


def tiny(recipe: str, **arguments: Any) -> Run:
    plan = reproduce.PLANS["tiny"]
    return Run(recipe, arguments, 0, 0.005, 1, "float32", "cpu", plan.source, plan.images, plan.draws)


def test_log_p_lies_from_the_elbo_of_all_as_it_does_on_the_few(monkeypatch):
    seen = []
    monkeypatch.setattr(one_run, "evaluate", lambda *a, **k: seen.append(evaluate(*a, **k)) or seen[-1])
    found = one_run.measure(tiny("vae", latent=2, size="tiny"))
    figures = found["figures"]
    few = {name: seen[0].value("likelihood", name) for name in ("neg_elbo", "nll_importance", "nll_exact")}
    assert few["neg_elbo"] != pytest.approx(figures["neg_elbo"], abs=0.1)  # other images
    for name in ("nll_importance", "nll_exact"):
        distance = figures["neg_elbo"] - figures[name]
        assert distance == pytest.approx(few["neg_elbo"] - few[name], abs=1e-3)
        assert 0 < figures[f"{name}_error"] < 50
    assert figures["neg_elbo"] == pytest.approx(figures["distortion"] + figures["rate"], abs=1e-3)
    assert 0 <= figures["knn"] <= 1
    assert found["settings"]["steps"] * found["settings"]["batch"] == pytest.approx(
        found["images_per_second"] * found["seconds"]["budget"], rel=1e-3
    )


@pytest.mark.parametrize(
    ("recipe", "told"), [("cvae", True), ("missing-pixels", False), ("vq", False), ("ladder", False)]
)
def test_models_of_other_kinds_are_measured_too(recipe, told):
    latent = {"ladder": 48, "vq": 8}.get(
        recipe, 3
    )  # not 2: quadrature of a model that knows nothing takes long
    found = one_run.measure(tiny(recipe, size="tiny", latent=latent))
    assert found["told"] == told
    assert found["figures"]["nll_importance"] <= found["figures"]["neg_elbo"] + 5
    assert {"mse", "knn"} <= set(found["figures"])


def test_a_model_of_points_has_no_figure_of_likelihood():
    found = one_run.measure(tiny("ae", latent=2, size="tiny"))
    assert "points" in found["unnormalised"]
    assert set(found["figures"]) == {"mse", "active_units", "knn"}


# ---------------------------------------------------------------- which runs


def options(*given: str) -> Any:
    return reproduce._options(["--plan", "tiny", *given])


def test_every_recipe_s_first_seed_comes_first():
    runs = reproduce.wanted(reproduce.PLANS["tiny"], options("--seeds", "2"))
    names = reproduce.recipes.names()
    assert {run.recipe for run in runs[: len(names)]} == set(names)
    assert [run.seed for run in runs] == [0] * len(names) + [1] * len(names)
    assert len({run.key() for run in runs}) == 2 * len(names)


def test_other_arguments_are_another_run():
    (run,) = reproduce.wanted(reproduce.PLANS["tiny"], options("--recipes", "vae"))
    again = Run(**json.loads(json.dumps(vars(run))))
    assert again.key() == run.key()
    assert Run(**{**vars(run), "arguments": {**run.arguments, "latent": 3}}).key() != run.key()


def test_a_wrong_name_or_budget_is_refused(capsys):
    with pytest.raises(UnknownName, match="Did you mean 'vamp'"):
        reproduce.wanted(reproduce.PLANS["tiny"], options("--recipes", "vamb"))
    with pytest.raises(SystemExit):
        options("--minutes", "0")
    assert "--minutes is 0.0; expected more than nought" in capsys.readouterr().err


# ---------------------------------------------------------------- all of it, small


def begin(folder: Path, *options: str) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(ROOT), str(ROOT / "src")])
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "benchmarks.reproduce",
            "--plan",
            "tiny",
            "--out",
            str(folder),
            "--jobs",
            "1",
            *options,
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.timeout(900)  # on a busy machine several imports of torch take long
def test_an_interrupted_scoreboard_goes_on_where_it_was(tmp_path):
    recipes = ("--recipes", "vae", "ae")
    process = begin(tmp_path, *recipes)
    lines = tmp_path / "scoreboard.jsonl"
    while process.poll() is None and not lines.is_file():
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130, said
    (first,) = scoreboard.read(lines)
    assert first["run"]["recipe"] == "vae"

    _, said = begin(tmp_path, *recipes).communicate()
    assert "2 runs, 1 of them" in said
    found = scoreboard.read(lines)
    assert [each["run"]["recipe"] for each in found] == ["vae", "ae"]
    assert found[0] == first
    page = (tmp_path / "scoreboard.md").read_text()
    assert cells(page, "vae")["seeds"] == "1"
    assert cells(page, "ae")["−ELBO"] == "refused"


@pytest.mark.timeout(900)
def test_a_failure_is_kept_and_repeated_only_if_asked():
    bad = Run(**{**vars(tiny("vae", latent=2, size="tiny")), "source": {"source": "nowhere"}})
    kept: list[dict[str, Any]] = []
    reproduce.run_all([bad], 1, kept.append)
    (found,) = kept
    assert "there is no set or path 'nowhere'" in found["failed"]
    assert found["theme"] == "basic"
    assert "0 of 1" in scoreboard.page(kept)
    assert reproduce.not_done([bad], kept, retry=False) == []
    assert reproduce.not_done([bad], kept, retry=True) == [bad]
