"""Pictures and files to test with."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from PIL import Image

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx(array: np.ndarray, shape: tuple[int, ...] | None = None) -> bytes:
    code = CODES[array.dtype.str[1:]]
    shape = array.shape if shape is None else shape
    head = struct.pack(f">BBBB{len(shape)}I", 0, 0, code, len(shape), *shape)
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


def picture(height: int = 20, width: int = 30, seed: int = 0, channels: int = 3) -> Image.Image:
    """A smooth coloured picture, so that compression and resizing change little."""
    coarse = np.random.default_rng(seed).integers(0, 256, (3, 4, channels), dtype=np.uint8)
    image = Image.fromarray(coarse[..., 0] if channels == 1 else coarse)
    return image.resize((width, height), Image.Resampling.BICUBIC)


def save(path: Path, image: Image.Image | None = None, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    (image or picture()).save(path, **options)
    return path
