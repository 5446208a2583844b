"""Lists of tasks: which are asked for, and what is read of each."""

# Annotations stay objects here: ninja looks them up.

from typing import Literal
from uuid import UUID

from django.db.models import (
    BooleanField,
    Case,
    ExpressionWrapper,
    F,
    JSONField,
    OuterRef,
    Q,
    Subquery,
    Value,
    When,
)
from django.db.models.expressions import RawSQL
from pydantic import Field

from aily.rest.pages import matching
from aily.rest.requests import CreatedBetween, Moment
from chat.api.metadata import METADATA_FILTER, MetadataFilter, with_metadata
from chat.api.task_schemas import StatusName
from chat.models import Deployment, Lane
from chat.models.task_states import ACTIVE
from chat.models.tasks import TaskQuerySet
from chat.services.submission import MAX_METADATA_BYTES, LaneName

#: Of PostgreSQL's bigint.
MAX_ID = 2**63 - 1
#: Columns of any size, which lists leave out.
_LARGE = (
    *("messages", "params", "response_format", "metadata", "text", "reasoning", "tool_calls"),
    *("repair", "earlier_attempts", "tools", "logprobs"),
)


def with_called(tasks: TaskQuerySet) -> TaskQuerySet:
    """With whether the further deployment that was called, if one was, is simulated."""
    called = Deployment.objects.filter(model=OuterRef("model_id"), name=OuterRef("deployment"))
    return tasks.annotate(
        is_called_simulated=Subquery(called.order_by().values("provider__is_simulated")[:1])
    )


def listed(tasks: TaskQuerySet) -> TaskQuerySet:
    """What a `TaskItem` is made of, without the columns of any size.

    Rows from before MAX_METADATA_BYTES may have more metadata; theirs are left out.
    """
    # Only what is large on disk is measured; what lies in the row is short enough.
    is_short = RawSQL(
        "pg_column_size(chat_task.metadata) <= 2000"
        " OR octet_length(chat_task.metadata::text) <= %s",
        [2 * MAX_METADATA_BYTES],
        output_field=BooleanField(),
    )
    return tasks.defer(*_LARGE).annotate(
        shown_metadata=Case(When(is_short, then=F("metadata")), default=Value({}, JSONField())),
        has_text=ExpressionWrapper(~Q(text=""), BooleanField()),
        has_reasoning=ExpressionWrapper(~Q(reasoning=""), BooleanField()),
        has_tools=ExpressionWrapper(Q(tools__isnull=False), BooleanField()),
    )


class TaskFilter(CreatedBetween):
    status: StatusName | None = None
    kind: Literal["chat", "embeddings"] | None = None
    active: bool | None = Field(None, description="True: it has not ended. False: it has.")
    scene: str | None = Field(None, max_length=50)
    model: str | None = Field(None, max_length=100, description="A model's name.")
    api_key: int | None = Field(
        None, ge=0, le=MAX_ID, description="Id of the API key that submitted it."
    )
    conversation_id: UUID | None = None
    lane: LaneName | None = None
    metadata: MetadataFilter = Field(default_factory=list, description=METADATA_FILTER)
    finished_after: Moment | None = Field(None, description="Ended at this time or later.")
    finished_before: Moment | None = Field(None, description="Ended before this time.")
    ordering: Literal["created_at", "-created_at"] = "-created_at"

    def apply(self, tasks: TaskQuerySet) -> TaskQuerySet:
        wanted: dict[str, object] = {
            "status": self.status,
            "kind": self.kind,
            "scene__slug": self.scene,
            "model__name": self.model,
            "api_key_id": self.api_key,
            "conversation_id": self.conversation_id,
            "lane": Lane[self.lane.upper()] if self.lane else None,
            **self.created(),
            "finished_at__gte": self.finished_after,
            "finished_at__lt": self.finished_before,
        }
        tasks = matching(tasks, **wanted)
        if self.metadata:
            tasks = tasks.with_metadata(with_metadata(self.metadata))
        if self.active is None:
            return tasks
        return tasks.filter(status__in=ACTIVE) if self.active else tasks.exclude(status__in=ACTIVE)
