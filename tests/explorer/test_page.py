"""The page in a real browser, where one is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest

from morphospace.explorer import Site, open_server

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def opened(site: Site, hash_: str, profile: Path) -> tuple[str, str]:
    """The page as the browser has it after a while, and what it had to say on its console."""
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip("no Chromium is installed, which would open the page")
    options = [
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
        "--disable-sync", "--no-first-run", "--virtual-time-budget=8000", "--enable-logging=stderr", "--dump-dom",
    ]  # fmt: skip
    with open_server(site, 0) as server:
        command = [browser, *options, f"--user-data-dir={profile}", f"{server.url}#{hash_}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    console = "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)
    return unescape(done.stdout), console


def test_it_shows_the_place_that_the_address_names(site, mapped, tmp_path):
    _, atlas = mapped
    (region,) = [c for c in range(3) if atlas.classes[c] == "blob"]
    at = atlas.by_class[region].argmax()
    z = atlas.grid.points[at]
    html, console = opened(site, f"z={z[0]:.4f},{z[1]:.4f}&from=dot&to=bar&by=best", tmp_path / "profile")
    assert console == ""
    assert re.search(r'<main id="page">', html)
    assert re.search(r'<p id="waiting"[^>]*hidden', html)
    assert "it was compared with torch's just now" in html
    assert re.findall(r'<span class="name">(\w+)</span>', html)[0] == "blob"
    share = round(100 * float(atlas.by_class[region].ravel()[at] / atlas.posterior.ravel()[at]))
    shown = int(re.findall(r'<span class="value">(\d+) %</span>', html)[0])
    assert abs(shown - share) <= 1
    assert html.count("% of the way") == 2 * 9  # a film of nine pictures, each with its title and its label
    assert re.search(r'<p id="scores"[^>]*>Best is ', html)


def test_a_decoder_that_errs_is_not_shown(site, tmp_path):
    """Half of a picture's weights noughts: the page finds out by itself."""
    weights = site.read("decoder.bin")
    broken = Site({**{name: site.read(name) for name in site.names}, "decoder.bin": bytes(len(weights))})
    html, _ = opened(broken, "", tmp_path / "profile")
    assert "computes other pictures than torch" in html
    assert re.search(r'<main id="page" hidden', html)
