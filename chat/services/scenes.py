"""Writing scenes' versions; nothing else writes them."""

from __future__ import annotations

from collections.abc import Mapping

from django.db import transaction
from django.db.models import Max
from django.utils import timezone
from pydantic import JsonValue

from accounts.models import User
from aily.problems import Conflict, Forbidden
from aily.rest.json_input import exceeds
from aily.rest.sizes import PARAMS_BYTES, TEXT_BYTES
from chat.exceptions import InvalidTemplate, because
from chat.models import LLMModel, Scene, SceneVersion, TaskKind, Tool
from chat.reasons import Reason
from chat.rendering import schema as schemas
from chat.services import rendering
from chat.services.parameters import flat, parameter_errors
from chat.services.restrictions import denied_models, denied_tools
from chat.services.tool_limits import check_limits
from chat.tools.offers import MAX_OFFERED

#: How often another author may write a draft while one change of it is being checked.
_MAX_CHECKS = 3

#: Templates and schema have bounds of their own.
_MAX_BYTES = {
    "params": PARAMS_BYTES,
    "notes": TEXT_BYTES,
    "fallback_models": TEXT_BYTES,
    "tools": TEXT_BYTES,
}


def validate_version(version: SceneVersion, editor: User | None = None) -> dict[str, JsonValue]:
    """The schema in force. Raises InvalidTemplate where templates, schema or parameters cannot be
    used, or the version names a model that its author may not use: all users of the scene would
    use it. Raises TooManyRenderings or Unavailable if it cannot be checked now.

    May wait for another process: to be called outside transactions.
    """
    if not version.user_template.strip():
        raise InvalidTemplate.because(Reason.of("template_empty"), field="user_template")
    if not isinstance(version.params, dict):
        raise InvalidTemplate.because(Reason.of("not_object"), field="params")
    for name, max_bytes in _MAX_BYTES.items():
        if exceeds(getattr(version, name), max_bytes):
            raise InvalidTemplate.because(Reason.of("too_many_bytes", limit=max_bytes), field=name)
    for error in parameter_errors(version.params):
        reason = Reason.of("parameter", detail=error.message)
        params = error.params or reason.as_params()
        raise InvalidTemplate(str(reason), field=error.field, params=params)
    if version.model is not None and version.model.capability != TaskKind.CHAT:
        raise _no_chat_model(version.model.name, "model")
    if version.output_schema and "response_format" in flat(version.params):
        raise InvalidTemplate.because(Reason.of("two_schemas"), field="params.response_format")
    _check_fallbacks(version.fallback_models)
    _check_tools(version)
    check_limits(version)
    if denied := denied_models(version):
        field = "fallback_models" if denied[0] in version.fallback_models else "model"
        # The same error as for a model that does not exist.
        raise InvalidTemplate.because(Reason.of("no_model", name=repr(denied[0])), field=field)
    schema = _check(version, editor)
    rendering.check_output_schema(version.output_schema, editor.pk if editor else 0)
    return schema


def _check(version: SceneVersion, editor: User | None) -> dict[str, JsonValue]:
    """The schema in force. Raises as `validate_version` does where templates or schema cannot be
    used."""
    schemas.check_size(version.variables_schema)
    return rendering.check(rendering.source_of(version), editor.pk if editor else 0)


def _check_fallbacks(names: object) -> None:
    if (
        not isinstance(names, list)
        or not all(isinstance(name, str) for name in names)
        or len(names) != len(set(names))
    ):
        raise InvalidTemplate.because(Reason.of("no_model_list"), field="fallback_models")
    known = dict(LLMModel.objects.filter(name__in=names).values_list("name", "capability"))
    for name in names:
        if name not in known:
            raise InvalidTemplate.because(
                Reason.of("no_model", name=repr(name)), field="fallback_models"
            )
        if known[name] != TaskKind.CHAT:
            raise _no_chat_model(name, "fallback_models")


def _check_tools(version: SceneVersion) -> None:
    names = version.tools
    if (
        not isinstance(names, list)
        or not all(isinstance(name, str) for name in names)
        or len(names) != len(set(names))
    ):
        raise InvalidTemplate.because(Reason.of("no_tool_list"), field="tools")
    if len(names) > MAX_OFFERED:
        raise InvalidTemplate.because(Reason.of("too_many_tools", limit=MAX_OFFERED), field="tools")
    known = dict(Tool.objects.filter(function_name__in=names).values_list("function_name", "pk"))
    denied = denied_tools(version)
    for name in names:
        if name not in known or name in denied:
            raise InvalidTemplate.because(Reason.of("no_tool", name=repr(name)), field="tools")
    _check_currencies(version)
    if names and (version.single_flight or version.cache_ttl_seconds):
        # What a tool answers may be meant for one user alone.
        field = "single_flight" if version.single_flight else "cache_ttl_seconds"
        raise InvalidTemplate.because(Reason.of("tools_not_shared"), field=field)


def _check_currencies(version: SceneVersion) -> None:
    """Raises InvalidTemplate where a tool has a price in another currency than a model: the ledger
    has one currency a task."""
    priced = Tool.objects.filter(function_name__in=version.tools, price__gt=0)
    if not (currencies := dict(priced.values_list("currency", "function_name"))):
        return
    own = version.model or LLMModel.objects.filter(is_default=True).first()
    models = [*LLMModel.objects.filter(name__in=version.fallback_models), *([own] if own else [])]
    for model in models:
        for currency, name in currencies.items():
            if currency != model.currency:
                reason = Reason.of(
                    "tool_currency",
                    tool=repr(name),
                    currency=currency,
                    model=repr(model.name),
                    model_currency=model.currency,
                )
                raise InvalidTemplate.because(reason, field="tools")


def _no_chat_model(name: str, field: str) -> InvalidTemplate:
    return InvalidTemplate.because(Reason.of("no_chat_model", name=repr(name)), field=field)


def create_version(scene: Scene, author: User | None, fields: Mapping[str, object]) -> SceneVersion:
    """Add a draft with the scene's next number. Raises InvalidTemplate."""
    version = SceneVersion(scene=scene, created_by=author, **fields)
    validate_version(version, author)
    with transaction.atomic():
        # The lock makes two authors at once take two numbers.
        Scene.objects.select_for_update().get(pk=scene.pk)
        last = SceneVersion.objects.filter(scene=scene).aggregate(last=Max("number"))["last"] or 0
        version.number = last + 1
        version.save(force_insert=True)
    return version


def edit_version(
    version: SceneVersion, fields: Mapping[str, object], editor: User | None = None
) -> SceneVersion:
    """Change a draft. Raises Conflict when it is published, InvalidTemplate."""
    for _ in range(_MAX_CHECKS):
        checked = _draft(SceneVersion.objects.get(pk=version.pk), fields)
        validate_version(checked, editor)
        with transaction.atomic():
            draft = _draft(_locked(version), fields)
            if _what_is_checked(draft) == _what_is_checked(checked):
                draft.save(update_fields=list(fields))
                return draft
    raise _changed_meanwhile()


def _what_is_checked(version: SceneVersion) -> tuple[object, ...]:
    source = rendering.source_of(version)
    others = version.output_schema, version.fallback_models, version.params, version.tools
    return source, version.model_id, *others


def _draft(version: SceneVersion, fields: Mapping[str, object]) -> SceneVersion:
    """The version with these fields. Raises Conflict when it is published."""
    if version.is_published:
        raise because(Conflict, Reason("published_fixed"))
    for name, value in fields.items():
        setattr(version, name, value)
    return version


def _changed_meanwhile() -> Conflict:
    return because(Conflict, Reason("draft_changed"))


def delete_version(version: SceneVersion) -> None:
    """Delete a draft. Raises Conflict when it is published."""
    with transaction.atomic():
        if _locked(version).is_published:
            raise because(Conflict, Reason("published_kept"))
        SceneVersion.objects.filter(pk=version.pk).delete()


def publish(version: SceneVersion, editor: User | None = None) -> SceneVersion:
    """Freeze a draft and make it live. Raises Conflict when it is published, and Forbidden."""
    for _ in range(_MAX_CHECKS):
        checked = SceneVersion.objects.get(pk=version.pk)
        _require_draft(checked)
        schema = _check(checked, editor)
        with transaction.atomic():
            draft = _locked(version)
            _require_draft(draft)
            if rendering.source_of(draft) != rendering.source_of(checked):
                continue
            # From here on callers read the schema without the templates.
            draft.variables_schema = schema
            draft.published_at = timezone.now()
            draft.save(update_fields=["variables_schema", "published_at"])
            make_live(draft)
        return draft
    raise _changed_meanwhile()


def _require_draft(version: SceneVersion) -> None:
    if version.is_published:
        raise because(Conflict, Reason("published_already"))


def make_live(version: SceneVersion) -> None:
    """Move the scene to a published version, forth or back. Raises Conflict and Forbidden."""
    if not version.is_published:
        raise because(Conflict, Reason("publish_first"))
    if denied := denied_models(version):
        raise because(Forbidden, Reason.of("model_denied", name=denied[0]))
    if denied := denied_tools(version):
        raise because(Forbidden, Reason.of("tool_denied", name=denied[0]))
    scene = Scene.objects.get(pk=version.scene_id)
    scene.live_version = version
    # Saved, not updated: the audit log listens to the signals of saving.
    scene.save(update_fields=["live_version", "updated_at"])


def _locked(version: SceneVersion) -> SceneVersion:
    return SceneVersion.objects.select_for_update().get(pk=version.pk)
