"""A worker's state of each pool: its model, where its calls go, and which of them have ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from chat.llm.types import Upstream
from chat.models.provider_fields import StructuredOutput
from chat.models.transitions import Route
from chat.scheduler import NOT_CALLED, Claim, DeploymentClaim, DeploymentKey


class EndedCalls(NamedTuple):
    """What the next claim reports of a deployment's calls that have ended.

    `released`: tasks whose slots are given back. `mean_seconds`: of their calls, None if unknown.
    `succeeded`: how many of the calls the provider answered, for the tasks of `owners`. `used`: the
    tokens of those that are known.
    """

    released: list[str]
    mean_seconds: float | None
    succeeded: int
    owners: set[int]
    used: dict[str, int]


#: How a model is asked for answers that fit a JSON Schema: each way once it refused the one before.
_OUTPUT_MODES = (StructuredOutput.NATIVE, StructuredOutput.JSON_OBJECT, StructuredOutput.PROMPT)
#: For how long a refusal is believed: another may be one caller's schema's fault.
REFUSAL_SECONDS = 600.0


@dataclass(slots=True)
class LearntOutput:
    """How a model is asked for answers that fit a JSON Schema, where staff have not set it."""

    _place: int = 0
    #: Monotonic.
    _until: float = 0.0

    @property
    def mode(self) -> StructuredOutput:
        return _OUTPUT_MODES[self._place if time.monotonic() < self._until else 0]

    def note_refused(self, mode: StructuredOutput) -> None:
        """Ask in another way from now on than in this one, which is not the last."""
        self._place = max(_OUTPUT_MODES.index(self.mode), _OUTPUT_MODES.index(mode) + 1)
        self._until = time.monotonic() + REFUSAL_SECONDS


@dataclass(slots=True)
class Deployment:
    """One place where a model is called, as last read from the database."""

    key: DeploymentKey
    #: Of its row; None: the model's own deployment.
    pk: int | None
    name: str
    provider_id: int
    upstream_model: str
    upstream: Upstream
    cap: int
    weight: int = 1
    #: 0: no limit.
    requests_per_minute: int = 0
    tokens_per_minute: int = 0
    #: It takes nothing: staff have paused it or its provider, or disabled that.
    is_held: bool = False
    #: How it is asked for answers that fit a JSON Schema; None: as `learnt_output` says.
    structured_output: StructuredOutput | None = None
    learnt_output: LearntOutput = field(default_factory=LearntOutput)
    #: Whether it could be called as of the last claim: neither is it paused nor its breaker open.
    is_usable: bool = True
    #: Tasks that were claimed, and whose slots are not given back yet. No number: a task may be
    #: claimed twice, and the slots of a claim whose reply was lost are given back all the same.
    slots: set[str] = field(default_factory=set)
    #: A claim is under way that may bring tasks for it.
    is_claiming: bool = False
    _released: list[str] = field(default_factory=list)
    _seconds: list[float] = field(default_factory=list)
    _succeeded: int = 0
    _owners: set[int] = field(default_factory=set)
    _used: dict[str, int] = field(default_factory=dict)

    @property
    def released(self) -> Sequence[str]:
        """Tasks whose slots the next claim gives back."""
        return self._released

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing goes on: no call has a slot or has just ended, and nothing blocks it."""
        takes_nothing = self.is_held or self.weight == 0
        return not (self.slots or self._released) and (self.is_usable or takes_nothing)

    @property
    def is_limited(self) -> bool:
        """Whether its calls or tokens of a minute are counted."""
        return bool(self.requests_per_minute or self.tokens_per_minute)

    def update(self, loaded: Deployment) -> None:
        """Take over what was read from the database."""
        self.name, self.upstream_model = loaded.name, loaded.upstream_model
        if self.upstream.base_url != loaded.upstream.base_url:
            self.learnt_output = LearntOutput()
        self.structured_output = loaded.structured_output
        self.upstream, self.cap, self.weight = loaded.upstream, loaded.cap, loaded.weight
        self.requests_per_minute = loaded.requests_per_minute
        self.tokens_per_minute = loaded.tokens_per_minute
        self.is_held = loaded.is_held

    def route(self, model_id: int) -> Route:
        return Route(model_id, self.provider_id, self.pk, self.name)

    def release(self, task_ids: Iterable[str]) -> None:
        """Have the next claim give back the slots of these tasks, which were not called."""
        released = list(task_ids)
        self.slots.difference_update(released)
        self._released += released
        if self.is_limited:
            self._used |= dict.fromkeys(released, NOT_CALLED)

    def call_ended(self, task_id: str, seconds: float, tokens: int | None) -> None:
        """Have the next claim give back the slot of a call that took so long, and used so much."""
        self.slots.discard(task_id)
        self._released.append(task_id)
        self._seconds.append(seconds)
        if tokens is not None and self.is_limited:
            self._used[task_id] = tokens

    def call_succeeded(self, owner_id: int) -> None:
        """Count that the provider answers."""
        self._succeeded += 1
        self._owners.add(owner_id)

    def take_ended(self) -> EndedCalls:
        """Return what the next claim has to report, and forget it."""
        seconds = self._seconds
        mean_seconds = sum(seconds) / len(seconds) if seconds else None
        ended = EndedCalls(self._released, mean_seconds, self._succeeded, self._owners, self._used)
        self._released, self._seconds, self._succeeded = [], [], 0
        self._owners, self._used = set(), {}
        return ended

    def put_back(self, ended: EndedCalls) -> None:
        """Keep for a later claim what a failed one did not report."""
        self._released += ended.released
        self._succeeded += ended.succeeded
        self._owners |= ended.owners
        self._used = ended.used | self._used

    def claim(self, ended: EndedCalls) -> DeploymentClaim:
        return DeploymentClaim(
            self.key[1],
            self.cap,
            0 if self.is_held else self.weight,
            self.requests_per_minute,
            self.tokens_per_minute,
            ended.released,
            ended.mean_seconds,
            ended.succeeded,
            ended.owners,
            ended.used,
        )


@dataclass(slots=True)
class Pool:
    """One model, as last read from the database."""

    name: str
    model_id: int
    model: str
    #: By name, the model's own first. One that is no more stays, held, as calls of it may run.
    deployments: dict[str, Deployment]
    #: Staff have paused or disabled the model.
    is_model_held: bool = False
    #: Whether the last claim left tasks behind.
    has_waiting: bool = False
    #: Seconds after the last claim when a limit of a minute has room again, if one keeps tasks
    #: waiting.
    wait_seconds: float | None = None
    #: Tasks that the last claim has started, and how many of them are not of lane batch.
    started: int = 0
    started_for_people: int = 0
    #: Whether the last claim found that nothing goes on: no task waits or runs here, and nothing
    #: blocks it. Then one look at all such pools together replaces the claims without a ring.
    is_at_rest: bool = False
    #: Set to look for work now.
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    #: Since the last claim the doorbell has rung for this worker alone: no other one knows of the
    #: tasks.
    is_rung_alone: bool = False
    #: As far as this worker knows, the doorbell rings for it alone.
    is_preferred: bool = False

    @property
    def is_held(self) -> bool:
        """Whether nothing is claimed: staff have stopped the model, or all of its deployments."""
        return self.is_model_held or all(
            deployment.is_held for deployment in self.deployments.values()
        )

    @property
    def is_alone(self) -> bool:
        """Whether a single deployment takes tasks: a failure of that blocks the pool."""
        return sum(not deployment.is_held for deployment in self.deployments.values()) <= 1

    def update(self, loaded: Pool) -> None:
        """Take over what was read from the database."""
        was_held, settings = self.is_held, self._settings()
        self.model, self.is_model_held = loaded.model, loaded.is_model_held
        for name in self.deployments.keys() - loaded.deployments.keys():
            # Deleted, or moved to another provider: its calls end, none starts.
            gone = self.deployments[name]
            gone.is_held = True
            if not (gone.slots or gone.released or gone.is_claiming):
                del self.deployments[name]
        for name, deployment in loaded.deployments.items():
            if (known := self.deployments.get(name)) is not None:
                known.update(deployment)
            else:
                self.deployments[name] = deployment
        # A claim stores the caps, which others read.
        if (was_held and not self.is_held) or (self.is_at_rest and self._settings() != settings):
            self.woken.set()

    def _settings(self) -> list[tuple[str, int, int, bool]]:
        """What a claim stores of its deployments' settings."""
        deployments = self.deployments.items()
        return [
            (name, deployment.cap, deployment.weight, deployment.is_held)
            for name, deployment in deployments
        ]

    def note_claim(self, claim: Claim) -> None:
        """Store the reply of a claim."""
        for name, found in claim.taken.items():
            self.deployments[name].is_usable = found.is_usable
            self.deployments[name].slots.update(found.task_ids)
        self.has_waiting, self.wait_seconds = claim.left > 0, claim.wait_seconds
        is_unfinished = self.has_waiting or claim.is_counting
        deployments = self.deployments.values()
        self.is_at_rest = not is_unfinished and all(
            deployment.is_at_rest for deployment in deployments
        )

    def has_other(self, tried: Iterable[str]) -> bool:
        """Whether a deployment that is not among these could be called now."""
        return any(
            deployment.is_usable
            and not deployment.is_held
            and deployment.weight > 0
            and name not in tried
            for name, deployment in self.deployments.items()
        )


class Pools:
    """All pools of a worker, by name."""

    def __init__(self) -> None:
        self._by_name: dict[str, Pool] = {}
        #: Names by model id.
        self._names: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[Pool]:
        return iter(self._by_name.values())

    @property
    def deployments(self) -> Mapping[DeploymentKey, Deployment]:
        return {
            deployment.key: deployment for pool in self for deployment in pool.deployments.values()
        }

    def of_model(self, model_id: int) -> Pool | None:
        """The pool of a model, None where this worker does not know it yet."""
        return self._by_name.get(self._names.get(model_id, ""))

    def refresh(self, loaded: Sequence[Pool]) -> None:
        """Take over what was read from the database. What is known of ended calls stays."""
        for pool in loaded:
            known = self._by_name.setdefault(pool.name, pool)
            if known is not pool:
                known.update(pool)
        self._names = {pool.model_id: pool.name for pool in loaded}

    def wake(self, name: str) -> None:
        """Look for work in this pool now. An unknown one is left to other workers."""
        if name in self._by_name:
            self._by_name[name].woken.set()

    def wake_alone(self, name: str) -> None:
        """`wake`, where no other worker was woken."""
        if name in self._by_name:
            self._by_name[name].is_rung_alone = True
            self._by_name[name].woken.set()
