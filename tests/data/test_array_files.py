"""IDX, .npy and .npz: what is sound is read, and whatever else is refused naming file and field, at no cost."""

from __future__ import annotations

import contextlib
import gzip
import io
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from making import CODES, idx

from morphospace.data import load
from morphospace.data.array_files import read_arrays
from morphospace.data.idx import is_idx_name, parse_idx, read_idx
from morphospace.data.numpy_files import npz_keys, read_npy, read_npz
from morphospace.types import DataError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (20, 10, 12), dtype=np.uint8)
LABELS = np.arange(20) % 4


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def lying_npy(shape: tuple[int, ...], data: bytes = b"\0" * 64) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return stream.getvalue() + data


# ---- what is sound ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", CODES)
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_idx_round_trip(tmp_path, dtype, pack):
    array = RNG.integers(0, 100, (3, 4, 5)).astype(dtype)
    (tmp_path / "a.idx").write_bytes(pack(idx(array)))
    found = read_idx(tmp_path / "a.idx")
    np.testing.assert_array_equal(found, array)
    assert found.dtype.str[1:] == dtype


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("train-images-idx3-ubyte", True),
        ("t10k-labels.idx1-ubyte.gz", True),
        ("a.idx", True),
        ("a.IDX3.gz", True),
        ("a.png", False),
        ("a.gz", False),
    ],
)
def test_idx_names(name, expected):
    assert is_idx_name(name) is expected


def test_labels_beside_idx_images(tmp_path):
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(GREY)))
    assert load(tmp_path / "train-images-idx3-ubyte.gz").labels is None
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(LABELS.astype("u1")))
    images = load(tmp_path / "train-images-idx3-ubyte.gz")
    np.testing.assert_array_equal(images.pixels[:, 0], GREY)
    np.testing.assert_array_equal(images.labels, LABELS)


@pytest.mark.parametrize("array", [GREY, np.asfortranarray(GREY), GREY[..., None], GREY / 255, GREY > 9])
def test_npy_round_trip(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    found = read_npy(tmp_path / "a.npy")
    np.testing.assert_array_equal(found, array)
    assert isinstance(found, np.memmap)
    images = load(tmp_path / "a.npy", labels=LABELS)
    assert images.pixels.shape == (20, 1, 10, 12)
    assert images.sha256 == load(array, labels=LABELS).sha256


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_npy_versions(tmp_path, version):
    with (tmp_path / "a.npy").open("wb") as file:
        np.lib.format.write_array(file, GREY, version)
    np.testing.assert_array_equal(read_npy(tmp_path / "a.npy"), GREY)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("keys", [("images", "labels"), ("x", "y"), ("data", "target"), ("arr_0", "arr_1")])
def test_npz_round_trip(tmp_path, save, keys):
    save(tmp_path / "a.npz", **{keys[0]: np.asfortranarray(GREY), keys[1]: LABELS, "classes": list("wxyz")})
    images = load(tmp_path / "a.npz")
    np.testing.assert_array_equal(images.pixels[:, 0], GREY)
    np.testing.assert_array_equal(images.labels, LABELS)
    assert images.classes == ("w", "x", "y", "z")
    assert load(tmp_path / "a.npz", classes=list("abcd")).classes == ("a", "b", "c", "d")


@pytest.mark.parametrize("keys", ["x_{},y_{}", "{}_images,{}_labels"])
@pytest.mark.parametrize("validation", [False, True])
def test_npz_that_bring_their_split(tmp_path, keys, validation):
    parts = {"train": slice(0, 10), "val": slice(10, 14), "test": slice(14, 20)}
    if not validation:
        del parts["val"]
    arrays = {}
    for part, rows in parts.items():
        pixels, labels = keys.replace("{}", part).split(",")
        arrays |= {pixels: GREY[rows], labels: LABELS[rows, None]}
    np.savez(tmp_path / "a.npz", **arrays)
    images = load(tmp_path / "a.npz")
    assert [len(images.train), len(images.validation), len(images.test)] == [10, 4 * validation, 6]
    np.testing.assert_array_equal(images.test.pixels[:, 0], GREY[14:])
    np.testing.assert_array_equal(images.test.labels, LABELS[14:])
    assert images.policy["split"] == {"kind": "published"}


def test_npz_parts_that_do_not_belong_together(tmp_path):
    np.savez(tmp_path / "a.npz", x_train=GREY, x_test=GREY[:, :9])
    with pytest.raises(DataError, match=r"array 'x_test' is uint8 .*expected images as in 'x_train'"):
        load(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", x_train=GREY, y_train=LABELS[:19], x_test=GREY, y_test=LABELS)
    with pytest.raises(DataError, match=r"array 'y_train' is of shape \(19,\) for 20 images"):
        load(tmp_path / "b.npz")


def test_npz_without_images_says_what_it_holds(tmp_path):
    np.savez(tmp_path / "a.npz", weights=GREY)
    with pytest.raises(DataError, match=r"Found: weights\. Known: images, x,.*x_train"):
        load(tmp_path / "a.npz")


def test_labels_from_a_file(tmp_path):
    np.save(tmp_path / "images.npy", GREY)
    np.save(tmp_path / "names.npy", np.array(list("wxyz"))[LABELS])
    np.savez(tmp_path / "y.npz", y=LABELS)
    (tmp_path / "y.idx").write_bytes(idx(LABELS.astype("u1")))
    assert load(tmp_path / "images.npy", labels=tmp_path / "names.npy").classes == ("w", "x", "y", "z")
    for name in ("y.npz", "y.idx"):
        np.testing.assert_array_equal(load(tmp_path / "images.npy", labels=tmp_path / name).labels, LABELS)
    with pytest.raises(DataError, match=r"labels are read from"):
        load(tmp_path / "images.npy", labels=tmp_path / "names.csv")


# ---- what is not ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (b"", "magic is missing"),
        (b"\1\0\x08\3", "magic is 01 00 08 03"),
        (b"\0\0\x07\3", "type code is 0x07"),
        (b"\0\0\x08\0", "number of dimensions is 0"),
        (b"\0\0\x08\xff", "number of dimensions is 255"),
        (b"\0\0\x08\3\0\0", "dimensions end after 2 bytes"),
        (idx(GREY)[:-1], "claim 2,400 bytes of data; the file holds 2,399"),
        (idx(GREY) + b"\0", "the file holds 2,401"),
        (gzip.compress(idx(GREY)[:-1]), "data ends after 2,399 bytes"),
        (gzip.compress(idx(GREY) + b"\0"), "goes on after the 2,400 bytes"),
        (gzip.compress(idx(GREY))[:-20], "cannot be read as IDX"),
        (gzip.compress(idx(GREY))[:-8] + b"\0" * 8, "CRC"),
        (gzip.compress(idx(GREY, (2**32 - 1,) * 3)), "claims .* at most 256 times"),
    ],
)
def test_malformed_idx_names_file_and_field(tmp_path, content, field):
    path = tmp_path / "a.idx"
    path.write_bytes(content)
    with pytest.raises(DataError, match=field) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)


def header_of(text: str) -> bytes:
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text.encode() + b"\0" * 8


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (b"", "magic"),
        (b"\x93NUMPY\7\0", "version is 7"),
        (b"\x93NUMPY\2\0\xff\xff\xff\xff", "header claims 4,294,967,295 bytes"),
        (b"\x93NUMPY\1\0\x40\0{", "header ends after 1 bytes"),
        (header_of("(" * 1000), "header is not a dictionary"),
        (header_of("{'descr': __import__('os'), 'fortran_order': False, 'shape': (8,)}"), "not a dictionary"),
        (header_of("{'descr': '|O', 'fortran_order': False, 'shape': (8,)}"), "pickle"),
        (header_of("{'descr': [('a', '|u1')], 'fortran_order': False, 'shape': (8,)}"), "descr"),
        (header_of("{'descr': '|u1', 'fortran_order': 3, 'shape': (8,)}"), "fortran_order is 3"),
        (header_of("{'descr': '|u1', 'fortran_order': False, 'shape': (-8, -1)}"), "shape is"),
        (header_of("{'descr': '|u1', 'fortran_order': False, 'shape': 8}"), "shape is 8"),
        (header_of("{'descr': '|u1', 'fortran_order': False, 'shape': (True,)}"), "shape is"),
        (
            header_of("{'descr': '|u1', 'fortran_order': False, 'shape': (9,)}"),
            "claims 9 bytes of data; there are 8",
        ),
        (npy(GREY) + b"\0", "there are 2,401"),
    ],
)
def test_malformed_npy_names_file_and_field(tmp_path, content, field):
    path = tmp_path / "a.npy"
    path.write_bytes(content)
    with pytest.raises(DataError, match=field) as caught:
        read_npy(path)
    assert str(path) in str(caught.value)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", content)
    with pytest.raises(DataError, match=field) as caught:
        read_npz(tmp_path / "a.npz", ["x"])
    assert "array 'x'" in str(caught.value)


def test_objects_are_never_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    np.save(tmp_path / "a.npy", np.array([Trap()]), allow_pickle=True)
    np.savez(tmp_path / "a.npz", x=np.array([Trap()]))
    for name in ("a.npy", "a.npz"):
        with pytest.raises(DataError, match="never read"):
            load(tmp_path / name)


def test_a_pickled_member_that_is_not_asked_for_does_no_harm(tmp_path):
    np.savez(tmp_path / "a.npz", imgs=GREY, metadata=np.array({"a": 1}))
    assert len(load(tmp_path / "a.npz")) == 20


def bomb(directory: Path) -> Path:
    """A .npz whose member is what it claims to be: 128 MiB of zeros in 128 KiB."""
    path = directory / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as member:
        member.write(lying_npy((128, 1024, 1024), b""))
        for _ in range(128):
            member.write(bytes(1 << 20))
    return path


def overlapping(directory: Path) -> Path:
    """A .npz of which two entries share the same bytes."""
    path = directory / "overlap.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", npy(GREY))
        archive.writestr("y.npy", npy(GREY))
    content = bytearray(path.read_bytes())
    second = content.rindex(b"PK\1\2")
    content[second + 20 : second + 28] = struct.pack("<II", 2**31, 2**31)
    path.write_bytes(content)
    return path


LIES = {
    "npy": lambda d: write(d / "a.npy", lying_npy((2**40, 1024, 1024))),
    "npz": lambda d: write_npz(d / "a.npz", lying_npy((2**40, 1024, 1024))),
    "idx": lambda d: write(d / "a.idx", idx(GREY, (2**32 - 1, 2**31, 2**31))),
    "idx.gz": lambda d: write(d / "a.idx.gz", gzip.compress(idx(GREY, (2**32 - 1, 2**31, 2**31)))),
    "idx.gz within the ratio": lambda d: write(d / "b.idx.gz", gzip.compress(idx(GREY, (60_000, 28, 28)))),
    "idx.gz bomb": lambda d: write(d / "c.idx.gz", gzip.compress(idx(np.zeros((128, 1024, 1024), "u1")), 6)),
    "bomb": bomb,
    "overlap": overlapping,
}


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def write_npz(path: Path, content: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", content)
    return path


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_costs_no_memory(tmp_path, lie):
    path = LIES[lie](tmp_path)
    tracemalloc.start()
    try:
        with pytest.raises(DataError):
            read_arrays(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda tail: b"\0\0\x08\x02" + tail))
def test_any_bytes_as_idx(content):
    with contextlib.suppress(DataError):
        assert parse_idx(content, "name").nbytes < len(content)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".idx", ".idx.gz"])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_are_read_or_refused(tmp_path, suffix, data):
    content = bytearray(SOUND[suffix])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place : place + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
    path = tmp_path / f"damaged{suffix}"
    path.write_bytes(content)
    with contextlib.suppress(DataError):
        assert load(path).pixels.size <= 64 * 64 * len(SOUND[".npy"])


def _sound() -> dict[str, bytes]:
    small, stream = GREY[:2, :8, :8], io.BytesIO()
    np.savez_compressed(stream, x=small, y=LABELS[:2])
    return {
        ".npy": npy(small),
        ".npz": stream.getvalue(),
        ".idx": idx(small),
        ".idx.gz": gzip.compress(idx(small)),
    }


SOUND = _sound()


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=300))
def test_any_bytes_as_npz(tmp_path, content):
    path = write(tmp_path / "a.npz", content)
    with pytest.raises(DataError, match=r"a\.npz"):
        npz_keys(path)


def test_a_missing_file(tmp_path):
    for name in ("a.npy", "a.npz", "a.idx"):
        with pytest.raises(DataError, match="No such file"):
            read_arrays(tmp_path / name)
