"""Translates the texts of models: names, help texts, choices, and what constraints say.

Django asks for `gettext_lazy` around each of them, and derives from class and field names what a
model leaves out, in English for good. Here all are wrapped at once when an app is ready, derived
ones included: models are written in plain English, none can be forgotten, and no migration is
needed. `tests/architecture/test_catalogues.py` fails for each that has no translation.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.apps import AppConfig
from django.db.models import Field, Model
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy


def translate_models(app: AppConfig) -> None:
    """Have the texts of the app's models translated when they are shown. For `AppConfig.ready`."""
    for model in app.get_models():
        meta = model._meta  # noqa: SLF001 - documented, for all its name
        if not isinstance(meta.verbose_name, Promise):
            # First the plural: Django's would add an "s" to the translated singular.
            meta.verbose_name_plural = gettext_lazy(str(meta.verbose_name_plural))
            meta.verbose_name = gettext_lazy(str(meta.verbose_name))
        for field in own_fields(model):
            field.verbose_name = _lazy(field.verbose_name)
            field.help_text = _lazy(field.help_text)
            if field.choices is not None:
                field.choices = [(value, _lazy(label)) for value, label in field.flatchoices]
        for constraint in meta.constraints:
            constraint.violation_error_message = _lazy(constraint.violation_error_message)


def own_fields(model: type[Model]) -> Iterator[Field[Any, Any]]:
    """Fields with a text: neither relations that point here nor those of generic keys."""
    meta = model._meta  # noqa: SLF001 - documented, for all its name
    yield from (*meta.local_fields, *meta.local_many_to_many)


def _lazy(text: Any) -> Any:
    """Texts of Django's own models are lazy already, and empty ones have no translation."""
    return text if not text or isinstance(text, Promise) else gettext_lazy(text)
