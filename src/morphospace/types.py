"""What every room shares: the letters of shapes, the image spec, progress, and the errors.

Letters used in shapes, in code and in documentation:

    B  images in a batch          C  channels
    K  draws per image            H  height in pixels
    N  images in a set            W  width in pixels
    D  latent dimensions          P  parameters of a distribution

The errors form one tree. Each message says what was found, what was expected and what to do:

    MorphospaceError
    ├── UsageError        an option, argument or name that does not fit (exit code 2)
    │   └── UnknownName   a name that is not among those known; names the close match
    ├── DataError         files or arrays that cannot be read as images
    │   └── DataNotFound  a known set that is neither on this machine nor to be had from the network (exit code 3)
    ├── RunError          a run folder that is missing, damaged or of another kind
    ├── NumericalError    a loss or gradient that stopped being a finite number
    ├── MissingExtra      an optional package is needed; names the extra that brings it
    └── Interrupted       a signal asked for a stop; all that was done is saved (exit code 130)
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

__all__ = [
    "DataError",
    "DataNotFound",
    "ImageSpec",
    "Interrupted",
    "MissingExtra",
    "MorphospaceError",
    "NumericalError",
    "Progress",
    "RunError",
    "UnknownName",
    "UsageError",
    "silent",
]


@dataclass(frozen=True)
class ImageSpec:
    """The shape of one image: ``channels`` (1 grey, 3 RGB), ``height`` and ``width`` in pixels."""

    channels: int
    height: int
    width: int

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.channels, self.height, self.width

    @property
    def pixels(self) -> int:
        """Values in one image: C · H · W."""
        return self.channels * self.height * self.width

    def __str__(self) -> str:
        return f"{self.height}×{self.width}×{self.channels}"


@runtime_checkable
class Progress(Protocol):
    """Called as long work advances: what is being done, how much of how much, and figures worth seeing.

    The library never prints; the command line passes a progress that draws a bar or writes lines.
    """

    def __call__(
        self, what: str, done: float, total: float, figures: Mapping[str, float] | None = None
    ) -> None: ...


def silent(what: str, done: float, total: float, figures: Mapping[str, float] | None = None) -> None:
    """The default progress: says nothing."""


class MorphospaceError(Exception):
    """Any error that this package raises on purpose; its text is written for the person who meets it."""

    exit_code: ClassVar[int] = 1


class UsageError(MorphospaceError, ValueError):
    """An option, argument or name that does not fit what was asked."""

    exit_code = 2


class UnknownName(UsageError):
    """A name that is not among those known."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.name, self.known = name, tuple(known)
        folded = {k.casefold(): k for k in self.known}
        close = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.5)
        hint = f" Did you mean '{folded[close[0]]}'?" if close else ""
        super().__init__(f"there is no {kind} '{name}'.{hint} Known: {', '.join(self.known) or 'none'}.")


class DataError(MorphospaceError):
    """Files or arrays that cannot be read as images."""


class DataNotFound(DataError):
    """A known set that is neither on this machine nor to be had from the network."""

    exit_code = 3


class RunError(MorphospaceError):
    """A run folder that is missing, damaged or made for something else."""


class NumericalError(MorphospaceError, ArithmeticError):
    """A loss or gradient stopped being a finite number."""


class MissingExtra(MorphospaceError, ImportError):
    """An optional package is needed for what was asked."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package '{package}', which is not installed; "
            f"install it with: pip install 'morphospace[{extra}]'"
        )


class Interrupted(MorphospaceError):
    """SIGINT or SIGTERM asked for a stop; what had been done is saved."""

    exit_code = 130
