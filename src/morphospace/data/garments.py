"""`garments`: the ten Fashion-MNIST classes, drawn from known factors; any number, any size, no download.

Every image is a pure function of ``(seed, index)``: its class is ``index % 10`` and its factors come from a
counter-based hash, so neither order nor batching nor count changes a picture. Only ``+ − × ÷ √`` and rounding
are used, each exactly defined by IEEE 754, so the same numbers give the same bytes on other machines as well.

A garment is painted back to front, like a collage. A piece is a signed distance to its outline (negative
inside), which divided by the size of a pixel gives its coverage: this is what makes edges smooth at any size.
Garment coordinates put the largest centred square of the canvas on −1 … 1, ``u`` to the right and ``v`` down.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from morphospace.data.fashion_mnist import CLASSES
from morphospace.data.images import Images
from morphospace.types import Progress, UsageError, silent

__all__ = ["CLASSES", "FACTORS", "draw", "draw_from", "garments"]

FACTORS: Final = {
    "width": "how wide the garment is; of shoes, from toe to heel",
    "length": "from shoulder or waist to hem; of a bag and of shoes, the height",
    "reach": "length of sleeves or straps; gap between legs; height of handle, tongue or shaft",
    "opening": "depth of the neckline, of a bag's flap; how high legs part; height of the heel or sole",
    "flare": "how much it widens to the hem; of shoes, how full the toe is",
    "tilt": "rotation, from 8 degrees one way to 8 degrees the other",
    "brightness": "grey of the cloth",
    "shading": "how much the cloth darkens towards its edges, folds and seams",
    "stripes": "contrast of the woven stripes",
}
"""The ground-truth factors, each uniform on [0, 1) and independent of the others and of the class."""

Array = NDArray[np.floating[Any]]  # float32 throughout; numpy's own types lose this at every `maximum`
Number = Array | float

_CHUNK_PIXELS = 1 << 16  # painted at once: a handful of float32 layers of this size stay in a core's cache
_BLOCK = 4096  # images between two reports of progress
_TEST_EVERY = 7  # one in seven is for testing: 60,000 and 10,000 of 70,000, as the publisher has it


def garments(
    count: int = 70_000,
    *,
    size: int | tuple[int, int] = 28,
    seed: int = 0,
    start: int = 0,
    progress: Progress = silent,
) -> Images:
    """Draws images ``start`` to ``start + count`` of the endless set that belongs to ``seed``.

    The split is a property of the index, whatever ``start`` and ``count`` are: every seventh image (index 6,
    13, 20, …) is for testing, the others for training, none for validation. As 7 and 10 have no common
    factor, both splits hold every class equally often.

    Args:
        count: number of images.
        size: side of a square canvas, or (height, width), in pixels; at least 8. The garment keeps its
            proportions and fills the largest centred square.
        seed: which set; a seed and an index determine an image, its class and its factors.
        start: index of the first image.
        progress: told how many images have been drawn.

    Returns:
        Grey images with labels and, as ``factors``, the ground truth in the order of `FACTORS`.

    Raises:
        UsageError: a negative count or start, or a canvas of fewer than 8 pixels a side.
    """
    if count < 0 or start < 0:
        raise UsageError(f"count is {count} and start is {start}; neither of them can be negative")
    height, width = (size, size) if isinstance(size, int) else size
    _check_canvas(height, width)
    pixels = np.empty((count, 1, height, width), np.uint8)
    labels = np.empty(count, np.int64)
    factors = np.empty((count, len(FACTORS)), np.float32)
    for first in range(0, count, _BLOCK):
        rows = slice(first, min(first + _BLOCK, count))
        index = np.arange(start + rows.start, start + rows.stop, dtype=np.int64)
        pixels[rows], labels[rows], factors[rows] = draw(index, seed=seed, height=height, width=width)
        progress("drawing garments", float(rows.stop), float(count))
    index = np.arange(start, start + count, dtype=np.int64)
    source: dict[str, Any] = {
        "source": "garments",
        "count": count,
        "image_size": [height, width],
        "seed": int(seed),
    }
    return Images(
        pixels=pixels,
        splits=np.where(index % _TEST_EVERY == _TEST_EVERY - 1, 2, 0).astype(np.uint8),
        labels=labels,
        classes=CLASSES,
        factors=factors,
        factor_names=tuple(FACTORS),
        source=source | ({"start": start} if start else {}),
        policy={"drawn": "garments", "version": 1},
    )


def draw(
    index: NDArray[np.int64], *, seed: int = 0, height: int = 28, width: int = 28
) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.float32]]:
    """Draws the images at ``index``, in that order.

    Returns:
        pixels (n, 1, height, width), labels (n,) and factors (n, F) in the order of `FACTORS`.
    """
    if len(index) and index.min() < 0:
        raise UsageError(f"there is no image {index.min()}; indices start at 0")
    labels = index % len(CLASSES)
    factors = _uniform(index, seed, len(FACTORS))
    return draw_from(labels, factors, height, width), labels, factors


def draw_from(
    labels: NDArray[np.int64], factors: Array, height: int = 28, width: int = 28
) -> NDArray[np.uint8]:
    """Draws garments from given ground truth: for traversals, and for tests of disentanglement.

    Args:
        labels: (n,) positions in `CLASSES`.
        factors: (n, F) in the order of `FACTORS`, each from 0 to 1.
        height: of the canvas, in pixels; at least 8.
        width: likewise.

    Returns:
        pixels (n, 1, height, width).

    Raises:
        UsageError: a label without a class, factors of another shape or beyond 0 … 1, or too small a canvas.
    """
    _check_canvas(height, width)
    if factors.shape != (len(labels), len(FACTORS)):
        raise UsageError(f"factors have shape {factors.shape}; expected {(len(labels), len(FACTORS))}")
    if not np.all((factors >= 0) & (factors <= 1)):
        raise UsageError("factors must lie between 0 and 1")
    if not np.all((labels >= 0) & (labels < len(CLASSES))):
        raise UsageError(f"labels must lie between 0 and {len(CLASSES) - 1}")
    pixels = np.empty((len(labels), 1, height, width), np.uint8)
    chunk = max(1, _CHUNK_PIXELS // (height * width))
    for label, paint in enumerate(_PAINTERS):
        rows = np.flatnonzero(labels == label)
        for first in range(0, len(rows), chunk):
            some = rows[first : first + chunk]
            canvas = _Canvas(factors[some].astype(np.float32), height, width)
            paint(canvas)
            pixels[some, 0] = canvas.pixels()
    return pixels


def _check_canvas(height: int, width: int) -> None:
    if min(height, width) < 8:
        raise UsageError(f"a canvas of {height}×{width} pixels is too small for a garment; 8×8 is the least")


def _uniform(index: NDArray[np.int64], seed: int, streams: int) -> NDArray[np.float32]:
    """(n, streams) numbers, uniform on [0, 1) in steps of 2⁻²⁴; each a hash of (seed, stream, index)."""
    stream = np.arange(1, streams + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    key = _mix(_mix(np.array([int(seed) & 0xFFFFFFFFFFFFFFFF], np.uint64)) ^ stream)
    bits = _mix(_mix(key + index.astype(np.uint64)[:, None]) ^ key)
    return (bits >> np.uint64(40)).astype(np.float32) * np.float32(2**-24)


def _mix(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014, doi:10.1145/2714064.2660195)."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


class _Canvas:
    """Images of one class while they are painted: n at a time, every array (n, H, W) or broadcast to it."""

    def __init__(self, factors: Array, height: int, width: int) -> None:
        self.factor = {name: factors[:, i, None, None] for i, name in enumerate(FACTORS)}
        self.pixel = 2.0 / min(height, width)
        self.steps = 16 * max(height, width)  # of a curve's table: fine enough for its slope to seem smooth
        x = ((np.arange(width) - (width - 1) / 2) * self.pixel).astype(np.float32)[None, None, :]
        y = ((np.arange(height) - (height - 1) / 2) * self.pixel).astype(np.float32)[None, :, None]
        half = self.span("tilt", -0.07, 0.07)  # tangent of half the angle: gives both without sin and cos
        cos, sin = (1 - half * half) / (1 + half * half), 2 * half / (1 + half * half)
        self.u, self.v = cos * x + sin * y, cos * y - sin * x
        self.a = np.abs(self.u)  # distance from the axis of what is symmetric
        self.image = np.zeros((len(factors), height, width), np.float32)

    def pixels(self) -> NDArray[np.uint8]:
        return np.rint(np.clip(self.image, 0, 1) * 255).astype(np.uint8)

    def span(self, name: str, low: Number, high: Number) -> Array:
        """A factor as a length or a weight: ``low`` where it is 0, ``high`` where it is 1. (n, 1, 1)."""
        value: Array = low + (high - low) * self.factor[name]
        return value

    def cover(self, distance: Array, thickness: Number | None = None) -> Array:
        """Share of each pixel that a piece covers; a piece thinner than a pixel covers its ``thickness``."""
        covered: Array = np.clip(0.5 - distance / self.pixel, 0, 1)
        return covered if thickness is None else np.minimum(covered, thickness / self.pixel)

    def paint(self, distance: Array, tone: Number, thickness: Number | None = None) -> None:
        """Lays a piece of cloth over what is there."""
        self.image += self.cover(distance, thickness) * (tone - self.image)

    def seam(self, across: Array, thickness: Number, depth: Number, *within: Array) -> None:
        """Darkens a line where ``across`` is 0, as far as the distances ``within`` reach."""
        distance = np.abs(across) - thickness / 2
        for other in within:
            distance = np.maximum(distance, other)
        self.image *= 1 - depth * self.span("shading", 0.55, 1.0) * self.cover(distance, thickness)

    def cloth(self, bend: Number = 0.0, along: Array | None = None) -> Array:
        """Grey of woven cloth: ``bend`` is ±1 where it turns away from us, stripes lie across ``along``."""
        grey: Array = self.span("brightness", 0.5, 1.0) * (
            1 - self.span("shading", 0.04, 0.45) * (bend * bend)
        )
        if along is None:
            return grey
        rate = 3.5  # stripes per unit; what a pixel is too coarse for fades to its mean, as under a lens
        fade = max(0.0, 1 - 1.6 * (rate * self.pixel) ** 2)
        phase = along * rate
        wave = 0.5 + (2 * np.abs(phase - np.rint(phase)) - 0.5) * fade
        dark = 0.45 * self.factor["stripes"] * self.factor["stripes"]
        woven: Array = grey * (1 - dark * wave)
        return woven

    def curve(self, t: Array, extent: Number, *knots: tuple[float, Number]) -> tuple[Array, Array]:
        """A smooth curve through knots ``(position, value)``, positions from 0 to 1 over ``extent``.

        Returns its values at t (cut to 0 … 1), and the cosine of its slope there, which turns a difference
        in value into the distance to the curve.
        """
        blend = _hermite(tuple(position for position, _ in knots), self.steps)
        table = np.zeros((len(self.image), self.steps + 1), np.float32)
        for weight, (_, value) in zip(blend, knots, strict=True):  # in this order, whatever the batch
            table += weight * np.asarray(value, np.float32).reshape(-1, 1)
        slope = np.empty_like(table)
        slope[:, 1:-1] = (table[:, 2:] - table[:, :-2]) * np.float32(self.steps / 2)
        slope[:, 0], slope[:, -1] = slope[:, 1], slope[:, -2]
        place = np.clip(t, 0, 1) * self.steps
        nearest = np.rint(place)
        past = (place - nearest) / self.steps  # a step of Taylor's series, so that the curve has no stairs
        entry = nearest.astype(np.intp) + np.arange(len(table))[:, None, None] * (self.steps + 1)
        value, there = table.take(entry), slope.take(entry)
        lean = there / extent
        return value + there * past, 1 / np.sqrt(1 + lean * lean)


@lru_cache(maxsize=64)
def _hermite(positions: tuple[float, ...], steps: int) -> Array:
    """(knots, steps + 1): what each knot adds to a cubic Hermite curve with chord slopes (Catmull-Rom)."""
    x, t, eye = np.array(positions), np.linspace(0, 1, steps + 1), np.eye(len(positions))
    slope = np.empty_like(eye)
    slope[1:-1] = (eye[2:] - eye[:-2]) / (x[2:] - x[:-2])[:, None]
    slope[0], slope[-1] = (eye[1] - eye[0]) / (x[1] - x[0]), (eye[-1] - eye[-2]) / (x[-1] - x[-2])
    k = np.clip(np.searchsorted(x, t, side="right") - 1, 0, len(x) - 2)
    h = (x[k + 1] - x[k])[:, None]
    s = (t[:, None] - x[k, None]) / h
    rise = s * s * (3 - 2 * s)
    blend = (1 - rise) * eye[k] + rise * eye[k + 1]
    blend += h * s * (1 - s) * ((1 - s) * slope[k] - s * slope[k + 1])
    return np.ascontiguousarray(blend.T, np.float32)


def _join(one: Array, other: Array, radius: float) -> Array:
    """The union of two pieces, its inner corner filled with a fillet of about ``radius``."""
    fill = np.maximum(radius - np.abs(one - other), 0)
    joined: Array = np.minimum(one, other) - fill * fill * (0.25 / radius)
    return joined


def _strip(
    x: Array, y: Array, start: tuple[Number, Number], end: tuple[Number, Number]
) -> tuple[Array, Array, Array]:
    """Coordinates along (0 … length) and across a straight piece from start to end, and its length."""
    dx, dy = np.float32(1) * (end[0] - start[0]), np.float32(1) * (end[1] - start[1])
    length = np.sqrt(dx * dx + dy * dy)
    dx, dy = dx / length, dy / length
    x, y = x - start[0], y - start[1]
    return x * dx + y * dy, x * dy - y * dx, length


def _ellipse(x: Array, y: Array, rx: Number, ry: Number) -> Array:
    """Distance to an ellipse about the origin; exact to first order at its outline."""
    px, py = x / rx, y / ry
    level = px * px + py * py
    gx, gy = px / rx, py / ry
    distance: Array = (level - 1) * 0.5 / np.sqrt(gx * gx + gy * gy + 1e-6)
    return distance


# The painters below hold the drawing itself: their numbers are lengths in garment coordinates and shares of
# darkness, chosen by eye.

# --- What covers the torso ---------------------------------------------------------------------------------


class _Torso:
    """The trunk of a top: sides curved from shoulder to hem, sloping shoulders, a straight or round hem."""

    def __init__(self, c: _Canvas, height: Number, shoulder: Number, hem: Number, tail: float = 0.0) -> None:
        self.top, self.hem = -0.5 * height, 0.5 * height
        self.shoulder = shoulder
        waist = 0.45 * shoulder + 0.45 * hem
        knots = (0.0, shoulder), (0.3, 0.97 * shoulder), (0.62, waist), (1.0, hem)
        side, cosine = c.curve((c.v - self.top) / height, height, *knots)
        self.side = (c.a - side) * cosine
        self.bend = np.minimum(c.a / side, 1)
        slant = self.top + 0.3 * (c.a - 0.19) - c.v
        below = c.v - self.hem + tail * c.a * c.a
        self.distance = np.maximum(np.maximum(self.side, slant * 0.96), below)

    def collar(self, c: _Canvas, depth: Number, width: Number) -> Array:
        """Distance to a round neckline."""
        return _ellipse(c.u, c.v - self.top + 0.03, width, depth)


def _sleeves(
    c: _Canvas, torso: _Torso, length: Number, spread: float, wrist: float, shade: Number = 0.9
) -> tuple[Array, Array]:
    """Paints both sleeves, which go out by ``spread`` per unit down. Distances to them and to their ends."""
    x0, y0 = torso.shoulder - 0.13, torso.top + 0.2
    s, t, _ = _strip(c.a, c.v, (x0, y0), (x0 + spread, y0 + 1.0))
    bow = t - 0.08 * s * (s - length)  # arms hang in a slight curve
    half = 0.165 + (wrist - 0.165) * s / length
    distance = np.maximum(np.maximum(np.abs(bow) - half, s - length), -s - 0.1)
    c.paint(distance, shade * c.cloth(np.clip(bow / half, -1, 1), s))
    return distance, s - length


def _tee(c: _Canvas) -> None:
    hem = c.span("width", 0.42, 0.54) + c.span("flare", 0.0, 0.16)
    torso = _Torso(c, c.span("length", 1.45, 1.88), c.span("width", 0.5, 0.64), hem)
    _, cuff = _sleeves(c, torso, c.span("reach", 0.3, 0.6), 0.7, 0.18)
    c.seam(cuff + 0.07, 0.03, 0.4, -cuff - 0.2)
    c.paint(torso.distance, c.cloth(torso.bend, c.v))
    c.seam(torso.side, 0.05, 0.35)
    c.seam(torso.hem - c.v - 0.09, 0.03, 0.4)
    neck = torso.collar(c, c.span("opening", 0.14, 0.42), 0.24)
    c.seam(neck - 0.07, 0.035, 0.5)
    c.paint(neck, 0.0)


def _pullover(c: _Canvas) -> None:
    hem = c.span("width", 0.34, 0.44) + c.span("flare", 0.0, 0.1)
    torso = _Torso(c, c.span("length", 1.45, 1.8), c.span("width", 0.48, 0.6), hem)
    arm, cuff = _sleeves(c, torso, c.span("reach", 1.0, 1.5), 0.3, 0.105)
    c.seam(cuff + 0.13, 0.035, 0.5, arm)
    c.paint(torso.distance, c.cloth(torso.bend, c.v))
    c.seam(torso.side, 0.06, 0.6)
    band = torso.hem - 0.15 - c.v
    c.seam(band, 0.04, 0.55)
    _ribs(c, c.u, np.maximum(band, torso.distance))
    neck = torso.collar(c, c.span("opening", 0.06, 0.3), 0.2)
    c.paint(np.maximum(neck - 0.1, torso.distance - 0.06), 1.1 * c.cloth(0.5 * torso.bend))
    c.seam(neck - 0.1, 0.035, 0.55, torso.distance)
    c.paint(neck, 0.0)


def _ribs(c: _Canvas, across: Array, within: Array) -> None:
    """Knitted ribs, 0.1 apart."""
    phase = across * 10
    c.seam((phase - np.rint(phase)) * 0.1, 0.035, 0.45, within)


def _coat(c: _Canvas) -> None:
    hem = c.span("width", 0.38, 0.46) + c.span("flare", 0.0, 0.16)
    torso = _Torso(c, c.span("length", 1.6, 1.9), c.span("width", 0.48, 0.58), hem)
    arm, cuff = _sleeves(c, torso, c.span("reach", 1.1, 1.6), 0.27, 0.13)
    c.seam(cuff + 0.16, 0.035, 0.5, arm)
    c.paint(torso.distance, c.cloth(torso.bend, c.v))
    c.seam(torso.side, 0.06, 0.5)
    depth = c.span("opening", 0.35, 0.95)
    down = c.v - torso.top
    lapel = c.a - 0.4 * (1 - down / depth)
    turned = np.maximum(np.maximum(lapel, torso.distance), down - depth)
    c.paint(turned, 1.12 * c.cloth(0.4 * torso.bend, c.a))
    c.seam(lapel, 0.04, 0.7, down - depth, torso.distance)
    c.seam(down - 0.55 * depth + 0.8 * (c.a - 0.2), 0.035, 0.6, lapel)
    c.paint(np.maximum(c.a - 0.2 * (1 - down / (0.92 * depth)), torso.distance), 0.05)
    c.seam(c.u, 0.055, 0.95, depth - down, torso.distance)
    _buttons(c, c.u - 0.1, down - depth, 0.24, torso.hem - torso.top - depth - 0.2)
    c.seam(c.v - 0.5 * torso.hem - 0.3 * (c.a - 0.3), 0.045, 0.75, np.abs(c.a - 0.3) - 0.1)


def _buttons(c: _Canvas, across: Array, down: Array, apart: float, length: Array) -> None:
    """A column of dark buttons, from 0 to ``length`` down."""
    phase = down / apart - 0.5
    along = (phase - np.maximum(np.rint(phase), 0)) * apart
    c.paint(np.maximum(_ellipse(across, along, 0.035, 0.035), down - length), 0.08, 0.05)


def _shirt(c: _Canvas) -> None:
    hem = c.span("width", 0.36, 0.46) + c.span("flare", 0.0, 0.12)
    torso = _Torso(c, c.span("length", 1.5, 1.9), c.span("width", 0.46, 0.58), hem, tail=0.45)
    arm, cuff = _sleeves(c, torso, c.span("reach", 0.6, 1.2), 0.42, 0.12)
    c.seam(cuff + 0.12, 0.035, 0.5, arm)
    c.paint(torso.distance, c.cloth(torso.bend, c.v))
    c.seam(torso.side, 0.055, 0.45)
    down = c.v - torso.top
    depth = c.span("opening", 0.16, 0.5)
    c.seam(c.a - 0.06, 0.03, 0.45, depth - down, torso.distance)
    _buttons(c, c.u, down - depth, 0.22, torso.hem - torso.top - depth - 0.3)
    pocket = np.maximum(np.abs(c.u - 0.24) - 0.11, np.abs(down - 0.58) - 0.12)
    c.seam(pocket, 0.03, 0.45)
    c.paint(np.maximum(c.a - 0.17 * (1 - down / depth), -down - 0.02), 0.04)
    wing = np.maximum(c.a - 0.2 + 0.4 * (down - 0.1), 0.17 * (1 - down / depth) - c.a)
    wing = np.maximum(np.maximum(wing, -down - 0.07), down - 0.2 - 0.5 * c.a)
    c.paint(wing, 1.15 * c.cloth())
    c.seam(wing, 0.03, 0.7)


def _dress(c: _Canvas) -> None:
    hem = c.span("length", 0.78, 0.94)
    top = -hem
    bodice = top + c.span("reach", 0.12, 0.44)
    bust = c.span("width", 0.3, 0.46)
    skirt = bust + c.span("flare", 0.0, 0.4)
    height = hem - bodice
    t = (c.v - bodice) / height
    hip = 0.84 * bust + 0.2 * skirt
    knots = (0.0, 0.94 * bust), (0.14, bust), (0.36, 0.78 * bust), (0.55, hip), (1.0, skirt)
    side, cosine = c.curve(t, height, *knots)
    outside = (c.a - side) * cosine
    bend = np.minimum(c.a / side, 1)
    inner, armhole = 0.42 * bust, 0.94 * bust - 0.2 * (bodice - c.v)
    strap = np.maximum(np.maximum(inner - c.a, c.a - armhole), np.maximum(top - c.v, c.v - bodice - 0.1))
    c.paint(strap, c.cloth(along=c.v))
    c.paint(np.maximum(outside, np.maximum(bodice - c.v, c.v - hem)), c.cloth(bend, c.v))
    waist = t - 0.36
    c.seam(waist * height, 0.05, 0.7)
    for fold in (0.0, 0.5):  # pleats start at the waist and widen with the skirt
        c.seam(c.a - fold * side, 0.03 + 0.04 * np.clip(waist, 0, 1), 0.45, 0.05 - waist)
    neck = _ellipse(c.u, c.v - bodice, inner, c.span("opening", 0.06, 0.36))
    c.paint(np.maximum(neck, bodice - 0.05 - c.v), 0.0)


# --- Trousers and bags ------------------------------------------------------------------------------------


def _trouser(c: _Canvas) -> None:
    bottom = c.span("length", 0.74, 0.94)
    top = -bottom
    waist = c.span("width", 0.32, 0.45)
    crotch = top + c.span("opening", 0.4, 0.66)
    gap = c.span("reach", 0.03, 0.16)
    hem = 0.26 * waist + c.span("flare", 0.0, 0.12)  # half the width of a leg at its end
    t, height = (c.v - top) / (bottom - top), bottom - top
    knee = 0.56 * waist + 0.5 * gap + 0.9 * hem
    knots = (0.0, waist), (0.22, 1.15 * waist), (0.6, knee), (1.0, gap + 2 * hem)
    outer, cosine = c.curve(t, height, *knots)
    inner = gap * np.minimum(np.maximum(c.v - crotch, -0.2) / (0.5 * (bottom - crotch)), 1)
    outside = np.maximum((c.a - outer) * cosine, np.maximum(top - c.v, c.v - bottom))
    inside = np.maximum(inner, 0)
    leg = np.clip((c.a - inside) / (outer - inside), 0, 1) * 2 - 1
    parted = np.clip((c.v - crotch) * 4 + 0.8, 0, 1)  # only below do legs turn away on their inner side
    c.paint(outside, c.cloth(np.where(leg < 0, leg * parted, leg), c.a * 1.4))
    c.paint(np.maximum(c.a - inner, crotch - c.v), 0.0)
    c.seam(c.v - top - 0.13, 0.04, 0.7)
    c.seam(c.u, 0.04, 0.6, c.v - crotch)
    pocket = c.v - top - 0.2 - 0.9 * (c.a - 0.55 * waist)
    c.seam(pocket, 0.035, 0.6, np.abs(c.a - 0.85 * waist) - 0.3 * waist)
    c.seam(leg, 0.1, 0.35, crotch - c.v)


def _bag(c: _Canvas) -> None:
    height, half = c.span("length", 0.85, 1.3), c.span("width", 0.6, 0.9)
    handle = c.span("reach", 0.2, 0.55)
    top = -0.5 * (height + handle) + handle
    down = c.v - top
    side = half * (1 - c.span("flare", -0.1, 0.3) * (1 - down / height))
    corner = 0.1
    x, y = c.a - side + corner, np.abs(down - 0.5 * height) - 0.5 * height + corner
    x, y = np.maximum(x, 0), np.maximum(y, 0)
    body = np.sqrt(x * x + y * y + 1e-9) - corner
    arch = np.abs(_ellipse(c.u, down, 0.5 * half, handle)) - 0.06
    c.paint(np.maximum(arch, down - 0.05), 0.85 * c.cloth(), 0.12)
    c.paint(body, c.cloth(np.minimum(c.a / side, 1), c.v))
    flap = down - c.span("opening", 0.2, 0.62) * height * (1 - 0.3 * (c.a / side) * (c.a / side))
    c.paint(np.maximum(flap, body), 1.08 * c.cloth(np.minimum(c.a / side, 1), c.v))
    c.seam(flap, 0.055, 0.85, body)
    c.paint(np.maximum(c.a - 0.09, np.abs(flap) - 0.07), 0.97 - 0.6 * c.factor["brightness"])
    c.seam(body + 0.06, 0.03, 0.35)


# --- Shoes, all pointing left ------------------------------------------------------------------------------


class _Foot:
    """Where the foot stands: ``t`` from toe (0) to heel (1), ``bed`` the line on which it stands."""

    def __init__(self, c: _Canvas, ground: Number, heel: Number, spring: float) -> None:
        self.half = c.span("width", 0.72, 0.94)
        self.full = 2 * self.half
        self.ground = ground
        self.t = (c.u + self.half) / self.full
        arch = (0.38, 0.02 * heel), (0.68, 0.72 * heel), (0.86, 0.98 * heel)
        rise, self.level = c.curve(self.t, self.full, (0.0, spring), (0.14, 0.0), *arch, (1.0, heel))
        self.bed = ground - rise
        self.ends = np.abs(c.u) - self.half

    def above(self, c: _Canvas, *knots: tuple[float, Number]) -> Array:
        """Distance to what lies between the bed and a curve of heights above it, knots from toe to heel."""
        height, cosine = c.curve(self.t, self.full, *knots)
        below = (self.bed - height - c.v) * cosine
        return np.maximum(np.maximum(below, (c.v - self.bed) * self.level), self.ends)

    def sole(self, c: _Canvas, thick: Number) -> Array:
        """Distance to the sole, below the bed."""
        middle = self.bed + 0.5 * thick
        slab: Array = np.maximum(np.abs(c.v - middle) * self.level - 0.5 * thick, self.ends - 0.02)
        return slab


def _sneaker(c: _Canvas) -> None:
    thick = c.span("opening", 0.09, 0.24)
    tall = c.span("length", 0.46, 0.74)
    foot = _Foot(c, 0.42 - 0.3 * thick, 0.03, 0.06)
    toe = c.span("flare", 0.2, 0.4)
    tongue = tall + c.span("reach", -0.06, 0.2)
    vamp = 0.35 * toe + 0.42 * tall
    upper = foot.above(
        c,
        (0.0, 0.08),
        (0.05, 0.62 * toe),
        (0.16, 0.98 * toe),
        (0.32, vamp),
        (0.48, 0.5 * tall + 0.44 * tongue),
        (0.57, tongue),
        (0.65, 0.6 * tongue + 0.3 * tall),
        (0.78, 0.74 * tall),
        (0.9, 0.86 * tall),
        (0.96, 0.92 * tall),
        (1.0, 0.45 * tall),
    )
    height = (foot.bed - c.v) / tall
    c.paint(upper, c.cloth(1 - 1.1 * np.clip(height, 0.1, 1), c.u + 0.4 * c.v))
    c.paint(foot.sole(c, thick), 1.0 - 0.5 * c.factor["brightness"], thick)
    c.seam(foot.bed - c.v, 0.05, 0.8)
    c.seam((foot.t - 0.17 + 0.05 * height) * foot.full, 0.04, 0.6, upper)
    c.seam((foot.t - 0.84 + 0.08 * height) * foot.full, 0.04, 0.6, upper)
    _laces(c, foot, tall)


def _laces(c: _Canvas, foot: _Foot, tall: Array) -> None:
    """Four light laces across the instep."""
    s, t, length = _strip(
        c.u, c.v, (-0.42 * foot.half, foot.bed - 0.42 * tall), (0.1 * foot.half, foot.bed - 0.86 * tall)
    )
    phase = s / length * 4
    lace = (phase - np.clip(np.rint(phase), 0, 4)) * length / 4
    c.paint(np.maximum(np.abs(lace) - 0.025, np.abs(t) - 0.11), 1.0 - 0.75 * c.factor["brightness"], 0.05)


def _boot(c: _Canvas) -> None:
    heel = c.span("opening", 0.08, 0.36)
    tall = c.span("length", 0.42, 0.6)  # of the foot, up to the ankle
    shaft = c.span("reach", 0.3, 0.62)
    ground = 0.5 * (heel + tall + shaft) - 0.03
    foot = _Foot(c, ground, heel, 0.03)
    toe = c.span("flare", 0.18, 0.38)
    vamp = foot.above(
        c,
        (0.0, 0.06),
        (0.05, 0.62 * toe),
        (0.16, toe),
        (0.36, 0.45 * toe + 0.4 * tall),
        (0.55, 0.95 * tall),
        (0.9, tall),
        (1.0, 0.9 * tall),
    )
    top = ground - heel - tall - shaft
    h = np.clip((foot.bed - c.v) / (tall + shaft), 0, 1)
    front, back = -0.02 - 0.06 * h, foot.half * (0.99 - 0.5 * h * (1 - h))
    sides = np.maximum(front - c.u, c.u - back)
    leg = np.maximum(sides, np.maximum(top - c.v, c.v - foot.bed))
    boot = np.maximum(_join(vamp, leg, 0.3), c.u - back)
    c.paint(boot, c.cloth(np.clip(1 + boot / 0.3, 0, 1), c.v))
    gore = np.maximum(np.abs(c.u - 0.5 * (front + back)) - 0.14, c.v - foot.bed + 0.75 * tall)
    c.paint(np.maximum(gore, leg + 0.04), 0.5 * c.cloth())
    _ribs(c, c.u, np.maximum(gore, boot))
    c.seam(top + 0.08 - c.v, 0.035, 0.5)
    c.seam(c.v - foot.bed + 0.05, 0.04, 0.6, boot)
    _heel(c, foot, 0.07, 0.5 - 0.3 * c.factor["brightness"])


def _heel(c: _Canvas, foot: _Foot, thick: float, tone: Number) -> None:
    """A sole, and under its end a block that leaves an arch open."""
    c.paint(foot.sole(c, thick), tone, thick)
    inset = 0.3 * (c.v - foot.bed)
    block = np.maximum(foot.half * 0.56 + inset - c.u, c.u - foot.half + 0.25 * inset)
    c.paint(np.maximum(block, np.maximum(foot.bed - c.v, c.v - foot.ground - thick)), tone)


def _sandal(c: _Canvas) -> None:
    heel = c.span("opening", 0.05, 0.5)
    tall = c.span("length", 0.3, 0.5)  # of the foot at its arch
    ankle = c.span("reach", 0.42, 0.72)
    foot = _Foot(c, 0.5 * (heel + ankle), heel, 0.04)
    toe = c.span("flare", 0.18, 0.34)
    skin = foot.above(
        c,
        (0.0, 0.05),
        (0.06, 0.6 * toe),
        (0.18, toe),
        (0.4, 0.9 * tall),
        (0.56, 0.5 * tall + 0.4 * ankle),
        (0.66, ankle),
        (1.0, ankle),
    )
    rise, t = foot.bed - c.v, foot.t * foot.full  # up from the bed, and along it from the toe
    leather = c.cloth(np.clip(1 + skin / 0.06, 0, 1), c.u - c.v)
    for start, lean, half in ((0.17, 0.35, 0.14), (0.6, -0.5, 0.075), (0.36, 0.5, 0.09)):
        c.paint(np.maximum(np.abs(t - start * foot.full - lean * rise) - half, skin), leather, 2 * half)
    c.paint(np.maximum(np.abs(rise - ankle + 0.08) - 0.08, skin), leather)
    c.paint(np.maximum(0.91 * foot.full - 0.1 * rise - t, skin), leather)
    _heel(c, foot, 0.09, c.span("brightness", 0.35, 0.9))


_PAINTERS: tuple[Callable[[_Canvas], None], ...] = (
    *(_tee, _trouser, _pullover, _dress, _coat),
    *(_sandal, _shirt, _sneaker, _bag, _boot),
)
