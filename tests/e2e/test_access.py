"""Access that is taken away closes the sockets that were opened with it, and no others."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager

import httpx

from tests.client import ChatSocket, RestClient, chat_socket
from tests.e2e.ended_access import check_that_streams_and_waits_end
from tests.e2e.sessions import log_in, log_out, make_keys
from tests.stack import Stack


async def test_revoking_a_key_closes_the_sockets_opened_with_it(
    stack: Stack, rest: RestClient, socket: ChatSocket
) -> None:
    [key] = await asyncio.to_thread(make_keys, stack.base_url, {"name": "short-lived"})
    async with chat_socket(stack.base_url, key["secret"]) as doomed:
        task_id = await doomed.submit("I outlive my socket [sim:tokens=20]")
        await rest.call("DELETE", f"/api/keys/{key['id']}")
        assert await doomed.closed() == 4401
    # The task is the user's, not the key's; and the other key's socket goes on.
    await socket.subscribe(task_id)
    assert (await socket.ended(task_id)).end is not None


async def test_logging_out_closes_the_sockets_of_that_session(stack: Stack) -> None:
    with httpx.Client(base_url=stack.base_url, follow_redirects=True, timeout=30) as staying:
        log_in(staying, "demo", "demo")
        with httpx.Client(base_url=stack.base_url, follow_redirects=True, timeout=30) as leaving:
            log_in(leaving, "demo", "demo")
            async with (
                session_socket(stack, leaving) as doomed,
                session_socket(stack, staying) as other,
            ):
                await other.ping()
                await asyncio.to_thread(log_out, leaving)
                assert await doomed.closed() == 4401
                await other.ping()


async def test_ending_other_sessions_closes_their_sockets_and_no_others(stack: Stack) -> None:
    with (
        httpx.Client(base_url=stack.base_url, follow_redirects=True, timeout=30) as staying,
        httpx.Client(base_url=stack.base_url, follow_redirects=True, timeout=30) as ended,
    ):
        log_in(staying, "demo", "demo")
        log_in(ended, "demo", "demo")
        async with (
            session_socket(stack, ended) as doomed,
            session_socket(stack, staying) as other,
        ):
            await other.ping()
            headers = {"X-CSRFToken": staying.cookies["csrftoken"]}
            answer = await asyncio.to_thread(staying.delete, "/api/me/sessions", headers=headers)
            assert answer.json()["ended"] >= 1
            assert await doomed.closed() == 4401
            await other.ping()
            assert (await asyncio.to_thread(ended.get, "/api/me")).status_code == 401


def session_socket(stack: Stack, client: httpx.Client) -> AbstractAsyncContextManager[ChatSocket]:
    cookie = f"sessionid={client.cookies['sessionid']}"
    headers = {"Cookie": cookie, "Origin": stack.base_url}
    return chat_socket(stack.base_url, None, headers=headers)


async def test_revoking_a_key_ends_its_streams_and_waits(stack: Stack, rest: RestClient) -> None:
    await check_that_streams_and_waits_end(stack.base_url, rest)
