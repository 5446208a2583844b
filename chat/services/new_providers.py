"""Tells the queue of a provider that was just added: no calls of it run anywhere."""

from __future__ import annotations

import logging

from aily.redis.errors import RedisUnavailable
from chat import scheduler
from chat.models import Provider

logger = logging.getLogger(__name__)


def announce(
    sender: type[Provider], instance: Provider, *, created: bool, **kwargs: object
) -> None:
    """Receive `post_save`. Unannounced, the provider's first task would wait for some seconds."""
    if not created:
        return
    try:
        scheduler.mark_known(str(instance.pk))
    except RedisUnavailable as error:
        logger.warning("a new provider could not be announced: Redis is away (%s)", error)
