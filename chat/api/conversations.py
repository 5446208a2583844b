"""REST: one's own conversations and their messages."""

# Annotations stay objects here: ninja's paginate loses the module to look names up in.

from datetime import datetime
from typing import Literal
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import Http404
from django.shortcuts import get_object_or_404
from ninja import Query, Router, Schema, Status
from ninja.pagination import paginate
from pydantic import Field

from accounts.authentication import AuthenticatedRequest
from accounts.idempotency import idempotent
from aily.database.replica import may_read_replica
from aily.rest.etags import if_match, takes_if_match
from aily.rest.openapi import example
from aily.rest.pages import Page, ShortPage, matching, ordered
from aily.rest.requests import CreatedBetween, Moment, RequestSchema
from chat import settlement
from chat.exceptions import ConversationBusy
from chat.models import Conversation, Message, Task
from chat.models.ids import is_own
from chat.models.task_states import ACTIVE

router = Router(tags=["conversations"])


class ConversationOut(Schema):
    model_config = example(
        id="0198c0de-7a11-7000-8000-0123456789ab",
        title="Holiday plans",
        is_answering=False,
        created_at="2026-01-31T12:00:00Z",
        updated_at="2026-01-31T12:05:00Z",
    )

    id: UUID
    title: str
    is_answering: bool = Field(description="A task of it is queued or runs.")
    created_at: datetime
    updated_at: datetime

    @staticmethod
    def resolve_is_answering(conversation: Conversation) -> bool:
        # A new one has no task yet.
        return bool(getattr(conversation, "is_answering", False))


class ConversationIn(RequestSchema):
    model_config = example(title="Holiday plans")

    title: str = Field("", max_length=200)


class TitleIn(RequestSchema):
    model_config = example(title="Holiday plans")

    title: str = Field(max_length=200)


class ConversationFilter(CreatedBetween):
    search: str = Field("", max_length=200, description="Part of the title.")
    updated_after: Moment | None = Field(None, description="At this time or later.")
    updated_before: Moment | None = Field(None, description="Before this time.")
    ordering: Literal["updated_at", "-updated_at", "created_at", "-created_at"] = "-updated_at"


class MessageFilter(CreatedBetween):
    role: Message.Role | None = None
    ordering: Literal["created_at", "-created_at"] = "created_at"


class MessageOut(Schema):
    model_config = example(
        id="0198c0de-8b22-7000-8000-0123456789ab",
        role="assistant",
        content="Take the night train.",
        tool_calls=None,
        tool_call_id=None,
        task_id="0198c0de-9c33-7000-8000-0123456789ab",
        created_at="2026-01-31T12:00:03Z",
    )

    id: UUID
    role: Message.Role
    content: str
    tool_calls: list[dict[str, object]] | None = Field(
        description="Of an answer: what it asks to be called, as the provider is sent it again."
    )
    tool_call_id: str | None = Field(description="Of a result, role `tool`: the call's id.")
    task_id: UUID | None
    created_at: datetime

    @staticmethod
    def resolve_tool_call_id(message: Message) -> str | None:
        return message.tool_call_id or None


class MessagePage(ShortPage):
    columns = ("content", "tool_calls")


def _own(request: AuthenticatedRequest) -> QuerySet[Conversation]:
    active = Task.objects.active().filter(conversation=OuterRef("pk"))
    return Conversation.objects.filter(owner=request.auth.user).annotate(
        is_answering=Exists(active)
    )


def _find(request: AuthenticatedRequest, conversation_id: UUID) -> Conversation:
    if not is_own(conversation_id):
        raise Http404
    return get_object_or_404(_own(request), pk=conversation_id)


@router.get("", response=list[ConversationOut], summary="Own conversations")
@may_read_replica
@paginate(Page)
def list_conversations(
    request: AuthenticatedRequest, filters: Query[ConversationFilter]
) -> QuerySet[Conversation]:
    conversations = matching(
        _own(request),
        **filters.created(),
        updated_at__gte=filters.updated_after,
        updated_at__lt=filters.updated_before,
    )
    conversations = ordered(conversations, filters.ordering)
    if filters.search:
        conversations = conversations.filter(title__icontains=filters.search)
    return conversations


@router.post("", response={201: ConversationOut}, summary="Begin a conversation")
@idempotent(ConversationOut)
def create_conversation(
    request: AuthenticatedRequest, payload: ConversationIn
) -> Status[Conversation]:
    return Status(201, Conversation.objects.create(owner=request.auth.user, title=payload.title))


@router.get("/{uuid:conversation_id}", response=ConversationOut, summary="One conversation")
def get_conversation(request: AuthenticatedRequest, conversation_id: UUID) -> Conversation:
    return _find(request, conversation_id)


@router.patch("/{uuid:conversation_id}", response=ConversationOut, summary="Rename a conversation")
@if_match(ConversationOut, get_conversation)
def rename_conversation(
    request: AuthenticatedRequest, conversation_id: UUID, payload: TitleIn
) -> Conversation:
    conversation = _find(request, conversation_id)
    conversation.title = payload.title
    conversation.save(update_fields=["title"])
    return conversation


@router.delete(
    "/{uuid:conversation_id}",
    response={204: None},
    summary="Delete a conversation with its messages and tasks",
)
@takes_if_match
def delete_conversation(request: AuthenticatedRequest, conversation_id: UUID) -> Status[None]:
    _find(request, conversation_id)
    # In a transaction of its own: submits lock budgets before conversations.
    settlement.settle_conversation(conversation_id)
    return _delete(request, conversation_id)


@if_match(ConversationOut, get_conversation)
def _delete(request: AuthenticatedRequest, conversation_id: UUID) -> Status[None]:
    with transaction.atomic():
        # The lock keeps out a task that is submitted at this moment.
        own = _own(request).select_for_update()
        conversation = get_object_or_404(own, pk=conversation_id)
        tasks = Task.objects.filter(conversation=conversation)
        if tasks.filter(Q(needs_settling=True) | Q(status__in=ACTIVE)).exists():
            raise ConversationBusy("This conversation is still answering. Cancel its task first.")
        conversation.delete()
    return Status(204, None)


@router.get(
    "/{uuid:conversation_id}/messages",
    response=list[MessageOut],
    summary="A conversation's messages, oldest first",
)
@may_read_replica
@paginate(MessagePage)
def list_messages(
    request: AuthenticatedRequest, conversation_id: UUID, filters: Query[MessageFilter]
) -> QuerySet[Message]:
    """Where their texts are long, a page has fewer than `limit`: go on at `offset` plus these."""
    conversation = _find(request, conversation_id)
    # Ids begin with the time, and have the index.
    by_id = filters.ordering.replace("created_at", "id")
    messages = Message.objects.filter(conversation=conversation).defer("parts", "reasoning")
    return matching(messages, role=filters.role, **filters.created()).order_by(by_id)


@router.get(
    "/{uuid:conversation_id}/messages/{uuid:message_id}",
    response=MessageOut,
    summary="One message of a conversation",
)
def get_message(request: AuthenticatedRequest, conversation_id: UUID, message_id: UUID) -> Message:
    if not is_own(message_id):
        raise Http404
    conversation = _find(request, conversation_id)
    return get_object_or_404(Message, pk=message_id, conversation=conversation)
