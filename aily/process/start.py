"""The garbage collector of a process, by phase: while it loads, while it runs, when it ends.

Each entry point calls `begin_loading` first and, if it lives long, `end_loading` once its modules
are loaded. What each saves: docs/performance.md.
"""

from __future__ import annotations

import atexit
import gc

#: While modules load nearly all objects stay: of some 350,000 containers 6,000 are garbage, half a
#: MiB. Looking for them took an eighth of a start's CPU; the threshold is out of reach of a start.
GC_LOADING_THRESHOLD = 1_000_000

#: Containers made, less those freed, between two collections of the youngest generation. Python's
#: default of 700 is made by a handful of tasks, nearly all of which outlive the collection.
GC_GEN0_THRESHOLD = 10_000
#: Youngest collections for each one of the middle generation, which takes 30 ms. At 20, the loop of
#: a web process with 2,000 sockets was blocked for 0.35 s at a time.
GC_GEN1_THRESHOLD = 2
#: Middle collections for each full one.
GC_GEN2_THRESHOLD = 400


def begin_loading() -> None:
    """Collect seldom while modules load; and not once more at the end of the process, when its
    memory goes anyway."""
    gc.set_threshold(GC_LOADING_THRESHOLD, *gc.get_threshold()[1:])
    atexit.register(gc.disable)


def end_loading() -> None:
    """Collect seldom and little at once, and never what is loaded now."""
    gc.freeze()
    gc.set_threshold(GC_GEN0_THRESHOLD, GC_GEN1_THRESHOLD, GC_GEN2_THRESHOLD)
