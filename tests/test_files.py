"""Files are whole or not there, whatever happens in between."""

from __future__ import annotations

import errno
import os
import stat

import pytest

from morphospace import files
from morphospace.files import atomic, write_bytes, write_text


def entries(folder):
    return sorted(path.name for path in folder.iterdir())


def test_writes_the_content_and_leaves_nothing_else(tmp_path):
    write_text(tmp_path / "a.txt", "Größe\n")
    write_bytes(tmp_path / "b.bin", b"\x00\xff")
    assert (tmp_path / "a.txt").read_bytes() == "Größe\n".encode()
    assert (tmp_path / "b.bin").read_bytes() == b"\x00\xff"
    assert entries(tmp_path) == ["a.txt", "b.bin"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt(), ValueError("mine")])
def test_an_error_inside_leaves_the_file_as_it_was(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write():
        with atomic(path) as temporary:
            temporary.write_text("half of the ne")
            raise error

    with pytest.raises(type(error)):
        write()
    assert path.read_text() == "old"
    assert entries(tmp_path) == ["a.txt"]


def test_a_disk_that_fails_to_keep_the_content_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fsync(_handle):
        raise OSError(errno.EIO, "cannot be written")

    monkeypatch.setattr(files.os, "fsync", fsync)
    with pytest.raises(OSError, match="cannot be written"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert entries(tmp_path) == ["a.txt"]


def test_the_old_file_stays_readable_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with atomic(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.parent == path.parent  # a rename between file systems is a copy
        assert temporary.suffix == ".txt"  # for writers that choose a format by it
    assert path.read_text() == "new"


def test_content_is_on_the_disk_before_the_name_is(tmp_path, monkeypatch):
    """A crash after the rename must not find an empty file under the right name."""
    happened = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(files.os, "fsync", lambda handle: (happened.append("fsync"), fsync(handle)))
    monkeypatch.setattr(os, "replace", lambda *names: (happened.append("rename"), replace(*names)))
    write_text(tmp_path / "a.txt", "new")
    assert happened == ["fsync", "rename", "fsync"]  # the content, the name, the folder that holds the name


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_permissions_are_those_of_an_ordinary_file(tmp_path, mask):
    before = os.umask(mask)
    try:
        write_text(tmp_path / "a.txt", "")
        assert os.umask(mask) == mask  # asking for it did not change it
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o666 & ~mask


def test_missing_folders_are_made(tmp_path):
    write_text(tmp_path / "a" / "b" / "c.txt", "here")
    assert (tmp_path / "a" / "b" / "c.txt").read_text() == "here"


def test_a_folder_that_is_a_file_is_an_error_that_changes_nothing(tmp_path):
    (tmp_path / "a").write_text("a file")
    with pytest.raises(OSError, match="a"):
        write_text(tmp_path / "a" / "b.txt", "")
    assert entries(tmp_path) == ["a"]
