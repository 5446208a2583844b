"""What a provider has counted of an answer: its tokens."""

from __future__ import annotations

import msgspec

from chat.llm import lenient
from chat.llm.types import Usage
from chat.llm.usage import add_usage
from chat.llm.wire import WireChunk, WireUsage

_GEMINI_COUNTS = b'"usageMetadata"'


class AnswerCounts(msgspec.Struct, gc=False):
    """The token counts of one answer, by whatever names they come."""

    usage: Usage = Usage()
    are_native: bool = False
    """Its events have counts beside `usage`: each has to be decoded by itself."""

    def search(self, data: bytes) -> None:
        """Note whether one of the first events has counts beside `usage`."""
        self.are_native = self.are_native or _GEMINI_COUNTS in data

    def add(self, usage: WireUsage) -> bool:
        """Returns False where it has no counts by the usual names."""
        self.usage = add_usage(self.usage, usage)
        return not usage.is_empty

    def complete(self, chunk: WireChunk, data: bytes) -> None:
        """Give an event the counts that its data has elsewhere than in `usage`."""
        if chunk.lacks_counts and (self.are_native or chunk.is_last):
            chunk.usage = lenient.native_counts(data) or chunk.usage

    def add_chunk(self, chunk: WireChunk) -> None:
        if chunk.usage is not None:
            self.add(chunk.usage)
        elif chunk.x_groq is not None and chunk.x_groq.usage is not None:
            self.add(chunk.x_groq.usage)
