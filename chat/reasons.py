"""Why something is refused or has failed: sentences with names and parameters.

The name is `rule` among the `params` of the error's body, so that a client can show the sentence in
its own language; pages of the admin translate it by gettext. Pure data: rendering imports no
Django. Rules of JSON Schema that variables break are in chat/rendering/rules.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

#: Parameters may quote templates and values, which may be as long as a request.
MAX_PARAM_CHARS = 300


def _(text: str) -> str:
    """Mark a text for the catalogues."""
    return text


#: By name. Parameters are texts.
SENTENCES: Mapping[str, str] = {
    # Templates.
    "template_empty": _("This template is empty."),
    "template_too_long": _("A template may have %(limit)s bytes at most."),
    "template_syntax": _("Line %(line)s: %(detail)s"),
    "template_ends": _("Line %(line)s: the template ends where more is expected."),
    "unexpected_token": _("Line %(line)s: unexpected %(found)s"),
    "expected_token": _("Line %(line)s: expected %(expected)s, got %(found)s"),
    "unknown_filter": _("Line %(line)s: no filter named %(name)s"),
    "unknown_test": _("Line %(line)s: no test named %(name)s"),
    "unknown_tag": _("Line %(line)s: unknown tag %(name)s"),
    "unavailable_tag": _("Line %(line)s: %(name)s is not available in prompts"),
    "reserved_name": _("Line %(line)s: a name may not begin with __: %(name)s"),
    "loop_name": _(
        "Line %(line)s: in a loop, `loop` is the state of that loop: use `loop.index` and the "
        "like, or give the variable another name"
    ),
    "recursive_loop": _("Line %(line)s: a loop may not be recursive"),
    "template_broken": _("The template cannot be compiled: %(detail)s"),
    "template_unusable": _("This template cannot be rendered: %(detail)s"),
    "too_many_loop_steps": _(
        "This template cannot be rendered: its loops go round more than %(limit)s times"
    ),
    "hidden_name": _(
        "%(name)s means something else in these templates; give the variable another name."
    ),
    "too_much_memory": _("Working on this takes more than %(limit)s MiB of memory."),
    "too_much_work": _("Working on this fails, or takes too much memory."),
    "too_much_time": _("Working on this takes more than %(limit)s s, and was stopped."),
    # Variables.
    "undefined_part": _("%(owner)s has no part %(name)s"),
    "variables_unusable": _("The template cannot be rendered with these variables: %(detail)s"),
    "unchecked": _("These variables cannot be checked: %(detail)s"),
    # Sizes, of schemas as well.
    "more_values": _("This has more than %(limit)s values."),
    "more_bytes": _("This has more than %(limit)s bytes."),
    "more_levels": _("This is nested more than %(limit)s levels deep."),
    "more_digits": _("This has a number of more than %(limit)s digits."),
    "number_too_large": _("This has a number that is too large."),
    "too_deep": _("This is nested too deeply."),
    # Schemas.
    "not_object_schema": _("This must be the schema of an object."),
    "not_object": _("This must be a JSON object."),
    "schema_too_long": _("A schema may have %(limit)s bytes at most."),
    "schema_invalid": _("%(place)s is invalid: %(detail)s"),
    "no_schema": _("%(place)s is no schema."),
    "inner_dialect": _("%(place)s: $schema may stand at the top only."),
    "inner_id": _("%(place)s: $id may stand at the top only."),
    "more_entries": _("%(place)s has more than %(limit)s entries."),
    "pattern_unusable": _(
        "%(place)s: %(pattern)s cannot be used: %(detail)s. Patterns are RE2's, without "
        "look-around and back-references."
    ),
    "foreign_ref": _("%(place)s: a $ref may only lead into this schema."),
    "dead_ref": _("%(place)s leads nowhere: %(detail)s"),
    "circular_ref": _("%(place)s: this $ref leads back to where it stands."),
    "more_schemas": _(
        "%(place)s: with what its $refs lead to, more than %(limit)s schemas apply here."
    ),
    "deep_refs": _("Its $refs are nested too deeply."),
    "unlisted_names": _("The templates use what this schema does not allow: %(names)s"),
    # Models, tools and parameters of a scene.
    "too_many_bytes": _("This may have %(limit)s bytes at most."),
    "parameter": _("This parameter is wrong: %(detail)s"),
    "two_schemas": _("The version has an output_schema: leave one of them out."),
    "no_model": _("There is no model %(name)s."),
    "no_chat_model": _("The model %(name)s makes embeddings: name another."),
    "no_model_list": _("This must be a JSON list of different model names."),
    "no_tool": _("There is no tool %(name)s."),
    "no_tool_list": _("This must be a JSON list of different names of tools."),
    "too_many_tools": _("A scene offers %(limit)s tools at most."),
    "tools_not_shared": _("A version that offers tools shares no answers."),
    "tool_currency": _(
        "The tool %(tool)s is charged in %(currency)s, the model %(model)s in %(model_currency)s."
    ),
    "below_minimum": _("This must be %(minimum)s at least."),
    "above_setting": _("This must be %(maximum)s at most: %(setting)s is the upper bound."),
    # Cells of tables.
    "not_string": _("This must be a string."),
    "too_many_characters": _("This may have %(limit)s characters at most."),
    "null_character": _("Text must not contain the character U+0000."),
    "not_integer": _("This must be an integer."),
    "integer_range": _("This must be between -%(limit)s and %(limit)s."),
    "not_number": _("This must be a number."),
    "number_range": _("This must be a number between -%(limit)s and %(limit)s."),
    "too_many_decimals": _("A number may have %(limit)s decimals at most."),
    "not_boolean": _("This must be true or false."),
    "not_date": _("This must be a date such as 2026-01-31."),
    "no_such_day": _("There is no such day."),
    "not_time": _("This must be a time with its offset, such as 2026-01-31T12:00:00Z."),
    "time_range": _("This time is out of range."),
    "not_url": _("This must be an http or https address."),
    "not_email": _("This must be an e-mail address."),
    "not_json": _("This is not valid JSON."),
    "too_many_levels": _("This may be nested %(limit)s levels deep at most."),
    "not_row_ids": _("This must be a list of ids of rows."),
    "too_many_links": _("A cell may have %(limit)s links at most."),
    "no_such_choice": _("This is none of the field's choices."),
    "not_choices": _("This must be a list of choices."),
    "too_many_choices": _("A cell may have %(limit)s choices at most."),
    # Cells and rows of files for tables.
    "no_integer": _("This is no integer."),
    "integer_too_large": _("This is too large for an integer."),
    "no_number": _("This is no number."),
    "no_boolean": _("This is neither true nor false."),
    "no_date": _("This is no date."),
    "no_such_date": _("There is no such date."),
    "no_such_time": _("There is no such time."),
    "no_json": _("This is no JSON."),
    "choice_no_text": _("A choice is a text."),
    "choice_length": _("A choice has 1 to %(limit)s characters."),
    "field_choices": _("A field has %(limit)s choices at most."),
    "no_choice_list": _("This is no list of choices."),
    "no_linked_row": _("No row of the linked table has %(name)s."),
    "linked_rows": _("%(count)s rows of the linked table have %(name)s."),
    "names_no_rows": _("This names no rows of the linked table."),
    "key_empty": _("The key is empty."),
    "row_not_stored": _("The row is too large to be stored."),
    "wrong_column_count": _("This has %(values)s values, and the file %(columns)s columns."),
    "row_too_large": _("This has more than %(limit)s bytes."),
    "invalid_csv": _("This is not valid CSV: check the quotation marks and the delimiter."),
    "invalid_json": _("This line must be a JSON object."),
    # Runs.
    "owner_disabled": _("Its owner has been disabled."),
    "rows_failed": _("The last %(count)s rows failed, none succeeded meanwhile."),
    "cost_spent": _("%(cost)s are spent."),
    "no_valid_line": _("No line of the file is valid."),
    "wrong_lines": _("%(count)s lines of the file are wrong."),
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
    # Imports.
    "bad_rows": _("%(count)s rows do not fit. The report says why."),
    # Arguments of tool calls, and answers to their questions.
    "input_bytes": _("Input has at most %(limit)s bytes, and no NUL."),
    "arguments_unchecked": _("They cannot be checked: %(detail)s"),
    # What people cannot do with runs and tables.
    "run_changed": _("This run was changed meanwhile."),
    "run_worked_on": _("This run is being worked on; try again."),
    "run_state": _("This cannot be done in the state that the run is in."),
    "pause_run": _("Pause the run first."),
    "cancel_run": _("Cancel the run first."),
    "run_validating": _("This run is still being validated."),
    "run_spent": _("%(cost)s are spent already: raise max_cost first."),
    "run_deadline": _("Its deadline has passed: set another first."),
    "no_failed_row": _("No row of this run has failed."),
    "no_sendable_row": _("This run has no rows that could be sent."),
    "no_scene": _("Name the scene that the rows are for."),
    "field_exists": _("There is a field %(name)s already."),
    "name_length": _("A name has 1 to %(limit)s characters."),
    "fields_full": _("A table may have %(limit)s fields at most."),
    "ai_fields_full": _("A table may have %(limit)s AI fields at most."),
    "rows_full": _("A table may have %(limit)s rows at most."),
    "views_full": _("A table may have %(limit)s views at most."),
    "tables_full": _("You may have %(limit)s tables at most. Those in the trash count as well."),
    "installation_full": _("This installation has as many tables as it may have."),
    "choices_used": _("%(count)s cells have one of %(names)s. Change them first."),
    "ai_field_in_trash": _("Its AI field is in the trash: restore that."),
    "cancel_import": _("Cancel the import first."),
    "cancel_export": _("Cancel the export first."),
    "import_changed": _("This import was changed meanwhile."),
    "import_state": _("The import cannot be changed in the state that it is in."),
    "import_writing": _("Its rows are being written: in a moment it has ended."),
    "import_unreadable": _("The file could not be read: change how."),
    "nothing_mapped": _("No column goes to a field."),
    "key_missing": _("Name the field by which rows are found in the table."),
    "key_unmapped": _("No column goes to the key field."),
    "mapped_twice": _("Another column goes to the same field."),
    "unnamed_field": _("A field needs a name."),
    "unnamed_view": _("A view has a name."),
    "shared_view": _("Shared views are changed by those who may edit the table."),
    "not_undoable": _("What would undo this was too large to be kept."),
    "undone_already": _("This was undone already."),
    "batch_not_undoable": _("This cannot be undone, or was undone already."),
    "kind_changed_since": _("The kind of a field was changed since: this cannot be undone."),
    "kind_fixed": _("Links and fields that an AI field fills keep their kind: add another field."),
    "kind_changing": _("The kind of this field is being changed."),
    "kinds_changing": _("The kinds of %(limit)s fields of this table are being changed."),
    "too_many_values": _("The field has more than %(limit)s different values."),
    "outputs_full": _("This AI field has had as many outputs as it can have."),
    "ai_field_deleted": _("The AI field of this run has been deleted."),
    "end_run": _("Pause or cancel the run first."),
    "nothing_to_undo": _("There is nothing to undo."),
    "no_such_user": _("There is no user %(name)s."),
    "no_such_role": _("There is no role %(name)s."),
    # Submits and their tool calls.
    "scene_changing": _("This scene is being changed; submit again."),
    "tool_gone": _("This tool is not available any more: reject its call."),
    "no_such_conversation": _("There is no such conversation."),
    "no_default_model": _("No model is set as default: name one."),
    # Versions of scenes.
    "published_fixed": _("A published version does not change. Make a new one."),
    "draft_changed": _("Somebody else has just changed this draft; look at it and try again."),
    "published_kept": _("A published version is kept: tasks point at it."),
    "published_already": _("This version is published already."),
    "publish_first": _("Publish this version first."),
    "model_denied": _("This version names a model that you may not use: %(name)s."),
    "tool_denied": _("This version names a tool that you may not use: %(name)s."),
    # Policies of AI fields.
    "policy_owner": _("Its owner may not run it any more."),
    "policy_run_paused": _("Its run is paused."),
    "policy_rows": _("%(limit)s rows an hour are filled."),
    "policy_cost": _("%(limit)s a day are spent."),
    "mapped_deleted": _("A mapped field has been deleted: map another one."),
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
    # Answers for cells of tables.
    "answer_no_json": _("The answer is no JSON: %(detail)s"),
    "answer_no_object": _("The answer is no JSON object."),
    "answer_tool_call": _("The model has called a tool instead of answering."),
    "answer_refused": _("The model refused to answer: %(reason)s."),
}


@dataclass(frozen=True, slots=True)
class Reason:
    """One sentence of `SENTENCES` with its parameters."""

    name: str
    params: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return SENTENCES[self.name] % self.params

    def as_params(self) -> dict[str, str | float]:
        """The `params` of a problem."""
        return {"rule": self.name, **self.params}

    @classmethod
    def of(cls, name: str, /, **params: object) -> Reason:
        """A reason with its parameters as texts, long ones cut."""
        return cls(name, {key: str(value)[:MAX_PARAM_CHARS] for key, value in params.items()})


class ReasonError(ValueError):
    """Base of errors that have a reason."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(str(reason))
        self.reason = reason
