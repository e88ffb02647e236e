"""The server gives the site's files to this machine, and nothing else to anybody."""

from __future__ import annotations

import http.client
import signal
import socket
import struct
import subprocess
import sys
from pathlib import PurePath

import pytest

from morphospace.explorer import open_server
from morphospace.explorer.server import PORT, TYPES
from morphospace.types import UsageError


@pytest.fixture(scope="module")
def server(site):
    with open_server(site, 0) as found:
        yield found


def ask(server, path: str, method: str = "GET", host: str | None = None) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    connection.putrequest(method, path, skip_host=True)
    connection.putheader("Host", host or f"127.0.0.1:{server.server_port}")
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, dict(answer.getheaders()), body


def test_every_file_with_its_type(server, site):
    for name in site.names:
        status, headers, body = ask(server, f"/{name}")
        assert status == 200
        assert body == site.read(name)
        assert headers["Content-Type"] == TYPES[PurePath(name).suffix]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'")
    assert ask(server, "/")[2] == site.read("index.html")
    assert ask(server, "/?x=1")[2] == site.read("index.html")
    status, headers, body = ask(server, "/map.bin", "HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["Content-Length"]) == len(site.read("map.bin"))


@pytest.mark.parametrize(
    "path",
    ["/../pyproject.toml", "/..%2f..%2fetc%2fpasswd", "//etc/passwd", "/static/index.html", "/config.json", "/%00",
     "/./index.html", "http://elsewhere/index.html/.."],
)  # fmt: skip
def test_nothing_else_is_to_be_had(server, path):
    assert ask(server, path)[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_nothing_can_be_changed(server, method):
    assert ask(server, "/space.json", method)[0] == 501


@pytest.mark.parametrize("host", ["elsewhere.example", "127.0.0.1", "127.0.0.1:1", "localhost"])
def test_a_page_that_calls_itself_this_host_is_refused(server, host):
    """DNS rebinding: a foreign name that resolves to this machine."""
    status, _, body = ask(server, "/space.json", host=host)
    assert status == 403
    assert b"classes" not in body
    assert ask(server, "/space.json", host=f"localhost:{server.server_port}")[0] == 200


def test_it_listens_on_this_machine_only(server):
    assert server.socket.getsockname()[0] == "127.0.0.1"


def test_a_browser_that_goes_away_is_no_error(server, capsys):
    connection = socket.create_connection(("127.0.0.1", server.server_port))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # ends in a reset
    connection.sendall(b"GET /map.bin HTTP/1.1\r\n")
    connection.close()
    assert ask(server, "/icon.svg")[0] == 200
    assert capsys.readouterr() == ("", "")


def test_a_port_that_is_taken(site):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {port} is taken"), open_server(site, port):
            pass


def test_the_usual_port_may_be_taken(site):
    with open_server(site) as first, open_server(site) as second:
        assert second.server_port not in (first.server_port, PORT)
        assert ask(second, "/icon.svg")[0] == 200


def test_the_command_serves_until_it_is_interrupted(mapped):
    command = [
        sys.executable,
        "-m",
        "morphospace",
        "explore",
        str(mapped[0].folder),
        "--port",
        "0",
        "--no-browser",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert "http://127.0.0.1:" in line
    port = int(line.split("http://127.0.0.1:")[1].split("/")[0])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/space.json")
    answer = connection.getresponse()
    assert answer.status == 200
    answer.read()
    connection.close()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "error" not in said
    assert "Traceback" not in said
