"""A space as a page: drag a point across its map and see what the decoder makes of it.

    site = make_site(space)
    export_site(site, folder)                  # a folder that any web server can show
    with open_server(site) as server: ...      # the same files on this machine, at server.url

* ``program``: the decoder as a few kinds of steps that the page computes by itself;
* ``contents``: the files with the space's numbers; ``site``: these and the page; ``server``: their server;
* ``static/``: the page: HTML, CSS and ES modules, without a build step and without anything from elsewhere.
"""

from morphospace.explorer.server import Server, open_server
from morphospace.explorer.site import Site, export_site, make_site

__all__ = ["Server", "Site", "export_site", "make_site", "open_server"]
