"""Announces changes of models, deployments and providers: workers read them anew at once."""

from __future__ import annotations

import logging
from functools import partial

from django.db import transaction

from aily.redis.errors import RedisUnavailable
from chat import actors, scheduler
from chat.models import Deployment, LLMModel, Provider, forget_copy

logger = logging.getLogger(__name__)


Changeable = LLMModel | Provider | Deployment


def announce(sender: type[Changeable], instance: Changeable, **kwargs: object) -> None:
    """Receive `post_save`, and of deployments `post_delete`. Unannounced, workers find out with
    their next renewal, and what waits for a disabled model is ended by the next sweep."""
    is_enabled = isinstance(instance, Deployment) or instance.is_enabled
    transaction.on_commit(partial(_announce, is_enabled=is_enabled))


def _announce(*, is_enabled: bool) -> None:
    forget_copy()
    try:
        scheduler.reload_workers()
        if not is_enabled:
            actors.sweep.send()
    except RedisUnavailable as error:
        logger.warning("a change of a model could not be announced: Redis is away (%s)", error)
