"""What is so little work that it is done at once, rather than by a process that can be stopped.

The unit is about a nanosecond: what a byte costs in an operation that looks at each.
"""

from __future__ import annotations

#: Of one rendering in the process that asks.
MAX_WORK = 2_000_000
#: Of an operation, however small its operands.
OPERATION = 100
#: Characters of a template between its delimiters: more takes too long to compile.
MAX_CODE = 4_096
#: Bytes of a schema, and of the values that are checked against it one by one.
MAX_SCHEMA_BYTES = 4_096
MAX_CHECKED_VALUES = 300
