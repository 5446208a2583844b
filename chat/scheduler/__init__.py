"""The ready set and the upstream leases: which task runs next, and whether there is room for it."""

from chat.scheduler.ready import (
    Claim,
    Entry,
    Place,
    aenqueue,
    claim,
    drain_seconds,
    enqueue,
    forget_worker,
    hold,
    missing,
    open_breakers,
    place_of,
    places,
    remove,
    report_failure,
)

__all__ = [
    "Claim",
    "Entry",
    "Place",
    "aenqueue",
    "claim",
    "drain_seconds",
    "enqueue",
    "forget_worker",
    "hold",
    "missing",
    "open_breakers",
    "place_of",
    "places",
    "remove",
    "report_failure",
]
