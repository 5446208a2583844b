"""The catalogue of tables. Rows are in PostgreSQL tables of their own (chat/tables/ddl.py)."""

from chat.tables.models.ai_fields import AiField, Policy
from chat.tables.models.ai_runs import AiConfig, AiRun, CellVersion, Comparison, Which
from chat.tables.models.changes import Change, ChangeKind, Step
from chat.tables.models.fields import Field, Kind
from chat.tables.models.indexes import FieldIndex
from chat.tables.models.tables import Table
from chat.tables.models.transfers import (
    ACTIVE_TRANSFERS,
    Export,
    Import,
    ImportMode,
    TransferState,
)
from chat.tables.models.views import View

__all__ = [
    "ACTIVE_TRANSFERS",
    "AiConfig",
    "AiField",
    "AiRun",
    "CellVersion",
    "Change",
    "ChangeKind",
    "Comparison",
    "Export",
    "Field",
    "FieldIndex",
    "Import",
    "ImportMode",
    "Kind",
    "Policy",
    "Step",
    "Table",
    "TransferState",
    "View",
    "Which",
]
