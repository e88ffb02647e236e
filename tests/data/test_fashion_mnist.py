"""Fashion-MNIST: where it is looked for, how it is fetched, and that nothing else passes for it.

The loader is tested on a small set of the same layout, whose hashes stand in for the publisher's; the real
files are read where a machine has them.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from making import idx

import morphospace.data.fashion_mnist as module
from morphospace.data import load
from morphospace.data.download import fetch
from morphospace.data.fashion_mnist import CLASSES, MIRRORS, fashion_mnist
from morphospace.types import DataError, DataNotFound, UsageError

REAL = os.environ.get("MORPHOSPACE_DATA")

RNG = np.random.default_rng(0)
FILES = {
    "train-images-idx3-ubyte": idx(RNG.integers(0, 256, (60, 28, 28)).astype("u1")),
    "train-labels-idx1-ubyte": idx((np.arange(60) % 10).astype("u1")),
    "t10k-images-idx3-ubyte": idx(RNG.integers(0, 256, (10, 28, 28)).astype("u1")),
    "t10k-labels-idx1-ubyte": idx(np.arange(10).astype("u1")),
}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the small set in the place of the publisher's."""
    files = [module._File(n, len(c), hashlib.sha256(c).hexdigest()) for n, c in FILES.items()]
    monkeypatch.setattr(module, "_TRAIN", tuple(files[:2]))
    monkeypatch.setattr(module, "_TEST", tuple(files[2:]))


def lay(folder: Path, packed: bool = True) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in FILES.items():
        (folder / (name + ".gz" * packed)).write_bytes(gzip.compress(content) if packed else content)
    return folder


class Server:
    """A mirror that can misbehave; ``log`` holds (path, Range) of each request."""

    def __init__(self, content: dict[str, bytes]) -> None:
        self.content, self.log = content, []
        self.ranges, self.status, self.cut, self.shift = True, 200, None, 0
        server = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                server.answer(self)

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        wanted = request.headers.get("Range")
        self.log.append((request.path, wanted))
        body = self.content.get(request.path.rpartition("/")[2])
        status = 404 if body is None else self.status
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.ranges else 0
        if body is None or status != 200 or (start and start >= len(body)):
            request.send_error(416 if body is not None and start >= len(body) > 0 else status)
            return
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start + self.shift}-{len(body) - 1}/{len(body)}")
        request.send_header("Content-Length", str(len(body) - start))
        request.end_headers()
        request.wfile.write(body[start : self.cut])


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    monkeypatch.setenv("no_proxy", "*")
    servers: list[Server] = []

    def start(content: dict[str, bytes] | None = None) -> Server:
        packed = {f"{name}.gz": gzip.compress(c) for name, c in FILES.items()}
        servers.append(Server(packed if content is None else content))
        return servers[-1]

    yield start
    for server in servers:
        server.http.shutdown()
        server.http.server_close()


def assert_small(images) -> None:
    assert images.classes == CLASSES
    assert images.pixels.shape == (70, 1, 28, 28)
    assert images.splits.tolist() == [0] * 60 + [2] * 10
    np.testing.assert_array_equal(images.labels, np.concatenate([np.arange(60) % 10, np.arange(10)]))
    assert images.pixels[60].tobytes() == FILES["t10k-images-idx3-ubyte"][16 : 16 + 784]


# ---- on this machine --------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["", "fashion-mnist", "FashionMNIST/raw"])
@pytest.mark.parametrize("packed", [True, False])
def test_files_are_found_in_each_layout(small, tmp_path, layout, packed):
    lay(tmp_path / layout, packed)
    assert_small(fashion_mnist(root=tmp_path, mirrors=()))


def test_the_order_of_search(small, tmp_path, cache, monkeypatch):
    looked = []

    def look(path):
        looked.append(path)
        return False

    monkeypatch.setenv("MORPHOSPACE_DATA", str(tmp_path / "env"))
    monkeypatch.setattr(Path, "is_file", look)
    with pytest.raises(DataNotFound):
        fashion_mnist(root=tmp_path, mirrors=())
    first = [looked.index(root / "train-images-idx3-ubyte") for root in (tmp_path, tmp_path / "env", cache)]
    assert first == sorted(first)


@pytest.mark.parametrize("place", ["env", "cache"])
def test_the_environment_and_the_cache(small, tmp_path, cache, monkeypatch, place):
    monkeypatch.setenv("MORPHOSPACE_DATA", str(tmp_path / "env"))
    lay(tmp_path / "env" if place == "env" else cache / "fashion-mnist")
    assert_small(fashion_mnist(mirrors=()))


def test_nowhere_says_where_it_looked_and_what_to_do(small, tmp_path, cache, monkeypatch):
    monkeypatch.setenv("MORPHOSPACE_DATA", str(tmp_path / "env"))
    with pytest.raises(DataNotFound) as caught:
        fashion_mnist(root=tmp_path, download=False)
    text = str(caught.value)
    for part in (tmp_path, tmp_path / "env", cache, "switched off", "--data-root", "github.com", "garments"):
        assert str(part) in text
    assert caught.value.exit_code == 3


def test_a_data_root_that_is_no_folder(tmp_path):
    with pytest.raises(UsageError, match="is not a folder"):
        fashion_mnist(root=tmp_path / "typo", mirrors=())


@pytest.mark.parametrize("packed", [True, False])
def test_another_content_is_refused_naming_file_found_and_expected(small, tmp_path, packed):
    lay(tmp_path, packed)
    name = "t10k-labels-idx1-ubyte" + ".gz" * packed
    wrong = FILES["t10k-labels-idx1-ubyte"][:-1] + b"\7"
    (tmp_path / name).write_bytes(gzip.compress(wrong) if packed else wrong)
    with pytest.raises(DataError) as caught:
        fashion_mnist(root=tmp_path, mirrors=())
    for part in (tmp_path / name, hashlib.sha256(wrong).hexdigest(), module._TEST[1].sha256):
        assert str(part) in str(caught.value)


def test_a_gzip_bomb_is_not_unpacked(small, tmp_path):
    lay(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(bytes(64 << 20)))
    with pytest.raises(DataError, match="more than 18 bytes"):
        fashion_mnist(root=tmp_path, mirrors=())


@pytest.mark.parametrize("content", [b"\x1f\x8b", b"\x1f\x8bxxxxxxxxxxxxxxxx", gzip.compress(b"a" * 99)[:-9]])
def test_a_broken_gzip_is_refused(small, tmp_path, content):
    lay(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(content)
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte\.gz"):
        fashion_mnist(root=tmp_path, mirrors=())


# ---- from the network -------------------------------------------------------------------------------------


def test_the_mirrors_are_several_and_secure():
    assert len(MIRRORS) > 1
    assert all(mirror.startswith("https://") for mirror in MIRRORS)


def test_a_download_goes_to_the_cache_and_is_used_again(small, serve, cache):
    server, told = serve(), []
    images = fashion_mnist(mirrors=[server.address], progress=lambda *a: told.append(a))
    assert_small(images)
    assert sorted(p.name for p in (cache / "fashion-mnist").iterdir()) == sorted(f"{n}.gz" for n in FILES)
    assert len(server.log) == 4
    assert told[0][0] == "downloading train-images-idx3-ubyte.gz"
    assert told[0][1] <= told[0][2]
    assert_small(fashion_mnist(mirrors=[server.address]))
    assert len(server.log) == 4


def closed() -> str:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}"


def test_the_next_mirror_is_tried(small, serve):
    missing, broken, corrupt, good = serve({}), serve(), serve(), serve()
    broken.status = 503
    corrupt.content = {name: gzip.compress(b"another file") for name in corrupt.content}
    assert_small(
        fashion_mnist(mirrors=[closed(), missing.address, broken.address, corrupt.address, good.address])
    )


def test_every_mirrors_answer_is_told(small, serve, cache):
    missing, corrupt = serve({}), serve()
    corrupt.content = dict.fromkeys(corrupt.content, b"no gzip")
    gone = closed()
    with pytest.raises(DataNotFound) as caught:
        fashion_mnist(mirrors=[gone, missing.address, corrupt.address])
    text = str(caught.value)
    for part in (
        gone,
        "refused",
        f"{missing.address}/train-images-idx3-ubyte.gz: answered 404",
        "SHA-256",
        "garments",
    ):
        assert part in text
    assert not list((cache / "fashion-mnist").iterdir())


CONTENT = bytes(range(256)) * 3000


def fetch_content(target: Path, *servers: Server) -> None:
    def verify(content: bytes) -> None:
        if content != CONTENT:
            raise DataError("another content")

    fetch("file", [server.address for server in servers], target, verify, limit=len(CONTENT))


def test_a_broken_download_is_resumed(serve, tmp_path):
    server = serve({"file": CONTENT})
    server.cut = 300_000
    with pytest.raises(DataNotFound, match="broke off after 300,000 of 768,000 bytes"):
        fetch_content(tmp_path / "file", server)
    assert (tmp_path / "file.part").stat().st_size == 300_000
    server.cut = None
    fetch_content(tmp_path / "file", server)
    assert server.log[-1] == ("/file", "bytes=300000-")
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert not (tmp_path / "file.part").exists()


def test_the_next_mirror_goes_on_where_one_broke_off(serve, tmp_path):
    breaking, whole = serve({"file": CONTENT}), serve({"file": CONTENT})
    breaking.cut = 1000
    fetch_content(tmp_path / "file", breaking, whole)
    assert whole.log == [("/file", "bytes=1000-")]
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_server_that_ignores_ranges_starts_again(serve, tmp_path):
    server = serve({"file": CONTENT})
    server.ranges = False
    (tmp_path / "file.part").write_bytes(CONTENT[:1000])
    fetch_content(tmp_path / "file", server)
    assert (tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize("part", [b"from elsewhere", CONTENT[:-1] + b"x", CONTENT + b"and more"])
def test_a_part_that_does_not_fit_is_fetched_afresh(serve, tmp_path, part):
    server = serve({"file": CONTENT})
    (tmp_path / "file.part").write_bytes(part)
    fetch_content(tmp_path / "file", server)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert server.log[-1] == ("/file", None)


def test_a_part_that_is_whole_needs_no_more_bytes(serve, tmp_path):
    server = serve({"file": CONTENT})
    (tmp_path / "file.part").write_bytes(CONTENT)
    fetch_content(tmp_path / "file", server)
    assert server.log == [("/file", f"bytes={len(CONTENT)}-")]
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_an_answer_to_another_range_is_not_appended(serve, tmp_path):
    odd, good = serve({"file": CONTENT}), serve({"file": CONTENT})
    odd.shift = 5
    (tmp_path / "file.part").write_bytes(CONTENT[:1000])
    fetch_content(tmp_path / "file", odd, good)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_server_that_never_stops_is_left(serve, tmp_path):
    endless, good = serve({"file": CONTENT + b"x"}), serve({"file": CONTENT})
    fetch_content(tmp_path / "file", endless, good)
    assert (tmp_path / "file").read_bytes() == CONTENT
    with pytest.raises(DataNotFound, match="more than the 768,000 bytes"):
        fetch_content(tmp_path / "other", endless)


def test_a_cache_that_cannot_be_written_is_named(serve, tmp_path):
    (tmp_path / "blocked").write_text("")
    with pytest.raises(DataError, match="cannot be written") as caught:
        fetch_content(tmp_path / "blocked" / "file", serve({"file": CONTENT}))
    assert not isinstance(caught.value, DataNotFound)


# ---- the real files ---------------------------------------------------------------------------------------


@pytest.mark.skipif(REAL is None, reason="needs the real files; name their folder by MORPHOSPACE_DATA")
def test_the_real_files():
    images = load("fashion-mnist", root=REAL, download=False)
    assert images.pixels.shape == (70_000, 1, 28, 28)
    assert (len(images.train), len(images.validation), len(images.test)) == (60_000, 0, 10_000)
    assert np.bincount(images.labels).tolist() == [7000] * 10
    assert [images.classes[i] for i in images.labels[:4]] == [
        "Ankle boot",
        "T-shirt/top",
        "T-shirt/top",
        "Dress",
    ]
    assert abs(images.train.pixels.mean() / 255 - 0.2860) < 1e-4  # the mean that everybody normalises by
