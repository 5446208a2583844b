"""Stored responses of one owner: finding, listing, deleting, and going on from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from uuid import UUID

from aily.database.threads import in_database
from chat.models import Status, StoredResponse, Task
from chat.models.ids import ais_own
from chat.openai.errors import OpenAIError
from chat.openai.responses.objects import JsonObject, task_id_of, task_id_of_item
from chat.openai.responses.prompt import continued
from chat.openai.responses.replay import current_object
from chat.openai.responses.row_replay import with_calls
from chat.tool_calls import PromptMessage

#: Responses that one request may refer to by their items.
MAX_REFERENCED = 64
_MAX_ID_CHARS = 100
#: Columns of the task that no response shows.
_NOT_SHOWN = ("task__messages", "task__params", "task__metadata")


async def load_response(owner_id: int, name: str) -> StoredResponse:
    """Return a response of this owner with its task. Raises OpenAIError (404)."""
    response = await _find(owner_id, task_id_of(name))
    if response is None:
        message = f"Response with id '{name[:_MAX_ID_CHARS]}' not found."
        raise OpenAIError(HTTPStatus.NOT_FOUND, message)
    return response


async def _find(
    owner_id: int, task_id: UUID | None, not_read: Sequence[str] = _NOT_SHOWN
) -> StoredResponse | None:
    if task_id is None or not await ais_own(task_id):
        return None
    return await in_database(_read, owner_id, task_id, not_read)


def _read(owner_id: int, task_id: UUID, not_read: Sequence[str]) -> StoredResponse | None:
    found = StoredResponse.objects.filter(pk=task_id, task__owner_id=owner_id, is_deleted=False)
    response = found.select_related("task").defer(*not_read).first()
    if response is not None:
        with_calls(response.task)
    return response


async def delete_response(response: StoredResponse) -> None:
    """Delete what is kept beside the task. The task stays for as long as tasks are kept."""
    found = StoredResponse.objects.filter(pk=response.pk)
    await in_database(lambda: found.update(is_deleted=True, input=[], transcript=[]))


# --- Going on from them -------------------------------------------------------------------------
async def load_context(owner_id: int, name: str) -> list[PromptMessage]:
    """Return the messages up to the end of a previous response. Raises OpenAIError."""
    response = await _find(owner_id, task_id_of(name), not_read=("task__params", "task__metadata"))
    if response is None:
        raise previous_not_found(name)
    task: Task = response.task
    if not Status(task.status).is_terminal:
        raise OpenAIError(
            HTTPStatus.BAD_REQUEST,
            "The previous response has not ended yet.",
            param="previous_response_id",
            code="previous_response_in_progress",
        )
    turns: list[PromptMessage] = []
    if task.tools is not None:
        # Imported here: a process without tools loads none of this.
        from chat.toolloop.turns import load_turns

        turns = (await in_database(load_turns, task.pk)).messages()
    return continued(task, turns, has_instructions=response.has_instructions)


def previous_not_found(name: str) -> OpenAIError:
    return OpenAIError(
        HTTPStatus.BAD_REQUEST,
        f"Previous response with id '{name[:_MAX_ID_CHARS]}' not found.",
        param="previous_response_id",
        code="previous_response_not_found",
    )


async def load_items(owner_id: int, names: Iterable[str]) -> Mapping[str, JsonObject]:
    """Return the output items with these ids, as far as they are in stored responses."""
    task_ids = {task_id for name in names if (task_id := task_id_of_item(name)) is not None}
    if len(task_ids) > MAX_REFERENCED:
        message = f"The items belong to more than {MAX_REFERENCED} responses."
        raise OpenAIError(HTTPStatus.BAD_REQUEST, message, param="input")
    found: dict[str, JsonObject] = {}
    for task_id in task_ids:
        response = await _find(owner_id, task_id)
        if response is not None:
            body = await current_object(response, response.task, owner_id)
            found |= {item["id"]: item for item in body["output"]}
    return found


# --- Listing ------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class ItemPage:
    """Which items of a list are asked for."""

    limit: int
    is_ascending: bool = False
    after: str | None = None

    def of(self, items: Sequence[JsonObject]) -> JsonObject:
        """Return the page of these items. Raises OpenAIError where `after` is none of the items."""
        listed = list(items) if self.is_ascending else list(reversed(items))
        if self.after is not None:
            ids = [item["id"] for item in listed]
            if self.after not in ids:
                message = f"There is no item '{self.after[:_MAX_ID_CHARS]}' in this list."
                raise OpenAIError(HTTPStatus.BAD_REQUEST, message, param="after")
            listed = listed[ids.index(self.after) + 1 :]
        page = listed[: self.limit]
        return {
            "object": "list",
            "data": page,
            "first_id": page[0]["id"] if page else "",
            "last_id": page[-1]["id"] if page else "",
            "has_more": len(listed) > self.limit,
        }
