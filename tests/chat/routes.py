"""Where a model's own deployment is called."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from chat.models import LLMModel, transitions
from chat.models.transitions import Route, StartedTask


def own_route(model_id: int) -> Route:
    model = LLMModel.objects.select_related("provider").get(pk=model_id)
    return Route(model.pk, model.provider_id, None, model.provider.name)


def start_own(worker_id: UUID, model_id: int, task_ids: Sequence[str]) -> list[StartedTask]:
    """Start tasks at the model's own deployment."""
    return transitions.start(worker_id, own_route(model_id), task_ids)
