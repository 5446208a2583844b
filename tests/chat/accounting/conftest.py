"""A user with a budget, and tasks that end without a worker."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import User
from chat.models import Budget, LLMModel, Task
from chat.services import submit as service
from chat.services.submission import CompositeRequest
from chat.services.submit import Accepted, Submission

#: Submits so many equal tasks of Alice in one batch.
SubmitMany = Callable[..., list[Accepted | Exception]]


@pytest.fixture(autouse=True)
def prices(model: LLMModel) -> None:
    """1 USD per million prompt tokens, 2 per million completion tokens."""
    model.input_price, model.output_price = Decimal(1), Decimal(2)
    model.cached_input_price = Decimal("0.1")
    model.save()


@pytest.fixture
def submit_many(alice: User) -> SubmitMany:
    def submit(
        count: int = 1,
        *,
        max_tokens: int | None = 100,
        fields: dict[str, Any] | None = None,
        **of: Any,
    ) -> list[Any]:
        one = {"max_tokens": max_tokens, **(fields or {})}
        return service.submit_many([submission(alice, **one, **of) for _ in range(count)])

    return submit


def submission(
    owner: User,
    max_tokens: int | None = 100,
    messages: list[dict[str, Any]] | None = None,
    max_completion_tokens: int | None = None,
    extra_body: dict[str, Any] | None = None,
    **of: Any,
) -> Submission:
    body = {
        "messages": messages or [{"role": "user", "content": "Hi"}],
        "max_tokens": max_tokens,
        "max_completion_tokens": max_completion_tokens,
        "extra_body": extra_body,
    }
    return Submission(owner_id=owner.pk, request=CompositeRequest.model_validate(body), **of)


def budget_of(user: User | None, **fields: Any) -> Budget:
    return Budget.objects.create(name="pocket money", user=user, **fields)


def end(task_id: str, status: str = "succeeded", **fields: Any) -> None:
    """What a worker makes of a task, in the row."""
    started_at = timezone.now() if fields.get("attempt", 1) else None
    ended = {"attempt": 1, "last_event": 3, "started_at": started_at, **fields}
    Task.objects.filter(pk=task_id).update(status=status, finished_at=timezone.now(), **ended)


def usage(prompt: int, completion: int, cached: int = 0) -> dict[str, int]:
    return {
        "prompt_tokens": prompt,
        "cached_tokens": cached,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }
