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
    "no_response": _("No response came within %(seconds)s s."),
    "connection_failed": _("The connection failed: %(detail)s"),
    "mail_not_sent": _("The mail could not be sent: %(detail)s"),
    "endpoint_disabled": _("The endpoint is disabled."),
    "endpoint_secret": _("The endpoint's secret cannot be read any more: rotate it."),
    "aily_failed": _("Something went wrong in aily."),
    "no_address": _("The user has no e-mail address."),
    "no_such_endpoint": _("You have no such webhook endpoint: add it first."),
    "no_active_endpoint": _("You have no such active webhook endpoint."),
    "activate_endpoint": _("This endpoint is disabled: activate it first."),
    "endpoints_full": _("You have %(limit)s endpoints, which is the most there can be."),
    "url_too_long": _("The URL is longer than %(limit)s characters."),
    "no_url": _("This is no URL: %(detail)s"),
    "url_without_host": _("The URL must begin with https:// and name a host."),
    "url_not_https": _("The URL must begin with https://."),
    "url_with_user": _("The URL must not contain a user name or password."),
    "url_port": _("The URL names no port that can be reached."),
    "no_host_name": _("%(host)s is no host name."),
    "private_address": _("%(host)s is, or resolves to, an address that is not public."),
    "unresolved_name": _("The name %(host)s cannot be resolved."),
    # Arguments of tool calls, and answers to their questions.
    "input_bytes": _("Input has at most %(limit)s bytes, and no NUL."),
    "arguments_unchecked": _("They cannot be checked: %(detail)s"),
    # People.
    "no_such_user": _("There is no user %(name)s."),
    "no_such_role": _("There is no role %(name)s."),
    "no_own_address": _("Your account has no e-mail address."),
    # Submits and their tool calls.
    "scene_changing": _("This scene is being changed; submit again."),
    "tool_gone": _("This tool is not available any more: reject its call."),
    "no_such_conversation": _("There is no such conversation."),
    "no_default_model": _("No model is set as default: name one."),
    "choice_without_tools": _("tool_choice asks for a call, and there are no tools."),
    "no_such_task": _("There is no such task."),
    "no_such_tool_call": _("There is no such tool call."),
    "tool_call_answered": _("This tool call was answered already, or waits no more."),
    "tool_call_approved": _("The call was approved before."),
    "no_input_asked": _("The call asks for no input."),
    "asked_again": _(
        "The question of this task is not in the conversation any more; it was asked again."
    ),
    # Tools of a server.
    "too_many_listed": _("It lists more tools than are kept."),
    "arguments_no_object": _("The schema of its arguments is not that of an object."),
    "long_description": _("Its description has more than %(limit)s bytes."),
    "null_in_schemas": _("Its schemas have the character U+0000."),
    "unchecked_schemas": _("Its schemas could not be checked; list the tools again."),
    "no_such_server": _("There is no tool server %(name)s."),
    "no_such_provider": _("There is no provider %(name)s."),
    "operations_of_http": _("Operations are imported for a server of kind http."),
    "no_such_operation": _("The document has no operation %(name)s."),
    "only_mcp_lists": _("Only an MCP server lists its tools."),
    "one_document": _("Give either document or document_url."),
    "mcp_tools": _("An MCP server says itself which tools it has."),
    "set_by_server": _("The tool's server says this."),
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
    "path_parameter": _("The path's {%(name)s} is no parameter."),
    "parameter_place": _("The parameter %(name)s goes into %(place)s: not supported."),
    "body_no_json": _("Its body is no JSON."),
    "circular_references": _("Its references lead round in a circle."),
    "other_document": _("It refers to another document: %(reference)s"),
    "dead_reference": _("It refers to what is not there: %(reference)s"),
    "too_many_referred": _("It refers to more than %(limit)s schemas."),
    "schemas_too_deep": _("Its schemas are nested too deeply."),
    # Of any kind of thing.
    "permission": _("This needs the permission %(permission)s."),
    "still_used": _("This is still in use and cannot be deleted."),
    "name_taken": _("Another one has this name already."),
    "no_such_one": _("There is no such one."),
    "second_factor": _("Set up a second factor first, at /account/totp/."),
}
