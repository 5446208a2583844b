"""Admin pages of rows that only the program writes."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Model
from django.forms.models import BaseInlineFormSet
from django.http import HttpRequest
from django.utils.translation import gettext

#: Rows of an inline that are shown: a conversation may have thousands of messages.
MAX_INLINE_ROWS = 200


class _ReadOnly:
    """Mixin for pages that only list and show rows."""

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class ReadOnlyAdmin(_ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    """Pages of a model that only the program writes."""


class _NewestRows(BaseInlineFormSet):  # type: ignore[type-arg]
    """The newest rows of a parent, in the order of the inline."""

    inline: ReadOnlyInline

    def get_queryset(self) -> Any:
        if not hasattr(self, "_shown"):
            rows = super().get_queryset()
            self._shown = list(rows[: MAX_INLINE_ROWS + 1])
            if len(self._shown) > MAX_INLINE_ROWS:
                newest = list(rows.order_by("-pk").values_list("pk", flat=True)[:MAX_INLINE_ROWS])
                self._shown = list(rows.filter(pk__in=newest))
                self.inline.say_newest()
        return self._shown


class ReadOnlyInline(_ReadOnly, admin.TabularInline):  # type: ignore[type-arg]
    """The newest rows on the page of their parent; `fields` are the columns shown."""

    can_delete = False
    extra = 0
    formset = _NewestRows

    def get_formset(self, request: HttpRequest, obj: Model | None = None, **kwargs: Any) -> Any:
        formset: Any = super().get_formset(request, obj, **kwargs)
        formset.inline = self
        return formset

    def say_newest(self) -> None:
        """Say above the rows that there are others. A page has an inline of its own."""
        title = gettext("%(rows)s: the newest %(count)s")
        names = {"rows": self.verbose_name_plural, "count": MAX_INLINE_ROWS}
        self.verbose_name_plural = title % names
