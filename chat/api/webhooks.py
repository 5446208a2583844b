"""REST: own webhook endpoints, what was delivered to them, and e-mail preferences."""

# Annotations stay objects here: ninja's paginate loses the module to look names up in.

from datetime import datetime
from typing import Annotated, Literal, get_args
from uuid import UUID

from django.db.models import QuerySet
from django.http import Http404
from django.shortcuts import get_object_or_404
from ninja import Query, Router, Schema, Status
from ninja.pagination import paginate
from pydantic import Discriminator, Field, JsonValue, Tag, field_validator

from accounts.authentication import AuthenticatedRequest
from accounts.idempotency import idempotent, replay, takes_idempotency_key
from aily.database.replica import may_read_replica
from aily.database.threads import in_database
from aily.problems import InvalidRequest
from aily.rest.etags import if_match, takes_if_match
from aily.rest.openapi import example
from aily.rest.pages import Page, matching, ordered
from aily.rest.requests import CreatedBetween, RequestSchema
from chat.api.metadata import MAX_CONDITIONS
from chat.exceptions import because
from chat.models import Delivery, NotificationPreferences, WebhookEndpoint
from chat.models.ids import is_own
from chat.models.metadata import MAX_LABEL_NAME_CHARS
from chat.reasons import Reason
from chat.services import webhooks
from chat.services.webhooks import ENDPOINT_IDS

router = Router(tags=["webhooks"])

#: Scenes or models that the filter of an endpoint may name.
MAX_NAMES = 50
Slug = Annotated[str, Field(min_length=1, max_length=50)]
ModelName = Annotated[str, Field(min_length=1, max_length=100)]
LabelName = Annotated[str, Field(min_length=1, max_length=MAX_LABEL_NAME_CHARS)]


def _kind_of_label(value: object) -> str:
    """Which of a label's types a value is checked against: an error is about that one alone."""
    kinds = {bool: "(boolean)", int: "(integer)", float: "(number)"}
    return kinds.get(type(value), "(text)")


LabelValue = Annotated[
    Annotated[str, Field(max_length=200), Tag("(text)")]
    | Annotated[bool, Tag("(boolean)")]
    | Annotated[int, Tag("(integer)")]
    | Annotated[float, Tag("(number)")],
    Discriminator(_kind_of_label),
]
TaskEventName = Literal["task.completed", "task.failed", "task.cancelled", "task.expired"]
RunEventName = Literal["run.completed", "run.failed", "run.cancelled", "run.expired", "run.paused"]
BatchEventName = Literal["batch.completed", "batch.failed", "batch.expired", "batch.cancelled"]
ImportEventName = Literal["import.finished"]
#: Sent to those who ask for it.
ActionEventName = Literal["task.requires_action"]
EventName = Literal[TaskEventName, ActionEventName, RunEventName, BatchEventName, ImportEventName]


# --- Schemas ------------------------------------------------------------------------------------
class EndpointPatch(RequestSchema):
    model_config = example(events=["task.failed", "task.expired"])

    url: str = Field("", description="https, and of the public internet.")
    description: str = Field("", max_length=200)
    events: list[EventName] = Field(
        default_factory=lambda: list(get_args(TaskEventName)), min_length=1
    )
    only_scenes: list[Slug] = Field(
        default_factory=list, max_length=MAX_NAMES, description="Only of tasks of these scenes."
    )
    only_models: list[ModelName] = Field(
        default_factory=list, max_length=MAX_NAMES, description="Only of tasks of these models."
    )
    only_metadata: dict[LabelName, LabelValue] = Field(
        default_factory=dict,
        max_length=MAX_CONDITIONS,
        description="Only of tasks whose metadata has all these values.",
    )
    only_named: bool = Field(
        False, description="Only of tasks that name this endpoint in `webhook`."
    )
    is_active: bool = True

    @field_validator("events", "only_scenes", "only_models")
    @classmethod
    def _without_repeats(cls, value: list[str]) -> list[str]:
        return list(dict.fromkeys(value))


class EndpointIn(EndpointPatch):
    model_config = example(
        url="https://example.com/webhooks/aily",
        description="Billing",
        events=["task.completed", "task.failed"],
    )

    url: str


class EndpointOut(Schema):
    model_config = example(
        id=4,
        url="https://example.com/webhooks/aily",
        description="Billing",
        events=["task.completed", "task.failed"],
        only_scenes=["reply"],
        only_models=[],
        only_metadata={"customer": "acme"},
        only_named=False,
        is_active=True,
        disabled_at=None,
        disabled_reason="",
        previous_secret_expires_at=None,
        created_at="2026-01-31T12:00:00Z",
    )

    id: int
    url: str
    description: str
    events: list[str]
    only_scenes: list[str]
    only_models: list[str]
    only_metadata: dict[str, JsonValue]
    only_named: bool
    is_active: bool
    disabled_at: datetime | None
    disabled_reason: str
    previous_secret_expires_at: datetime | None
    created_at: datetime


class EndpointFilter(CreatedBetween):
    is_active: bool | None = None
    ordering: Literal["created_at", "-created_at"] = "created_at"


class NewSecretOut(EndpointOut):
    secret: str = Field(
        description="Signs what is sent. Shown this once.", examples=["whsec_MfKQ9r8..."]
    )


class DeliveryOut(Schema):
    model_config = example(
        id="0198c0de-ad44-7000-8000-0123456789ab",
        event="task.completed",
        task_id="0198c0de-9c33-7000-8000-0123456789ab",
        status="pending",
        attempts=2,
        response_status=503,
        error="Answered 503.",
        next_attempt_at="2026-01-31T12:01:10Z",
        created_at="2026-01-31T12:00:03Z",
        delivered_at=None,
    )

    id: UUID = Field(description="The header webhook-id, the same at every attempt.")
    event: str
    task_id: UUID | None
    status: str = Field(alias="state", description="pending, delivered or failed")
    attempts: int
    response_status: int | None
    error: str
    next_attempt_at: datetime | None
    created_at: datetime
    delivered_at: datetime | None


class DeliveryFilter(CreatedBetween):
    status: Literal["pending", "delivered", "failed"] | None = None
    event: Literal[EventName, "webhook.test"] | None = None
    task_id: UUID | None = Field(None, description="Deliveries of this task's events.")
    ordering: Literal["created_at", "-created_at"] = "-created_at"

    def apply(self, deliveries: QuerySet[Delivery]) -> QuerySet[Delivery]:
        # Ids begin with the time, and have the index.
        by_id = self.ordering.replace("created_at", "id")
        deliveries = matching(
            deliveries,
            state=self.status,
            event=self.event,
            task=self.task_id,
            **self.created(),
        )
        return deliveries.order_by(by_id)


class Preferences(Schema):
    model_config = example(
        email_on_finished=False,
        email_on_failed=True,
        email_on_requires_action=True,
        email_on_budget_near_end=True,
    )

    email_on_finished: bool
    email_on_failed: bool
    email_on_requires_action: bool = Field(description="A tool call waits for approval.")
    email_on_budget_near_end: bool


class PreferencesPatch(RequestSchema):
    model_config = example(email_on_finished=False, email_on_failed=True)

    email_on_finished: bool = False
    email_on_failed: bool = Field(False, description="Failed or expired.")
    email_on_requires_action: bool = False
    email_on_budget_near_end: bool = False


# --- Endpoints ----------------------------------------------------------------------------------
def _refuse_made_up(request: AuthenticatedRequest, endpoint_id: int) -> None:
    if not ENDPOINT_IDS.may_exist(endpoint_id, request.auth.user.pk):
        raise Http404


def _own(request: AuthenticatedRequest, endpoint_id: int) -> WebhookEndpoint:
    _refuse_made_up(request, endpoint_id)
    return get_object_or_404(WebhookEndpoint, pk=endpoint_id, owner=request.auth.user)


def _with_secret(endpoint: WebhookEndpoint, secret: str) -> NewSecretOut:
    return NewSecretOut(**EndpointOut.from_orm(endpoint).dict(), secret=secret)


@router.get(
    "/webhooks",
    operation_id="list_webhooks",
    response=list[EndpointOut],
    summary="Own webhook endpoints",
)
@paginate(Page)
def list_endpoints(
    request: AuthenticatedRequest, filters: Query[EndpointFilter]
) -> QuerySet[WebhookEndpoint]:
    endpoints = WebhookEndpoint.objects.filter(owner=request.auth.user)
    endpoints = matching(endpoints, is_active=filters.is_active, **filters.created())
    return ordered(endpoints, filters.ordering)


@router.post(
    "/webhooks",
    operation_id="create_webhook",
    response={201: NewSecretOut},
    summary="Add a webhook endpoint",
)
@takes_idempotency_key
async def create_endpoint(request: AuthenticatedRequest, payload: EndpointIn) -> object:
    # Before the look-up: the address behind the name may have changed since the first request.
    if (repeated := await in_database(replay, request)) is not None:
        return repeated
    await webhooks.require_safe(payload.url)
    return await in_database(_create, request, payload)


@idempotent(NewSecretOut, has_secret=True)
def _create(request: AuthenticatedRequest, payload: EndpointIn) -> Status[object]:
    made = webhooks.create_endpoint(request.auth.user, payload.dict())
    return Status(201, _with_secret(*made))


@router.get(
    "/webhooks/{int:endpoint_id}",
    operation_id="get_webhook",
    response=EndpointOut,
    summary="One webhook endpoint",
)
def get_endpoint(request: AuthenticatedRequest, endpoint_id: int) -> WebhookEndpoint:
    return _own(request, endpoint_id)


@router.patch(
    "/webhooks/{int:endpoint_id}",
    operation_id="edit_webhook",
    response=EndpointOut,
    summary="Change an endpoint",
)
@takes_if_match
async def edit_endpoint(
    request: AuthenticatedRequest, endpoint_id: int, payload: EndpointPatch
) -> WebhookEndpoint:
    await in_database(_own, request, endpoint_id)
    fields: dict[str, object] = payload.dict(exclude_unset=True)
    if "url" in fields:
        await webhooks.require_safe(payload.url)
    return await in_database(_edit, request, endpoint_id, fields)


@if_match(EndpointOut, get_endpoint)
def _edit(
    request: AuthenticatedRequest, endpoint_id: int, fields: dict[str, object]
) -> WebhookEndpoint:
    endpoint = _own(request, endpoint_id)
    webhooks.change_endpoint(endpoint, fields)
    return endpoint


@router.delete(
    "/webhooks/{int:endpoint_id}",
    operation_id="delete_webhook",
    response={204: None},
    summary="Delete an endpoint",
)
@if_match(EndpointOut, get_endpoint)
def delete_endpoint(request: AuthenticatedRequest, endpoint_id: int) -> Status[None]:
    _own(request, endpoint_id).delete()
    return Status(204, None)


@router.post(
    "/webhooks/{int:endpoint_id}/rotate",
    operation_id="rotate_webhook_secret",
    response=NewSecretOut,
    summary="Replace the secret; the old one is valid for another day",
)
@idempotent(NewSecretOut, has_secret=True)
def rotate(request: AuthenticatedRequest, endpoint_id: int) -> Status[NewSecretOut]:
    rotated = webhooks.rotate_secret(_own(request, endpoint_id).pk)
    return Status(200, _with_secret(*rotated))


@router.post(
    "/webhooks/{int:endpoint_id}/test",
    operation_id="send_webhook_test",
    response={202: DeliveryOut},
    summary="Send a test event",
)
@idempotent(DeliveryOut)
def test(request: AuthenticatedRequest, endpoint_id: int) -> Status[Delivery]:
    return Status(202, webhooks.send_test(_own(request, endpoint_id)))


# --- Deliveries ---------------------------------------------------------------------------------
@router.get(
    "/webhooks/{int:endpoint_id}/deliveries",
    response=list[DeliveryOut],
    summary="What was sent to an endpoint, newest first",
)
@may_read_replica
@paginate(Page)
def list_deliveries(
    request: AuthenticatedRequest, endpoint_id: int, filters: Query[DeliveryFilter]
) -> QuerySet[Delivery]:
    return filters.apply(Delivery.objects.filter(endpoint=_own(request, endpoint_id)))


def _own_delivery(request: AuthenticatedRequest, endpoint_id: int, delivery_id: UUID) -> Delivery:
    _refuse_made_up(request, endpoint_id)
    if not is_own(delivery_id):
        raise Http404
    deliveries = Delivery.objects.select_related("endpoint").filter(
        endpoint__owner=request.auth.user
    )
    return get_object_or_404(deliveries, pk=delivery_id, endpoint=endpoint_id)


@router.get(
    "/webhooks/{int:endpoint_id}/deliveries/{uuid:delivery_id}",
    response=DeliveryOut,
    summary="One delivery, and how it stands",
)
def get_delivery(request: AuthenticatedRequest, endpoint_id: int, delivery_id: UUID) -> Delivery:
    return _own_delivery(request, endpoint_id, delivery_id)


@router.post(
    "/webhooks/{int:endpoint_id}/deliveries/{uuid:delivery_id}/redeliver",
    response={202: DeliveryOut},
    summary="Send a delivery again, under its id",
)
def redeliver(
    request: AuthenticatedRequest, endpoint_id: int, delivery_id: UUID
) -> Status[Delivery]:
    return Status(202, webhooks.redeliver(_own_delivery(request, endpoint_id, delivery_id)))


# --- E-mail -------------------------------------------------------------------------------------
@router.get(
    "/notifications",
    operation_id="get_notifications",
    response=Preferences,
    summary="What I am mailed about",
)
def get_preferences(request: AuthenticatedRequest) -> NotificationPreferences:
    user = request.auth.user
    return NotificationPreferences.objects.filter(user=user).first() or NotificationPreferences()


@router.patch(
    "/notifications",
    operation_id="edit_notifications",
    response=Preferences,
    summary="Change what I am mailed about",
)
def edit_preferences(
    request: AuthenticatedRequest, payload: PreferencesPatch
) -> NotificationPreferences:
    fields = payload.dict(exclude_unset=True)
    if any(fields.values()) and not request.auth.user.email:
        raise because(InvalidRequest, Reason("no_own_address"), field="email")
    preferences, _ = NotificationPreferences.objects.update_or_create(
        user=request.auth.user, defaults=fields
    )
    return preferences
