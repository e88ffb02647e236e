"""The README's Python lines run as they stand, and its tree names what there is."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import morphospace
from morphospace import data, fitting

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_python_lines_run(monkeypatch):
    """On few drawn clothes and for a moment, but otherwise to the letter."""
    load, fit = data.load, fitting.fit
    monkeypatch.setattr(data, "load", lambda source: load({"fashion-mnist": "garments"}[source], count=300))
    monkeypatch.setattr(fitting, "fit", partial(fit, steps=10))
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names: dict[str, object] = {}
    exec(code, names)
    assert isinstance(names["space"], morphospace.Space)


def test_the_tree_names_every_room():
    (tree,) = re.findall(r"```\nsrc/morphospace/\n(.*?)```", README, re.DOTALL)
    named = set(re.findall(r"([a-z_]+(?:\.py|/))", tree))
    there = {f"{p.name}/" if p.is_dir() else p.name for p in (ROOT / "src" / "morphospace").iterdir()}
    assert {name for name in there if not name.startswith("__") and name != "py.typed"} <= named


def test_every_link_leads_somewhere():
    for target in re.findall(r"\]\((?!http)([^)#]+)", README):
        assert (ROOT / target).exists(), target
