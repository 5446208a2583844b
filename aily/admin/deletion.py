"""Deleting rows in the admin that millions of others may belong to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import CASCADE, PROTECT, RESTRICT, Model, QuerySet
from django.http import HttpRequest

if TYPE_CHECKING:
    _Base = admin.ModelAdmin[Any]
else:
    _Base = object

#: What is to be deleted, what goes with it, kinds that lack permission, and what forbids it.
_Found = tuple[list[str], dict[str, int], set[str], list[str]]


class KeptWhileUsed(_Base):
    """Mixin for the admin of a model whose rows are kept while rows belong to them that the admin
    deletes for nobody: Django would read all of these to say so."""

    def get_deleted_objects(
        self, objs: QuerySet[Any] | Sequence[Any], request: HttpRequest
    ) -> _Found:
        if kinds := set(self._kinds_kept(objs, request)):
            return [], {}, kinds, []
        return super().get_deleted_objects(objs, request)

    def _kinds_kept(
        self, objs: QuerySet[Any] | Sequence[Any], request: HttpRequest
    ) -> Sequence[str]:
        """Names of the kinds of rows that belong to `objs` and stay."""
        kept = []
        for relation in self.model._meta.related_objects:  # noqa: SLF001 - documented
            related: type[Model] = relation.related_model
            if relation.on_delete not in (CASCADE, PROTECT, RESTRICT):
                continue
            if not self.admin_site.is_registered(related):
                continue
            if self.admin_site.get_model_admin(related).has_delete_permission(request):
                continue
            of_them = {f"{relation.field.name}__in": objs}
            if related._base_manager.filter(**of_them).exists():  # noqa: SLF001 - documented
                kept.append(str(related._meta.verbose_name))  # noqa: SLF001 - documented
        return kept
