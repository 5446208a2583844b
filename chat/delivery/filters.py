"""Which endpoints are sent the end of a task: those that it names, and those whose filters fit."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import msgspec

from chat.models import LLMModel, Scene, WebhookEndpoint
from chat.models.delivery import EVENT_OF
from chat.models.ended import EndedTask
from chat.models.metadata import has_labels


@dataclass(frozen=True, slots=True)
class Wants:
    """Decides for endpoints about tasks, by the names that the endpoints' filters have."""

    scenes: dict[int, str]
    models: dict[int, str]

    @classmethod
    def of_endpoints(cls, endpoints: Collection[WebhookEndpoint]) -> Wants:
        """Look up the ids of what the filters name; no query if there are none."""
        slugs = {slug for endpoint in endpoints for slug in endpoint.only_scenes}
        names = {name for endpoint in endpoints for name in endpoint.only_models}
        scenes = Scene.objects.filter(slug__in=slugs).values_list("pk", "slug")
        models = LLMModel.objects.filter(name__in=names).values_list("pk", "name")
        return cls(dict(scenes) if slugs else {}, dict(models) if names else {})

    def task(self, endpoint: WebhookEndpoint, task: EndedTask) -> bool:
        """True if the endpoint wants the task's end."""
        return self.event(endpoint, task, EVENT_OF[task.status])

    def event(self, endpoint: WebhookEndpoint, task: EndedTask, event: str) -> bool:
        """True if the endpoint wants this event of the task."""
        if endpoint.pk == task.webhook_id:
            return True
        return (
            not endpoint.only_named
            and event in endpoint.events
            and _fits(endpoint.only_scenes, self.scenes.get(task.scene_id or 0))
            and _fits(endpoint.only_models, self.models.get(task.model_id))
            and _has_metadata(endpoint, task)
        )


def _fits(wanted: list[str], name: str | None) -> bool:
    return not wanted or name in wanted


def _has_metadata(endpoint: WebhookEndpoint, task: EndedTask) -> bool:
    wanted = endpoint.only_metadata
    return not wanted or has_labels(msgspec.json.decode(task.labels), wanted)
