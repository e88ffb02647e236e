"""The papers of methods: one BibTeX file beside the recipes, and which of its entries a page, or a run, refers to.

A page names a paper by author, year, title and an identifier: ``arXiv:…``, ``doi:…`` or an address without its scheme.
The identifier is what leads to the entry; the test suite holds the rest to what the entry says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from morphospace.recipes import page

__all__ = ["cited_by", "cited_in", "entries"]

OPTIMIZERS = {"adam": "kingma2015adam", "adamw": "loshchilov2019decoupled", "muon": "jordan2024muon"}
SETS = {"fashion-mnist": "xiao2017fashion"}
IDENTIFIER = re.compile(
    r"arXiv:\d{4}\.\d{4,5}|doi:[^\s,;]*[^\s,;.)]|\b(?:[\w-]+\.)+[a-z]{2,4}/[^\s,;]*[^\s,;.)]"
)


@cache
def entries() -> dict[str, str]:
    """Every BibTeX entry by its key."""
    text = files("morphospace.recipes").joinpath("references.bib").read_text(encoding="utf-8")
    return {found[1]: found[0] for found in re.finditer(r"^@\w+\{(\S+),\n(?:  .*\n)+\}", text, re.MULTILINE)}


@cache
def _by_identifier() -> dict[str, str]:
    """Keys by the identifiers as pages write them."""
    found = {}
    for key, entry in entries().items():
        for field, value in re.findall(r"^  (eprint|doi|url) = \{(.+)\}", entry, re.MULTILINE):
            prefix = {"eprint": "arXiv:", "doi": "doi:", "url": ""}[field]
            found[prefix + value.removeprefix("https://").removesuffix("/")] = key
    return found


def cited_in(text: str) -> dict[str, str | None]:
    """The identifiers after a page's ``References:``, in order, each with its key; None if there is no entry."""
    _, _, references = text.partition("References:")
    return {name: _by_identifier().get(name) for name in IDENTIFIER.findall(references)}


def cited_by(config: Mapping[str, Any]) -> list[str]:
    """The BibTeX entries of what a run used: this package, the recipe's papers, the optimizer's, the known set's."""
    keys = ["morphospace", *filter(None, cited_in(page(config["recipe"]["name"])).values())]
    keys.append(OPTIMIZERS[config["training"]["optimizer"]])
    if config["training"]["optimizer"] == "muon":
        keys.append(OPTIMIZERS["adamw"])  # for all that is no hidden matrix
    source = config["images"]["source"].get("source")
    keys += [SETS[source]] if source in SETS else []
    return [entries()[key] for key in dict.fromkeys(keys)]
