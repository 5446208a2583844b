"""Stage `store`: commit the tasks of a batch in one transaction, with what they reserve of budgets
and add to conversations."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from uuid import UUID

from django.db import IntegrityError, transaction

from aily.database.errors import is_outage
from aily.problems import Conflict, NotFound, Problem
from chat import accounting
from chat.accounting import BudgetsInForce
from chat.exceptions import BudgetExceeded, ConversationBusy, because
from chat.models import Task, flights
from chat.models.conversations import (
    AlreadyReplacedError,
    AssistantTurn,
    HistoryChangedError,
    claim,
    store_assistant_turns,
    store_user_turns,
)
from chat.models.insertion import insert_tasks
from chat.models.responses import insert_responses
from chat.models.task_states import ACTIVE
from chat.reasons import Reason
from chat.services import sharing
from chat.services.submit.pending import PendingSubmission, new_tasks, open_in

logger = logging.getLogger(__name__)


def store_tasks(batch: Sequence[PendingSubmission], budgets: BudgetsInForce) -> None:
    """Commit the tasks, and refuse those that their budgets do not allow.

    Where PostgreSQL refuses the batch, as a constraint or a value of some task is in the way, they
    are inserted one at a time. Raises django.db.Error if it is away; then nothing was stored.
    """
    tasks = new_tasks(batch)
    if not tasks:
        return
    sharing.prepare(tasks, budgets)
    try:
        refusals = insert_batch(tasks, budgets)
    except Exception as error:
        if is_outage(error):
            raise
        for pending in open_in(batch):
            _store_alone(pending, budgets)
        return
    if refusals:
        _refuse(batch, refusals)


def _refuse(batch: Sequence[PendingSubmission], refusals: dict[UUID, BudgetExceeded]) -> None:
    for pending in open_in(batch):
        if (refusal := refusals.get(pending.task.pk)) is not None:
            pending.refuse(refusal)


def _store_alone(pending: PendingSubmission, budgets: BudgetsInForce) -> None:
    """Insert one task, so that what fails says whose fault it is."""
    try:
        refusals = insert_batch([pending.task], budgets)
    except Exception as error:
        problem = _problem_of(error)
        if problem is None:
            logger.exception("a task could not be stored")
        pending.refuse(problem or error)
        return
    _refuse([pending], refusals)


def _problem_of(error: Exception) -> Problem | None:
    """What the submitter did wrong, by the constraint that failed; None if it is no known one."""
    match error:
        case HistoryChangedError():
            return ConversationBusy(
                "This conversation has just got another message; submit again.",
                field="conversation_id",
            )
        case AlreadyReplacedError():
            return because(Conflict, Reason("asked_again"), field="replaces")
        case IntegrityError() if "one_active_task_a_conversation" in str(error):
            return ConversationBusy(
                "This conversation is still answering; wait for that or cancel it.",
                field="conversation_id",
            )
        case IntegrityError() if "unique_owner_idempotency_key" in str(error):
            # Of an equal request at the same moment; `reuse_refused` finds its task.
            return because(Conflict, Reason("key_just_used"))
        case IntegrityError() if "chat_task_conversation_id" in str(error):
            return because(NotFound, Reason("no_such_conversation"), field="conversation_id")
    return None


# --- Inserting ----------------------------------------------------------------------------------
def insert_batch(tasks: Sequence[Task], budgets: BudgetsInForce) -> dict[UUID, BudgetExceeded]:
    """Insert the tasks that their budgets allow. Returns why not the others, by id."""
    if not any(_needs_more_than_a_row(task, budgets) for task in tasks):
        # One statement is a transaction by itself, and two round trips less.
        insert_tasks(tasks)
        return {}
    with transaction.atomic():
        # What is answered already is free.
        refusals = accounting.reserve([task for task in tasks if task.status in ACTIVE], budgets)
        allowed = [task for task in tasks if task.pk not in refusals]
        flights.join(allowed)
        insert_tasks(allowed)
        insert_responses([task.new_response for task in allowed if task.new_response])
        _continue_conversations(allowed)
    return refusals


def _needs_more_than_a_row(task: Task, budgets: BudgetsInForce) -> bool:
    return bool(task.conversation_id or task.may_follow or task.new_response or budgets.of(task))


def _continue_conversations(tasks: Sequence[Task]) -> None:
    """Add what the tasks ask to their conversations, and what the cache has answered already."""
    turns = [task.user_turn for task in tasks if task.user_turn]
    if not turns:
        return
    # First, as it locks the conversations: from here on an answer that was stored before can be
    # seen. A task that is answered already shuts no other out by itself.
    claim(turns)
    answers = [
        AssistantTurn(task.user_turn.conversation_id, task.pk, task.text)
        for task in tasks
        if task.user_turn and task.status not in ACTIVE
    ]
    answered = [answer.conversation_id for answer in answers]
    if answered and Task.objects.active().filter(conversation_id__in=answered).exists():
        raise HistoryChangedError
    store_user_turns(turns)
    store_assistant_turns(answers)
