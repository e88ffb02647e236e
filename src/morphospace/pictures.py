"""Decoded images written as picture files: one each, a contact sheet, or a film."""

from __future__ import annotations

import io
import math
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from PIL import Image

from morphospace.files import atomic, write_bytes
from morphospace.types import UsageError

__all__ = [
    "as_bytes",
    "check_target",
    "contact_sheet",
    "need_ffmpeg",
    "write_film",
    "write_folder",
    "write_png",
]


def as_bytes(images: Float[np.ndarray, "N C H W"]) -> NDArray[np.uint8]:
    """Values in [0, 1] as uint8 pixels (N, H, W, C), rounded."""
    pixels: NDArray[np.uint8] = np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8).transpose(0, 2, 3, 1)
    return pixels


def contact_sheet(
    images: Float[np.ndarray, "N C H W"], columns: int | None = None, side: int = 84
) -> NDArray[np.uint8]:
    """All images on one sheet (H, W, C), row by row, enlarged by a whole number to about ``side`` pixels each."""
    pixels = _enlarged(as_bytes(images), side)
    n, height, width, channels = pixels.shape
    columns = columns or math.ceil(math.sqrt(n))
    rows, gap = math.ceil(n / columns), max(2, height // 28)
    sheet = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, channels), 255, np.uint8)
    for i, picture in enumerate(pixels):
        top, left = gap + (i // columns) * (height + gap), gap + (i % columns) * (width + gap)
        sheet[top : top + height, left : left + width] = picture
    return sheet


def write_png(path: str | os.PathLike[str], picture: NDArray[np.uint8]) -> None:
    """Write one picture (H, W, C)."""
    write_bytes(path, _encoded(picture))


def write_film(
    path: str | os.PathLike[str], images: Float[np.ndarray, "N C H W"], seconds: float = 2.0, side: int = 252
) -> None:
    """Write a film that goes from the first image to the last in ``seconds``, and back: an endless GIF, or an MP4.

    Raises:
        UsageError: for an MP4 where there is no ffmpeg, or it fails.
    """
    pixels = _enlarged(as_bytes(images), side)
    if Path(path).suffix.lower() == ".mp4":
        _write_mp4(path, np.concatenate([pixels, pixels[-2:0:-1]]), len(pixels) / seconds)
        return
    frames = [_image(picture) for picture in pixels]
    film = frames + frames[-2:0:-1]
    buffer = io.BytesIO()
    each = max(20, round(1000 * seconds / len(frames) / 10) * 10)  # GIF counts in hundredths of a second
    film[0].save(buffer, "GIF", save_all=True, append_images=film[1:], duration=each, loop=0)
    write_bytes(path, buffer.getvalue())


def need_ffmpeg() -> str:
    """The path of ffmpeg, which writes MP4 files.

    Raises:
        UsageError: where it is not installed.
    """
    found = shutil.which("ffmpeg")
    if found is None:
        raise UsageError(
            "an .mp4 is written by ffmpeg, which is not on this machine; install it, or name a .gif"
        )
    return found


def _write_mp4(path: str | os.PathLike[str], film: NDArray[np.uint8], rate: float) -> None:
    """H.264 that common players show: even sides, 4:2:0 colour; the film is shown twice, since MP4s do not loop."""
    ffmpeg = need_ffmpeg()
    _, height, width, channels = film.shape
    even = np.pad(film, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    frames = np.concatenate([even, even]).repeat(3 if channels == 1 else 1, axis=3)
    with atomic(path) as temporary:
        done = subprocess.run(  # noqa: S603
            [
                ffmpeg, "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24",
                "-s", f"{frames.shape[2]}x{frames.shape[1]}", "-r", f"{rate:.4f}", "-i", "-",
                "-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "18", "-movflags", "+faststart", str(temporary),
            ],
            input=frames.tobytes(),
            capture_output=True,
            check=False,
        )  # fmt: skip
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            raise UsageError(
                f"ffmpeg could not write {path} ({said[-1] if said else 'no reason given'}); name a .gif"
            )


def write_folder(
    folder: str | os.PathLike[str], images: Float[np.ndarray, "N C H W"], names: Sequence[str]
) -> None:
    """Write each image as ``NAME.png`` into a new folder, all of them or none.

    Raises:
        UsageError: if the folder exists and is not empty.
    """
    target = Path(folder)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target} exists and is not an empty folder; choose another --out")
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
    try:
        for name, picture in zip(names, as_bytes(images), strict=True):
            (temporary / f"{name}.png").write_bytes(_encoded(picture))
        temporary.chmod(0o755)
        if target.exists():
            target.rmdir()
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_target(path: str | os.PathLike[str], suffixes: Sequence[str]) -> Path:
    """The path of a file to be written, refused before any work is done if it cannot be.

    Raises:
        UsageError: for a suffix that is not among ``suffixes``, or a path that is a folder.
    """
    target = Path(path)
    if target.suffix.lower() not in suffixes:
        raise UsageError(f"--out is '{target}'; expected a file that ends in {' or '.join(suffixes)}")
    if target.is_dir():
        raise UsageError(f"--out is '{target}', which is a folder; expected a file")
    return target


def _enlarged(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Pixels (N, H, W, C) repeated a whole number of times, so that none is blurred."""
    times = max(1, round(side / max(pixels.shape[1:3])))
    return pixels.repeat(times, axis=1).repeat(times, axis=2)


def _image(picture: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture)


def _encoded(picture: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    _image(picture).save(buffer, "PNG")
    return buffer.getvalue()
