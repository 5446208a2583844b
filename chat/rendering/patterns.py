r"""Regular expressions of schemas, by RE2: its time grows with the text, whatever the pattern.

The dialect is RE2's, which has neither look-around nor back-references. As in ECMA-262, which JSON
Schema recommends, `$` is the end of the text only, and `\d` and `\w` mean ASCII. `\s` means ASCII
as well, and `.` matches all but a line feed. ECMA's `\uXXXX` is understood.
"""

from __future__ import annotations

import re
from functools import lru_cache

import re2

#: Bytes that one compiled pattern may take, its cache of states included.
_MAX_MEMORY = 1_048_576
#: A backslash and what it escapes: so that the u of `\\u0041` is not mistaken for one of `\u0041`.
_ESCAPED = re.compile(r"\\(?:u\{([0-9a-fA-F]{1,6})\}|u([0-9a-fA-F]{4})|.)", re.DOTALL)


class PatternError(ValueError):
    """RE2 refuses the pattern; the message says why."""


class Pattern:
    """A compiled pattern; any number of threads may search with it at once.

    `size`: in instructions. In the worst case a search takes this times the length of the text.
    """

    def __init__(self, source: str) -> None:
        """Raises PatternError."""
        options = re2.Options()
        options.max_mem = _MAX_MEMORY
        options.log_errors = False
        try:
            self._compiled = re2.compile(_translate(source).encode(), options)
        except re2.error as error:
            reason = error.args[0]
            text = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
            raise PatternError(text[:100]) from None
        except UnicodeEncodeError:
            raise PatternError("a surrogate stands alone") from None
        self.size: int = self._compiled.programsize

    def matches(self, text: str) -> bool:
        """Whether it matches anywhere in the text."""
        return self._compiled.search(text.encode(errors="replace")) is not None


def _translate(source: str) -> str:
    return _ESCAPED.sub(_translate_escape, source)


def _translate_escape(match: re.Match[str]) -> str:
    digits = match[1] or match[2]
    return f"\\x{{{digits}}}" if digits else match[0]


@lru_cache(maxsize=64)
def compile_pattern(source: str) -> Pattern:
    """Raises PatternError."""
    return Pattern(source)
