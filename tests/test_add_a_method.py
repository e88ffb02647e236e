"""The page that says how to add a method, run as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from morphospace import recipes

PAGE = (Path(__file__).parent.parent / "docs" / "add-a-method.md").read_text()


def test_the_page_adds_a_method_that_works(register, capsys):
    names: dict[str, object] = {"__name__": "a_page"}
    with torch.random.fork_rng():
        for code in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
            exec(code, names)
    assert "moment-vae" in recipes.names()
    assert recipes.themes()["a_page"] == ("moment-vae",)
    first, figures = capsys.readouterr().out.splitlines()
    assert first.startswith("The moment-matching VAE")
    assert "[4, 1, 28, 28]" in figures


def test_the_table_of_a_trace_names_what_it_has():
    from morphospace.model import Trace

    named = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| `.*$", PAGE, re.MULTILINE))))
    assert named <= set(Trace.__annotations__) | {n for n in dir(Trace) if not n.startswith("_")}


def test_every_link_leads_somewhere():
    for target in re.findall(r"\]\((?!http)([^)#]+)", PAGE):
        assert (Path(__file__).parent.parent / "docs" / target).exists(), target
