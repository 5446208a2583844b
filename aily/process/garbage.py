"""The garbage collector, set for processes that load much, or live long and hold many objects."""

from __future__ import annotations

import atexit
import gc

#: While modules are loaded nearly all that is made stays: of some 220,000 containers 4,000 are
#: garbage, half a MiB, and looking for them took 0.15 s of a start's 1.1.
LOADING = 300_000

#: Containers made, less those freed, between two looks at the young ones: some 5 ms. Python's own
#: 700 are made by a handful of tasks, nearly all of which outlive the look.
YOUNG = 10_000
#: Of what outlived that, so many times as much is looked at once more, all at once: 30 ms. With
#: 20 times, the loop of a web process with 2,000 sockets stood still for 0.35 s.
MIDDLE = 2
#: So many times the middle ones between two looks at everything.
OLD = 400


def spare_start_and_end() -> None:
    """Collect seldom until `spare_collections`, and not once more at the end, when the process's
    memory goes anyway."""
    gc.set_threshold(LOADING, *gc.get_threshold()[1:])
    atexit.register(gc.disable)


def spare_collections() -> None:
    """Collect seldom, little at once, and never what is there now. To be called once modules are
    loaded."""
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, OLD)
