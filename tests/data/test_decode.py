"""The decode policy, one rule at a time, through files as other programs write them."""

from __future__ import annotations

import contextlib
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from making import picture, save
from PIL import Image

from morphospace.data.decode import POLICY, BadImage, check_policy, decode, quietly, read_header
from morphospace.types import DataError, ImageSpec

GREY, RGB = ImageSpec(1, 20, 30), ImageSpec(3, 20, 30)


def assert_near(pixels, image, tolerance=0):
    expected = np.moveaxis(np.asarray(image.convert("RGB")), 2, 0).astype(int)
    assert np.abs(pixels.astype(int) - expected).max() <= tolerance


@pytest.mark.parametrize(
    ("suffix", "tolerance"), [(".png", 0), (".bmp", 0), (".tif", 0), (".ppm", 0), (".jpg", 40), (".webp", 60)]
)
def test_formats_decode_to_what_was_saved(tmp_path, suffix, tolerance):
    assert_near(decode(save(tmp_path / f"a{suffix}"), RGB), picture(), tolerance)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_exif_orientation_is_applied(tmp_path, orientation, suffix):
    shown = picture(20, 30)
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = shown.transpose(undo[orientation]) if orientation in undo else shown
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 100, "subsampling": 0} if suffix == ".jpg" else {}
    path = save(tmp_path / f"a{suffix}", stored, exif=exif, **options)
    assert read_header(path).size == (20, 30)
    assert_near(decode(path, RGB), shown, 4 if options else 0)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
def test_sixteen_bits_are_scaled_by_depth(tmp_path, suffix):
    values = np.linspace(0, 65535, 600).astype(np.uint16).reshape(20, 30)
    pixels = decode(save(tmp_path / f"a{suffix}", Image.fromarray(values)), GREY)
    np.testing.assert_array_equal(pixels[0], np.rint(values / 257).astype(np.uint8))
    dark = Image.fromarray(values // 256)  # a dark picture stays dark: scaled by depth, not by its range
    assert decode(save(tmp_path / f"b{suffix}", dark), GREY).max() <= 1


def test_sixteen_bits_with_white_at_zero(tmp_path):
    values = np.full((20, 30), 65535, np.uint16)
    assert decode(save(tmp_path / "a.tif", Image.fromarray(values), tiffinfo={262: 0}), GREY).max() == 0


def test_twelve_bits_are_scaled_by_depth(tmp_path):
    pixels = np.full((20, 30), 4095)
    packed = b"".join(struct.pack(">I", (a << 12 | b) << 8)[:3] for a, b in pixels.reshape(-1, 2))
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(30, 20, bits=12, data=packed))
    assert decode(path, GREY).min() == 255


def tiff(width: int, height: int, bits: int, data: bytes) -> bytes:
    """A minimal little-endian grey TIFF of one strip."""
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, 1), (273, 8), (277, 1), (278, height)]
    tags += [(279, len(data))]
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return (
        b"II*\0"
        + struct.pack("<I", 8 + len(data))
        + data
        + struct.pack("<H", len(tags))
        + directory
        + b"\0" * 4
    )


def test_floats_from_zero_to_one(tmp_path):
    values = np.linspace(0, 1, 600, dtype=np.float32).reshape(20, 30)
    pixels = decode(save(tmp_path / "a.tif", Image.fromarray(values)), GREY)
    np.testing.assert_array_equal(pixels[0], np.rint(values * 255).astype(np.uint8))


@pytest.mark.parametrize(
    "values", [np.full((20, 30), 7.0, np.float32), np.full((20, 30), np.nan, np.float32)]
)
def test_floats_of_unknown_range_are_refused(tmp_path, values):
    with pytest.raises(BadImage, match="expected 0 to 1"):
        decode(save(tmp_path / "a.tif", Image.fromarray(values)), GREY)


def test_thirty_two_bits_are_refused(tmp_path):
    with pytest.raises(BadImage, match="no known white"):
        decode(save(tmp_path / "a.tif", Image.fromarray(np.full((20, 30), 70_000, np.int32))), GREY)


def test_palettes(tmp_path):
    indexed = picture().quantize(16)
    for suffix in (".png", ".gif", ".bmp", ".tif"):
        path = save(tmp_path / f"a{suffix}", indexed)
        assert read_header(path).colour
        assert_near(decode(path, RGB), indexed)


@pytest.mark.parametrize("suffix", [".png", ".gif", ".bmp", ".tif"])
def test_a_palette_of_greys_is_grey(tmp_path, suffix):
    indexed = picture(channels=1).convert("P")
    indexed.putpalette([level for level in range(256) for _ in range(3)])
    assert not read_header(save(tmp_path / f"a{suffix}", indexed)).colour


def test_a_palette_with_a_transparent_entry_is_laid_over_white(tmp_path):
    indexed = Image.new("P", (30, 20), 0)
    indexed.putpalette([0, 0, 0, 200, 0, 0])
    indexed.paste(1, (0, 0, 15, 20))
    pixels = decode(save(tmp_path / "a.png", indexed, transparency=0), RGB)
    assert pixels[:, 0, 0].tolist() == [200, 0, 0]
    assert pixels[:, 0, 29].tolist() == [255, 255, 255]


@pytest.mark.parametrize(("mode", "key"), [("L", 0), ("RGB", (0, 0, 0))])
def test_a_transparent_colour_is_white(tmp_path, mode, key):
    path = save(tmp_path / "a.png", Image.new(mode, (30, 20)), transparency=key)
    assert decode(path, RGB).min() == 255


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_alpha_is_composited_over_white(tmp_path, mode):
    image = Image.new(mode, (30, 20), (100, 64) if mode == "LA" else (100, 100, 100, 64))
    expected = round((100 * 64 + 255 * 191) / 255)
    for spec in (GREY, RGB):
        assert abs(int(decode(save(tmp_path / "a.png", image), spec)[0, 0, 0]) - expected) <= 1


def test_grey_with_alpha_is_grey(tmp_path):
    assert not read_header(save(tmp_path / "a.png", Image.new("LA", (30, 20), (9, 9)))).colour


def test_cmyk(tmp_path):
    image = Image.new("CMYK", (30, 20), (0, 255, 255, 0))
    for suffix in (".jpg", ".tif"):
        red, green, blue = decode(save(tmp_path / f"a{suffix}", image), RGB)[:, 10, 10]
        assert red > 250
        assert max(green, blue) < 5


def test_one_bit(tmp_path):
    image = Image.new("1", (30, 20), 1)
    for suffix in (".png", ".tif", ".pbm"):
        assert decode(save(tmp_path / f"a{suffix}", image), GREY).min() == 255
        assert not read_header(tmp_path / f"a{suffix}").colour


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".tif"])
def test_the_first_frame_of_an_animation(tmp_path, suffix):
    first, second = Image.new("RGB", (30, 20), "white"), Image.new("RGB", (30, 20), "black")
    path = save(tmp_path / f"a{suffix}", first, save_all=True, append_images=[second])
    assert decode(path, RGB).min() > 250


def test_grey_is_the_luma_of_colour(tmp_path):
    np.testing.assert_array_equal(
        decode(save(tmp_path / "a.png"), GREY)[0], np.asarray(picture().convert("L"))
    )


def test_resizing_keeps_the_aspect_and_crops_the_centre(tmp_path):
    image = Image.new("RGB", (300, 100), "black")
    image.paste("white", (100, 0, 200, 100))  # just the square that is kept
    pixels = decode(save(tmp_path / "a.png", image), ImageSpec(1, 20, 20))
    assert pixels[:, :, 2:-2].min() > 250


def test_downsampling_is_antialiased(tmp_path):
    lines = np.zeros((200, 200), np.uint8)
    lines[:, ::2] = 255
    pixels = decode(save(tmp_path / "a.png", Image.fromarray(lines)), ImageSpec(1, 20, 20))
    assert 120 <= pixels.min() <= pixels.max() <= 135


def test_a_large_jpeg_decoded_small_is_nearly_the_same(tmp_path):
    image = picture(800, 1200)
    pixels = decode(save(tmp_path / "a.jpg", image, quality=95), RGB)
    assert_near(pixels, image.resize((30, 20), Image.Resampling.LANCZOS), 6)


def test_the_pixel_cap_is_checked_before_decoding(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png_header(10_000, 8_001))
    for read in (lambda: decode(path, RGB), lambda: read_header(path)):
        with pytest.raises(BadImage, match="at most 80,000,000"):
            read()
    path.write_bytes(png_header(100_000, 100_000))
    with quietly(), pytest.raises(BadImage, match="at most 80,000,000"):
        decode(path, RGB)


def png_header(width: int, height: int) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".gif", ".bmp", ".tif", ".webp", ".ppm"])
def test_truncated_files_are_refused(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    path = save(tmp_path / f"a{suffix}", Image.fromarray(noise))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with quietly(), pytest.raises(BadImage):
        decode(path, RGB)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.png", b"", "is empty"),
        ("a.png", b"these are words", "no image of a format that is read"),
        ("a.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no image of a format"),
    ],
)
def test_what_is_no_image(tmp_path, name, content, reason):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadImage, match=reason) as caught:
        decode(tmp_path / name, RGB)
    assert str(tmp_path / name) in str(caught.value)


def test_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(BadImage, match="no such file"):
        decode(tmp_path / "a.png", RGB)
    with pytest.raises(BadImage, match="not a file"):
        decode(tmp_path, RGB)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".gif", ".tif", ".webp", ".bmp", ".ppm"])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_decode_or_are_refused(tmp_path: Path, suffix: str, data: st.DataObject):
    content = bytearray(save(tmp_path / f"whole{suffix}", picture(9, 9)).read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / f"damaged{suffix}"
    path.write_bytes(content)
    with quietly():
        for read in (lambda: decode(path, RGB).shape == RGB.shape, lambda: read_header(path)):
            with contextlib.suppress(BadImage):
                assert read()


def test_a_policy_of_another_version_is_refused():
    check_policy({})
    check_policy(POLICY)
    with pytest.raises(DataError, match="policy 99"):
        check_policy(POLICY | {"decoder": 99})
