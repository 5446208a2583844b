"""Sentences about templates, schemas, variables and scenes."""

from __future__ import annotations

from collections.abc import Mapping

from chat.reasons.marking import gettext_noop as _

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
    "no_embedding_model": _("The model %(name)s answers with text: name another."),
    "no_such_scene": _("There is no scene %(name)s."),
    "no_such_version": _("Scene %(name)s has no version %(number)s."),
    "tool_not_offered": _("The scene offers no tool %(name)s."),
    # Versions of scenes.
    "published_fixed": _("A published version does not change. Make a new one."),
    "draft_changed": _("Somebody else has just changed this draft; look at it and try again."),
    "published_kept": _("A published version is kept: tasks point at it."),
    "published_already": _("This version is published already."),
    "publish_first": _("Publish this version first."),
    "model_denied": _("This version names a model that you may not use: %(name)s."),
    "tool_denied": _("This version names a tool that you may not use: %(name)s."),
}
