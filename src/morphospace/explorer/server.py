"""A server for one reader on this machine: it knows the site's files by name and nothing of the disk."""

from __future__ import annotations

import errno
import http.server
import socketserver
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from morphospace.explorer.site import Site
from morphospace.types import UsageError

__all__ = ["PORT", "TYPES", "Server", "open_server"]

PORT = 8617
"""Where the page is by default, if nobody else is there."""
HOST = "127.0.0.1"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".bin": "application/octet-stream",
}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


class Server(http.server.ThreadingHTTPServer):
    """Gives a site's files to browsers on this machine."""

    daemon_threads = True

    def __init__(self, site: Site, port: int) -> None:
        self.site = site
        super().__init__((HOST, port), _Handler)

    def server_bind(self) -> None:
        """As every TCP server; the parent's would also ask the network for this machine's name."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, int(self.server_address[1])

    def handle_error(self, request: object, client_address: object) -> None:
        """A browser that goes away in the middle is nothing to speak of; anything else is a defect, and is shown."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]

    @property
    def url(self) -> str:
        """The page's address."""
        return f"http://{HOST}:{self.server_port}/"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "morphospace", ""
    timeout = 60

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, with_body: bool) -> None:
        """A file by its exact name. A page elsewhere that calls itself this host (DNS rebinding) is refused."""
        port = self.server.server_port
        if self.headers.get("Host") not in (f"{HOST}:{port}", f"localhost:{port}"):
            self._send(
                HTTPStatus.FORBIDDEN,
                ".html",
                b"this server answers to 127.0.0.1 and localhost only\n",
                with_body,
            )
            return
        name = urlsplit(self.path).path.removeprefix("/") or "index.html"
        if name not in self.server.site.names:
            self._send(HTTPStatus.NOT_FOUND, ".html", b"there is no such file\n", with_body)
            return
        self._send(HTTPStatus.OK, PurePosixPath(name).suffix, self.server.site.read(name), with_body)

    def _send(self, status: HTTPStatus, suffix: str, body: bytes, with_body: bool) -> None:
        self.send_response(status)
        self.send_header("Content-Type", TYPES[suffix])
        self.send_header("Content-Length", str(len(body)))
        for key, value in HEADERS.items():
            self.send_header(key, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing: the library never prints."""


@contextmanager
def open_server(site: Site, port: int | None = None) -> Iterator[Server]:
    """A server that answers, in threads of its own, until the block is left.

    Args:
        site: what it gives.
        port: of this machine; 0 takes any that is free; None `PORT`, or any where that is taken.

    Raises:
        UsageError: if the port is taken or may not be had.
    """
    server = _bound(site, port)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _bound(site: Site, port: int | None) -> Server:
    if port is not None and not 0 <= port <= 65535:
        raise UsageError(f"--port is {port}; expected a number from 0 to 65535")
    try:
        return Server(site, PORT if port is None else port)
    except OSError as error:
        if port is None:
            return Server(site, 0)
        why = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be had ({error.strerror})"
        raise UsageError(
            f"port {port} {why}; choose another with --port, or any free one with --port 0"
        ) from None
