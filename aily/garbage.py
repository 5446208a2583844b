"""The garbage collector, set for processes that live long and hold many objects."""

from __future__ import annotations

import gc

#: Containers made, less those freed, between two looks at the young ones. Python's own 700 are
#: made by a handful of tasks, nearly all of which outlive the look.
YOUNG = 20_000


def spare_collections() -> None:
    """Collect seldom, and never again what is there now. To be called once modules are loaded."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, 20, 20)
