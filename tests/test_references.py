"""Pages and the BibTeX file agree, for every recipe, and a run's citations are those of what it used."""

from __future__ import annotations

import re

import pytest

from morphospace import recipes
from morphospace.references import cited_by, cited_in, entries

PAGES = {name: recipes.page(name) for name in recipes.names()}


def plain(text: str) -> str:
    """Letters alone, in small ones, so that braces, Greek and accents do not count."""
    plainer = {"β": "beta", "ü": "u", "é": "e", "ø": "o", "á": "a"}
    return re.sub(r"[^a-z0-9]", "", text.lower().translate(str.maketrans(plainer)))


def items(page: str) -> list[str]:
    """The references of a page, each up to its identifier."""
    text = " ".join(page.partition("References:")[2].split())
    found, start = [], 0
    for name in cited_in(page):
        stop = text.index(name, start)
        found.append(text[start:stop])
        start = stop + len(name)
    return found


@pytest.mark.parametrize("name", PAGES)
def test_a_page_refers_to_entries_and_says_what_they_say(name):
    cited = cited_in(PAGES[name])
    assert cited, "no reference with an identifier"
    assert None not in cited.values(), f"references.bib lacks {[k for k, v in cited.items() if v is None]}"
    for item, key in zip(items(PAGES[name]), cited.values(), strict=True):
        entry = entries()[key]
        author, title, year = (
            re.search(rf"{f} = \{{(.+)\}},", entry)[1] for f in ("author", "title", "year")
        )
        assert plain(author.split(",")[0]) in plain(item), f"{key}: {author} is not in '{item}'"
        assert year in item, f"{key}: {year} is not in '{item}'"
        assert plain(title.split(":")[0]) in plain(item), f"{key}: '{title}' is not in '{item}'"


def test_every_entry_has_what_a_bibliography_needs():
    assert len(entries()) > 30
    for key, entry in entries().items():
        assert entry.startswith("@")
        assert entry.rstrip().endswith("}")
        assert all(f"  {field} = " in entry for field in ("author", "title", "year")), key
        assert entry.count("{") == entry.count("}"), key
    identifiers = re.findall(r"(?:eprint|doi|url) = \{(.+)\}", "".join(entries().values()))
    assert len(identifiers) == len(set(identifiers)) == len(entries()) - 1  # all but this package


def test_a_run_cites_what_it_used():
    config = {
        "recipe": {"name": "reference"},
        "training": {"optimizer": "adam"},
        "images": {"source": {"source": "fashion-mnist"}},
    }
    keys = [re.match(r"@\w+\{(\w+),", entry)[1] for entry in cited_by(config)]
    assert keys == ["morphospace", "kingma2014auto", "kingma2015adam", "xiao2017fashion"]
