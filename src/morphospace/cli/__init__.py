"""The `morphospace` command: its verbs, and how they fail.

A failure ends in one line on the error stream and an exit code: 2 for a command that was not meant like that, 1 for
work that could not be done, 3 for a data set that is nowhere to be had, 130 for a stop that was asked for.
"""

from __future__ import annotations

import errno
import os
import sys

from cyclopts import App, CycloptsError

from morphospace import __version__
from morphospace.cli import paths, verbs
from morphospace.cli.explore import explore
from morphospace.cli.map import map_
from morphospace.cli.pack import pack
from morphospace.types import MorphospaceError

__all__ = ["app", "main"]

app = App(
    name="morphospace",
    help="Turn a set of images into a space that people can walk in.",
    version=f"morphospace {__version__}",
    help_on_error=False,
)
for verb in (*verbs.VERBS, map_, *paths.VERBS, explore, pack):
    app.command(verb, name=verb.__name__.rstrip("_"))


def main() -> None:
    """The console script."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command; the exit code."""
    try:
        app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        return _fail(" ".join(str(error).split()) + " See: morphospace --help", 2)
    except MorphospaceError as error:
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _fail("stopped", 130)
    except BrokenPipeError:
        # The reader went away (a pipe into head, say): nothing is wrong, and nobody is there to be told.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        return _fail(_in_words(error), 1)
    return 0


def _fail(message: str, code: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return code


def _in_words(error: OSError) -> str:
    """What the system refused, and what to do."""
    where = error.filename2 or error.filename
    place = f" ({where})" if where else ""
    remedies = {
        errno.ENOSPC: "the disk is full{place}; make room, or write elsewhere with --out",
        errno.EDQUOT: "the disk quota is used up{place}; make room, or write elsewhere with --out",
        errno.EROFS: "the file system may only be read{place}; write elsewhere with --out",
        errno.EACCES: "permission denied{place}; choose a place that you may write to, with --out",
        errno.EPERM: "permission denied{place}; choose a place that you may write to, with --out",
        errno.ENOENT: "no such file or folder{place}",
        errno.ENOTDIR: "a part of the path is not a folder{place}",
        errno.EISDIR: "this is a folder, and a file was expected{place}",
    }
    return remedies.get(error.errno or 0, "{error}{place}").format(place=place, error=error.strerror or error)
