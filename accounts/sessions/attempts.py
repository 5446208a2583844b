"""One attempt at a password or code: admitted by the gates, checked, and logged."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from django.conf import settings
from django.db import DatabaseError
from django.http import HttpRequest
from django.utils.translation import gettext as _

from accounts import metrics
from accounts.login_models import LoginMethod as Method
from accounts.login_models import LoginOutcome as Outcome
from accounts.models import User
from accounts.sessions import throttle
from accounts.sessions.devices import known_device
from accounts.sessions.login_log import Origin, named_user, note_login
from accounts.sessions.throttle import Admission, Gate
from aily.database.threads import in_database
from aily.network.client_address import network_of
from aily.problems import LimitReached, retry_after

#: Requests of one process that wait for a turn at once; further ones are refused without waiting.
MAX_WAITING = 1000
#: How often a waiting request asks for its turn.
POLL_SECONDS = 0.5

_waiting = 0


@dataclass(slots=True)
class Attempt:
    """An attempt to log in. `username` is what was typed, and need not exist."""

    username: str
    account: str
    origin: Origin
    method: Method
    gates: Sequence[Gate]
    is_known_device: bool
    admission: Admission = field(default_factory=Admission)
    is_decided: bool = False

    @classmethod
    def at_password(cls, request: HttpRequest, username: str) -> Attempt:
        return cls._of(request, username, Method.PASSWORD)

    @classmethod
    def at_code(cls, request: HttpRequest, username: str) -> Attempt:
        return cls._of(request, username, Method.CODE)

    @classmethod
    def _of(cls, request: HttpRequest, username: str, method: Method) -> Attempt:
        account = throttle.account_name(username)
        device, origin = known_device(request, account), Origin.of(request)
        gates_of = throttle.password_gates if method == Method.PASSWORD else throttle.code_gates
        gates = gates_of(account, network_of(origin.address), device)
        return cls(username, account, origin, method, gates, device is not None)

    @property
    def _network(self) -> str:
        return network_of(self.origin.address)

    async def enter(self) -> int:
        """Wait briefly for a turn. Returns 0, or after how many seconds to try again.

        A refusal takes a while too: otherwise programs that try again at once would keep the
        process busy.
        """
        if not self.gates:
            return 0
        self.admission = await throttle.admit(self.gates)
        if self.admission.wait_seconds:
            await self._wait_for_turn()
        if not self.admission.wait_seconds:
            return 0
        if self.admission.is_first_refusal:
            await in_database(self._note_refusal)
        metrics.login(self.method, Outcome.REFUSED).inc()
        return retry_after(self.admission.wait_seconds)

    async def _wait_for_turn(self) -> None:
        """Ask again for LOGIN_HOLD_SECONDS: attempts under way give their turns back if right."""
        global _waiting
        # At random, or requests that came together would all be answered in one burst.
        hold_seconds = settings.LOGIN_HOLD_SECONDS * random.uniform(0.75, 1.25)  # noqa: S311
        deadline = time.monotonic() + hold_seconds if _waiting < MAX_WAITING else 0
        _waiting += 1
        try:
            while self.admission.wait_seconds and (rest := deadline - time.monotonic()) > 0:
                poll_seconds = POLL_SECONDS * random.uniform(0.75, 1.25)  # noqa: S311
                await asyncio.sleep(min(rest, self.admission.wait_seconds, poll_seconds))
                self.admission = await throttle.admit(self.gates)
        finally:
            _waiting -= 1
        if self.admission.wait_seconds:
            self.admission = await throttle.admit(self.gates, note=self._network)

    def succeeded(self, *, is_last_step: bool) -> None:
        """Record that the password or code is right. Blocks."""
        place = throttle.known_place(self.account, self._network)
        self._refund(exempt=place if is_last_step else "")

    def failed(self) -> None:
        """Record that the password or code is wrong. Blocks."""
        self.is_decided = True
        note_login(self.origin, self.method, Outcome.FAILED, named_user(self.username))

    def withdraw(self) -> None:
        """Give the turn back if nothing was recorded, as after an error. Blocks."""
        if not self.is_decided:
            self._refund()

    def _refund(self, exempt: str = "") -> None:
        self.is_decided = True
        throttle.refund(self.admission, exempt=exempt)

    def _note_refusal(self) -> None:
        try:
            user = named_user(self.username)
        except DatabaseError:
            user = None
        note_login(self.origin, self.method, Outcome.REFUSED, user)


def is_own_password(request: HttpRequest, user: User, password: str) -> bool:
    """Return whether this is the logged-in user's password. Blocks.

    Raises LimitReached after too many attempts: a session that was left open must not be a place to
    guess from.
    """
    origin = Origin.of(request)
    gates = throttle.own_password_gates(user.pk)
    admission = throttle.admit_in_thread(gates, note=network_of(origin.address))
    if admission.wait_seconds:
        metrics.login(Method.OWN_PASSWORD, Outcome.REFUSED).inc()
        if admission.is_first_refusal:
            note_login(origin, Method.OWN_PASSWORD, Outcome.REFUSED, user)
        seconds = retry_after(admission.wait_seconds)
        raise LimitReached(
            _("Too many wrong passwords. Try again in %(seconds)d s.") % {"seconds": seconds},
            limit_name="password_tries",
            limit=settings.LOGIN_TRIES,
            retry_after_seconds=seconds,
        )
    try:
        is_right = user.check_password(password)
    except Exception:
        throttle.refund(admission)
        raise
    if is_right:
        throttle.refund(admission)
    else:
        note_login(origin, Method.OWN_PASSWORD, Outcome.FAILED, user)
    return is_right
