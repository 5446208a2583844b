"""The names of pools by model id, and which models staff have paused, from a process's copy."""

from __future__ import annotations

import time
from collections.abc import Collection

from aily.database.rows import fetch_column
from aily.database.threads import in_database
from chat.models.llm_models import pool_name

#: How long a process uses its copy.
COPY_SECONDS = 1.0

_PAUSED = """
SELECT m.id
  FROM chat_llmmodel m JOIN chat_provider p ON p.id = m.provider_id
 WHERE m.paused_at IS NOT NULL
    OR (m.weight = 0 OR m.own_paused_at IS NOT NULL OR p.paused_at IS NOT NULL)
       AND NOT EXISTS (SELECT FROM chat_deployment d JOIN chat_provider dp ON dp.id = d.provider_id
                        WHERE d.model_id = m.id AND d.weight > 0 AND d.paused_at IS NULL
                          AND dp.paused_at IS NULL)
"""

_copied_at = float("-inf")
_paused: frozenset[int] = frozenset()


def pools_of(model_ids: Collection[int]) -> dict[int, str]:
    """The pool of each model."""
    return {model_id: pool_name(model_id) for model_id in model_ids}


def paused_models() -> frozenset[int]:
    """The models that staff have paused: themselves, or all of their deployments or providers.

    One query at the most, none while this process's copy is fresh.
    """
    return _paused if _is_fresh() else _read()


async def apaused_models() -> frozenset[int]:
    """`paused_models` for an event loop."""
    return _paused if _is_fresh() else await in_database(_read)


def forget_copy() -> None:
    """Have the next `paused_models` of this process read the database."""
    global _copied_at
    _copied_at = float("-inf")


def _is_fresh() -> bool:
    return time.monotonic() - _copied_at < COPY_SECONDS


def _read() -> frozenset[int]:
    global _copied_at, _paused
    read_at = time.monotonic()
    _paused = frozenset(fetch_column(int, _PAUSED))
    _copied_at = read_at
    return _paused
