"""Checks of tool servers and tools; they raise ValidationError with a message for the author."""

from __future__ import annotations

import re

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from chat.models.provider_fields import MAX_KEY_CHARS, check_header_name, check_service_url

#: Parameters of a tool's argument mapping, and characters of its path.
MAX_PARAMETERS = 100
MAX_PATH_CHARS = 500
#: Characters of a placeholder in a path, and of a parameter.
_MAX_NAME_CHARS = 100
#: What providers allow as the name of a function.
_FUNCTION_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
#: What the Model Context Protocol allows as the name of a tool. Servers have others all the same.
_TOOL_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")
MAX_TOOL_NAME_CHARS = 128
_PLACEHOLDER = re.compile(r"\{([^{}/]{1,100})\}")
_PLACES = ("path", "query", "header", "body")


def check_server_url(url: str) -> None:
    check_service_url(url)


def check_function_name(name: str) -> None:
    if not _FUNCTION_NAME.fullmatch(name):
        raise ValidationError(_("Letters, digits, _ and - are allowed, at most 64 of them."))


def is_tool_name(name: str) -> bool:
    return 0 < len(name) <= MAX_TOOL_NAME_CHARS and name.isprintable()


def check_own_tool_name(name: str) -> None:
    """Raises ValidationError unless staff may give a tool this name."""
    if not _TOOL_NAME.fullmatch(name):
        raise ValidationError(_("Letters, digits, _, . and - are allowed, at most 128 of them."))


def check_tool_name(name: str) -> None:
    if not is_tool_name(name):
        raise ValidationError(
            _("Printable characters are allowed, at most %(limit)d of them.")
            % {"limit": MAX_TOOL_NAME_CHARS}
        )


def check_secret(secret: str) -> None:
    if not (secret.isascii() and secret.isprintable()):
        raise ValidationError(_("The secret holds characters that no header can carry."))
    if len(secret) > MAX_KEY_CHARS:
        raise ValidationError(
            _("The secret has more than %(limit)d characters.") % {"limit": MAX_KEY_CHARS}
        )


# --- Tools over HTTP ----------------------------------------------------------------------------
def placeholders(path: str) -> list[str]:
    """The names in braces in a path, such as `id` in /orders/{id}."""
    return _PLACEHOLDER.findall(path)


def check_path(path: str) -> None:
    """Check what is put behind a server's URL."""
    if len(path) > MAX_PATH_CHARS:
        raise ValidationError(
            _("The path has more than %(limit)d characters.") % {"limit": MAX_PATH_CHARS}
        )
    if path and (not path.startswith("/") or path.startswith("//")):
        raise ValidationError(_("The path must begin with one /."))
    if not path.isascii() or any(character in path for character in "\\?#% ") or "\n" in path:
        raise ValidationError(_("The path must not contain ?, #, %, spaces or backslashes."))
    if any(part in (".", "..") for part in path.split("/")):
        raise ValidationError(_("The path must not have the parts . and .."))
    if re.search(r"[{}]", _PLACEHOLDER.sub("", path)):
        raise ValidationError(_("A placeholder of the path is written as {name}."))


def check_parameters(parameters: object) -> None:
    """Check an object that says where arguments go: {"argument": {"in": "query", "name": "q"}}."""
    if not isinstance(parameters, dict):
        raise ValidationError(_("This must be a JSON object."))
    if len(parameters) > MAX_PARAMETERS:
        raise ValidationError(_("More than %(limit)d parameters.") % {"limit": MAX_PARAMETERS})
    for argument, place in parameters.items():
        if not isinstance(place, dict) or not place.keys() <= {"in", "name"}:
            raise ValidationError(
                _('%(name)s: {"in": path, query, header or body, "name": ...} is wanted.')
                % {"name": argument[:_MAX_NAME_CHARS]}
            )
        _check_place(argument, place)


def _check_place(argument: str, place: dict[str, object]) -> None:
    name = place.get("name", argument)
    if place.get("in") not in _PLACES:
        raise ValidationError(
            _("%(name)s: an argument goes into the path, query, header or body.")
            % {"name": argument[:_MAX_NAME_CHARS]}
        )
    if not isinstance(name, str) or len(name) > _MAX_NAME_CHARS:
        raise ValidationError(
            _("%(name)s: the name is a text of at most %(limit)d characters.")
            % {"name": argument[:_MAX_NAME_CHARS], "limit": _MAX_NAME_CHARS}
        )
    if place["in"] == "header":
        check_header_name(name)
