"""The menu tree: who sees which items, and moving them.

It is small and always read whole, so it is stored as plain parent links: nothing derived that
concurrent moves could leave wrong (tree libraries store paths or bounds, and ask for a lock).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from functools import lru_cache

import msgspec
from django.conf import settings
from django.conf.locale import LANG_INFO
from django.db import IntegrityError, transaction
from django.db.models.signals import post_delete, post_save
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation.trans_real import parse_accept_lang_header
from psycopg.errors import CheckViolation

from accounts.access.permissions import PermissionSet
from accounts.models import MENU_LANGUAGES, MenuItem
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


def menu_language(request: HttpRequest) -> str:
    """Return the language to show labels in: the user's choice, else the browser's first one.

    Not Django's function: labels may be in more languages than pages are translated into.
    """
    accepted = parse_accept_lang_header(request.headers.get("Accept-Language", "").lower())
    chosen = request.COOKIES.get(settings.LANGUAGE_COOKIE_NAME, "").lower()
    for code in (chosen, *(code for code, _quality in accepted)):
        # Such as zh-cn, an alias of zh-hans, and de-at.
        variants = (code, *LANG_INFO.get(code, {}).get("fallback", ()), code.partition("-")[0])
        if known := next((code for code in variants if code in MENU_LANGUAGES), None):
            return str(known)
    return str(settings.LANGUAGE_CODE)


def menu_of(permissions: PermissionSet, language: str) -> tuple[MenuNode, ...]:
    """Return the items that these permissions show. Users who see the same share one document."""
    records = MENU.get(ALL) or ()
    visible = frozenset(record.pk for record in records if record.is_for(permissions))
    return _tree(records, visible, language)


@lru_cache(maxsize=256)
def _tree(
    records: tuple[MenuRecord, ...], visible: frozenset[int], language: str
) -> tuple[MenuNode, ...]:
    below: defaultdict[int | None, list[MenuRecord]] = defaultdict(list)
    for record in records:
        if record.pk in visible:
            below[record.parent].append(record)

    # Items below one that is not shown are not shown either.
    def nodes(parent: int | None) -> tuple[MenuNode, ...]:
        return tuple(
            MenuNode(item.pk, item.label_in(language), item.icon, item.route, nodes(item.pk))
            for item in below[parent]
        )

    return nodes(None)


def connect_signals() -> None:
    """Invalidate the cached tree at each change of an item."""
    for signal in (post_save, post_delete):
        signal.connect(_changed, sender=MenuItem)


def _changed(sender: object, **kwargs: object) -> None:
    MENU.invalidate([ALL])


# --- Writing ------------------------------------------------------------------------------------
def save_item(item: MenuItem) -> None:
    """Save a checked item at its position, and move its new siblings up for it.

    Raises Conflict where it would get below itself.
    """
    try:
        with transaction.atomic():
            # First: two moves could otherwise wait for each other's rows.
            _lock_tree()
            item.save()
            _number(item)
    except IntegrityError as error:
        if isinstance(error.__cause__, CheckViolation):
            raise Conflict(_("A menu item cannot be below itself."), field="parent") from None
        raise


def _lock_tree() -> None:
    """Take the trigger's lock until the transaction ends."""
    execute("SELECT pg_advisory_xact_lock(hashtext('accounts_menuitem'))")


def _number(item: MenuItem) -> None:
    siblings = list(MenuItem.objects.filter(parent=item.parent_id).exclude(pk=item.pk))
    siblings.insert(min(item.position, len(siblings)), item)
    _renumber(siblings)


def _renumber(siblings: Iterable[MenuItem]) -> None:
    for position, sibling in enumerate(siblings):
        if sibling.position != position:
            sibling.position = position
            sibling.save(update_fields=["position"])
