"""Sentences about keywords of JSON Schema that a value breaks.

The same keywords name the bounds and types of a request's fields (aily/rest/schema_rules.py).
"""

from __future__ import annotations

from collections.abc import Mapping

from chat.reasons.marking import gettext_noop as _

SENTENCES: Mapping[str, str] = {
    "required": _("This is missing."),
    "additionalProperties": _("There is no such field."),
    "not_empty": _("The prompt would be empty."),
    "minLength": _("At least %(limit)s characters."),
    "maxLength": _("At most %(limit)s characters."),
    "minItems": _("At least %(limit)s entries."),
    "maxItems": _("At most %(limit)s entries."),
    "minimum": _("At least %(limit)s."),
    "maximum": _("At most %(limit)s."),
    "exclusiveMinimum": _("More than %(limit)s."),
    "exclusiveMaximum": _("Less than %(limit)s."),
    "multipleOf": _("A multiple of %(limit)s."),
    "type": _("The type is %(limit)s."),
    "enum": _("One of: %(limit)s"),
    "const": _("Always %(limit)s."),
    "format": _("The format is %(limit)s."),
    "pattern": _("This does not match the pattern."),
    "deadline": _("This is in the future, at most %(limit)s days."),
    "minProperties": _("At least %(limit)s fields."),
    "maxProperties": _("At most %(limit)s fields."),
    "contains": _("The entries are not those that must be there."),
    "items": _("There are too many entries."),
    "not": _("This value is not allowed here."),
    "anyOf": _("This has none of the forms that are allowed here."),
    "oneOf": _("This must have exactly one of the forms that are allowed here."),
    "uniqueItems": _("Each entry is there once."),
}
