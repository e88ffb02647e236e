"""Sections and figures as one HTML file that needs nothing from anywhere else."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Literal

from morphospace.plots import WIDTH
from morphospace.report.facts import Facts
from morphospace.space import Space

if TYPE_CHECKING:
    import matplotlib.figure

__all__ = ["Drawing", "Section", "Table", "counted", "measured_terms", "page", "shown"]

INCH = 104
"""CSS pixels to an inch of a figure, so that letters have the same size in all of them."""


@dataclass
class Drawing:
    """A figure with its words, all of them plain text.

    Attributes:
        name: of its files, without suffix.
        figure: the figure.
        alt: what is seen, for readers who do not see it.
        caption: how it is read and what was found.
        embed: the kind that the page holds: svg for lines, png for many dots and pictures.
        html: its place in the page, once drawn.
    """

    name: str
    figure: matplotlib.figure.Figure
    alt: str
    caption: str
    embed: Literal["png", "svg"] = "png"
    html: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of plain text; the first column names what the others say. ``numbers``: set the others to the right."""

    rows: Sequence[Sequence[str]]
    head: Sequence[str] = ()
    title: str = ""
    numbers: bool = False


@dataclass(frozen=True)
class Section:
    """A heading, words, figures and tables."""

    slug: str
    title: str
    words: str = ""
    drawings: list[Drawing] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)


def page(facts: Facts, sections: Sequence[Section]) -> str:
    """The whole report as HTML."""
    config = facts.space.config
    name = facts.space.folder.name if facts.space.folder else "space"
    toc = "".join(f'<li><a href="#{s.slug}">{escape(s.title)}</a></li>' for s in sections)
    body = "\n".join(_section(i + 1, s) for i, s in enumerate(sections))
    recipe, spec = config["recipe"]["name"], facts.space.spec
    classes = len(facts.space.classes)
    about = (
        f"A space of {counted(facts.space.dimensions, 'dimension')}, learned by the recipe “{recipe}” from "
        f"{counted(config['images']['counts']['train'], 'image')} of {spec}"
        + (f" in {counted(classes, 'class', 'classes')}." if classes else ", without classes.")
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(name)} · Morphospace report</title>
<style>{STYLE}</style>
</head>
<body>
<header>
<p class="kicker">Morphospace report</p>
<h1>{escape(name)}</h1>
<p class="lead">{escape(about)}</p>
{_key_figures(facts.space)}
<nav aria-label="Contents"><ol>{toc}</ol></nav>
</header>
<main>
{body}
</main>
<footer><p>Written by Morphospace {escape(str(config["version"]))}. The folder <code>figures/</code> beside this file
holds every figure as PNG and SVG.</p></footer>
</body>
</html>
"""


def shown(drawing: Drawing, files: Mapping[str, bytes]) -> str:
    """A figure with its caption; the picture is part of the page, and loads nothing."""
    kind = {"svg": "image/svg+xml", "png": "image/png"}[drawing.embed]
    data = base64.b64encode(files[drawing.embed]).decode()
    width, height = (round(side * INCH) for side in drawing.figure.get_size_inches())
    return (
        f'<figure id="figure-{escape(drawing.name)}"><div class="sheet"><img src="data:{kind};base64,{data}" '
        f'alt="{escape(drawing.alt)}" width="{width}" height="{height}"></div>'
        f"<figcaption>{escape(drawing.caption)}</figcaption></figure>"
    )


def counted(count: int, one: str, many: str | None = None) -> str:
    """A number with its noun: "1 image", "60,000 images"."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def measured_terms(space: Space) -> list[tuple[str, str]]:
    """What of −ELBO, distortion and rate a space has: the names that people read, and those of its results.

    A model without a likelihood has no −ELBO, and an encoder of points no rate; what stands in its results is nought.
    """
    found = [("distortion", "distortion")]
    if space.model.encoder.family.normalised:
        found.append(("rate", "rate"))
    return found if space.recipe.unnormalised else [("−ELBO", "neg_elbo"), *found]


def _key_figures(space: Space) -> str:
    results = space.results
    split = next((s for s in ("test", "train") if s in results), None)
    if split is None:
        return ""
    measured = results[split]
    cells = "".join(
        f"<div><dt>{split if split == 'test' else 'training'} {label}</dt>"
        f"<dd>{measured[key]:.1f} <small>nats</small></dd></div>"
        for label, key in measured_terms(space)
    )
    return f'<dl class="key">{cells}</dl>'


def _section(number: int, section: Section) -> str:
    words = f"<p>{escape(section.words)}</p>" if section.words else ""
    parts = [drawing.html for drawing in section.drawings] + [_table(t) for t in section.tables]
    return (
        f'<section id="{section.slug}"><h2><span>{number}</span>{escape(section.title)}</h2>'
        f"{words}{''.join(parts)}</section>"
    )


def _table(table: Table) -> str:
    title = f"<h3>{escape(table.title)}</h3>" if table.title else ""
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in table.head)
    rows = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>'
        + "".join(f"<td>{escape(c)}</td>" for c in row[1:])
        + "</tr>"
        for row in table.rows
    )
    kind = "numbers" if table.numbers else "words"
    return (
        f'{title}<div class="scroll"><table class="{kind}">'
        + (f"<thead><tr>{head}</tr></thead>" if head else "")
        + f"<tbody>{rows}</tbody></table></div>"
    )


STYLE = f"""
:root {{ --ink: #1b2430; --muted: #5c6773; --paper: #f6f7f9; --card: #fff; --rule: #dfe4ea; --accent: #2467b3; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --ink: #e6eaef; --muted: #a3adb8; --paper: #12161c; --card: #1a2028; --rule: #2d3640; --accent: #7db4f2; }}
}}
* {{ box-sizing: border-box; }}
html {{ scroll-behavior: smooth; }}
@media (prefers-reduced-motion: reduce) {{ html {{ scroll-behavior: auto; }} }}
body {{ margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }}
header, main, footer {{ max-width: {round(WIDTH * INCH) + 96}px; margin: 0 auto; padding: 0 24px; }}
header {{ padding-top: 48px; }}
.kicker {{ margin: 0; color: var(--muted); letter-spacing: .04em; }}
h1 {{ margin: 0 0 8px; font-size: 2.3rem; line-height: 1.15; overflow-wrap: anywhere; }}
.lead {{ margin: 0 0 28px; font-size: 1.1rem; color: var(--muted); max-width: 68ch; }}
.key {{ display: flex; flex-wrap: wrap; gap: 12px; margin: 0 0 28px; }}
.key div {{ flex: 1 1 200px; background: var(--card); border: 1px solid var(--rule); border-radius: 10px;
  padding: 14px 18px; }}
.key dt {{ color: var(--muted); font-size: .9rem; }}
.key dd {{ margin: 0; font-size: 2rem; font-weight: 650; font-variant-numeric: tabular-nums; line-height: 1.25; }}
.key div:first-child {{ border-color: var(--accent); }}
.key small {{ font-size: 1rem; font-weight: 400; color: var(--muted); }}
nav ol {{ columns: 3 220px; margin: 0; padding-left: 1.4em; }}
a {{ color: var(--accent); text-underline-offset: 3px; }}
section {{ margin-top: 56px; scroll-margin-top: 16px; }}
h2 {{ font-size: 1.45rem; line-height: 1.25; margin: 0 0 8px; }}
h2 span {{ color: var(--muted); font-weight: 400; margin-right: .6em; }}
h3 {{ font-size: 1.05rem; margin: 28px 0 8px; }}
section > p {{ margin: 0 0 16px; max-width: 76ch; }}
figure {{ margin: 0 0 28px; }}
.sheet {{ background: #fff; border: 1px solid var(--rule); border-radius: 10px; padding: 18px; overflow-x: auto; }}
.sheet img {{ display: block; margin: 0 auto; max-width: max(100%, 620px); height: auto; }}
figcaption {{ margin: 10px 2px 0; max-width: 82ch; color: var(--muted); }}
.scroll {{ overflow-x: auto; }}
table {{ border-collapse: collapse; background: var(--card); border: 1px solid var(--rule); font-size: .95rem; }}
th, td {{ padding: 7px 16px; border-top: 1px solid var(--rule); text-align: left; vertical-align: top; }}
th[scope=row] {{ font-weight: 500; white-space: nowrap; }}
thead th {{ border-top: 0; color: var(--muted); font-weight: 500; }}
td {{ font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }}
.numbers td, .numbers thead th:not(:first-child) {{ text-align: right; }}
.words {{ width: 100%; }} .words th {{ width: 14em; }}
footer {{ margin-top: 56px; padding-bottom: 40px; color: var(--muted); font-size: .9rem; }}
@media (max-width: 600px) {{ header, main, footer {{ padding: 0 14px; }} .sheet {{ padding: 8px; }}
  h1 {{ font-size: 1.8rem; }} .words th {{ width: auto; white-space: normal; }} }}
@media print {{ body {{ background: #fff; }} figure, table {{ break-inside: avoid; }} nav {{ display: none; }} }}
"""
