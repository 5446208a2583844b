"""The simulated provider's HTTP server."""

from __future__ import annotations

import asyncio
import hmac
import resource
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from aiohttp import web

from chat.llm.simulator.answers import last_user_message, simulated_answer
from chat.llm.simulator.call import BaseCall, Call, CallRequest
from chat.llm.simulator.config import JsonObject, SimulatorConfig
from chat.llm.simulator.embeddings_call import EmbeddingsCall
from chat.llm.simulator.faults import FaultPlanner
from chat.llm.simulator.journal import Journal
from chat.llm.simulator.page import render_page
from chat.llm.simulator.requests import (
    MODELS,
    RequestRefusedError,
    parse_embeddings_request,
    parse_request,
    refusal,
)
from chat.llm.simulator.schemas import asked_before
from chat.llm.simulator.stats import Stats
from chat.llm.simulator.vectors import inputs_of, prompt_text

MAX_REQUEST_BYTES = 64 * 1024 * 1024
BACKLOG = 4096
SHUTDOWN_SECONDS = 1.0
CAP_RETRY_AFTER_SECONDS = "1"

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
MakeCall = Callable[[CallRequest], BaseCall]


class Simulator:
    """One simulated provider. `url` is set while it listens."""

    def __init__(self, config: SimulatorConfig) -> None:
        self.config = config
        self.stats = Stats()
        self.url = ""
        self.stopping = False
        self._faults = FaultPlanner(config)
        self._routes = self._make_routes()
        self.journal = Journal(Path(config.journal)) if config.journal else None

    def _make_routes(self) -> dict[str, dict[str, Handler]]:
        """Return the handlers by path and method; DeepSeek's paths with and without /v1."""
        routes: dict[str, dict[str, Handler]] = {
            "/": {"GET": self.show_page},
            "/stats": {"GET": self.show_stats},
            "/stats/reset": {"POST": self.reset_stats},
        }
        for prefix in ("", "/v1"):
            routes[f"{prefix}/chat/completions"] = {"POST": self.complete}
            routes[f"{prefix}/embeddings"] = {"POST": self.embed}
            routes[f"{prefix}/models"] = {"GET": self.list_models}
        for handlers in routes.values():
            if "GET" in handlers:
                handlers["HEAD"] = handlers["GET"]
        return routes

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request. Two look-ups find its handler, which is all that it takes here of what
        web.Application does for every request."""
        handlers = self._routes.get(request.path)
        if handlers is None:
            raise web.HTTPNotFound
        handler = handlers.get(request.method)
        if handler is None:
            raise web.HTTPMethodNotAllowed(request.method, handlers)
        if expected := request.headers.get("expect"):
            await _continue(request, expected)
        try:
            return await handler(request)
        except RequestRefusedError as refused:
            self.stats.errors += 1
            self.stats.rejected_429 += refused.status == 429
            if self.journal is not None:
                self.journal.refused(refused.status)
            return web.json_response(refused.body, status=refused.status, headers=refused.headers)

    async def complete(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a chat completion."""
        self.stats.requests += 1
        self._authorize(request)
        body = parse_request(await request.read(), self.config.structured_output)
        await self._check_cap(body["model"])
        return await self._answer(request, body)

    async def embed(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request for embeddings."""
        self.stats.requests += 1
        self._authorize(request)
        body = parse_embeddings_request(await request.read())
        inputs = inputs_of(body)
        await self._check_cap(body["model"])
        make = partial(EmbeddingsCall, inputs=inputs)
        return await self._run(request, body, prompt_text(inputs), make)

    async def _answer(self, request: web.BaseRequest, body: JsonObject) -> web.StreamResponse:
        def make(asked: CallRequest) -> Call:
            config, before = self.config, asked_before(body)
            if before is not None and before.again_latency is not None:
                directives = replace(asked.directives, latency=before.again_latency)
                asked = replace(asked, directives=directives)
            answer = simulated_answer(body, config.seed, config.answer_tokens, asked.directives)
            return Call(asked, answer)

        return await self._run(request, body, last_user_message(body), make)

    async def _run(
        self, request: web.BaseRequest, body: JsonObject, prompt: str, make: MakeCall
    ) -> web.StreamResponse:
        model = body["model"]
        leave = _once(lambda: self._leave(call, model))
        try:
            directives, latency = self._faults.plan(prompt), self._faults.latency_seconds()
            call = make(
                CallRequest(self.config, self.stats, request, body, directives, latency, leave)
            )
        except ValueError as error:
            raise refusal(400, str(error)) from None
        self._enter(call, model, prompt)
        try:
            return await call.run()
        except (asyncio.CancelledError, ConnectionError):
            if not (call.broken_off or self.stopping):
                self.stats.client_disconnects += 1
            raise
        finally:
            leave()

    def _enter(self, call: BaseCall, model: str, prompt: str) -> None:
        self.stats.enter(model)
        if self.journal is not None:
            self.journal.begin(call.id, model, prompt)

    def _leave(self, call: BaseCall, model: str) -> None:
        self.stats.leave(model)
        if self.journal is not None:
            self.journal.end(call.id, completed=call.is_complete)

    def _authorize(self, request: web.BaseRequest) -> None:
        key = self.config.api_key
        if key is None:
            return
        given = request.headers.get("authorization", "")
        if not hmac.compare_digest(given.encode("utf-8", "replace"), f"Bearer {key}".encode()):
            raise refusal(401)

    async def _check_cap(self, model: str) -> None:
        # DeepSeek counts by model. A caller that hung up to make room for this request has
        # its place taken back only some turns of the event loop after we could see it.
        for _ in range(3):
            if not self._at_cap(model):
                return
            await asyncio.sleep(0)
        if self._at_cap(model):
            raise refusal(429, retry_after=CAP_RETRY_AFTER_SECONDS)

    def _at_cap(self, model: str) -> bool:
        in_flight = self.stats.in_flight_by_model.get(model, 0)
        return 0 < self.config.concurrency <= in_flight

    async def list_models(self, request: web.BaseRequest) -> web.Response:
        """The models DeepSeek offers; requests for any other name are answered all the same."""
        self._authorize(request)
        data = [{"id": model, "object": "model", "owned_by": "simulator"} for model in MODELS]
        return web.json_response({"object": "list", "data": data})

    async def show_stats(self, request: web.BaseRequest) -> web.Response:
        """The counters as JSON."""
        return web.json_response(self.stats.as_dict())

    async def reset_stats(self, request: web.BaseRequest) -> web.Response:
        """Start counting anew."""
        self.stats.reset()
        return web.json_response(self.stats.as_dict())

    async def show_page(self, request: web.BaseRequest) -> web.Response:
        """The counters for people."""
        return web.Response(text=render_page(self.stats, self.config), content_type="text/html")


async def _continue(request: web.BaseRequest, expected: str) -> None:
    """Have the body sent by a client that asks before it does, as curl does with a long one."""
    if expected.lower() != "100-continue":
        raise web.HTTPExpectationFailed(text=f"Unknown Expect: {expected}")
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")


def _once(action: Callable[[], None]) -> Callable[[], None]:
    done = False

    def act() -> None:
        nonlocal done
        if not done:
            done = True
            action()

    return act


@asynccontextmanager
async def running_simulator(config: SimulatorConfig) -> AsyncGenerator[Simulator]:
    """A simulator that listens while the context lasts. Raises OSError when the port is taken."""
    simulator = Simulator(config)
    request = partial(
        web.BaseRequest, loop=asyncio.get_running_loop(), client_max_size=MAX_REQUEST_BYTES
    )
    # A handler that sleeps for its next token has to learn of a client that hung up.
    server = web.Server(
        simulator.handle, request_factory=request, handler_cancellation=True, access_log=None
    )
    runner = web.ServerRunner(server, shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, config.host, config.port, backlog=BACKLOG).start()
        host, port = runner.addresses[0][:2]
        simulator.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        if simulator.journal is not None:
            simulator.journal.start()
        yield simulator
    finally:
        simulator.stopping = True
        await runner.cleanup()
        if simulator.journal is not None:
            simulator.journal.close()


async def serve(config: SimulatorConfig, ready: Callable[[str], None] | None = None) -> None:
    """Listen until SIGTERM or SIGINT. `ready` is called with the base URL once it listens."""
    _raise_open_file_limit()
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    async with running_simulator(config) as simulator:
        if ready is not None:
            ready(simulator.url)
        await stop.wait()


def _raise_open_file_limit() -> None:
    """Each request holds a socket, and the usual soft limit of 1,024 is soon used up."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
