"""Fetching one file from the first mirror that has it: resumed where it stopped, kept only if it verifies."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from morphospace.files import write_bytes
from morphospace.types import DataError, DataNotFound, Progress, silent

__all__ = ["fetch"]

_TIMEOUT = 10
"""Seconds without a byte before the next mirror is tried; a machine without network must not wait for minutes."""

_CHUNK = 1 << 16


def fetch(
    name: str,
    mirrors: Sequence[str],
    target: Path,
    verify: Callable[[bytes], object],
    *,
    limit: int,
    progress: Progress = silent,
) -> None:
    """Fetch ``name`` from one of ``mirrors`` to ``target``.

    What arrives goes to a ``.part`` file beside the target, from which a later call, or the next mirror, goes
    on. The target is written, atomically, from bytes that have been verified.

    Args:
        name: the file's name below each mirror.
        mirrors: addresses, tried in order.
        target: where the file goes.
        verify: raises DataError for content that is not the file's.
        limit: bytes that the file cannot exceed.
        progress: called with bytes done and in all.

    Raises:
        DataNotFound: no mirror has it; says what each of them answered.
        DataError: the target's folder cannot be written.
    """
    part = target.with_name(target.name + ".part")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        answers = []
        for mirror in mirrors:
            address = mirror.rstrip("/") + "/" + name
            if (answer := _from_mirror(address, part, target, verify, limit, progress)) is None:
                return
            answers.append(f"  {address}: {answer}")
    except OSError as error:
        raise DataError(
            f"{part}: cannot be written: {error.strerror or error}. "
            "XDG_CACHE_HOME can name another folder for the cache."
        ) from error
    raise DataNotFound(f"{name} could not be downloaded:\n" + "\n".join(answers))


def _from_mirror(
    address: str,
    part: Path,
    target: Path,
    verify: Callable[[bytes], object],
    limit: int,
    progress: Progress,
) -> str | None:
    """Fetch ``address`` to ``target``; returns None, or in words why not."""
    while True:
        resumed = part.exists() and part.stat().st_size > 0
        try:
            _receive(address, part, limit, progress)
        except (
            _Refused,
            urllib.error.URLError,
            http.client.HTTPException,
            TimeoutError,
            ConnectionError,
        ) as error:
            return _in_words(error)
        content = part.read_bytes()
        try:
            verify(content)
        except DataError as error:
            part.unlink(missing_ok=True)
            if resumed:  # the beginning may have come from elsewhere: once more from the start
                continue
            return str(error)
        write_bytes(target, content)
        part.unlink(missing_ok=True)
        return None


class _Refused(Exception):
    """A mirror's answer that is no use; the text says why."""


def _receive(address: str, part: Path, limit: int, progress: Progress) -> None:
    """Bring ``part`` to the whole of what ``address`` holds."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "morphospace", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    request = urllib.request.Request(address, headers=headers)  # noqa: S310  (the mirrors are https)
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:  # noqa: S310
            _append(answer, part, have, limit, address, progress)
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        # There is nothing after what we have: either we have all of it, or verifying will start afresh.


def _append(
    answer: http.client.HTTPResponse, part: Path, have: int, limit: int, address: str, progress: Progress
) -> None:
    goes_on = answer.status == http.HTTPStatus.PARTIAL_CONTENT
    if goes_on and not (answer.headers.get("Content-Range") or "").startswith(f"bytes {have}-"):
        part.unlink(missing_ok=True)
        raise _Refused(
            f"answered with {answer.headers.get('Content-Range')}; bytes from {have} were asked for"
        )
    done = have if goes_on else 0  # a server that ignores Range sends everything again
    length = answer.headers.get("Content-Length")
    total = done + int(length) if length and length.isdigit() else limit
    with part.open("ab" if goes_on else "wb") as file:
        while chunk := _read(answer):
            done += len(chunk)
            if done > limit:
                file.truncate(0)
                raise _Refused(f"sends more than the {limit:,} bytes that the file can have")
            file.write(chunk)
            progress(f"downloading {address.rpartition('/')[2]}", float(done), float(max(total, done)))
    if length and done < total:
        raise _Refused(f"broke off after {done:,} of {total:,} bytes")


def _read(stream: IO[bytes] | http.client.HTTPResponse) -> bytes:
    try:
        return stream.read(_CHUNK)
    except OSError as error:  # as opposed to one from our disk
        raise _Refused(_in_words(error)) from error


def _in_words(error: BaseException) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"answered {error.code} {error.reason}"
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    return str(getattr(reason, "strerror", None) or reason or type(error).__name__)
