"""Images for a space that exists: the run's shape and policy, whatever they come from."""

from __future__ import annotations

import numpy as np
import pytest
from making import picture, save

from morphospace.data import load, read_image, read_images
from morphospace.types import DataError, ImageSpec, UsageError

SPEC = ImageSpec(3, 20, 30)


def test_one_file_gets_the_pixels_that_training_saw(tmp_path):
    for i in range(4):
        save(tmp_path / f"{i}.png", picture(50 + i, 70, i))
    images = load(tmp_path, image_size="20x30")
    for row, name in enumerate(images.names):
        pixels = read_image(tmp_path / name, images.spec, images.policy)
        np.testing.assert_array_equal(pixels, images.pixels[row])


def test_a_folder_is_brought_to_the_shape_with_its_classes(tmp_path):
    save(tmp_path / "a/1.png", picture(28, 28))
    save(tmp_path / "b/2.png", picture(90, 40))
    save(tmp_path / "b/3.png").write_bytes(b"")
    images = read_images(tmp_path, ImageSpec(1, 20, 30))
    assert images.spec == ImageSpec(1, 20, 30)
    assert images.names == ("a/1.png", "b/2.png")
    assert images.classes == ("a", "b")
    assert [s.path for s in images.skipped] == ["b/3.png"]
    with pytest.raises(DataError, match=r"b/3\.png"):
        read_images(tmp_path, SPEC, strict=True)


def test_files_keep_the_order_in_which_they_are_given(tmp_path):
    paths = [save(tmp_path / f"{name}.png", picture(seed=i)) for i, name in enumerate("cab")]
    paths.insert(1, tmp_path / "missing.png")
    images = read_images(paths, SPEC)
    assert images.names == tuple(str(path) for path in paths if path.exists())
    assert images.skipped[0].path == str(paths[1])
    np.testing.assert_array_equal(images.pixels[0], read_image(paths[0], SPEC))
    with pytest.raises(DataError, match=r"missing\.png"):
        read_images(paths, SPEC, strict=True)


def test_one_bad_file_is_all_there_is(tmp_path):
    (tmp_path / "a.png").write_bytes(b"words")
    with pytest.raises(DataError, match="none of 1 image files can be decoded"):
        read_images(tmp_path / "a.png", SPEC)
    with pytest.raises(DataError, match=r"a\.png: is no image"):
        read_image(tmp_path / "a.png", SPEC)


def test_arrays_must_have_the_shape(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((5, 3, 20, 30), np.uint8))
    assert read_images(tmp_path / "a.npy", SPEC).spec == SPEC
    np.savez(tmp_path / "b.npz", x=np.zeros((5, 200, 300), np.uint8), y=np.arange(5))
    assert read_images(tmp_path / "b.npz", ImageSpec(1, 200, 300)).classes == tuple("01234")
    with pytest.raises(DataError, match="images are 200×300×1; expected 20×30×3"):
        read_images(tmp_path / "b.npz", SPEC)


def test_paths_that_cannot_be_read_together_or_at_all(tmp_path):
    image = save(tmp_path / "a.png")
    np.save(tmp_path / "a.npy", np.zeros((5, 20, 30), np.uint8))
    for other in (tmp_path, tmp_path / "a.npy"):
        with pytest.raises(UsageError, match="must all be image files"):
            read_images([image, other], SPEC)
    with pytest.raises(UsageError, match="there is no file or folder"):
        read_images(tmp_path / "missing", SPEC)
    with pytest.raises(UsageError, match="no image files were given"):
        read_images([], SPEC)


def test_the_policy_of_another_version_is_refused(tmp_path):
    image = save(tmp_path / "a.png")
    assert read_image(image, SPEC, {"drawn": "garments", "version": 1}).shape == SPEC.shape
    for read in (read_image, read_images):
        with pytest.raises(DataError, match="policy 99"):
            read(image, SPEC, {"decoder": 99})
