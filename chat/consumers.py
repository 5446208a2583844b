"""The WebSocket: submits and cancels tasks, and pushes their events to whoever follows them."""

from __future__ import annotations

import json
import logging
from contextlib import AsyncExitStack, aclosing
from functools import partial
from typing import Any

import msgspec
from channels.consumer import AsyncConsumer, get_handler_name
from channels.exceptions import StopConsumer
from django.conf import settings
from django.db import Error as DatabaseError

from accounts.authentication import Identity
from accounts.websocket import identify_websocket, websocket_holds_seconds
from aily.concurrency.jobs import Job, Jobs
from aily.database.outages import as_problem, is_away
from aily.database.replica import anote_write
from aily.observability.context import begin_request
from aily.observability.metrics import (
    WEBSOCKETS_OPEN,
    WEBSOCKETS_OPENED,
    frame_received,
    request_error,
)
from aily.problems import LimitReached, Problem, Unexpected
from aily.web.access_revocation import CLOSE_RESTART, CLOSE_UNAUTHENTICATED, open_sockets
from aily.web.connections import connections
from aily.web.flow_control import FlowControl, Workload
from aily.web.shutdown import shutdown_event
from chat.eventlog import get_hub
from chat.events import (
    PROTOCOL,
    START,
    TERMINAL_TYPES,
    ErrorFrame,
    EventId,
    EventsMissed,
    Hello,
    Pong,
    TaskAccepted,
    TaskQueued,
    encode,
    event_type,
)
from chat.frames import (
    MAX_REF_CHARS,
    Frame,
    Ping,
    TaskCancel,
    TaskSubmit,
    TaskSubscribe,
    TaskUnsubscribe,
    parse_frame,
)
from chat.models import Lane
from chat.observability import metrics
from chat.scheduler import Place
from chat.services.cancel import cancel
from chat.services.follow import Share, check_owner, follow
from chat.services.submit import Submission, submit
from chat.services.watch import Watch, get_watcher

logger = logging.getLogger(__name__)

CLOSE_TOO_LARGE = 1009
CLOSE_BAD_FRAME = 4400
CLOSE_TOO_MANY = 4429
#: Tasks one socket may follow at once.
MAX_FOLLOWED = 20_000
#: Frames of one socket being worked on, and their bytes; the next is read when one is done.
MAX_FRAMES_AT_ONCE = 256
MAX_BYTES_AT_ONCE = 1_048_576
#: Tasks of which one socket remembers how far it was told of them.
MAX_REMEMBERED = 1_000
#: Bad frames in a row after which a client is taken for broken.
MAX_BAD_FRAMES = 20


class ChatConsumer(AsyncConsumer):
    """One socket. What it follows is a coroutine each, whose whole state is a cursor."""

    # --- Socket handlers ------------------------------------------------------------------------
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        # Not the base class's: a channel-layer channel a socket would cost two subscriptions and a
        # queue, and the hub does its work for a whole process (figures in ARCHITECTURE.md).
        self.scope = scope
        begin_request(dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1"))
        self.flow = FlowControl(send)
        self.jobs = Jobs("a socket's job")
        self.share = Share()
        self.following: dict[str, Job] = {}
        self.watching: dict[str, Watch] = {}
        self.workload = Workload(MAX_FRAMES_AT_ONCE, MAX_BYTES_AT_ONCE)
        self.handling = Jobs("the handling of a frame")
        #: Places that are still to be told, each task's latest: a client that does not read is
        #: told none, and they do not pile up.
        self.places: dict[str, Place] = {}
        self.is_telling_places = False
        self.bad_frames = 0
        self.is_open = False
        self.is_closed = False
        self.open = AsyncExitStack()
        #: The last event sent of each task, oldest task first.
        self.told: dict[str, EventId] = {}
        try:
            while True:
                await self.dispatch(await receive())
        except StopConsumer:
            pass
        finally:
            await self.open.aclose()
            self.cancel_jobs()

    async def dispatch(self, message: Any) -> None:
        # Not the base class's: it hops to a thread on every message to close database connections,
        # of which the event loop's thread never has one.
        await getattr(self, get_handler_name(message))(message)

    async def websocket_connect(self, message: Any) -> None:
        try:
            identity = await self.authenticate()
        except DatabaseError as error:
            logger.warning("a socket could not be authenticated: %s", error)
            await self.flow.send({"type": "websocket.close", "code": 1013})
            return
        if self.is_closed:
            return
        offered = self.scope.get("subprotocols", [])
        subprotocol = PROTOCOL if PROTOCOL in offered else None
        await self.flow.send({"type": "websocket.accept", "subprotocol": subprotocol})
        if identity is None:
            await self.close(CLOSE_UNAUTHENTICATED)
            return
        if shutdown_event().is_set():
            await self.close(CLOSE_RESTART)
            return
        self.owner_id: int = identity.user.pk
        try:
            self.open.enter_context(connections().opened(self.owner_id))
        except LimitReached:
            await self.close(CLOSE_TOO_MANY)
            return
        self.api_key = identity.api_key
        self.is_open = True
        self.open.enter_context(WEBSOCKETS_OPEN.track_inprogress())
        WEBSOCKETS_OPENED.inc()
        await self.send(Hello())
        self.jobs.spawn(self.push_own_tasks())

    async def authenticate(self) -> Identity | None:
        """Who this is, from now on told when access is taken away. Raises DatabaseError."""
        identity = await identify_websocket(self.scope)
        if identity is None:
            return None
        check = partial(websocket_holds_seconds, self.scope)
        registered = open_sockets().registered(
            identity.access, self.close, check, identity.holds_seconds
        )
        await self.open.enter_async_context(registered)
        # It may have been taken away before there was anybody to tell.
        return await identify_websocket(self.scope, check=True)

    async def websocket_receive(self, message: Any) -> None:
        if not self.is_open:
            return
        data = message.get("text") or message.get("bytes") or ""
        if len(data) > settings.WEBSOCKET_FRAME_MAX_BYTES:
            # The web server should have stopped reading already.
            await self.close(CLOSE_TOO_LARGE)
            return
        try:
            frame = parse_frame(data)
        except Problem as problem:
            await self.refuse_frame(data, problem)
            return
        self.bad_frames = 0
        frame_received(frame.type).inc()
        await self.workload.enter(len(data))
        self.handling.spawn(self.handle(frame, len(data)))

    async def websocket_disconnect(self, message: Any) -> None:
        raise StopConsumer

    # --- Commands -------------------------------------------------------------------------------
    async def handle(self, frame: Frame, size: int) -> None:
        try:
            match frame:
                case TaskSubmit():
                    await self.submit(frame)
                case TaskSubscribe():
                    await self.subscribe(frame)
                case TaskUnsubscribe():
                    self.stop_following(str(frame.task_id))
                case TaskCancel():
                    await cancel(self.owner_id, frame.task_id)
                    await anote_write(self.owner_id)
                case Ping():
                    await self.send(Pong())
        except Exception as error:  # noqa: BLE001 - logged, and the client is told
            # No name here: a problem refers to this frame, which has what was sent. With one, the
            # garbage collector would have to find them, and it comes seldom.
            await self.tell_problem(frame.ref, _as_problem(error))
        finally:
            self.workload.leave(size)

    async def submit(self, frame: TaskSubmit) -> None:
        submission = Submission(
            owner_id=self.owner_id,
            request=frame,
            default_lane=Lane.INTERACTIVE,
            idempotency_key=frame.idempotency_key,
            api_key_id=self.api_key.pk if self.api_key else None,
            uncounted=(self.owner_id, self.api_key),
        )
        accepted = await submit(submission)
        await anote_write(self.owner_id)
        await self.send(
            TaskAccepted(
                ref=frame.ref,
                task_id=accepted.task_id,
                position=accepted.position,
                eta_seconds=accepted.eta_seconds,
                waiting_for=accepted.waiting_for,
                history_from=str(accepted.history_from) if accepted.history_from else None,
            )
        )
        task_id = accepted.task_id
        if not frame.stream and accepted.waits_alone:
            self.start_watching(task_id)
        # A submit sent again while its task is followed needs no second telling.
        elif accepted.is_new or not (task_id in self.following or task_id in self.watching):
            self.start_following(task_id, START, text=frame.stream, is_new=accepted.waits_alone)

    async def subscribe(self, frame: TaskSubscribe) -> None:
        await check_owner(self.owner_id, frame.task_id)
        after = EventId.parse(frame.after) if frame.after else START
        self.start_following(str(frame.task_id), after, text=True)

    # --- Following ------------------------------------------------------------------------------
    def start_following(
        self, task_id: str, after: EventId, *, text: bool, is_new: bool = False
    ) -> None:
        """Following again, with another cursor, replaces what was before."""
        self.stop_following(task_id)
        if self.follows_too_many():
            return
        job = self.jobs.spawn(self.push_task(task_id, after, text=text, is_new=is_new))
        self.following[task_id] = job

        def forget(done: Job) -> None:
            if self.following.get(task_id) is done:
                del self.following[task_id]

        job.add_done_callback(forget)

    def stop_following(self, task_id: str) -> None:
        self.stop_watching(task_id)
        if job := self.following.pop(task_id, None):
            job.cancel()

    def follows_too_many(self) -> bool:
        """Closes the socket if so."""
        if len(self.following) + len(self.watching) < MAX_FOLLOWED:
            return False
        self.jobs.spawn(self.close(CLOSE_TOO_MANY))
        return True

    async def push_task(self, task_id: str, after: EventId, *, text: bool, is_new: bool) -> None:
        frames = follow(task_id, self.owner_id, after, text=text, is_new=is_new, share=self.share)
        async with aclosing(frames):
            async for one in frames:
                self.remember(task_id, one.event_id)
                await self.send_bytes(one.frame)

    # --- Watching -------------------------------------------------------------------------------
    def start_watching(self, task_id: str) -> None:
        """Of a task without text, all news come with those of the user's other tasks."""
        if not self.follows_too_many():
            watch = Watch(task_id, self.tell_place, self.follow_on)
            self.watching[task_id] = watch
            get_watcher().add(watch)

    def stop_watching(self, task_id: str) -> None:
        if watch := self.watching.pop(task_id, None):
            watch.is_over = True

    def tell_place(self, task_id: str, place: Place) -> None:
        self.places[task_id] = place
        if not self.is_telling_places:
            self.is_telling_places = True
            self.jobs.spawn(self.tell_places())

    async def tell_places(self) -> None:
        while self.places:
            task_id, place = self.places.popitem()
            if task_id in self.watching:
                frame = TaskQueued(task_id, place.position, place.eta_seconds, place.waiting_for)
                await self.send(frame)
        self.is_telling_places = False

    def follow_on(self, task_id: str, after: EventId) -> None:
        self.start_following(task_id, after, text=False)

    def note_told(self, task_id: str, event_id: EventId | None, frame: bytes) -> None:
        watch = self.watching.get(task_id)
        if watch is None or event_id is None:
            return
        if event_type(frame) in TERMINAL_TYPES:
            self.stop_watching(task_id)
        else:
            watch.told(event_id)

    async def push_own_tasks(self) -> None:
        """Life-cycle events of the user's tasks that this socket does not follow itself.

        Of what is missed while the client or Redis lags, only the fact is told; but what is watched
        is then read from its log.
        """
        async with get_hub().user_feed(self.owner_id, skip=self.following.__contains__) as feed:
            while True:
                news = await feed.next()
                if news is None:
                    if feed.is_lost:
                        feed.caught_up()
                        await self.send(EventsMissed())
                        for watch in list(self.watching.values()):
                            watch.doubt()
                    continue
                # It may be the task of a submit under way, which will follow it from its start.
                await self.handling.wait()
                event_id, task_id, frame = news
                if task_id not in self.following and self.is_new(task_id, event_id):
                    self.remember(task_id, event_id)
                    self.note_told(task_id, event_id, frame)
                    await self.send_bytes(frame)

    def is_new(self, task_id: str, event_id: EventId | None) -> bool:
        """False for what a follower, that may have read the log meanwhile, has sent already."""
        return event_id is None or event_id > self.told.get(task_id, START)

    def remember(self, task_id: str, event_id: EventId | None) -> None:
        if event_id is not None:
            self.told[task_id] = event_id
            if len(self.told) > MAX_REMEMBERED:
                del self.told[next(iter(self.told))]

    # --- Sending --------------------------------------------------------------------------------
    async def send(self, frame: msgspec.Struct) -> None:
        await self.send_bytes(encode(frame))

    async def send_bytes(self, frame: bytes) -> None:
        """Returns once the client keeps up, so that a slow one holds back its own followers."""
        metrics.FRAMES_SENT.inc()
        await self.flow.send_text(frame)

    async def tell_problem(self, ref: str | None, problem: Problem) -> None:
        request_error("websocket", problem.code).inc()
        await self.send(ErrorFrame(ref=ref, error=problem.as_error()))

    async def refuse_frame(self, data: str | bytes, problem: Problem) -> None:
        self.bad_frames += 1
        frame_received("invalid").inc()
        await self.tell_problem(_ref_of(data), problem)
        if self.bad_frames >= MAX_BAD_FRAMES:
            await self.close(CLOSE_BAD_FRAME)

    async def close(self, code: int) -> None:
        self.is_open = False
        self.is_closed = True
        self.cancel_jobs()
        await self.flow.send({"type": "websocket.close", "code": code})

    def cancel_jobs(self) -> None:
        for task_id in list(self.watching):
            self.stop_watching(task_id)
        self.jobs.cancel()
        self.handling.cancel()


def _ref_of(data: str | bytes) -> str | None:
    """The `ref` of a frame that is wrong in some other way, so that the client can match it.

    Half a surrogate pair in it, which no frame can have, comes back as U+FFFD.
    """
    try:
        ref = json.loads(data)["ref"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    if not isinstance(ref, str) or len(ref) > MAX_REF_CHARS:
        return None
    return ref.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _as_problem(error: Exception) -> Problem:
    """What a client is told of the error that its frame led to."""
    if isinstance(error, Problem):
        return error
    if is_away(error):
        return as_problem(error)
    logger.error("a frame could not be handled", exc_info=error)
    return Unexpected("Something went wrong here. It has been logged.")
