"""Two editors of one row: the second save is refused, and shows what the first one changed.

Mixed into every admin by the site's `register`, so that none can be forgotten. A page carries a
digest of each field's value as it was when the page was made. A save whose digests are not those of
the row any more is refused; the answer shows the stored values and carries fresh digests, so the
editor may merge and save again. Rows of inlines and editable lists carry the values themselves,
which is Django's `show_hidden_initial`: rows that the editor did not touch stay as they are.

A form that carries no digests is saved: it was not made from a page.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db import connection
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html, format_html_join
from django.utils.text import Truncator
from django.utils.translation import gettext

#: Name of the hidden input that carries the digests.
SEEN = "_seen"
#: Characters of each stored value that is shown after a refusal.
MAX_VALUE_CHARS = 2_000
#: Digests in a request, at most; a form has far fewer fields.
_MAX_SEEN_BYTES = 20_000


def _plain(field: forms.Field, value: Any) -> str:
    """Write an initial value as the form shows it. The order of several is of no account."""
    value = field.prepare_value(value)
    if isinstance(value, list | tuple | set):
        return ", ".join(sorted(str(item) for item in value))
    return "" if value is None else str(value)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _read_seen(text: str | None) -> dict[str, str]:
    """Read the digests that a form carries; none if it carries anything else."""
    if not text or len(text) > _MAX_SEEN_BYTES:
        return {}
    try:
        seen = json.loads(text)
    except ValueError:
        return {}
    return (
        {str(name): str(digest) for name, digest in seen.items()} if isinstance(seen, dict) else {}
    )


class GuardedForm(forms.ModelForm):  # type: ignore[type-arg]
    """Mixin for a form that changes one row. The form may name `guarded_columns`: those that its
    inputs write without showing them, such as secrets."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.stored: dict[str, str] = {}
        if self.instance.pk is None:
            return
        for name, field in self.fields.items():
            if not field.disabled:
                self.stored[name] = _plain(field, self.get_initial_for_field(field, name))
        for name in getattr(self, "guarded_columns", ()):
            self.stored[name] = str(getattr(self.instance, name))

    @property
    def is_outdated(self) -> bool:
        return bool(self._changed_meanwhile())

    def _changed_meanwhile(self) -> list[str]:
        """Names of the fields whose stored values are not those that the page was made from."""
        seen = _read_seen(self.data.get(SEEN)) if self.is_bound else {}
        return [
            name
            for name, text in self.stored.items()
            if name in seen and seen[name] != _digest(text)
        ]

    def seen(self) -> str:
        """Return what the page carries: after a refusal the stored values, which it shows."""
        if self.is_bound and not self.is_outdated:
            return json.dumps(_read_seen(self.data.get(SEEN)))
        return json.dumps({name: _digest(text) for name, text in self.stored.items()})

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if changed := self._changed_meanwhile():
            self.add_error(None, ValidationError(self._refusal(changed), code="outdated"))
        return cleaned

    def _refusal(self, changed: list[str]) -> str:
        rows = [(self._label(name), self._shown(name)) for name in changed]
        return format_html(
            '{} <ul class="changed-meanwhile">{}</ul>',
            gettext(
                "Not saved: somebody else changed this after you had opened it. Your text is still "
                "in the form. These are the values stored now; to replace them by yours, save "
                "again."
            ),
            format_html_join("", "<li><strong>{}</strong><pre>{}</pre></li>", rows),
        )

    def _label(self, name: str) -> str:
        if name in self.fields:
            return str(self.fields[name].label or name)
        column: Any = self.instance._meta.get_field(name)  # noqa: SLF001
        return str(column.verbose_name)

    def _shown(self, name: str) -> str:
        field = self.fields.get(name)
        choices = getattr(field, "queryset", None)
        value = self.stored[name]
        if field is not None and choices is not None:
            initial = field.prepare_value(self.get_initial_for_field(field, name))
            keys = initial if isinstance(initial, list | tuple) else [initial]
            rows = choices.filter(pk__in=[key for key in keys if key not in (None, "")])
            value = ", ".join(str(row) for row in rows)
        return Truncator(value or gettext("(empty)")).chars(MAX_VALUE_CHARS)


class GuardedRowForm(forms.ModelForm):  # type: ignore[type-arg]
    """Mixin for the form of one row among several."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk is not None:
            for field in self.fields.values():
                field.show_hidden_initial = True

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        for name in self.changed_data:
            field = self.fields[name]
            posted = self.data.get(self.add_initial_prefix(name))
            if not field.show_hidden_initial or posted is None:
                continue
            stored = self.get_initial_for_field(field, name)
            if field.has_changed(stored, field.to_python(posted)):
                text = gettext("Somebody else changed this to: %(value)s. Open the page anew.")
                self.add_error(name, text % {"value": _plain(field, stored)[:MAX_VALUE_CHARS]})
        return cleaned


def _guarded(form: type[forms.ModelForm[Any]], guard: type[forms.ModelForm[Any]]) -> Any:
    """Return the form's class with the guard mixed in, once."""
    return form if issubclass(form, guard) else type(form.__name__, (guard, form), {})


class LostUpdateGuard(admin.ModelAdmin):  # type: ignore[type-arg]
    """Mixin that refuses to save a page that is out of date."""

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Model | None:
        """Lock the row that a POST changes: of two at the same moment, the second one waits, and
        then finds that its page is out of date."""
        found: Model | None = super().get_object(request, object_id, from_field)
        if found is None or request.method != "POST" or not connection.in_atomic_block:
            return found
        rows = type(found)._base_manager.select_for_update(of=("self",))  # noqa: SLF001
        if not rows.filter(pk=found.pk).values_list("pk").first():
            return None
        return super().get_object(request, object_id, from_field)

    def get_form(
        self, request: HttpRequest, obj: Model | None = None, change: bool = False, **kwargs: Any
    ) -> type[forms.ModelForm[Any]]:
        form: type[forms.ModelForm[Any]] = super().get_form(request, obj, change=change, **kwargs)
        return _guarded(form, GuardedForm) if change else form

    def get_inline_instances(self, request: HttpRequest, obj: Model | None = None) -> list[Any]:
        inlines: list[Any] = super().get_inline_instances(request, obj)
        for inline in inlines:
            inline.form = _guarded(inline.form, GuardedRowForm)
        return inlines

    def get_changelist_form(self, request: HttpRequest, **kwargs: Any) -> Any:
        return _guarded(super().get_changelist_form(request, **kwargs), GuardedRowForm)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        page = context.get("adminform")
        if page is not None and isinstance(page.form, GuardedForm):
            context["seen"] = page.form.seen()
        return super().render_change_form(request, context, *args, **kwargs)


def guard(admin_class: type[admin.ModelAdmin[Any]]) -> type[admin.ModelAdmin[Any]]:
    """Return the admin's class with the guard mixed in."""
    if issubclass(admin_class, LostUpdateGuard):
        return admin_class
    names: Mapping[str, Any] = {"__module__": admin_class.__module__}
    return type(admin_class.__name__, (LostUpdateGuard, admin_class), dict(names))
