"""Sentences about the form of requests, and about those who send them.

Bounds and types of fields have the keywords of JSON Schema (aily/rest/schema_rules.py).
"""

from __future__ import annotations

from collections.abc import Mapping

from chat.reasons.marking import gettext_noop as _

SENTENCES: Mapping[str, str] = {
    # JSON, forms and queries.
    "half_character": _("Text has half a surrogate pair."),
    "given_twice": _("This is given more than once."),
    "unreadable_form": _("This form cannot be read."),
    "form_fields": _("This form has too many fields."),
    "form_files": _("This form has too many files."),
    "one_file": _("Send one file, as `file`."),
    "request_cut": _("The request ends in the middle."),
    "event_id": _('An event id looks like "2-17".'),
    "future_time": _("This must lie in the future."),
    # Idempotency keys.
    "idempotency_key": _("An idempotency key has 1 to 255 printable characters."),
    "key_in_use": _("A request with this idempotency key is still running."),
    "key_just_used": _("A request with this idempotency key has just been accepted."),
    "secret_shown": _(
        "This request was carried out before, and the secret it made was shown then. It cannot be "
        "shown again: delete what was made, and make another with a new idempotency key."
    ),
    # Accounts.
    "no_such_permission": _("There is no permission %(name)s."),
    "no_such_menu_item": _("There is no menu item %(id)s."),
    "not_by_key": _("An API key cannot do this. Log in."),
    "own_session": _("This is the session that you are using. Log out instead."),
    "no_password": _("You log in by a login provider, and have no password here."),
    "wrong_password": _("This is not your password."),
    "common_password": _("This password is too common."),
    "numeric_password": _("This password is entirely numeric."),
    "similar_password": _("The password is too similar to what else is known of you."),
    "user_or_role": _("Name either a user or a role."),
    # Usage and filters.
    "early_day": _("This day is too long ago."),
    "day_range": _("`from` to `to` must be 1 to %(limit)s days."),
    "metadata_key": _("`group_by=metadata` and `metadata_key` go together."),
    "too_many_groups": _("These are more than %(limit)s groups: ask for fewer days, or filter."),
    "condition_text": _("This must look like name:value, or be a JSON object with a value."),
    # Messages of a prompt.
    "part_needs_field": _("A part of the type %(type)s needs this field."),
    "part_without_field": _("A part of the type %(type)s has no such field."),
    "assistants_calls": _("Only an assistant's message has tool calls."),
    "result_names_call": _("A tool's message names the call that it answers."),
    "only_results_name_calls": _("Only a tool's message names a call."),
    "content_required": _("A message needs content."),
    "result_without_call": _("No tool call before this message has the id %(id)s."),
    "call_without_result": _(
        "The tool call %(id)s must be followed by its result, a message of role tool."
    ),
    "own_field": _("The field %(name)s cannot be set here."),
    "no_such_parameter": _(
        "There is no such parameter. What only your provider knows belongs into extra_body."
    ),
    "scene_or_messages": _("A scene or messages are required."),
    "variables_of_scene": _("Variables need a scene."),
    "version_of_scene": _("A version needs a scene."),
    "replaces_in_conversation": _("`replaces` needs a conversation_id."),
    # Decisions on tool calls, and runs of AI fields.
    "arguments_approve": _("Arguments are for approving."),
    "input_approves": _("Input is for approving, and without arguments."),
    "reason_rejects": _("A reason is for rejecting."),
    "try_or_start": _("Try some rows first, or start: not both."),
    "try_one": _("Try one AI field at a time."),
    "export_state": _("The state of this export is %(state)s."),
}
