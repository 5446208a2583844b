"""Creating, changing, deleting and restoring tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts.models import User
from accounts.owner_lock import lock_owner
from aily.problems import Conflict
from aily.rest.writes import change
from chat.exceptions import because
from chat.reasons import Reason
from chat.tables import ddl, live
from chat.tables.exceptions import TableFull
from chat.tables.fields import NewField, add_catalogue_fields, check_name
from chat.tables.models import ACTIVE_TRANSFERS, Export, Import, Table


def create_table(
    owner: User, name: str, fields: Sequence[NewField] = (), description: str = ""
) -> Table:
    """Create a table with these fields. Raises TableFull, InvalidRequest and ValidationError."""
    with transaction.atomic():
        lock_owner(owner.pk)
        _check_room(owner.pk)
        table = Table(owner=owner, name=check_name(name), description=description)
        table.full_clean()
        table.save(force_insert=True)
        ddl.bound_waits()
        ddl.create_rows_table(table, add_catalogue_fields(table, fields, owner))
    return table


def _check_room(owner_id: int) -> None:
    """Users at once may exceed the limit of all by some tables, which does no harm."""
    own = Table.objects.filter(owner_id=owner_id).count()
    if own >= settings.TABLES_MAX_PER_USER:
        raise because(TableFull, Reason.of("tables_full", limit=settings.TABLES_MAX_PER_USER))
    if Table.objects.count() >= settings.TABLES_MAX:
        raise because(TableFull, Reason("installation_full"))


def change_table(table: Table, given: Mapping[str, object]) -> Table:
    """Change name or description. Raises InvalidRequest and ValidationError."""
    if given.get("name") is not None:
        given = {**given, "name": check_name(str(given["name"]))}
    change(table, given, "updated_at")
    return table


def delete_table(table: Table) -> None:
    """Move a table to the trash, where it stays for TABLE_TRASH_DAYS. Raises Conflict."""
    for kind, reason in ((Import, "cancel_import"), (Export, "cancel_export")):
        if kind.objects.filter(table=table, state__in=ACTIVE_TRANSFERS).exists():
            raise because(Conflict, Reason(reason))
    _set_deleted(table, timezone.now())


def restore_table(table: Table) -> Table:
    """Take a table out of the trash. Harmless on one that is not in it."""
    return _set_deleted(table, None)


def _set_deleted(table: Table, moment: datetime | None) -> Table:
    """Set or clear `deleted_at` under a lock, by a save that the audit log records."""
    with transaction.atomic():
        locked: Table = Table.objects.select_for_update(no_key=True).get(pk=table.pk)
        if (locked.deleted_at is None) != (moment is None):
            locked.deleted_at = moment
            locked.save(update_fields=["deleted_at"])
            transaction.on_commit(partial(live.wake_readers, table.pk), robust=True)
    return locked
