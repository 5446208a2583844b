"""Child process that reads a sheet of a workbook on standard input, and writes it as CSV.

`python -m chat.tables.files.workbooks.reader MAX_UNPACKED_BYTES MAX_ROWS [SHEET]`. The first line
of its output is a JSON array of the names of all sheets.
"""

from __future__ import annotations

import csv
import io
import json
import sys
import zipfile
from collections.abc import Callable
from datetime import date, datetime, time, timedelta

from chat.tables.files.workbooks.limits import READING_SECONDS, confine, refuse

#: Whole numbers above are not exact as floating point.
_MAX_EXACT = 10**15
_ROWS_AT_ONCE = 1_000


def main() -> None:
    max_unpacked_bytes, max_rows = map(int, sys.argv[1:3])
    sheet = sys.argv[3] if len(sys.argv) > 3 else ""
    confine(READING_SECONDS)
    try:
        _check_unpacked(max_unpacked_bytes)
        _convert(sheet, max_rows)
    except MemoryError:
        refuse("The workbook needs more memory than it may have.")
    except (zipfile.BadZipFile, zipfile.LargeZipFile):
        refuse("This is no workbook (XLSX).")


def _check_unpacked(max_bytes: int) -> None:
    """Refuse archives by what they declare, before anything is unpacked."""
    with zipfile.ZipFile(sys.stdin.buffer) as archive:
        entries = archive.infolist()
    if sum(entry.file_size for entry in entries) > max_bytes:
        refuse(f"Unpacked, the workbook has more than {max_bytes} bytes.")
    if any(entry.flag_bits & 1 for entry in entries):
        refuse("The workbook is protected by a password.")
    sys.stdin.buffer.seek(0)


def _convert(wanted: str, max_rows: int) -> None:
    # Not before the bounds are set: its allocations count.
    from python_calamine import CalamineError, CalamineWorkbook

    try:
        workbook = CalamineWorkbook.from_filelike(sys.stdin.buffer)
        names = workbook.sheet_names
        if not names:
            refuse("The workbook has no sheet.")
        if wanted and wanted not in names:
            refuse(f"There is no sheet {wanted[:100]!r}.")
        sheet = workbook.get_sheet_by_name(wanted or names[0])
    except CalamineError as error:
        refuse(f"The workbook cannot be read: {error}.")
    if sheet.total_height > max_rows:
        refuse(f"The sheet has more than {max_rows} rows.")
    sys.stdout.buffer.write(json.dumps(names).encode() + b"\n")
    text = io.StringIO()
    writer = csv.writer(text)
    for number, row in enumerate(sheet.iter_rows()):
        writer.writerow([_text(cell) for cell in row])
        if number % _ROWS_AT_ONCE == 0:
            _flush(text)
    _flush(text)
    sys.stdout.buffer.flush()


def _flush(text: io.StringIO) -> None:
    sys.stdout.buffer.write(text.getvalue().encode(errors="replace"))
    text.seek(0)
    text.truncate()


def _text(cell: object) -> str:
    write = _WRITERS.get(type(cell))
    return write(cell) if write is not None else str(cell)


def _number(cell: object) -> str:
    number = float(str(cell))
    is_whole = number.is_integer() and abs(number) < _MAX_EXACT
    return str(int(number)) if is_whole else repr(number)


def _moment(cell: object) -> str:
    """A date where the time is midnight: workbooks have one type for dates and times."""
    assert isinstance(cell, datetime)  # noqa: S101 - by the type it is looked up
    return cell.date().isoformat() if cell.time() == time() else cell.isoformat(sep=" ")


_WRITERS: dict[type, Callable[[object], str]] = {
    str: str,
    float: _number,
    int: str,
    bool: lambda cell: "true" if cell else "false",
    datetime: _moment,
    date: str,
    time: str,
    timedelta: str,
}

if __name__ == "__main__":
    main()
