"""Sentences about submits, tools, webhooks and people."""

from __future__ import annotations

from collections.abc import Mapping

from chat.reasons.marking import gettext_noop as _

SENTENCES: Mapping[str, str] = {
    # Webhooks and mails.
    "endpoint_by_staff": _("By the staff."),
    "endpoint_by_owner": _("By its owner."),
    "endpoint_gone": _("It answered 410 Gone."),
    "endpoint_unreached": _("Nothing has reached it for %(days)s days."),
    "endpoint_answered": _("The endpoint answered %(status)s."),
    "endpoint_disabled": _("The endpoint is disabled."),
    "endpoint_secret": _("The endpoint's secret cannot be read any more: rotate it."),
    "aily_failed": _("Something went wrong in aily."),
    "no_address": _("The user has no e-mail address."),
    # Arguments of tool calls, and answers to their questions.
    "input_bytes": _("Input has at most %(limit)s bytes, and no NUL."),
    "arguments_unchecked": _("They cannot be checked: %(detail)s"),
    # People.
    "no_such_user": _("There is no user %(name)s."),
    "no_such_role": _("There is no role %(name)s."),
    # Submits and their tool calls.
    "scene_changing": _("This scene is being changed; submit again."),
    "tool_gone": _("This tool is not available any more: reject its call."),
    "no_such_conversation": _("There is no such conversation."),
    "no_default_model": _("No model is set as default: name one."),
    # Tools of a server.
    "too_many_listed": _("It lists more tools than are kept."),
    "arguments_no_object": _("The schema of its arguments is not that of an object."),
    "long_description": _("Its description has more than %(limit)s bytes."),
    "null_in_schemas": _("Its schemas have the character U+0000."),
    "unchecked_schemas": _("Its schemas could not be checked; list the tools again."),
    # OpenAPI documents.
    "document_no_json": _("The document is no JSON."),
    "document_too_long": _("The document is no JSON, and YAML may have %(limit)s bytes."),
    "document_unreadable": _("The document is neither JSON nor YAML."),
    "document_unreadable_line": _("The document is neither JSON nor YAML: see line %(line)s."),
    "document_aliases": _("The document has YAML aliases: write out what they stand for."),
    "document_too_deep": _("The document is nested too deeply."),
    "document_value": _("The document has a value that JSON does not have: %(type)s."),
    "document_name": _("The document has a name that is no text."),
    "document_no_object": _("An OpenAPI document is a JSON object."),
    "document_version": _("This is no OpenAPI document of version 3.0, 3.1 or 3.2."),
    "document_no_paths": _("The document has no paths."),
    "document_operations": _("The document has more than %(limit)s operations."),
}
