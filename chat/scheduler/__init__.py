"""The ready set, and the slots under the caps: which task runs next, and whether there is room."""

from chat.scheduler.breakers import (
    Block,
    Fault,
    blocks,
    close_breaker,
    failing_lanes,
    lift_pause,
    report_failure,
)
from chat.scheduler.claims import NOT_CALLED, Claim, DeploymentClaim, Probe, Taken, claim
from chat.scheduler.keys import DOORBELL, RELOAD, DeploymentKey, doorbell_of
from chat.scheduler.load import DeploymentLoad, deployment_loads, ready_counts
from chat.scheduler.places import (
    Place,
    drain_seconds,
    held_by_staff,
    later,
    places,
    places_of,
)
from chat.scheduler.ready import (
    Entry,
    aenqueue,
    enqueue,
    heads,
    missing,
    reload_workers,
    remove,
    ring,
    ring_listeners,
    with_work,
)
from chat.scheduler.single_slots import return_slot, take_slot
from chat.scheduler.slots import (
    drop_worker,
    mark_known,
    renew_worker,
    restore_slots,
    unknown_slots,
)

__all__ = [
    "DOORBELL",
    "NOT_CALLED",
    "RELOAD",
    "Block",
    "Claim",
    "DeploymentClaim",
    "DeploymentKey",
    "DeploymentLoad",
    "Entry",
    "Fault",
    "Place",
    "Probe",
    "Taken",
    "aenqueue",
    "blocks",
    "claim",
    "close_breaker",
    "deployment_loads",
    "doorbell_of",
    "drain_seconds",
    "drop_worker",
    "enqueue",
    "failing_lanes",
    "heads",
    "held_by_staff",
    "later",
    "lift_pause",
    "mark_known",
    "missing",
    "places",
    "places_of",
    "ready_counts",
    "reload_workers",
    "remove",
    "renew_worker",
    "report_failure",
    "restore_slots",
    "return_slot",
    "ring",
    "ring_listeners",
    "take_slot",
    "unknown_slots",
    "with_work",
]
