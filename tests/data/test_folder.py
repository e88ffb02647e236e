"""Folders: which files, which class, which split, what is skipped, and what is kept for the next time."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from making import picture, save
from PIL import Image

import morphospace.data.folder as folder_module
from morphospace.data import load
from morphospace.data.batch import decode_all
from morphospace.data.names import natural
from morphospace.types import DataError


def shade(level: int, size: tuple[int, int] = (16, 16)) -> Image.Image:
    return Image.new("L", size, level)


def tree(root: Path, *names: str) -> Path:
    for name in names:
        save(root / name, shade(100))
    return root


def by_name(images) -> dict[str, str | None]:
    labels = [None] * len(images) if images.labels is None else [images.classes[i] for i in images.labels]
    return dict(zip(images.names, labels, strict=True))


def test_two_hundred_mixed_files_with_two_corrupt_give_198_aligned_rows(tmp_path):
    rng = np.random.default_rng(0)
    levels = {}
    for i in range(200):
        name = f"{'abc'[i % 3]}/{i}{('.png', '.jpg', '.JPEG')[i % 3]}"
        levels[name] = i
        sides = tuple(int(side) for side in rng.integers(20, 90, 2))
        save(tmp_path / name, shade(i, sides) if i % 2 else shade(i, sides).convert("RGB"))
    (tmp_path / "a/99.png").write_bytes(b"not an image")
    whole = (tmp_path / "b/100.jpg").read_bytes()
    (tmp_path / "b/100.jpg").write_bytes(whole[: len(whole) // 3])
    images = load(tmp_path)
    assert images.pixels.shape == (198, 3, 64, 64)
    assert {s.path for s in images.skipped} == {"a/99.png", "b/100.jpg"}
    assert all(s.reason for s in images.skipped)
    for row, name in enumerate(images.names):
        assert abs(int(images.pixels[row, 0, 5, 5]) - levels[name]) <= 2
        assert images.classes[images.labels[row]] == name[0]
    assert list(images.names) == sorted(images.names, key=lambda name: (name[0], natural(name)))
    with pytest.raises(DataError, match=r"a/99\.png"):
        load(tmp_path, strict=True)


def test_images_directly_in_the_folder_have_no_class(tmp_path):
    images = load(tree(tmp_path, "10.png", "9.png", "B.png", "a.png"))
    assert images.labels is None
    assert images.classes == ()
    assert images.names == ("9.png", "10.png", "a.png", "B.png")


def test_a_class_is_an_immediate_sub_folder_with_images_anywhere_below(tmp_path):
    images = load(tree(tmp_path, "cat/x/1.png", "cat/2.png", "dog/y/z/3.png"))
    assert by_name(images) == {"cat/2.png": "cat", "cat/x/1.png": "cat", "dog/y/z/3.png": "dog"}


def test_classes_count_as_people_do(tmp_path):
    assert load(tree(tmp_path, "10/a.png", "9/a.png", "1/a.png")).classes == ("1", "9", "10")


def test_a_few_images_beside_class_folders_are_skipped_and_named(tmp_path):
    tree(tmp_path, "cat/1.png", "cat/2.png", "dog/1.png", "cover.png")
    images = load(tmp_path)
    assert len(images) == 3
    assert [s.path for s in images.skipped] == ["cover.png"]
    assert "no class" in images.skipped[0].reason
    with pytest.raises(DataError, match=r"cover\.png"):
        load(tmp_path, strict=True)


def test_as_many_beside_as_inside_is_nobodys_guess(tmp_path):
    with pytest.raises(DataError, match="what are they"):
        load(tree(tmp_path, "1.png", "2.png", "thumbnails/1.png", "thumbnails/2.png"))


def test_hidden_and_other_files_do_not_count(tmp_path):
    tree(tmp_path, "a.png", "b.png", ".hidden.png", ".git/c.png", "__MACOSX/d.png")
    (tmp_path / "notes.txt").write_text("words")
    images = load(tmp_path)
    assert images.names == ("a.png", "b.png")
    assert images.skipped == ()


def test_pictures_of_formats_that_are_not_read_are_named(tmp_path):
    tree(tmp_path, "a.png")
    (tmp_path / "b.heic").write_bytes(b"\0\0\0\x18ftypheic")
    assert [s.path for s in load(tmp_path).skipped] == ["b.heic"]


def test_empty_class_folders_are_no_class_and_named(tmp_path):
    tree(tmp_path, "cat/1.png", "dog/1.png")
    (tmp_path / "bird").mkdir()
    images = load(tmp_path)
    assert images.classes == ("cat", "dog")
    assert [s.path for s in images.skipped] == ["bird"]


def test_a_class_of_bad_files_only_is_no_class(tmp_path):
    tree(tmp_path, "cat/1.png", "dog/1.png")
    save(tmp_path / "bird/1.png").write_bytes(b"")
    images = load(tmp_path)
    assert images.classes == ("cat", "dog")
    assert images.labels.tolist() == [0, 1]
    assert [s.path for s in images.skipped] == ["bird/1.png", "bird"]


@pytest.mark.parametrize("names", [("train", "test"), ("Train", "valid", "TEST"), ("training", "validation")])
def test_folders_named_as_splits_are_the_split(tmp_path, names):
    for name in names:
        tree(tmp_path, f"{name}/cat/1.png", f"{name}/dog/2.png")
    images = load(tmp_path)
    assert images.classes == ("cat", "dog")
    assert images.policy["split"] == {"kind": "published"}
    expected = {"tr": 0, "va": 1, "te": 2}
    assert all(s == expected[n[:2].lower()] for s, n in zip(images.splits, images.names, strict=True))


def test_a_split_without_classes(tmp_path):
    images = load(tree(tmp_path, "train/1.png", "train/2.png", "test/1.png"))
    assert images.labels is None
    assert (len(images.train), len(images.test)) == (2, 1)


@pytest.mark.parametrize("names", [("train", "car"), ("train",), ("test", "val")])
def test_other_folders_are_classes_even_if_one_is_called_train(tmp_path, names):
    images = load(tree(tmp_path, *(f"{name}/1.png" for name in names)))
    assert set(images.classes) == set(names)
    assert images.policy["split"]["kind"] == "stratified"


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_links_are_followed_once(tmp_path):
    tree(tmp_path / "set", "cat/1.png")
    tree(tmp_path, "elsewhere/2.png")
    (tmp_path / "set/dog").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set/cat/up").symlink_to(tmp_path / "set")
    (tmp_path / "set/cat/self").symlink_to(tmp_path / "set/cat/self")
    (tmp_path / "set/cat/gone.png").symlink_to(tmp_path / "nowhere.png")
    os.mkfifo(tmp_path / "set/cat/pipe.png")
    images = load(tmp_path / "set")
    assert by_name(images) == {"cat/1.png": "cat", "dog/2.png": "dog"}
    assert {s.path for s in images.skipped} == {"cat/gone.png", "cat/pipe.png"}


def test_nothing_to_load_is_said_in_words(tmp_path):
    with pytest.raises(DataError, match=r"holds no image files\. Images are"):
        load(tmp_path)
    (tmp_path / "set.npy").write_bytes(b"")
    with pytest.raises(DataError, match=r"only 1 others.*own path.*set\.npy"):
        load(tmp_path)
    save(tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"none of 1 image files can be decoded.*a\.png.*is empty"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([(28, 28), (28, 28)], (28, 28)),
        ([(33, 17), (33, 17)], (17, 33)),
        ([(28, 28), (28, 29)], (64, 64)),
        ([(129, 64), (129, 64)], (64, 64)),
        ([(7, 9), (7, 9)], (64, 64)),
    ],
)
def test_the_default_size(tmp_path, sizes, expected):
    for i, size in enumerate(sizes):
        save(tmp_path / f"{i}.png", shade(9, size))
    images = load(tmp_path)
    assert images.pixels.shape[2:] == expected
    assert images.policy["image_size"] == list(expected)


@pytest.mark.parametrize(
    ("mode", "saved", "channels"),
    [("auto", "LL", 1), ("auto", "LR", 3), ("grey", "LR", 1), ("rgb", "LL", 3)],
)
def test_grey_or_colour(tmp_path, mode, saved, channels):
    for i, letter in enumerate(saved):
        save(tmp_path / f"{i}.png", picture(16, 16, i).convert("L" if letter == "L" else "RGB"))
    assert load(tmp_path, mode=mode).spec.channels == channels


class Spy:
    def __init__(self, monkeypatch):
        self.decoded = 0

        def counting(paths, *rest):
            self.decoded += len(paths)
            return decode_all(paths, *rest)

        monkeypatch.setattr(folder_module, "decode_all", counting)


def test_a_folder_is_decoded_once(tmp_path, monkeypatch):
    save(tree(tmp_path, "a.png", "b.png") / "c.png").write_bytes(b"bad")
    spy = Spy(monkeypatch)
    first, second = load(tmp_path), load(tmp_path)
    assert spy.decoded == 3
    assert isinstance(second.pixels, np.memmap)
    assert second.sha256 == first.sha256
    assert (second.names, second.skipped, second.policy) == (first.names, first.skipped, first.policy)
    with pytest.raises(DataError, match=r"c\.png"):
        load(tmp_path, strict=True)
    assert spy.decoded == 3
    assert load(tmp_path, image_size=16, mode="grey").sha256 == first.sha256
    assert spy.decoded == 3  # the same shape asked for in words
    load(tmp_path, image_size=20)
    assert spy.decoded == 6


def test_a_changed_file_is_decoded_again(tmp_path, monkeypatch):
    tree(tmp_path, "a.png", "b.png")
    before = load(tmp_path)
    save(tmp_path / "a.png", shade(7))
    os.utime(tmp_path / "a.png", ns=(1, 1))
    assert load(tmp_path).sha256 != before.sha256


@pytest.mark.parametrize("damage", ["pixels.npy", "set.json", "truncate", "json", "flip", "folder"])
def test_a_damaged_cache_is_rebuilt(tmp_path, cache, monkeypatch, damage):
    tree(tmp_path, "a.png", "b.png")
    before = load(tmp_path).sha256
    (entry,) = (path for path in (cache / "decoded").iterdir() if path.is_dir())
    pixels = entry / "pixels.npy"
    if damage in ("pixels.npy", "set.json"):
        (entry / damage).unlink()
    elif damage == "truncate":
        pixels.write_bytes(pixels.read_bytes()[:-1])
    elif damage == "json":
        (entry / "set.json").write_text(json.dumps({"kept": [0], "failures": 3, "sha256": None}))
    elif damage == "flip":
        pixels.write_bytes(pixels.read_bytes()[:-1] + b"\x01")
    else:
        shutil.rmtree(entry)
        entry.write_text("")
    spy = Spy(monkeypatch)
    assert load(tmp_path).sha256 == before
    assert spy.decoded
    assert load(tmp_path).sha256 == before
    assert spy.decoded == 2 or damage == "folder"


def test_a_cache_that_cannot_be_made_is_done_without(tmp_path, monkeypatch):
    tree(tmp_path / "set", "a.png", "b.png")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert len(load(tmp_path / "set")) == 2


def test_a_disk_that_fills_up_is_done_without(tmp_path, cache, monkeypatch):
    tree(tmp_path, "a.png", "b.png")
    monkeypatch.setattr("morphospace.data.cache._write_rows", full_disk)
    images = load(tmp_path)
    assert len(images) == 2
    assert not isinstance(images.pixels, np.memmap)
    assert not any(path.is_dir() for path in (cache / "decoded").iterdir())


def full_disk(*_):
    raise OSError(28, "No space left on device")


def test_progress_is_told(tmp_path):
    tree(tmp_path, "a.png", "b.png")
    told = []
    load(tmp_path, progress=lambda what, done, total, figures=None: told.append((what, done, total)))
    assert told[-1] == ("reading images", 2, 2)
    assert ("looking at images", 0, 2) in told


def test_an_interrupt_leaves_nothing_half_written(tmp_path, cache):
    tree(tmp_path, "a.png", "b.png")

    def stop(what, done, total, figures=None):
        if what == "reading images":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load(tmp_path, progress=stop)
    assert not any(path.is_dir() for path in (cache / "decoded").iterdir())
