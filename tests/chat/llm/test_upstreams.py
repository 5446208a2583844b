"""What a provider's settings make of a request, seen by a provider that keeps each byte."""

from __future__ import annotations

import asyncio
import base64
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from aily.network.public_addresses import is_not_link_local, is_public
from chat.llm.client import ProviderClient
from chat.llm.errors import ProviderError
from chat.llm.listing import list_models
from chat.llm.types import ChatRequest, Proxy, Upstream
from tests.chat.llm.calls import chat, collect
from tests.chat.llm.recorder import (
    Recorder,
    private_authority,
    running_proxy,
    running_recorder,
    serving,
)


@pytest_asyncio.fixture
async def recorder() -> AsyncIterator[Recorder]:
    async with running_recorder() as recorder:
        yield recorder


def upstream(url: str, **settings: Any) -> Upstream:
    return Upstream(
        url, settings.pop("api_key", None), settings.pop("provider", "acme"), **settings
    )


async def ask(client: ProviderClient, to: Upstream, **params: Any) -> str:
    return (await collect(client, to, chat("hi", **params))).text


async def listed(to: Upstream) -> list[str]:
    return await asyncio.to_thread(list_models, to)


async def refusal(client: ProviderClient, to: Upstream) -> ProviderError:
    with pytest.raises(ProviderError) as raised:
        await ask(client, to)
    return raised.value


# --- Addresses ----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("base", "path"),
    [
        ("", "/chat/completions"),
        ("/v1/", "/v1/chat/completions"),
        ("/openai/deployments/gpt?api-version=2024-10-21",
         "/openai/deployments/gpt/chat/completions?api-version=2024-10-21"),
        ("/v1/?a=b&c=%20d", "/v1/chat/completions?a=b&c=%20d"),
        ("/v1/chat/completions/?a=b", "/v1/chat/completions?a=b"),
    ],
)  # fmt: skip
async def test_the_path_goes_before_the_query(
    client: ProviderClient, recorder: Recorder, base: str, path: str
) -> None:
    to = upstream(recorder.url + base)
    assert await ask(client, to) == "hello"
    assert recorder.last.line == f"POST {path} HTTP/1.1"
    assert recorder.last.header("host") == f"127.0.0.1:{recorder.port}"
    assert await listed(to) == ["one", "two"]
    models = path.replace("/chat/completions", "/models")
    assert recorder.last.line == f"GET {models} HTTP/1.1"


async def test_names_without_a_dot_and_ipv6_addresses_are_called(client: ProviderClient) -> None:
    recorder = Recorder()
    async with serving(recorder.handle, host="::1") as port:
        assert await ask(client, upstream(f"http://[::1]:{port}/v1")) == "hello"
        assert recorder.last.header("host") == f"[::1]:{port}"
    async with serving(recorder.handle) as port:
        assert await ask(client, upstream(f"http://localhost:{port}/v1")) == "hello"


# --- Headers and keys ---------------------------------------------------------------------------
async def test_extra_headers_and_a_header_of_the_key(
    client: ProviderClient, recorder: Recorder
) -> None:
    headers = (("HTTP-Referer", "https://site.example"), ("X-Title", "My site"))
    to = upstream(recorder.url, api_key="sk-1", key_header="api-key", headers=headers)
    for asking in (ask(client, to), listed(to)):
        await asking
        said = recorder.last
        assert (said.header("api-key"), said.header("authorization")) == ("sk-1", None)
        assert said.header("http-referer") == "https://site.example"
        assert said.header("x-title") == "My site"
    await ask(client, upstream(recorder.url, api_key="sk-1"))
    assert recorder.last.header("authorization") == "Bearer sk-1"
    assert recorder.last.header("api-key") is None


async def test_calls_take_turns_between_keys(client: ProviderClient, recorder: Recorder) -> None:
    to = upstream(recorder.url, api_key="sk-1", other_keys=("sk-2", "sk-3"))
    other = upstream(recorder.url, provider="other", api_key="a", other_keys=("b",))
    for _ in range(4):
        await ask(client, to)
        await ask(client, other)
    keys = [request.header("authorization") for request in recorder.requests]
    assert keys[::2] == ["Bearer sk-1", "Bearer sk-2", "Bearer sk-3", "Bearer sk-1"]
    assert keys[1::2] == ["Bearer a", "Bearer b"] * 2
    assert recorder.connections == 1


async def test_no_secret_is_told_though_the_provider_repeats_all(
    client: ProviderClient, recorder: Recorder
) -> None:
    words = b'{"error":{"message":"sk-secret-1 of-header-2 user:passw0rd sk-secret-3 fine"}}'
    head = b"HTTP/1.1 400 Bad\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    recorder.response = head % len(words) + words
    to = upstream(
        recorder.url,
        api_key="sk-secret-1",
        other_keys=("sk-secret-3",),
        headers=(("x-token", "of-header-2"), ("x-short", "fine")),
        proxy=Proxy(recorder.url, "user:passw0rd"),
    )
    assert (await refusal(client, to)).message == "*** *** *** *** fine"
    with pytest.raises(ProviderError) as raised:
        await listed(to)
    assert str(raised.value) == "provider_bad_request: *** *** *** *** fine"
    assert "secret" not in repr(to)
    assert "passw0rd" not in repr(to.proxy)


async def test_what_cannot_be_called_says_why(client: ProviderClient, recorder: Recorder) -> None:
    to = upstream(recorder.url, problem="LLM_KEY_ACME is not set")
    error = await refusal(client, to)
    assert (error.code, error.message) == ("provider_auth", "LLM_KEY_ACME is not set")
    assert recorder.connections == 0


# --- Bodies -------------------------------------------------------------------------------------
async def test_fields_are_left_out_or_sent_by_another_name(
    client: ProviderClient, recorder: Recorder
) -> None:
    fields = (("stream_options", None), ("user", None), ("max_tokens", "max_completion_tokens"))
    to = upstream(recorder.url, request_fields=fields)
    messages: list[dict[str, Any]] = [{"role": "user", "content": "hi"}]
    await collect(client, to, ChatRequest("m", messages, {"max_tokens": 5}, "u7"))
    assert recorder.last.body == {
        "model": "m", "messages": messages, "stream": True, "max_completion_tokens": 5
    }  # fmt: skip
    # What is there by the other name stands.
    await ask(client, to, max_tokens=5, max_completion_tokens=6)
    assert "max_tokens" not in recorder.last.body
    assert recorder.last.body["max_completion_tokens"] == 6


async def test_deepseek_is_sent_the_limit_by_the_name_that_it_knows(
    client: ProviderClient, recorder: Recorder
) -> None:
    to = upstream(recorder.url, provider="deepseek")
    for limits, sent in (
        ({"max_completion_tokens": 5}, 5),
        ({"max_completion_tokens": 5, "max_tokens": 9}, 5),
        ({"max_completion_tokens": 9, "max_tokens": 5}, 5),
    ):
        await ask(client, to, **limits)
        assert recorder.last.body["max_tokens"] == sent
        assert "max_completion_tokens" not in recorder.last.body


async def test_an_end_user_is_named_beside_the_owner(
    client: ProviderClient, recorder: Recorder
) -> None:
    request = ChatRequest("m", [{"role": "user", "content": "hi"}], {"user": "a@b c"}, "u7")
    await collect(client, upstream(recorder.url), request)
    assert recorder.last.body["user"] == "u7-a_b_c"
    await collect(client, upstream(recorder.url, provider="deepseek"), request)
    assert recorder.last.body["user_id"] == "u7-a_b_c"
    assert "user" not in recorder.last.body


@pytest.mark.parametrize("is_raw", [False, True])
async def test_calls_of_tools_have_a_reasoning_where_the_provider_wants_one(
    client: ProviderClient, recorder: Recorder, is_raw: bool
) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    called = {"role": "assistant", "content": None, "tool_calls": [call]}
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": 'hi "tool_calls"'},
        {**called, "reasoning_content": "because"},
        {"role": "tool", "tool_call_id": "call_1", "content": "1"},
        called,
    ]
    sent = msgspec.Raw(msgspec.json.encode(messages)) if is_raw else messages
    request = ChatRequest("m", sent)
    await collect(client, upstream(recorder.url), request)
    assert recorder.last.body["messages"] == messages
    await collect(client, upstream(recorder.url, provider="deepseek"), request)
    added = {**called, "reasoning_content": ""}
    assert recorder.last.body["messages"] == [*messages[:3], added]


async def test_a_choice_that_forces_a_tool_turns_thinking_off_where_both_are_refused(
    client: ProviderClient, recorder: Recorder
) -> None:
    to = upstream(recorder.url, provider="deepseek")
    for choice in ("required", {"type": "function", "function": {"name": "f"}}):
        await ask(client, to, tool_choice=choice)
        assert recorder.last.body["thinking"] == {"type": "disabled"}
        await ask(client, upstream(recorder.url), tool_choice=choice)
        assert "thinking" not in recorder.last.body
    await ask(client, to, tool_choice="auto")
    assert "thinking" not in recorder.last.body
    # A request for both is passed on: the provider refuses it.
    await ask(client, to, tool_choice="required", thinking={"type": "enabled"})
    assert recorder.last.body["thinking"] == {"type": "enabled"}


async def test_a_providers_own_time_limits_hold(client: ProviderClient) -> None:
    async def be_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with serving(be_silent) as port:
        url = f"http://127.0.0.1:{port}"
        first = await refusal(client, upstream(url, limits=(("first_token_seconds", 0.05),)))
        total = await refusal(client, upstream(url, limits=(("total_seconds", 0.05),)))
    codes = (first.code, total.code)
    assert codes == ("provider_timeout_first_token", "provider_timeout_total")


# --- Proxy and TLS ------------------------------------------------------------------------------
@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Stands in for DNS; a name that is not in it is the loopback."""
    known: dict[str, list[str]] = {}

    def getaddrinfo(host: str, port: int, *args: Any, **kwargs: Any) -> list[Any]:
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in known.get(host, ["127.0.0.1"])
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return known


async def test_tls_by_a_providers_own_authority_and_by_no_other(
    client: ProviderClient, tmp_path: Path, names: dict[str, list[str]]
) -> None:
    tls, pem = private_authority(tmp_path, "llm.example")
    _, other = private_authority(tmp_path, "other.example")
    async with running_recorder(tls) as recorder:
        url = f"https://llm.example:{recorder.port}/v1"
        assert await ask(client, upstream(url, ca_bundle=pem)) == "hello"
        assert await listed(upstream(url, ca_bundle=pem)) == ["one", "two"]
        # Nor by a connection that was verified with the right one, and is still open.
        for to in (upstream(url), upstream(url, ca_bundle=other)):
            assert "certificate" in (await refusal(client, to)).message.lower()
        assert len(recorder.requests) == 2


async def test_a_tunnel_through_a_proxy(
    client: ProviderClient, tmp_path: Path, names: dict[str, list[str]]
) -> None:
    tls, pem = private_authority(tmp_path, "llm.example")
    basic = "Basic " + base64.b64encode(b"me:pass").decode()
    async with running_recorder(tls) as recorder, running_proxy(basic) as proxy:
        url = f"https://llm.example:{recorder.port}/v1"
        to = upstream(url, api_key="sk-1", ca_bundle=pem, proxy=Proxy(proxy.url, "me:pass"))
        assert await ask(client, to) == "hello"
        assert proxy.lines == [f"CONNECT llm.example:{recorder.port} HTTP/1.1"]
        assert recorder.last.line == "POST /v1/chat/completions HTTP/1.1"
        assert recorder.last.header("proxy-authorization") is None
        # The connection is kept, and belongs to those that go through this proxy alone.
        assert await ask(client, to) == "hello"
        assert await ask(client, upstream(url, ca_bundle=pem)) == "hello"
        assert (len(proxy.lines), recorder.connections) == (1, 2)
        assert await listed(to) == ["one", "two"]
        refused = await refusal(client, upstream(url, ca_bundle=pem, proxy=Proxy(proxy.url, "a:b")))
        assert (refused.code, "proxy" in refused.message) == ("provider_auth", True)
        await client.aclose()


async def test_a_proxy_is_given_whole_urls_where_there_is_no_tls(
    client: ProviderClient, recorder: Recorder
) -> None:
    async with running_proxy() as proxy:
        url = f"http://llm.example:{recorder.port}/v1?a=b"
        to = upstream(url, proxy=Proxy(proxy.url, "me:pass"))
        assert await ask(client, to) == "hello"
        target = f"http://llm.example:{recorder.port}/v1/chat/completions?a=b"
        assert proxy.lines == [f"POST {target} HTTP/1.1"]
        assert proxy.shown == ["Basic " + base64.b64encode(b"me:pass").decode()]
        assert recorder.last.header("host") == f"llm.example:{recorder.port}"
        await client.aclose()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "502 Bad Gateway"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "not HTTP"),
        (b"", "no answer"),
        (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 10_000, "no answer"),
    ],
)
async def test_a_proxy_that_makes_no_tunnel(
    client: ProviderClient, answer: bytes, words: str
) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.write_eof()
        await reader.read()

    async with serving(handle) as port:
        proxy = Proxy(f"http://127.0.0.1:{port}")
        error = await refusal(client, upstream("https://llm.example", proxy=proxy))
    assert (error.code, words in error.message) == ("provider_unreachable", True)


# --- Where calls may go -------------------------------------------------------------------------
async def test_an_address_is_judged_when_it_is_connected_to(
    client: ProviderClient, recorder: Recorder, names: dict[str, list[str]]
) -> None:
    """A name that was public when it was saved, and is private now."""
    url = f"http://llm.example:{recorder.port}"
    inside, outside = upstream(url), upstream(url, may_reach=is_public)
    assert await ask(client, inside) == "hello"
    for refused in (outside, upstream(f"http://127.0.0.1:{recorder.port}", may_reach=is_public)):
        error = await refusal(client, refused)
        assert (error.code, error.retryable) == ("provider_forbidden_address", False)
        with pytest.raises(ProviderError, match="provider_forbidden_address"):
            await listed(refused)
    # A proxy that anybody may use is reachable for all.
    assert recorder.connections == 1
    names["metadata.example"] = ["169.254.169.254"]
    linked = upstream("http://metadata.example", may_reach=is_not_link_local)
    assert (await refusal(client, linked)).code == "provider_forbidden_address"


async def test_of_several_addresses_only_those_allowed_are_connected_to(
    client: ProviderClient, recorder: Recorder, names: dict[str, list[str]]
) -> None:
    names["llm.example"] = ["169.254.169.254", "127.0.0.1"]
    to = upstream(f"http://llm.example:{recorder.port}", may_reach=is_not_link_local)
    assert await ask(client, to) == "hello"


async def test_a_proxys_address_is_judged_and_an_address_behind_it(
    client: ProviderClient, recorder: Recorder
) -> None:
    async with running_proxy() as proxy:
        behind = Proxy(proxy.url)
        for url in (recorder.url, "https://10.0.0.1/v1"):
            error = await refusal(client, upstream(url, proxy=behind, may_reach=is_public))
            assert error.code == "provider_forbidden_address"
        named = upstream("https://llm.example", proxy=behind, may_reach=is_public)
        assert (await refusal(client, named)).code == "provider_forbidden_address"
        assert proxy.lines == []
