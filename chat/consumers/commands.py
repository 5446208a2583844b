"""The commands of one socket: each frame that a client sends is carried out on its own."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from accounts.authentication import Identity
from accounts.socket_consumer import CLOSE_TOO_MANY
from aily.concurrency.jobs import Jobs
from aily.database.outages import as_problem, is_away
from aily.database.replica import anote_write
from aily.database.threads import in_database
from aily.problems import Problem, Unexpected
from aily.web.flow_control import Workload
from chat.consumers.sender import FrameSender
from chat.consumers.subscriptions import Subscriptions, TooManyFollowedError
from chat.events import START, EventId, Pong, TaskAcceptedFrame
from chat.followers import follower_of
from chat.frames import (
    ExportSubscribe,
    ExportUnsubscribe,
    Frame,
    ImportSubscribe,
    ImportUnsubscribe,
    Ping,
    RunSubscribe,
    RunUnsubscribe,
    TableSubscribe,
    TableUnsubscribe,
    TaskApprove,
    TaskCancel,
    TaskReject,
    TaskSubmit,
    TaskSubscribe,
    TaskUnsubscribe,
)
from chat.models import Lane
from chat.runs.progress import load_watched
from chat.services.cancel import cancel_row
from chat.services.follow import check_owner
from chat.services.submit import Submission, submit
from chat.services.tool_approvals import approve, reject

logger = logging.getLogger(__name__)


#: Frames of one socket being worked on, and their bytes; the next is read when one is done.
MAX_FRAMES_AT_ONCE = 256
MAX_BYTES_AT_ONCE = 1_048_576


class Commands:
    """No command waits for another one. `close` closes the socket with a code."""

    def __init__(
        self,
        identity: Identity,
        sender: FrameSender,
        close: Callable[[int], Awaitable[None]],
    ) -> None:
        self._identity = identity
        self._owner_id: int = identity.user.pk
        self._sender = sender
        self._close = close
        self._submits = Jobs("a submit")
        self._others = Jobs("a command")
        self._workload = Workload(MAX_FRAMES_AT_ONCE, MAX_BYTES_AT_ONCE)
        self.subscriptions = Subscriptions(self._owner_id, sender, self._submits)

    async def begin(self, frame: Frame, size: int) -> None:
        """Carry out a frame of `size` bytes. Returns once there was room to begin."""
        await self._workload.enter(size)
        jobs = self._submits if isinstance(frame, TaskSubmit) else self._others
        jobs.spawn(self._handle(frame, size))

    def cancel(self) -> None:
        """End commands and subscriptions, but for the caller if it is one of them."""
        self.subscriptions.cancel()
        self._submits.cancel()
        self._others.cancel()

    async def _handle(self, frame: Frame, size: int) -> None:
        try:
            await self._execute(frame)
        except TooManyFollowedError:
            await self._close(CLOSE_TOO_MANY)
        except Exception as error:  # noqa: BLE001 - logged, and sent to the client
            # No name here: a problem refers to this frame, which has what was sent. With one, the
            # garbage collector would have to find them, and it comes seldom.
            await self._sender.send_problem(frame.ref, _as_problem(error))
        finally:
            self._workload.leave(size)

    async def _execute(self, frame: Frame) -> None:
        match frame:
            case TaskSubmit():
                await self._submit(frame)
            case TaskSubscribe():
                await self._subscribe(frame)
            case TaskUnsubscribe():
                self.subscriptions.unfollow(str(frame.task_id))
            case TaskCancel() | TaskApprove() | TaskReject():
                await self._change(frame)
                await anote_write(self._owner_id)
            case RunSubscribe():
                await in_database(load_watched, self._owner_id, frame.run_id)
                self.subscriptions.follow_run(frame.run_id, frame.ref)
            case RunUnsubscribe():
                self.subscriptions.unfollow(str(frame.run_id))
            case TableSubscribe() | ImportSubscribe() | ExportSubscribe():
                frames = follower_of(frame.type)(self._identity.user, frame)
                self.subscriptions.follow_frames(_followed(frame), frames, frame.ref)
            case TableUnsubscribe() | ImportUnsubscribe() | ExportUnsubscribe():
                self.subscriptions.unfollow(_followed(frame))
            case Ping():
                await self._sender.send(Pong(frame.ref))

    async def _change(self, frame: TaskCancel | TaskApprove | TaskReject) -> None:
        """Change a task. What comes of it are events of the task."""
        match frame:
            case TaskCancel():
                # Not until its worker has stored what it has: the end comes as an event.
                await cancel_row(self._owner_id, frame.task_id)
            case TaskApprove():
                await approve(
                    self._owner_id,
                    frame.task_id,
                    frame.call_id,
                    frame.arguments,
                    frame.input,
                    frame.question,
                )
            case TaskReject():
                await reject(
                    self._owner_id, frame.task_id, frame.call_id, frame.reason, frame.question
                )

    async def _submit(self, frame: TaskSubmit) -> None:
        api_key = self._identity.api_key
        submission = Submission(
            owner_id=self._owner_id,
            request=frame,
            default_lane=Lane.named(self._identity.lane, Lane.INTERACTIVE),
            idempotency_key=frame.idempotency_key,
            api_key_id=api_key.pk if api_key else None,
            uncounted=(self._owner_id, api_key),
        )
        accepted = await submit(submission)
        await anote_write(self._owner_id)
        await self._sender.send(
            TaskAcceptedFrame(
                ref=frame.ref,
                task_id=accepted.task_id,
                position=accepted.position,
                eta_seconds=accepted.eta_seconds,
                waiting_for=accepted.waiting_for,
                history_from=str(accepted.history_from) if accepted.history_from else None,
            )
        )
        task_id = accepted.task_id
        # A submit that was repeated while its task is followed changes nothing.
        if accepted.is_new or not self.subscriptions.is_following(task_id):
            self.subscriptions.follow(
                task_id, START, text=frame.stream, is_new=accepted.waits_alone
            )

    async def _subscribe(self, frame: TaskSubscribe) -> None:
        task_id = str(frame.task_id)
        after = EventId.parse(frame.after) if frame.after else START
        with self.subscriptions.expecting(task_id):
            await check_owner(self._owner_id, frame.task_id)
            self.subscriptions.follow(task_id, after, text=True)


def _followed(
    frame: TableSubscribe
    | TableUnsubscribe
    | ImportSubscribe
    | ImportUnsubscribe
    | ExportSubscribe
    | ExportUnsubscribe,
) -> str:
    """The name of what a frame subscribes to, or no longer."""
    match frame:
        case TableSubscribe() | TableUnsubscribe():
            return f"table {frame.table}"
        case ImportSubscribe() | ImportUnsubscribe():
            return f"import {frame.import_id}"
    return f"export {frame.export_id}"


def _as_problem(error: Exception) -> Problem:
    """The problem that a client is sent for an error that its frame led to."""
    if isinstance(error, Problem):
        return error
    if is_away(error):
        return as_problem(error)
    logger.error("a frame could not be handled", exc_info=error)
    return Unexpected("Something went wrong here. It has been logged.")
