"""Which size images come to: what the user asked for, or a written default."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from PIL import Image

from morphospace.types import UsageError

__all__ = ["DEFAULT", "MAX_SIDE", "cover", "default_size", "parse_size"]

MAX_SIDE = 1024
DEFAULT = (64, 64)
KEPT = (8, 128)
"""A size that all images share is kept if both sides lie in this range: what the networks are made for."""

ImageSize = int | str | Sequence[int]


def parse_size(size: ImageSize | None) -> tuple[int, int] | None:
    """(height, width) in pixels from ``64``, ``"64"``, ``"48x64"`` or ``(48, 64)``; None stays None.

    Raises:
        UsageError: none of these, or a side that is not between 1 and 1024.
    """
    if size is None:
        return None
    sides: list[int]
    try:
        if isinstance(size, str):
            sides = [int(part) for part in size.lower().replace("×", "x").split("x")]
        else:
            sides = [int(size)] if isinstance(size, int) else [int(side) for side in size]
    except ValueError:
        sides = []
    sides = sides * 2 if len(sides) == 1 else sides
    if len(sides) != 2 or not all(1 <= side <= MAX_SIDE for side in sides):
        raise UsageError(
            f"the image size is {size!r}; expected one side or HEIGHTxWIDTH, such as 64 or 48x64, "
            f"each from 1 to {MAX_SIDE} pixels"
        )
    return sides[0], sides[1]


def default_size(found: Collection[tuple[int, int]]) -> tuple[int, int]:
    """The size for images of the sizes ``found``: the one that all share, if there is one from 8 to 128, else 64×64."""
    shared = next(iter(found)) if len(found) == 1 else DEFAULT
    return shared if all(KEPT[0] <= side <= KEPT[1] for side in shared) else DEFAULT


def cover(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resize ``image`` to ``size`` (height, width): aspect kept, centre cropped, antialiased (Lanczos)."""
    height, width = size
    if (image.width, image.height) == (width, height):
        return image
    scale = max(width / image.width, height / image.height)
    across, down = min(width / scale, image.width), min(height / scale, image.height)
    left, top = (image.width - across) / 2, (image.height - down) / 2
    return image.resize((width, height), Image.Resampling.LANCZOS, box=(left, top, left + across, top + down))
