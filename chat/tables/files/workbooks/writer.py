"""Child process that reads CSV on standard input, and writes a workbook to standard output.

`python -m chat.tables.files.workbooks.writer KINDS`: the kinds of the columns as a JSON array. The
first row is the header. Memory is flat: XlsxWriter writes each row to a file as it comes.
"""

from __future__ import annotations

import csv
import json
import sys
import tempfile
from datetime import UTC, datetime

import xlsxwriter
from xlsxwriter.format import Format
from xlsxwriter.worksheet import Worksheet

from chat.tables.files.workbooks.limits import WRITING_SECONDS, confine, refuse

#: Excel's own bounds.
MAX_ROWS, MAX_CELL_CHARS = 1_048_576, 32_767
#: Numbers with more digits lose some in Excel: they are written as text.
_MAX_DIGITS = 15


def main() -> None:
    kinds: list[str] = json.loads(sys.argv[1])
    confine(WRITING_SECONDS)
    csv.field_size_limit(2**31 - 1)
    with tempfile.TemporaryFile() as file:
        _write(file, kinds)
        file.seek(0)
        while piece := file.read(1_048_576):
            sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()


def _write(file: object, kinds: list[str]) -> None:
    options = {
        "constant_memory": True,
        "strings_to_formulas": False,
        "strings_to_urls": False,
        "strings_to_numbers": False,
    }
    sys.stdin.reconfigure(encoding="utf-8", newline="")  # type: ignore[union-attr]
    with xlsxwriter.Workbook(file, options) as workbook:
        sheet = workbook.add_worksheet()
        sheet.freeze_panes(1, 0)
        cells = _Cells(
            sheet,
            {
                "date": workbook.add_format({"num_format": "yyyy-mm-dd"}),
                "datetime": workbook.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"}),
            },
        )
        for row, values in enumerate(csv.reader(sys.stdin)):
            if row >= MAX_ROWS:
                refuse(f"A workbook has at most {MAX_ROWS} rows: export as CSV.")
            for column, value in enumerate(values):
                if value:
                    cells.write(row, column, "text" if row == 0 else kinds[column], value)


class _Cells:
    def __init__(self, sheet: Worksheet, formats: dict[str, Format]) -> None:
        self._sheet = sheet
        self._formats = formats

    def write(self, row: int, column: int, kind: str, value: str) -> None:
        if kind in ("integer", "number") and len(value) <= _MAX_DIGITS:
            self._sheet.write_number(row, column, float(value))
        elif kind == "boolean":
            self._sheet.write_boolean(row, column, value == "true")
        elif kind in self._formats and (moment := _moment(value)) is not None:
            self._sheet.write_datetime(row, column, moment, self._formats[kind])
        else:
            self._sheet.write_string(row, column, value[:MAX_CELL_CHARS])


def _moment(value: str) -> datetime | None:
    """None where Excel has no such day: those before 1900 stay text."""
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    return moment if moment.year >= 1900 else None


if __name__ == "__main__":
    main()
