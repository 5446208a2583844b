"""Bounds of the work that is done at once, rather than by a process that can be stopped.

The unit is about a nanosecond: the cost of a byte in an operation that reads each byte.
"""

from __future__ import annotations

#: Work of one rendering in the calling process: some 3 ms at the worst, as many of them may come
#: together in one batch of submits.
MAX_WORK = 500_000
#: Work of an operation, however small its operands.
OPERATION = 100
#: Characters of a template between its delimiters: more takes too long to compile.
MAX_CODE = 4_096
#: Sum of the squared depths of all parts of its expressions: some 15 ms.
MAX_NESTING = 15_000
#: Longer schemas take too long to be looked over.
MAX_SCHEMA_BYTES = 4_096
#: Checks of one value against one schema; each takes some 10 µs.
MAX_CHECKED_VALUES = 300
