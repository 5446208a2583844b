"""Starts the child processes, and passes bytes on to them and back."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, cast

import msgspec

from aily.process.lifetimes import tied_to_parent
from chat.models.files import PIECE_BYTES
from chat.runs.reading.records import FileError
from chat.tables.files.workbooks.limits import REFUSED

_ROOT = Path(__file__).resolve().parents[4]
#: The only variables that a process gets: workbooks are foreign, and the others hold secrets.
_ENVIRONMENT = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG", "LC_ALL")
_PACKAGE = "chat.tables.files.workbooks"
#: Largest workbook, unpacked as it declares itself.
MAX_UNPACKED_BYTES = 500_000_000
_MAX_MESSAGE_BYTES = 500
_MAX_NAMES_BYTES = 1_048_576


def read_workbook(
    pieces: Iterable[bytes], sheet: str, max_rows: int
) -> tuple[list[str], Iterator[bytes]]:
    """The names of a workbook's sheets, and one of them as CSV in UTF-8, the first by default.

    Raises FileError, also while the CSV is read.
    """
    arguments = [str(MAX_UNPACKED_BYTES), str(max_rows), *([sheet] if sheet else [])]
    output = _output_of("reader", arguments, pieces)
    first = next(output, b"")
    names, _, rest = first.partition(b"\n")
    while b"\n" not in first and (more := next(output, b"")):
        first += more
        names, _, rest = first.partition(b"\n")
        if len(names) > _MAX_NAMES_BYTES:
            raise FileError("invalid_workbook", "The names of the sheets are too long.")
    return msgspec.json.decode(names or b"[]", type=list[str]), _chained(rest, output)


def write_workbook(lines: IO[bytes], kinds: Sequence[str]) -> Iterator[bytes]:
    """A file of CSV as a workbook. Raises FileError."""
    arguments = [msgspec.json.encode(list(kinds)).decode()]
    return _run("writer", arguments, lines)


def _chained(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    if first:
        yield first
    yield from rest


def _output_of(module: str, arguments: Sequence[str], pieces: Iterable[bytes]) -> Iterator[bytes]:
    # Without a name: nothing is left of it if this process dies.
    with tempfile.TemporaryFile() as file:
        for piece in pieces:
            file.write(piece)
        file.seek(0)
        yield from _run(module, arguments, file)


def _run(module: str, arguments: Sequence[str], given: IO[bytes]) -> Iterator[bytes]:
    command = [sys.executable, "-m", f"{_PACKAGE}.{module}", *arguments]
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            tied_to_parent(command),
            cwd=_ROOT,
            env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
            stdin=given,
            stdout=subprocess.PIPE,
            stderr=errors,
        ) as child,
    ):
        output = cast("IO[bytes]", child.stdout)
        try:
            while piece := output.read(PIECE_BYTES):
                yield piece
            _check_end(child.wait(), errors)
        finally:
            child.kill()


def _check_end(code: int, errors: IO[bytes]) -> None:
    if code == 0:
        return
    errors.seek(0)
    message = errors.read(_MAX_MESSAGE_BYTES).decode(errors="replace")
    if code == REFUSED:
        raise FileError("invalid_workbook", message)
    raise FileError("workbook_too_complex", "The workbook needs more memory or time than it may.")
