"""Names of permissions in the language of the page: their rows have English ones."""

from __future__ import annotations

from django.apps import apps
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.utils.translation import get_language, gettext
from django.utils.translation import gettext_lazy as _

#: Names of Django's own permissions, by the beginning of their codenames.
_ACTIONS = {
    "add": _("Can add %(model)s"),
    "change": _("Can change %(model)s"),
    "delete": _("Can delete %(model)s"),
    "view": _("Can view %(model)s"),
}


def permission_label(permission: Permission) -> str:
    """Return the permission's name in the active language."""
    # Content types are cached by their manager alone.
    app_label = ContentType.objects.get_for_id(permission.content_type_id).app_label
    return _label(app_label, permission.codename) or gettext(permission.name)


def permission_text(name: str) -> str:
    """Return a permission such as `chat.change_scene` behind its name in the active language.

    In English it is words enough by itself.
    """
    label = _label(*name.partition(".")[::2])
    if not label or (get_language() or "en").startswith("en"):
        return name
    return gettext("%(label)s (%(name)s)") % {"label": label, "name": name}


def _label(app_label: str, codename: str) -> str:
    """The name by the app's models, without a query; empty if none has such a permission."""
    action, _underscore, model_name = codename.partition("_")
    for model in apps.get_models():
        meta = model._meta  # noqa: SLF001 - documented, for all its name
        if meta.app_label != app_label:
            continue
        if codename in (own := dict(meta.permissions)):
            return gettext(str(own[codename]))
        if model_name == meta.model_name and action in _ACTIONS:
            return str(_ACTIONS[action]) % {"model": meta.verbose_name}
    return ""
