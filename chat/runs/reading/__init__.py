"""Reading the rows of a file, one at a time: what is wrong with a line is told of that line."""

from chat.runs.reading.records import FileError, ParsedRow

__all__ = ["FileError", "ParsedRow"]
