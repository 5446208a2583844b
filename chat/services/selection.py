"""Selections of tasks that have not ended, by filters that an operator writes as `key=value`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.db.models import Q
from django.db.models.fields.json import KeyTextTransform
from django.utils import timezone

from accounts.models import User
from chat.models import Lane, LLMModel, Scene, Task
from chat.models.task_states import ACTIVE
from chat.models.tasks import TaskQuerySet
from chat.services.cancel import cancel_many

#: Tasks cancelled in one transaction.
PAGE = 1000
LANES = [lane.name.lower() for lane in Lane]
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class FilterError(Exception):
    """A filter that selects nothing sensible; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Tasks to cancel. Tasks that are accepted later are not among them."""

    tasks: TaskQuerySet

    def count(self) -> int:
        return self.tasks.count()

    def cancel(self) -> Iterator[int]:
        """Cancel them page by page; gives how many of each page had not ended."""
        last = UUID(int=0)
        while ids := list(
            self.tasks.filter(pk__gt=last).order_by("pk").values_list("pk", flat=True)[:PAGE]
        ):
            yield cancel_many(ids)
            last = ids[-1]


def select(filters: Sequence[str]) -> Selection:
    """The tasks for which all filters hold. Raises FilterError."""
    tasks: TaskQuerySet = Task.objects.active().filter(created_at__lte=timezone.now())
    for number, text in enumerate(filters):
        key, equals, value = text.partition("=")
        if not equals or not value:
            raise FilterError(f"{text!r} is not key=value.")
        if key.startswith("metadata."):
            name = f"metadata_value_{number}"
            path = KeyTextTransform(key.removeprefix("metadata."), "metadata")
            tasks = tasks.alias(**{name: path}).filter(**{name: value})
        elif key in _CONDITIONS:
            tasks = tasks.filter(_CONDITIONS[key](value))
        else:
            names = ", ".join(_CONDITIONS)
            raise FilterError(f"{key!r} is no filter: there are {names} and metadata.NAME.")
    return Selection(tasks)


def _model(name: str) -> Q:
    if not LLMModel.objects.filter(name=name).exists():
        raise FilterError(f"There is no model {name!r}.")
    return Q(model__name=name)


def _scene(slug: str) -> Q:
    if not Scene.objects.filter(slug=slug).exists():
        raise FilterError(f"There is no scene {slug!r}.")
    return Q(scene__slug=slug)


def _user(username: str) -> Q:
    if not User.objects.filter(username=username).exists():
        raise FilterError(f"There is no user {username!r}.")
    return Q(owner__username=username)


def _status(status: str) -> Q:
    if status not in ACTIVE:
        raise FilterError(f"status is {' or '.join(ACTIVE)}, not {status!r}.")
    return Q(status=status)


def _lane(name: str) -> Q:
    if name not in LANES:
        raise FilterError(f"lane is {' or '.join(LANES)}, not {name!r}.")
    return Q(lane=Lane[name.upper()])


def _older_than(text: str) -> Q:
    match = re.fullmatch(r"(\d{1,5})([smhdw])", text)
    if match is None:
        raise FilterError(f"{text!r} is no duration such as 90s, 15m, 12h, 30d or 4w.")
    return Q(created_at__lt=timezone.now() - timedelta(**{_UNITS[match[2]]: int(match[1])}))


_CONDITIONS: dict[str, Callable[[str], Q]] = {
    "model": _model,
    "scene": _scene,
    "user": _user,
    "status": _status,
    "lane": _lane,
    "older-than": _older_than,
}
