"""One look for all figures: sizes, colours, a canvas measured in inches, and figures turned into files."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Float, UInt8

if TYPE_CHECKING:
    import matplotlib.figure

__all__ = ["BODY", "DPI", "GRID", "INK", "MUTED", "SMALL", "TITLE", "WIDTH", "Canvas"]
__all__ += ["colours", "render", "shorten", "style", "text_width"]

WIDTH = 9.0
"""Inches: the full width of a figure. A page shows an inch of any figure as the same length."""
DPI = 200
TITLE, BODY, SMALL = 11.5, 9.0, 7.5
"""The three sizes of letters, in points."""

INK, MUTED, GRID = "#1b2430", "#5c6773", "#e3e7ec"

PETROFF = (
    "#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd",
)  # fmt: skip
"""Ten colours that readers with any common colour vision tell apart (Petroff 2021, arXiv:2107.02270)."""

_SHADES = (0.0, -0.35, 0.45, -0.6, 0.7)
"""What is mixed into further rounds of the ten: black where negative, white where positive."""

_WIDER_FONTS = (
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "Source Han Sans",
    "WenQuanYi Zen Hei",
    "Hiragino Sans",
)
"""Class names may be in any script; the first of these that is installed helps out where DejaVu has no letter."""


def _settings() -> dict[str, Any]:
    from matplotlib import font_manager

    installed = {entry.name for entry in font_manager.fontManager.ttflist}
    return {
        "font.family": ["DejaVu Sans", *[name for name in _WIDER_FONTS if name in installed][:1]],
        "font.size": BODY,
        "text.color": INK,
        "text.parse_math": False,  # a class may be called $x$
        "axes.edgecolor": MUTED,
        "axes.labelcolor": INK,
        "axes.linewidth": 0.7,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "axes.titlelocation": "left",
        "axes.titlesize": BODY,
        "axes.titleweight": "bold",
        "grid.color": GRID,
        "grid.linewidth": 0.7,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "xtick.labelsize": SMALL,
        "ytick.labelsize": SMALL,
        "legend.frameon": False,
        "legend.fontsize": SMALL,
        "svg.hashsalt": "morphospace",  # equal figures are equal files
    }


@contextmanager
def style() -> Iterator[None]:
    """Matplotlib with this look inside the block, whatever the reader's own settings are; as before afterwards."""
    from matplotlib import style as styles

    with styles.context(["default", _settings()]), warnings.catch_warnings():
        # A letter that no font has is drawn as a box; the page beside the figure still has it.
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
        yield


@style()
def render(figure: matplotlib.figure.Figure, kind: Literal["png", "svg"]) -> bytes:
    """A figure as the bytes of a file; the same figure always gives the same bytes."""
    stream = io.BytesIO()
    dateless = {"png": {"Software": None}, "svg": {"Date": None}}[kind]
    figure.savefig(stream, format=kind, dpi=DPI, metadata=dateless)
    return stream.getvalue()


def colours(count: int) -> list[str]:
    """``count`` colours. After ten they come again, darker, lighter, darker still and lighter still; then from anew."""
    from matplotlib.colors import to_hex, to_rgb

    found = []
    for i in range(count):
        shade, (red, green, blue) = _SHADES[i // 10 % len(_SHADES)], to_rgb(PETROFF[i % 10])
        towards, share = float(shade > 0), abs(shade)
        mixed = [value + share * (towards - value) for value in (red, green, blue)]
        found.append(to_hex((mixed[0], mixed[1], mixed[2])))
    return found


def text_width(words: str, size: float = BODY) -> float:
    """The width of a line of text in inches. Call it inside `style`."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    width, _, _ = text_to_path.get_text_width_height_descent(words, FontProperties(size=size), False)
    return float(width) / 72


def shorten(words: str, width: float, size: float = BODY) -> str:
    """``words`` in one line of at most ``width`` inches; longer ones lose their middle: ends tell names apart."""
    words = " ".join(words.split())
    if text_width(words, size) <= width:
        return words
    kept = min(len(words), int(width / (0.2 * size / 72)))
    while kept > 2 and text_width(_elided(words, kept), size) > width:
        kept -= 1
    return _elided(words, kept)


def _elided(words: str, kept: int) -> str:
    tail = kept // 3
    return f"{words[: kept - tail].rstrip()}…{words[len(words) - tail :].lstrip()}"


class Canvas:
    """A white sheet measured in inches from its upper left corner, for pictures and words.

    Pictures are laid pixel by pixel at `DPI`, each of their pixels a whole number of the sheet's, so that no grid of
    tiles shows seams and no picture is blurred.
    """

    def __init__(self, width: float, height: float) -> None:
        from matplotlib.figure import Figure

        across, down = round(width * DPI), round(height * DPI)
        self.width, self.height = across / DPI, down / DPI
        self.figure = Figure(figsize=(self.width, self.height), dpi=DPI)
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set_axis_off()
        self._pixels = np.full((down, across, 3), 255, dtype=np.uint8)

    def picture(self, image: Float[np.ndarray, "C H W"], x: float, y: float, scale: int) -> None:
        """Lay an image, values in [0, 1], with its upper left corner at (x, y), each pixel ``scale`` wide."""
        tile = to_rgb(image).repeat(scale, 0).repeat(scale, 1)
        top, left = round(y * DPI), round(x * DPI)
        self._pixels[top : top + tile.shape[0], left : left + tile.shape[1]] = tile

    def text(self, x: float, y: float, words: str, size: float = BODY, **how: Any) -> None:
        """Set a line of words with its left end at x and its middle at the height y."""
        self.axes.text(x, y, words, **{"fontsize": size, "va": "center", "ha": "left", **how})

    def finish(self) -> matplotlib.figure.Figure:
        """The figure, with all pictures in it."""
        if (self._pixels != 255).any():
            extent = (0, self.width, self.height, 0)
            self.axes.imshow(self._pixels, extent=extent, aspect="auto", interpolation="nearest", zorder=0)
        self.axes.set(xlim=(0, self.width), ylim=(self.height, 0))
        return self.figure


def to_rgb(image: Float[np.ndarray, "C H W"]) -> UInt8[np.ndarray, "H W 3"]:
    """Values in [0, 1] as a screen shows them; grey from black at 0 to white at 1."""
    levels = (np.clip(np.nan_to_num(image), 0, 1) * 255 + 0.5).astype(np.uint8)
    colour = levels if len(levels) == 3 else levels[:1].repeat(3, 0)
    return np.ascontiguousarray(colour.transpose(1, 2, 0))
