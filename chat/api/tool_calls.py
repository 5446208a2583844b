"""REST: the tool calls of a task, and their approval."""

# Annotations stay objects here: ninja looks them up.

from typing import Literal
from uuid import UUID

from ninja import Router
from pydantic import Field, JsonValue, model_validator

from accounts.authentication import AuthenticatedRequest
from aily.database.threads import in_database
from aily.problems import NotFound
from aily.rest.openapi import documented_responses, example
from chat.api.tool_call_schemas import ToolCallOut, load_calls
from chat.exceptions import because
from chat.models import Task
from chat.models.ids import ais_own, is_own
from chat.models.tool_calls import REASON_CHARS, ToolCall
from chat.reasons import Reason
from chat.services.parameters import Strict
from chat.services.refused_values import refused
from chat.services.tool_approvals import approve, find_call, reject

router = Router(tags=["tasks"])


class DecisionIn(Strict):
    """What becomes of a tool call that waits for approval, or for the answer to its question."""

    model_config = example(decision="approve", arguments={"city": "Paris"})

    decision: Literal["approve", "reject"]
    arguments: dict[str, JsonValue] | None = Field(
        None, description="Approved in place of the model's; they must fit the tool."
    )
    input: dict[str, JsonValue] | None = Field(
        None, description="The answer to what the tool asks, which must fit its `schema`."
    )
    question: int | None = Field(
        None,
        ge=1,
        le=100,
        description="Which of the tool's questions is answered: 409 if it waits no more.",
    )
    reason: str = Field(
        "", max_length=REASON_CHARS, description="Why it is rejected; the model gets this text."
    )

    @model_validator(mode="after")
    def _fits_the_decision(self) -> "DecisionIn":
        if self.decision == "reject" and self.arguments is not None:
            raise refused(Reason("arguments_approve"))
        if self.input is not None and (self.decision == "reject" or self.arguments is not None):
            raise refused(Reason("input_approves"))
        if self.decision == "approve" and self.reason:
            raise refused(Reason("reason_rejects"))
        return self


@router.get(
    "/tasks/{uuid:task_id}/tool-calls",
    response=list[ToolCallOut],
    url_name="list_tool_calls",
    summary="Tool calls of a task",
)
def list_tool_calls(request: AuthenticatedRequest, task_id: UUID) -> list[ToolCall]:
    """The tool calls that the task's model has asked for, in their order; long results are cut."""
    owned = Task.objects.owned_by(request.auth.user.pk).filter(pk=task_id)
    if not is_own(task_id) or not owned.exists():
        raise because(NotFound, Reason("no_such_task"), field="task_id")
    return load_calls([task_id])[task_id]


@router.get(
    "/tasks/{uuid:task_id}/tool-calls/{uuid:call_id}",
    response=ToolCallOut,
    url_name="get_tool_call",
    summary="One tool call",
)
async def get_tool_call(request: AuthenticatedRequest, task_id: UUID, call_id: UUID) -> ToolCall:
    """One tool call, whole."""
    call = None
    if await ais_own(task_id):
        call = await in_database(find_call, request.auth.user.pk, task_id, call_id)
    if call is None:
        raise because(NotFound, Reason("no_such_tool_call"), field="call_id")
    return call


@router.post(
    "/tasks/{uuid:task_id}/tool-calls/{uuid:call_id}",
    response=ToolCallOut,
    url_name="decide_tool_call",
    summary="Approve or reject a tool call",
    openapi_extra=documented_responses({}, 404, 409),
)
async def decide_tool_call(
    request: AuthenticatedRequest, task_id: UUID, call_id: UUID, body: DecisionIn
) -> ToolCall:
    """Approve or reject a tool call. Answers 409 if it was decided already, or waits no more."""
    owner_id = request.auth.user.pk
    if body.decision == "approve":
        return await approve(owner_id, task_id, call_id, body.arguments, body.input, body.question)
    return await reject(owner_id, task_id, call_id, body.reason, body.question)
