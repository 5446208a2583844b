"""Deleting what ended imports and exports leave behind. Their files go with other expired ones."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from django.db.models import Q
from django.utils import timezone

from aily.database.rows import fetch_column
from chat.tables.imports.applying import KEPT
from chat.tables.imports.control import cancel, clean_up
from chat.tables.imports.inspecting import KEPT as UNSTARTED_KEPT
from chat.tables.imports.staging import drop, staging_table, undo_table
from chat.tables.models import Export, Import, TransferState
from chat.tables.models.transfers import ENDED_TRANSFERS

#: Imports and exports are listed for so long after their end.
LISTED = timedelta(days=90)
PAGE = 200


def purge() -> int:
    """Cancel imports that were never started, and delete old ones. Returns how many."""
    now = timezone.now()
    done = 0
    unstarted = Import.objects.filter(state=TransferState.READY)
    for job in unstarted.filter(created_at__lt=now - UNSTARTED_KEPT)[:PAGE]:
        cancel(job)
        done += 1
    for job in Import.objects.filter(_left_behind())[:PAGE]:
        clean_up(job)
    _drop_side_tables()
    for kind in (Import, Export):
        old = kind.objects.filter(state__in=ENDED_TRANSFERS, ended_at__lt=now - LISTED)
        pks = list(old.values_list("pk", flat=True)[:PAGE])
        done += kind.objects.filter(pk__in=pks).delete()[0]
    return done


def _left_behind() -> Q:
    """Imports that came to nothing, whose fields or table others have held at that time."""
    failed = Q(state__in=[TransferState.FAILED, TransferState.CANCELLED])
    return failed & (~Q(created_fields=[]) | (~Q(new_table="") & Q(table__isnull=False)))


_SIDE_TABLES = """
SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = 'tables' AND c.relkind = 'r' AND c.relname ~ '^[iu][0-9a-f]{32}$'
"""


def _drop_side_tables() -> None:
    """Drop what would undo imports of KEPT ago, and tables whose import is gone."""
    names = fetch_column(str, _SIDE_TABLES)
    kept = Import.objects.filter(
        Q(state=TransferState.RUNNING)
        | Q(state=TransferState.DONE, ended_at__gt=timezone.now() - KEPT)
    )
    wanted = {pk.hex for pk in kept.values_list("pk", flat=True)} if names else set()
    for name in names:
        if name[1:] not in wanted:
            import_id = UUID(name[1:])
            drop(staging_table(import_id) if name[0] == "i" else undo_table(import_id))
