"""What else is done with tasks that call tools: streams in OpenAI's form, and retries."""

from __future__ import annotations

import pytest

from aily.database.threads import in_database
from chat.models import Status, Task
from chat.openai.sent_text import SentText, TextReplacedError
from chat.runner.runtime import Runtime
from chat.services.cancel import cancel_many
from chat.services.retry import retry_many
from tests.chat.conftest import eventually
from tests.chat.toolloop.conftest import Plan, asked
from tests.chat.toolloop.service import ToolService


def test_what_a_step_has_said_stays_and_the_next_one_follows() -> None:
    sent = SentText()
    sent.begin(1)
    assert sent.unsent("Let me look. ", "") == ("Let me look. ", "")
    sent.end_step()
    sent.begin(2)
    assert sent.unsent("It is 5.", "") == ("It is 5.", "")
    with pytest.raises(TextReplacedError):
        sent.begin(3)


async def test_a_retried_task_may_call_the_same_tools(
    worker: Runtime, submit_plan: Plan, service: ToolService
) -> None:
    task_id = await submit_plan('ask {"a": 1}')
    call = await asked(task_id)
    assert await in_database(cancel_many, [call.task_id]) == 1
    assert await in_database(retry_many, [call.task_id]) == 1

    async def is_asked() -> bool:
        waiting = Task.objects.filter(status=Status.REQUIRES_ACTION).exclude(pk=call.task_id)
        return await in_database(waiting.exists)

    await eventually(is_asked, "the question again")
    assert not service.calls
