"""The tables. A task exists once its row is committed; its final result is in its row."""

from chat.models.batches import Batch
from chat.models.budgets import Budget, BudgetPeriod
from chat.models.conversations import Conversation, Message
from chat.models.delivery import Delivery, NotificationPreferences, WebhookEndpoint
from chat.models.files import FilePiece, StoredFile
from chat.models.ids import IdKey
from chat.models.kinds import TaskKind
from chat.models.ledger import LedgerEntry, ReservationChange
from chat.models.llm_models import Deployment, LLMModel
from chat.models.pools import (
    apaused_models,
    forget_copy,
    paused_models,
    pools_of,
)
from chat.models.prices import ModelPrice
from chat.models.providers import Provider
from chat.models.responses import StoredResponse
from chat.models.runs import RowState, Run, RunRow, RunState
from chat.models.scenes import Scene, SceneVersion
from chat.models.seeds import Seed
from chat.models.task_states import Lane, ServedFrom, Status
from chat.models.tasks import Task
from chat.models.tool_calls import CallState, ToolCall, ToolStep
from chat.models.tools import Tool, ToolPolicy, ToolServer, ToolServerAuth, ToolServerKind
from chat.models.vectors import TaskVectors
from chat.models.workers import Worker

__all__ = [
    "Batch",
    "Budget",
    "BudgetPeriod",
    "CallState",
    "Conversation",
    "Delivery",
    "Deployment",
    "FilePiece",
    "IdKey",
    "LLMModel",
    "Lane",
    "LedgerEntry",
    "Message",
    "ModelPrice",
    "NotificationPreferences",
    "Provider",
    "ReservationChange",
    "RowState",
    "Run",
    "RunRow",
    "RunState",
    "Scene",
    "SceneVersion",
    "Seed",
    "ServedFrom",
    "Status",
    "StoredFile",
    "StoredResponse",
    "Task",
    "TaskKind",
    "TaskVectors",
    "Tool",
    "ToolCall",
    "ToolPolicy",
    "ToolServer",
    "ToolServerAuth",
    "ToolServerKind",
    "ToolStep",
    "WebhookEndpoint",
    "Worker",
    "apaused_models",
    "forget_copy",
    "paused_models",
    "pools_of",
]
