"""The examples run, and stay short enough to be read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nbformat

EXAMPLES = Path(__file__).parent.parent / "examples"
SCRIPT, NOTEBOOK = EXAMPLES / "vae.py", EXAMPLES / "vae.ipynb"
LONGEST = 80
"""Lines of Python that tell the whole story."""


def code_cells() -> list[str]:
    return [cell.source for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]


def test_the_script_tells_the_whole_story(tmp_path):
    assert len(SCRIPT.read_text().splitlines()) < LONGEST
    small = (
        "import runpy, sys, morphospace as ms, morphospace.data as data; load = data.load; "
        "data.load = lambda source: load(source, count=400); "
        f"sys.argv = ['vae.py', 'garments', '20']; runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", small], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for part in ("test −ELBO", "Ankle boot", "x = 0.4  nearest to"):
        assert part in done.stdout
    made = {path.name for path in tmp_path.iterdir()}
    assert made == {"bag-to-sneaker.png", "bag-to-sneaker.gif", "samples.png", "space"}


def test_the_notebook_runs_from_top_to_bottom(tmp_path):
    from nbclient import NotebookClient

    assert sum(len(source.splitlines()) for source in code_cells()) < LONGEST
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    assert first.source == 'source, steps = "fashion-mnist", None'
    first.source = (
        'source, steps = "garments", 20\n'
        "import morphospace.data as data; load = data.load; data.load = lambda source: load(source, count=400)"
    )
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    pictures = [
        o
        for c in notebook.cells
        if c.cell_type == "code"
        for o in c.outputs
        if "image/png" in o.get("data", {})
    ]
    assert len(pictures) == 6


def test_the_notebook_is_kept_without_outputs():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.outputs for cell in notebook.cells if cell.cell_type == "code")
