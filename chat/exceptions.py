"""Chat's own additions to aily.problems.

InvalidRequest
├── InvalidVariable      invalid_variable      422  a scene's variable is missing or wrong
├── InvalidTemplate      invalid_template      422  a prompt template or schema cannot be used
└── IdempotencyMismatch  idempotency_mismatch  422  same Idempotency-Key, other body
Conflict
└── ConversationBusy     conversation_busy     409  a conversation answers one task at a time
"""

from __future__ import annotations

from aily.problems import Conflict, InvalidRequest


class InvalidVariable(InvalidRequest):
    code, status, title = "invalid_variable", 422, "Invalid variable"


class InvalidTemplate(InvalidRequest):
    code, status, title = "invalid_template", 422, "Invalid template"


class IdempotencyMismatch(InvalidRequest):
    code, status, title = "idempotency_mismatch", 422, "Idempotency key reused"


class ConversationBusy(Conflict):
    code, title = "conversation_busy", "Conversation busy"
