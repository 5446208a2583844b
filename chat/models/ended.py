"""Tasks that have ended, as settlement reads them."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import msgspec


class EndedTask(msgspec.Struct, frozen=True):
    """A task that has ended: what accounting and delivery need, without its large texts.

    Decoded from JSON, 2 µs each; an instance of the model takes 36.
    """

    id: UUID
    owner_id: int
    api_key_id: int | None
    model_id: int
    scene_id: int | None
    #: The endpoint that the request named.
    webhook_id: int | None
    #: The run that it is a row of.
    run_id: UUID | None
    status: str
    usage: dict[str, object]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime
    #: True: `usage` is that of a first answer; what was to repair it broke off, uncounted.
    is_partly_counted: bool = False
    #: JSON (chat/models/metadata.py): few readers need it decoded.
    labels: msgspec.Raw = msgspec.Raw(b"{}")
    #: The deployment of its model that its last attempt called.
    deployment: str = ""
    #: Whether its model might call tools of aily's, which may have a price.
    has_tools: bool = False
