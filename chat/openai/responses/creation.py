"""From a call to what is submitted for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast
from uuid import UUID

from pydantic import JsonValue

from aily.database.threads import in_database
from aily.problems import Problem
from chat.models import Lane
from chat.openai.callers import Caller
from chat.openai.errors import OpenAIError
from chat.openai.requests import composite_request, missing
from chat.openai.responses.fields import ResponseCall
from chat.openai.responses.items import referenced_ids, to_messages, with_ids, with_references
from chat.openai.responses.objects import LISTED_TOOLS, JsonObject, ResponseFacts, task_id_of
from chat.openai.responses.prompt import build_messages
from chat.openai.responses.stored import load_context, load_items
from chat.openai.scenes import of_scene, target_of
from chat.services.parameters import Object
from chat.services.submission import CompositeRequest
from chat.services.submit import ResponseDraft, Submission
from chat.tool_calls import PromptMessage


@dataclass(frozen=True, slots=True)
class ResponseForm:
    """What is to be known of a call once its task is accepted."""

    #: The fields of the request that are kept for the response.
    echo: JsonObject
    is_background: bool
    is_streamed: bool
    #: Its scene offers tools that aily calls.
    has_tools: bool

    def facts(self, task_id: str) -> ResponseFacts:
        return ResponseFacts(UUID(task_id), self.echo, self.is_background)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A call with everything looked up that it names."""

    call: ResponseCall
    request: CompositeRequest
    #: The input items as they are stored.
    items: list[JsonObject]
    messages: list[PromptMessage]
    form: ResponseForm

    @property
    def draft(self) -> ResponseDraft | None:
        """What is stored of it beside its task; None: nothing."""
        call = self.call
        if not call.is_stored:
            return None
        previous = call.previous_response_id
        return ResponseDraft(
            request=self.form.echo,
            input=self.items,
            previous_id=task_id_of(previous) if previous is not None else None,
            has_instructions=call.instructions is not None,
            is_background=call.is_background,
            is_streamed=call.is_streamed,
        )

    def submission(
        self, caller: Caller, idempotency_key: str | None = None, sent_digest: str = ""
    ) -> Submission:
        default = Lane.NORMAL if self.call.is_background else Lane.INTERACTIVE
        return Submission(
            owner_id=caller.owner_id,
            request=self.request,
            default_lane=Lane.named(caller.lane, default),
            idempotency_key=idempotency_key,
            sent_digest=sent_digest,
            api_key_id=caller.api_key_id,
            uncounted=caller.requester,
            response=self.draft,
        )


async def prepare(
    call: ResponseCall,
    owner_id: int,
    *,
    context: list[PromptMessage] | None = None,
    items: Mapping[str, JsonObject] | None = None,
) -> Prepared:
    """Look up what the call refers to. Raises OpenAIError.

    `context` and `items` are those of responses that are not stored, but kept by a connection.
    """
    own = await _with_referenced_items(call, owner_id, items or {})
    if context is None:
        previous = call.previous_response_id
        context = await load_context(owner_id, previous) if previous is not None else []
    messages = build_messages(
        call.instructions, context, to_messages(own), truncates=call.truncates
    )
    fields, echo, has_tools = await _task_fields(call, owner_id, messages)
    try:
        request = composite_request(fields)
    except OpenAIError as error:
        raise named_as_sent(error) from None
    form = ResponseForm(echo, call.is_background, call.is_streamed, has_tools)
    return Prepared(call, request, with_ids(own), messages, form)


async def _with_referenced_items(
    call: ResponseCall, owner_id: int, known: Mapping[str, JsonObject]
) -> list[JsonObject]:
    """The call's items, each reference replaced by the item that it names."""
    names = [name for name in referenced_ids(call.items) if name not in known]
    if names:
        known = {**known, **await load_items(owner_id, names)}
    return with_references(call.items, known)


async def _task_fields(
    call: ResponseCall, owner_id: int, messages: list[PromptMessage]
) -> tuple[Object, Object, bool]:
    """The fields of the call's task, the fields that its response repeats, and whether a scene
    offers tools."""
    prompt = cast("JsonValue", messages or None)
    fields = {**call.task_fields, **target_of(call.model), "messages": prompt}
    if prompt is None and "scene" not in fields:
        raise missing("input")
    scene_tools: Sequence[str] = ()
    if "scene" in fields:
        fields, scene_tools = await in_database(of_scene, fields)
    if not call.hosted:
        return fields, call.echo, bool(scene_tools)
    # Imported here: calls without tools do not load it.
    from chat.openai.responses.offered_tools import narrow

    narrowed = await in_database(narrow, owner_id, scene_tools, call.hosted)
    fields = {**fields, "tools": [*_own_tools(fields), *narrowed.names]}
    if narrowed.asks:
        fields["require_approval"] = list[JsonValue](narrowed.asks)
    return fields, {**call.echo, LISTED_TOOLS: narrowed.listed}, bool(scene_tools)


def _own_tools(fields: Object) -> list[JsonValue]:
    """The functions of the caller's own."""
    own = fields.get("tools")
    return own if isinstance(own, list) else []


#: Fields of a task's request, and of this API those that they were made of.
_SENT_AS = {
    "response_format.json_schema": "text.format",
    "response_format": "text.format",
    "max_tokens": "max_output_tokens",
    "reasoning_effort": "reasoning.effort",
    "verbosity": "text.verbosity",
}


def named_as_sent(error: Problem | OpenAIError) -> OpenAIError:
    """The error of a request, by the names of this API: what became messages came as input."""
    if isinstance(error, Problem):
        error = OpenAIError.of(error)
    if error.param is not None:
        error.param = _sent_as(error.param)
    return error


def _sent_as(param: str) -> str:
    if param.startswith("messages"):
        return "input"
    for name, sent in _SENT_AS.items():
        if param == name or param.startswith(f"{name}."):
            return sent + param.removeprefix(name)
    return param
