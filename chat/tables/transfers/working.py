"""What there is to do: the oldest import or export with work that no other worker has."""

from __future__ import annotations

from chat.tables.exports.working import work_on as work_on_export
from chat.tables.imports.working import work_on as work_on_import
from chat.tables.models import Export, Import
from chat.tables.transfers.leases import take_next


def work_on_next() -> bool:
    """Take one step of one transfer. Returns whether there was any."""
    with take_next(Import) as lease:
        if lease is not None:
            work_on_import(lease)
            return True
    with take_next(Export) as lease:
        if lease is not None:
            work_on_export(lease)
            return True
    return False
