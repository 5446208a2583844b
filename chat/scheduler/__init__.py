"""The ready set and the upstream leases: which task runs next, and whether there is room for it."""

from chat.scheduler.ready import (
    DOORBELL,
    Claim,
    Entry,
    Place,
    aenqueue,
    claim,
    enqueue,
    forget_worker,
    hold,
    missing,
    open_breakers,
    place_of,
    places,
    remove,
    report_failure,
    ring,
)

__all__ = [
    "DOORBELL",
    "Claim",
    "Entry",
    "Place",
    "aenqueue",
    "claim",
    "enqueue",
    "forget_worker",
    "hold",
    "missing",
    "open_breakers",
    "place_of",
    "places",
    "remove",
    "report_failure",
    "ring",
]
