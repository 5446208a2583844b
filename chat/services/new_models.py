"""Tells the queue of a model that was just added: no calls of it run anywhere."""

from __future__ import annotations

import logging

from aily.redis.errors import RedisUnavailable
from chat import scheduler
from chat.models import LLMModel

logger = logging.getLogger(__name__)


def announce(
    sender: type[LLMModel], instance: LLMModel, *, created: bool, **kwargs: object
) -> None:
    """Receive `post_save`. Unannounced, the model's first task would wait for some seconds."""
    if not created:
        return
    try:
        scheduler.mark_known(instance.pool)
    except RedisUnavailable as error:
        logger.warning("a new model could not be announced: Redis is away (%s)", error)
