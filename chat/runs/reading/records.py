"""What reading a file gives: rows, and errors that name the line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

MAX_KEY_CHARS = 512
MAX_MESSAGE_CHARS = 500


#: What a text in another language needs besides the code of an error.
Params = Mapping[str, str | float]


class FileError(Exception):
    """The file as a whole cannot be used. `line` counts from 1; None: no line is at fault."""

    def __init__(
        self, code: str, message: str, *, line: int | None = None, params: Params | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message[:MAX_MESSAGE_CHARS]
        self.line = line
        self.params = dict(params or {})

    def as_error(self) -> dict[str, object]:
        error: dict[str, object] = {"code": self.code, "line": self.line, "message": self.message}
        error["param"] = None
        return {**error, "params": self.params} if self.params else error


@dataclass(frozen=True, slots=True)
class ParsedRow:
    """A row of a file. `payload` is a JSON object in UTF-8; of an invalid row it may be empty."""

    line: int
    key: str = ""
    payload: bytes = b""
    #: `code`, `message`, `param` where a field is at fault, and `params`; None: the row is valid.
    error: dict[str, object] | None = None


def invalid(
    line: int,
    code: str,
    message: str,
    *,
    key: str = "",
    param: str | None = None,
    params: Params | None = None,
) -> ParsedRow:
    """A row that is not sent."""
    error: dict[str, object] = {"code": code, "message": message[:MAX_MESSAGE_CHARS]}
    if param:
        error["param"] = param[:MAX_MESSAGE_CHARS]
    if params:
        error["params"] = dict(params)
    return ParsedRow(line, key[:MAX_KEY_CHARS], error=error)
