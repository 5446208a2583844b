"""Tasks that have ended, as settling reads them."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec


class EndedTask(msgspec.Struct, frozen=True):
    """What accounting and delivery need to know of a task; its texts, which are large, not.

    Decoded from JSON, 2 µs each; an instance of the model takes 36.
    """

    id: UUID
    owner_id: int
    api_key_id: int | None
    model_id: int
    scene_id: int | None
    status: str
    usage: dict[str, Any]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime
