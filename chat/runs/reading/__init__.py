"""Reading the rows of a file, one at a time: errors name their line."""

from chat.runs.reading.records import FileError, ParsedRow

__all__ = ["FileError", "ParsedRow"]
