"""The throttle of log-ins: how often passwords and codes may be tried, over all processes.

Each try passes gates, each of which lets some through at once and then one every so many seconds.
A try that was right is given back. The state is in Redis; while that is away each process counts
by itself, which bounds guessing by the number of processes.
"""

from __future__ import annotations

import hashlib
import logging
import time
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from django.conf import settings

from accounts.sessions import keys
from aily.redis.clients import async_rates_redis, sync_rates_redis
from aily.redis.errors import RedisUnavailable
from aily.redis.scripts import LuaScript, ScriptCall

logger = logging.getLogger(__name__)

#: A user who has logged in from an address is not delayed there by what others try elsewhere.
KNOWN_PLACE_SECONDS = 30 * 86_400
#: How many times LOGIN_TRIES one unknown address may try at an account before its tries slow down,
#: and how many times LOGIN_RETRY_SECONDS lie between two tries from then on; the same for all
#: unknown addresses together. Together they have several times the pace of one, so that a few
#: addresses do not use up the tries that are left for an owner who comes from another one.
PLACE_FACTOR, PLACE_SLOWER = 3, 20
ACCOUNT_FACTOR, ACCOUNT_SLOWER = 6, 4
#: A known browser may send so many wrong second factors at once, and then one in so many seconds:
#: few enough for codes of six digits.
CODES_AT_ONCE, CODE_SECONDS = 5, 300
#: A flood from one address is logged once in so many seconds.
NOTE_SECONDS = 60
#: No account has a longer one.
MAX_USERNAME_LENGTH = 200
#: Gates that one process counts by itself while Redis is away.
MAX_LOCAL_GATES = 10_000

_scripts = Path(__file__).parent / "lua"
_admit = LuaScript[Sequence[int]](_scripts / "admit.lua", sync_rates_redis, async_rates_redis)
_refund = LuaScript[None](_scripts / "refund.lua", sync_rates_redis, async_rates_redis)


@dataclass(frozen=True, slots=True)
class Gate:
    """Lets `at_once` tries through, and then one every `seconds`.

    `exempt`: the name of a note in Redis; while it is there the gate lets all through.
    """

    name: str
    at_once: int
    seconds: float
    exempt: str = ""

    @property
    def interval(self) -> int:
        """In milliseconds."""
        return max(int(self.seconds * 1000), 1)


@dataclass(frozen=True, slots=True)
class Admission:
    """The result of `admit`. `wait_seconds` 0: admitted; else nothing was charged."""

    wait_seconds: float = 0
    charged: tuple[Gate, ...] = ()
    #: Of a refusal: none of this address was logged in the last minute.
    is_first_refusal: bool = False
    is_local: bool = False


def account_name(username: str) -> str:
    """The name that an account is counted under, whether or not there is such an account."""
    # As the form of Django's reads it.
    normalized = unicodedata.normalize("NFKC", username.strip()[:MAX_USERNAME_LENGTH])
    return hashlib.sha256(normalized.encode("utf-8", "replace")).hexdigest()[:20]


# --- Which gates a try passes ---------------------------------------------------------------------
def password_gates(account: str, network: str, device: str | None) -> list[Gate]:
    """The gates of a password on the login page. A known browser passes only one of its own."""
    at_once, seconds = settings.LOGIN_TRIES, settings.LOGIN_RETRY_SECONDS
    if device is not None:
        return [Gate(f"device:{account}:{device}", 2 * at_once, seconds)]
    place = f"{account}:{network}"
    return [
        Gate(f"place:{place}", at_once, seconds),
        Gate(f"patient:{place}", PLACE_FACTOR * at_once, PLACE_SLOWER * seconds),
        Gate(
            f"account:{account}",
            ACCOUNT_FACTOR * at_once,
            ACCOUNT_SLOWER * seconds,
            exempt=known_place(account, network),
        ),
        _address_gate(network),
    ]


def code_gates(account: str, network: str, device: str | None) -> list[Gate]:
    """The gates of a second factor. An unknown browser passes none: the row of the authenticator
    delays all of them together, ever longer, and outlasts Redis (totp.py)."""
    if device is None:
        return []
    return [Gate(f"code-device:{account}:{device}", CODES_AT_ONCE, CODE_SECONDS)]


def own_password_gates(user_id: int) -> list[Gate]:
    """The gates of a user's own password, asked for once more within a session."""
    return [Gate(f"own:{user_id}", settings.LOGIN_TRIES, settings.LOGIN_RETRY_SECONDS)]


def _address_gate(network: str) -> Gate:
    per_minute = settings.LOGIN_ADDRESS_TRIES
    return Gate(f"address:{network}", per_minute, 60 / per_minute)


def known_place(account: str, network: str) -> str:
    """The name of the note that this account was logged in to from there."""
    return f"known:{account}:{network}"


# --- Passing them ---------------------------------------------------------------------------------
async def admit(gates: Sequence[Gate], *, note: str = "") -> Admission:
    """Charge all gates, or return how long to wait for the one that refuses.

    `note`: the address whose refusal is noted, to log it once a minute; empty: it is not.
    """
    try:
        return _admission(gates, await _admit.acall(*_admit_call(gates, note)))
    except RedisUnavailable as error:
        return _admit_locally(gates, note, error)


def admit_in_thread(gates: Sequence[Gate], *, note: str = "") -> Admission:
    """`admit`, for threads."""
    try:
        return _admission(gates, _admit.call(*_admit_call(gates, note)))
    except RedisUnavailable as error:
        return _admit_locally(gates, note, error)


def refund(admission: Admission, *, exempt: str = "") -> None:
    """Give back what a try was charged that was right, or never judged. For threads.

    `exempt` names the note that exempts later tries of its kind.
    """
    if admission.is_local:
        _local.refund(admission.charged)
        return
    names = [exempt, *(gate.name for gate in admission.charged)]
    args = [KNOWN_PLACE_SECONDS if exempt else 0, *(gate.interval for gate in admission.charged)]
    try:
        _refund.call([keys.login(name) for name in names], args)
    except RedisUnavailable as error:
        logger.warning("a try at a password stays counted: %s", error)


def _admit_call(gates: Sequence[Gate], note: str) -> ScriptCall:
    names, args = [_note_name(note)], [NOTE_SECONDS if note else 0]
    for gate in gates:
        names += [gate.name, gate.exempt]
        args += [gate.interval, gate.at_once, int(bool(gate.exempt))]
    return [keys.login(name) for name in names], args


def _note_name(note: str) -> str:
    return f"refused:{note}" if note else ""


def _admission(gates: Sequence[Gate], reply: Sequence[int]) -> Admission:
    wait, _, is_first, *charged = reply
    if wait > 0:
        return Admission(wait / 1000, is_first_refusal=bool(is_first))
    paid = tuple(gate for gate, was_charged in zip(gates, charged, strict=True) if was_charged)
    return Admission(charged=paid)


# --- While Redis is away --------------------------------------------------------------------------
class _LocalGates:
    """The gates as one process counts them by itself. No exemptions."""

    def __init__(self) -> None:
        self._lock = Lock()
        #: When a gate is as good as new (monotonic), the one charged last at the end.
        self._full_at: dict[str, float] = {}

    def admit(self, gates: Sequence[Gate], note: str) -> Admission:
        now = time.monotonic()
        with self._lock:
            full = {
                gate: max(self._full_at.get(gate.name, 0), now) + gate.seconds for gate in gates
            }
            waits = (at - gate.at_once * gate.seconds - now for gate, at in full.items())
            wait = max(waits, default=0)
            # Sums of fractions: what is off by less than a millisecond is no wait.
            if wait > 0.001:
                is_first = bool(note) and self._full_at.get(note, 0) <= now
                self._keep({note: now + NOTE_SECONDS} if is_first else {})
                return Admission(wait, is_first_refusal=is_first, is_local=True)
            self._keep({gate.name: at for gate, at in full.items()})
        return Admission(charged=tuple(gates), is_local=True)

    def _keep(self, full_at: dict[str, float]) -> None:
        for name, at in full_at.items():
            self._full_at.pop(name, None)
            self._full_at[name] = at
        while len(self._full_at) > MAX_LOCAL_GATES:
            del self._full_at[next(iter(self._full_at))]

    def refund(self, gates: Sequence[Gate]) -> None:
        with self._lock:
            for gate in gates:
                if gate.name in self._full_at:
                    self._full_at[gate.name] -= gate.seconds


_local = _LocalGates()


def _admit_locally(gates: Sequence[Gate], note: str, error: Exception) -> Admission:
    logger.debug("counting tries at passwords in this process: Redis is away (%s)", error)
    return _local.admit(gates, _note_name(note))
