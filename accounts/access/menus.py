"""The menu tree: who sees which items, and moving them.

It is small and always read whole, so it is stored as plain parent links: nothing derived that
concurrent moves could leave wrong (tree libraries store paths or bounds, and ask for a lock).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from functools import lru_cache
from typing import Any

import msgspec
from django.db import IntegrityError, transaction
from django.db.models.signals import post_delete, post_save
from psycopg.errors import CheckViolation

from accounts.access.permissions import PermissionSet
from accounts.models import MenuItem
from aily.cache import Cached, keys
from aily.database.rows import execute
from aily.problems import Conflict

USE = "accounts.use_menuitem"
#: The tree's one key.
ALL = "all"


class MenuRecord(msgspec.Struct, frozen=True):
    """An enabled item. Hashable, as whole trees are keys below."""

    pk: int
    parent: int | None
    label: str
    translations: tuple[tuple[str, str], ...]
    icon: str
    route: str
    is_restricted: bool
    permission: str

    def is_for(self, permissions: PermissionSet) -> bool:
        return (not self.is_restricted or permissions.allows(USE, self.pk)) and (
            not self.permission or permissions.allows(self.permission)
        )

    def label_in(self, language: str) -> str:
        labels = dict(self.translations)
        return labels.get(language) or labels.get(language.partition("-")[0]) or self.label


class MenuNode(msgspec.Struct, frozen=True):
    """An item as one user sees it."""

    id: int
    label: str
    icon: str
    route: str
    children: tuple[MenuNode, ...]


# --- Reading ------------------------------------------------------------------------------------
def _load(names: Collection[str]) -> dict[str, tuple[MenuRecord, ...]]:
    items = MenuItem.objects.filter(is_enabled=True)
    records = tuple(
        MenuRecord(
            item.pk,
            item.parent_id,
            item.label,
            tuple(sorted(item.translations.items())),
            item.icon,
            item.route,
            item.is_restricted,
            item.permission,
        )
        for item in items
    )
    return {ALL: records}


MENU: Cached[str, tuple[MenuRecord, ...]] = Cached(keys.MENU, tuple[MenuRecord, ...], _load)


def menu_of(permissions: PermissionSet, language: str) -> tuple[MenuNode, ...]:
    """The items that these permissions show. All users who see the same share one document."""
    records = MENU.get(ALL) or ()
    visible = frozenset(one.pk for one in records if one.is_for(permissions))
    return _tree(records, visible, language)


@lru_cache(maxsize=256)
def _tree(
    records: tuple[MenuRecord, ...], visible: frozenset[int], language: str
) -> tuple[MenuNode, ...]:
    below: defaultdict[int | None, list[MenuRecord]] = defaultdict(list)
    for one in records:
        if one.pk in visible:
            below[one.parent].append(one)

    # An item whose parent is not shown is not reached.
    def nodes(parent: int | None) -> tuple[MenuNode, ...]:
        return tuple(
            MenuNode(one.pk, one.label_in(language), one.icon, one.route, nodes(one.pk))
            for one in below[parent]
        )

    return nodes(None)


def connect_signals() -> None:
    """Have every change of an item forget the cached tree."""
    for signal in (post_save, post_delete):
        signal.connect(_changed, sender=MenuItem)


def _changed(sender: Any, **kwargs: Any) -> None:
    MENU.invalidate([ALL])


# --- Writing ------------------------------------------------------------------------------------
def save_item(item: MenuItem) -> None:
    """Save a checked item at its position, and move its new siblings up for it.

    Raises Conflict where it would get below itself.
    """
    try:
        with transaction.atomic():
            # First of all, or two moves might wait for each other's rows.
            _lock_tree()
            item.save()
            _number(item)
    except IntegrityError as error:
        if isinstance(error.__cause__, CheckViolation):
            raise Conflict("A menu item cannot be below itself.", field="parent") from None
        raise


def _lock_tree() -> None:
    """The lock of the trigger, to the end of the transaction."""
    execute("SELECT pg_advisory_xact_lock(hashtext('accounts_menuitem'))")


def _number(item: MenuItem) -> None:
    siblings = list(MenuItem.objects.filter(parent=item.parent_id).exclude(pk=item.pk))
    siblings.insert(min(item.position, len(siblings)), item)
    _renumber(siblings)


def _renumber(siblings: Iterable[MenuItem]) -> None:
    for position, one in enumerate(siblings):
        if one.position != position:
            one.position = position
            one.save(update_fields=["position"])
