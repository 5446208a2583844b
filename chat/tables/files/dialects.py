"""How a file is written: what its bytes do not say, and a user can change."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal, get_args

import msgspec

from chat.runs.reading.encodings import Encoding

Format = Literal["csv", "jsonl"]
DateOrder = Literal["ymd", "dmy", "mdy"]
ENCODINGS: tuple[str, ...] = (*get_args(Encoding), "big5", "shift_jis", "cp1252")
DATE_ORDERS: tuple[str, ...] = get_args(DateOrder)
DELIMITERS = ",;\t|"
QUOTES = ('"', "'", "")
#: Lines by which the delimiter is recognised.
_SNIFFED_LINES = 50
_NUMBER = re.compile(r"^[+-]?[\d.,]+%?$")


class Dialect(msgspec.Struct, frozen=True):
    """`quote` "": none. `date_order` is of dates that do not begin with the year."""

    format: Format = "csv"
    encoding: str = "utf-8"
    delimiter: str = ","
    quote: str = '"'
    has_header: bool = True
    decimal_comma: bool = False
    date_order: DateOrder = "ymd"
    #: Of a workbook.
    sheet: str = ""

    def changed(self, changes: Mapping[str, object]) -> Dialect:
        return msgspec.structs.replace(self, **changes)

    def as_json(self) -> dict[str, object]:
        return msgspec.structs.asdict(self)


def dialect_of(stored: Mapping[str, object]) -> Dialect:
    return msgspec.convert(stored, Dialect)


def sniff_delimiter(text: str, quote: str) -> str:
    """The delimiter by which the first lines have the same number of cells, more than one."""
    lines = text.splitlines()[:_SNIFFED_LINES]
    return max(DELIMITERS, key=lambda delimiter: _evenness(lines, delimiter, quote))


def _evenness(lines: list[str], delimiter: str, quote: str) -> tuple[float, int]:
    """Share of records with the most frequent number of cells, and that number; 0 for one cell."""
    try:
        widths = [len(record) for record in csv.reader(lines, **csv_options(delimiter, quote))]
    except csv.Error:
        return 0, 0
    widths = [width for width in widths if width]
    if not widths:
        return 0, 0
    [(width, count)] = Counter(widths).most_common(1)
    return (count / len(widths), width) if width > 1 else (0, 0)


def csv_options(delimiter: str, quote: str) -> dict[str, Any]:
    """Keywords of `csv.reader`."""
    if quote:
        return {"delimiter": delimiter, "quotechar": quote, "strict": True}
    return {"delimiter": delimiter, "quoting": csv.QUOTE_NONE}


def looks_like_header(cells: list[str]) -> bool:
    """Whether these are names: none of them is a number, and not most of them are empty."""
    named = [cell for cell in cells if cell.strip()]
    has_numbers = any(_NUMBER.match(cell.strip()) for cell in named)
    return bool(named) and not has_numbers and 2 * len(named) >= len(cells)
