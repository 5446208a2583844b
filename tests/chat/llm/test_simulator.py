"""The simulated provider's wire format, seen by a plain HTTP client."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from chat.llm.simulator.answers import simulated_answer
from chat.llm.simulator.config import SimulatorConfig
from chat.llm.simulator.pace import Pace
from chat.llm.simulator.server import Simulator
from tests.chat.llm.conftest import StartSimulator
from tests.journal import most_at_once, read_journal
from tests.waiting import eventually, until

TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}


def _body(prompt: str = "hello", **fields: Any) -> dict[str, Any]:
    return {
        "model": "deepseek-v4-pro",
        "messages": [{"role": "user", "content": prompt}],
        **fields,
    }


async def _post(
    simulator: Simulator, body: dict[str, Any] | bytes, path: str = "/chat/completions"
) -> tuple[int, str, bytes]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with (
        aiohttp.ClientSession() as session,
        session.post(simulator.url + path, data=data) as response,
    ):
        return response.status, response.headers["content-type"], await response.read()


async def _get(simulator: Simulator, path: str) -> Any:
    async with aiohttp.ClientSession() as session, session.get(simulator.url + path) as response:
        assert response.status == 200
        return await (response.json() if "json" in response.content_type else response.text())


def _events(raw: bytes) -> list[Any]:
    parts = raw.decode().split("\n\n")
    assert parts.pop() == ""
    assert parts.pop() == "data: [DONE]"
    return [json.loads(part.removeprefix("data: ")) for part in parts if part.startswith("data: ")]


@pytest.mark.parametrize("path", ["/chat/completions", "/v1/chat/completions"])
async def test_a_stream_has_the_recorded_shape(simulator: Simulator, path: str) -> None:
    status, kind, raw = await _post(simulator, _body(stream=True), path)
    assert (status, kind) == (200, "text/event-stream; charset=utf-8")
    events = _events(raw)
    assert {event["object"] for event in events} == {"chat.completion.chunk"}
    assert len({event["id"] for event in events}) == 1
    first, last = events[0]["choices"][0], events[-1]["choices"][0]
    assert first["delta"] == {"role": "assistant", "content": None, "reasoning_content": ""}
    assert last["delta"] == {"content": "", "reasoning_content": None}
    assert last["finish_reason"] == "stop"
    usage = events[-1]["usage"]
    hit, miss = usage["prompt_cache_hit_tokens"], usage["prompt_cache_miss_tokens"]
    assert hit + miss == usage["prompt_tokens"]
    assert all(event["usage"] is None for event in events[:-1])
    deltas = [event["choices"][0]["delta"] for event in events]
    kinds = ["content" if delta["content"] is not None else "reasoning" for delta in deltas]
    assert kinds == sorted(kinds, reverse=True), "the reasoning comes first"
    answer = simulated_answer(_body())
    assert "".join(delta["content"] or "" for delta in deltas) == answer.text
    assert "".join(delta["reasoning_content"] or "" for delta in deltas) == answer.reasoning


async def test_thinking_can_be_turned_off(simulator: Simulator) -> None:
    body = _body(stream=True, thinking={"type": "disabled"})
    _, _, raw = await _post(simulator, body)
    deltas = [event["choices"][0]["delta"] for event in _events(raw)]
    assert not any(delta["reasoning_content"] for delta in deltas)


async def test_an_answer_in_one_piece_is_preceded_by_blank_lines(
    start_simulator: StartSimulator,
) -> None:
    simulator = await start_simulator(keep_alive_seconds=0.05)
    status, kind, raw = await _post(simulator, _body("hi [sim:latency=0.3]"))
    assert (status, kind) == (200, "application/json")
    assert raw.startswith(b"\n\n")
    choice = json.loads(raw)["choices"][0]
    answer = simulated_answer(_body("hi [sim:latency=0.3]"))
    assert choice["message"]["content"] == answer.text
    assert choice["message"]["reasoning_content"] == answer.reasoning
    assert choice["finish_reason"] == "stop"


async def test_keep_alive_comments_come_while_a_stream_waits(
    start_simulator: StartSimulator,
) -> None:
    simulator = await start_simulator(keep_alive_seconds=0.05)
    _, _, raw = await _post(simulator, _body("hi [sim:latency=0.3]", stream=True))
    assert raw.startswith(b": keep-alive\n\n: keep-alive\n\n")


async def test_json_mode_answers_with_json(simulator: Simulator) -> None:
    fields = {"response_format": {"type": "json_object"}}
    _, _, raw = await _post(simulator, _body("in JSON", **fields))
    assert json.loads(json.loads(raw)["choices"][0]["message"]["content"])["simulated"] is True


async def test_a_tool_call_in_one_piece(simulator: Simulator) -> None:
    _, _, raw = await _post(simulator, _body("[sim:tool=f]", tools=[TOOL]))
    choice = json.loads(raw)["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["tool_calls"][0]["function"] == {"name": "f", "arguments": "{}"}


def test_the_answer_depends_on_message_model_and_seed_only() -> None:
    answer = simulated_answer(_body())
    same = _body(temperature=0, stream=True)
    same["messages"].insert(0, {"role": "system", "content": "another system prompt"})
    assert simulated_answer(same).text == answer.text
    assert simulated_answer(_body(), seed=1).text != answer.text
    assert simulated_answer(_body("other")).text != answer.text
    assert simulated_answer({**_body(), "model": "deepseek-flash"}).text != answer.text
    assert "simulated" in answer.text
    assert "> hello" in answer.text


@pytest.mark.parametrize("tokens", [1, 10, 500])
def test_an_answer_has_the_length_asked_for(tokens: int) -> None:
    answer = simulated_answer(_body(f"[sim:tokens={tokens}]"))
    assert len(answer.tokens) == tokens
    assert len(simulated_answer(_body(), 0, (tokens, tokens)).tokens) == tokens


@pytest.mark.parametrize(
    ("change", "status", "names"),
    [
        ({"messages": None}, 400, "messages"),
        ({"messages": []}, 400, "messages"),
        ({"messages": [{"role": "nobody", "content": "x"}]}, 400, "role"),
        ({"messages": [{"role": "user"}]}, 400, "content"),
        ({"messages": [{"role": "tool", "content": "x"}]}, 400, "tool_call_id"),
        ({"model": 7}, 400, "model"),
        ({"stream": "yes"}, 400, "stream"),
        ({"temperature": "hot"}, 400, "temperature"),
        ({"temperature": 3}, 422, "temperature"),
        ({"max_tokens": 0}, 422, "max_tokens"),
        ({"user_id": "a b"}, 422, "user_id"),
        ({"tools": [{}]}, 400, "tools"),
        ({"tool_choice": "required", "tools": [TOOL]}, 400, "tool_choice"),
        ({"response_format": {"type": "json_object"}}, 400, "json"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{}]}]},
            400,
            "reasoning_content",
        ),
        ({"messages": [{"role": "user", "content": "[sim:nonsense]"}]}, 400, "nonsense"),
        ({"messages": [{"role": "user", "content": "[sim:tokens=many]"}]}, 400, "tokens"),
    ],
)
async def test_a_bad_request_is_refused_in_deepseeks_shape(
    simulator: Simulator, change: dict[str, Any], status: int, names: str
) -> None:
    got, kind, raw = await _post(simulator, {**_body(), **change})
    assert got == status
    assert kind.startswith("application/json")
    error = json.loads(raw)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert names in error["message"]
    assert simulator.stats.errors == 1
    assert simulator.stats.in_flight == 0


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"\xff", b"[" * 100_000])
async def test_a_body_that_is_no_json_object_is_refused(simulator: Simulator, raw: bytes) -> None:
    assert (await _post(simulator, raw))[0] == 400


async def test_a_fault_with_times_ends_after_so_many_requests(simulator: Simulator) -> None:
    faulty, other = "a [sim:status=503,times=2]", "b [sim:status=503,times=2]"
    prompts = [faulty, faulty, other, faulty, other, other]
    statuses = [(await _post(simulator, _body(prompt)))[0] for prompt in prompts]
    assert statuses == [503, 503, 503, 200, 503, 200]


async def test_rates_hit_their_share_of_requests(start_simulator: StartSimulator) -> None:
    simulator = await start_simulator(error_rate=0.3, truncate_rate=0.3, answer_tokens=(2, 2))
    got = await asyncio.gather(*(_post(simulator, _body(f"{n}", stream=True)) for n in range(200)))
    refused = sum(status in (500, 503) for status, _, _ in got)
    truncated = sum(status == 200 and b"[DONE]" not in raw for status, _, raw in got)
    assert 30 < refused < 90
    assert 15 < truncated < 75


async def test_the_counters_count(simulator: Simulator) -> None:
    await _post(simulator, _body())
    await _post(simulator, _body("[sim:status=429]"))
    stats = await _get(simulator, "/stats")
    answer = simulated_answer(_body())
    assert stats == {
        "requests": 2,
        "in_flight": 0,
        "max_in_flight": 1,
        "rejected_429": 1,
        "client_disconnects": 0,
        "errors": 1,
        "completed": 1,
        "tokens": len(answer.tokens) + len(answer.reasoning_tokens),
        "in_flight_by_model": {},
        "late_p50_seconds": None,
        "late_p99_seconds": None,
    }
    page = await _get(simulator, "/")
    assert "SIMULATED" in page
    assert "429s given" in page
    async with aiohttp.ClientSession() as session:
        await (await session.post(simulator.url + "/stats/reset")).read()
    assert (await _get(simulator, "/stats"))["requests"] == 0


async def test_a_clock_names_each_token_and_the_moment_it_is_sent(simulator: Simulator) -> None:
    before = time.monotonic()
    body = _body("[sim:clock,tokens=12]", stream=True, thinking={"type": "disabled"})
    _, _, raw = await _post(simulator, body)
    texts = [event["choices"][0]["delta"]["content"] for event in _events(raw)]
    tokens = [token.split("@") for token in "".join(filter(None, texts)).split()]
    assert [int(number) for number, _ in tokens] == list(range(12))
    moments = [float(moment) for _, moment in tokens]
    assert before < moments[0] <= moments[-1] < time.monotonic()
    assert moments == sorted(moments)
    stats = await _get(simulator, "/stats")
    assert 0 <= stats["late_p50_seconds"] <= stats["late_p99_seconds"]


async def test_the_cap_counts_each_model_for_itself(start_simulator: StartSimulator) -> None:
    simulator = await start_simulator(concurrency=1)
    waiting = asyncio.create_task(_post(simulator, _body("[sim:latency=60]")))
    await until(lambda: simulator.stats.in_flight == 1)
    assert (await _post(simulator, _body()))[0] == 429
    assert (await _post(simulator, {**_body(), "model": "deepseek-flash"}))[0] == 200
    waiting.cancel()
    await until(lambda: simulator.stats.in_flight == 0)
    assert (await _post(simulator, _body()))[0] == 200
    assert simulator.stats.client_disconnects == 1


async def test_tokens_keep_their_pace_and_the_last_go_out_with_the_end(
    start_simulator: StartSimulator,
) -> None:
    simulator = await start_simulator(tokens_per_second=100, write_seconds=0.1)
    body = _body("[sim:tokens=41]", stream=True, thinking={"type": "disabled"})
    started = time.monotonic()
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{simulator.url}/chat/completions", json=body) as response,
    ):
        pieces = [data async for data, ends_chunk in response.content.iter_chunks() if ends_chunk]
    assert time.monotonic() - started > 0.39
    assert len(pieces) <= 5  # the first token at once, and four times those of a tenth of a second
    assert len(_events(b"".join(pieces))) == 43
    assert simulator.stats.tokens == 41


async def test_a_stream_ends_when_its_last_token_is_due_and_not_at_a_later_write() -> None:
    sent: list[int] = []

    def send(first: int, end: int) -> bool:
        sent.extend(range(first, end))
        return True

    pace = Pace(1_000, send, write_seconds=lambda: 3_600.0)
    async with asyncio.timeout(10):
        left = await pace.run(0, 50)
    # The others are sent with the end.
    assert (sent, left) == ([0], 1)


async def test_a_client_that_reads_too_slowly_is_sent_no_more_until_it_does(
    start_simulator: StartSimulator,
) -> None:
    simulator = await start_simulator(tokens_per_second=100_000, write_seconds=0.001)
    body = json.dumps(_body("[sim:tokens=50000]", stream=True, thinking={"type": "disabled"}))
    request = f"POST /chat/completions HTTP/1.0\r\ncontent-length: {len(body)}\r\n\r\n{body}"
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", int(simulator.url.rpartition(":")[2])))
        client.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=client, limit=4096)
        writer.write(request.encode())
        await reader.readuntil(b"\r\n\r\n")
        await until(lambda: simulator.stats.tokens > 0)

        async def stands_still() -> bool:
            sent = simulator.stats.tokens
            await asyncio.sleep(0.2)
            return simulator.stats.tokens == sent

        await eventually(stands_still, "a simulator that waits for its reader")
        assert simulator.stats.tokens < 50_000
        assert len(_events(await reader.read())) == 50_002
        writer.close()


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        ("GET /nothing", 404),
        ("GET /chat/completions", 405),
        ("POST /v1/models", 405),
        ("HEAD /stats", 200),
    ],
)
async def test_paths_and_methods_are_told_apart(
    simulator: Simulator, request_line: str, status: int
) -> None:
    method, path = request_line.split()
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, simulator.url + path) as response,
    ):
        assert response.status == status


async def test_a_client_that_asks_whether_it_may_send_its_body_is_told_so(
    simulator: Simulator,
) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{simulator.url}/chat/completions", json=_body(), expect100=True) as response,
    ):
        assert response.status == 200


@pytest.mark.parametrize("path", ["/models", "/v1/models"])
async def test_the_models_are_listed(simulator: Simulator, path: str) -> None:
    models = await _get(simulator, path)
    names = [model["id"] for model in models["data"]]
    assert names == ["deepseek-flash", "deepseek-v4-pro", "simulated-embeddings"]


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"error_rate": 2}, "error_rate"),
        ({"latency_seconds": (2, 1)}, "latency_seconds"),
        ({"answer_tokens": (0, 1)}, "answer_tokens"),
        ({"concurrency": -1}, "concurrency"),
        ({"keep_alive_seconds": 0}, "keep_alive_seconds"),
    ],
)
def test_a_bad_setting_is_named(options: dict[str, Any], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        SimulatorConfig(**options)


async def test_the_journal_tells_of_every_call_over_a_restart(
    tmp_path: Path, start_simulator: StartSimulator
) -> None:
    journal = str(tmp_path / "journal")
    first = await start_simulator(journal=journal, concurrency=1)
    await _post(first, _body("whole", stream=True))
    async with aiohttp.ClientSession() as session:
        stalled = _body("[sim:stall=middle]cut", stream=True)
        async with session.post(f"{first.url}/chat/completions", json=stalled):
            assert (await _post(first, _body("too many")))[0] == 429
        await until(lambda: not first.stats.in_flight)
    await _post(await start_simulator(journal=journal), _body("after a restart"))
    record = read_journal(Path(journal))
    seen = [(call.prompt, call.completed) for call in record.calls]
    assert seen == [("whole", True), ("[sim:stall=middle]cut", False), ("after a restart", True)]
    assert record.refused == {429: 1}
    assert most_at_once(record.calls) == 1
