"""Announces a new model or tool server to the queue: no calls of it run anywhere."""

from __future__ import annotations

import logging

from aily.redis.errors import RedisUnavailable
from chat import scheduler
from chat.models import LLMModel, ToolServer

logger = logging.getLogger(__name__)


def announce(
    sender: type[LLMModel | ToolServer],
    instance: LLMModel | ToolServer,
    *,
    created: bool,
    **kwargs: object,
) -> None:
    """Receive `post_save`. Unannounced, its first task or call would wait for some seconds."""
    if not created:
        return
    try:
        scheduler.mark_known(instance.pool)
    except RedisUnavailable as error:
        logger.warning(
            "a new model or tool server could not be announced: Redis is away (%s)", error
        )
