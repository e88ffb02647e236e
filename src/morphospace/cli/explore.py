"""The verb `explore`: a space's page, from a server on this machine or as a folder."""

from __future__ import annotations

import os
import sys
import time
import webbrowser
from pathlib import Path

from morphospace.cli.common import Flag, open_run
from morphospace.cli.progress import shown
from morphospace.types import UsageError

__all__ = ["explore"]


def explore(
    run: Path,
    /,
    *,
    port: int | None = None,
    no_browser: Flag = False,
    export: Path | None = None,
) -> None:
    """Walk in a space: drag a point across its map in a browser, and see what the decoder makes of it.

    The page computes the decoder by itself, so that the exported folder needs no more than a plain web server.

    Args:
        run: the run's folder, or a space that comes with the package, by name (a folder of that name wins).
        port: of this machine, where the page is; 8617 by default, or another where that is taken.
        no_browser: say where the page is, and open no browser.
        export: write the page into this new folder, for any web server, in place of showing it.
    """
    from morphospace.explorer import export_site, make_site, open_server
    from morphospace.training.signals import stop_flag

    if export is not None and (port is not None or no_browser):
        raise UsageError(
            "--export writes a folder and serves nothing, so it does not go with --port or --no-browser"
        )
    space = open_run(run)
    with shown() as progress:
        site = make_site(space, progress)
        if export is not None:
            export_site(site, export, progress)
    if export is not None:
        size = sum(path.stat().st_size for path in export.iterdir())
        print(
            f"wrote {export} ({size / 2**20:.1f} MiB); to see it: {Path(sys.executable).name} -m http.server "
            f"--bind 127.0.0.1 -d {export}"
        )
        return
    with open_server(site, port) as server, stop_flag() as stop:
        print(f"{run} is at {server.url} until you press Ctrl-C", flush=True)
        if not no_browser and _has_screen():
            webbrowser.open(server.url)
        while not stop:
            time.sleep(0.2)


def _has_screen() -> bool:
    """Whether a browser would open a window, rather than take the terminal over."""
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
