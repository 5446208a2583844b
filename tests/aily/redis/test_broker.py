"""The doorbell."""

from __future__ import annotations

import dramatiq
import pytest

from chat.actors import dispatch


def test_a_message_that_is_to_wait_is_refused_as_nobody_would_hear_it() -> None:
    with pytest.raises(ValueError, match="delayed"):
        dispatch.send_with_options(args=("1",), delay=10)


def test_no_worker_polls_a_queue_for_such_messages() -> None:
    assert dramatiq.get_broker().get_declared_delay_queues() == set()
