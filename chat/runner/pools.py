"""What a worker knows of each pool: where its calls go, and how many are allowed at once."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from aily.concurrency.faults import surviving
from aily.secrets.encryption import UnreadableSecretError
from chat.llm.types import Proxy, TimeLimits, Upstream
from chat.models import LLMModel, Provider
from chat.models.provider_fields import KEY_VARIABLE_RULE, is_key_variable, split_names


class EndedCalls(NamedTuple):
    """What the next claim says of a pool's calls that have ended.

    `released`: tasks whose slots are given back. `mean_seconds`: of their calls, None if unknown.
    `succeeded`: how many of the calls the provider answered, for the tasks of `owners`.
    """

    released: list[str]
    mean_seconds: float | None
    succeeded: int
    owners: set[int]


@dataclass(slots=True)
class Pool:
    """One upstream model, as last read from the database."""

    name: str
    model_id: int
    model: str
    upstream_model: str
    upstream: Upstream
    cap: int
    #: Whether the last claim left tasks behind.
    has_waiting: bool = False
    #: Set to look for work now.
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    _released: list[str] = field(default_factory=list)
    _seconds: list[float] = field(default_factory=list)
    _succeeded: int = 0
    _owners: set[int] = field(default_factory=set)

    @property
    def released(self) -> Sequence[str]:
        """Tasks whose slots the next claim gives back."""
        return self._released

    def update(self, loaded: Pool) -> None:
        """Take over what was read from the database."""
        self.model, self.upstream_model = loaded.model, loaded.upstream_model
        self.upstream, self.cap = loaded.upstream, loaded.cap

    def release(self, task_ids: Sequence[str]) -> None:
        """Have the next claim give back the slots of these tasks."""
        self._released += task_ids

    def call_ended(self, task_id: str, seconds: float) -> None:
        """`release` for a call that took so long."""
        self._released.append(task_id)
        self._seconds.append(seconds)

    def call_succeeded(self, owner_id: int) -> None:
        """Count that the provider answers."""
        self._succeeded += 1
        self._owners.add(owner_id)

    def take_ended(self) -> EndedCalls:
        """Return what the next claim has to say, and forget it."""
        seconds = self._seconds
        mean_seconds = sum(seconds) / len(seconds) if seconds else None
        ended = EndedCalls(self._released, mean_seconds, self._succeeded, self._owners)
        self._released, self._seconds, self._succeeded, self._owners = [], [], 0, set()
        return ended

    def put_back(self, ended: EndedCalls) -> None:
        """Keep for a later claim what one could not say."""
        self._released += ended.released
        self._succeeded += ended.succeeded
        self._owners |= ended.owners


class Pools:
    """All pools of a worker, by name."""

    def __init__(self) -> None:
        self._by_name: dict[str, Pool] = {}

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[Pool]:
        return iter(self._by_name.values())

    def __getitem__(self, name: str) -> Pool:
        return self._by_name[name]

    @property
    def names(self) -> list[str]:
        return list(self._by_name)

    def refresh(self, loaded: Sequence[Pool]) -> None:
        """Take over what was read from the database. What is known of ended calls stays."""
        for pool in loaded:
            known = self._by_name.setdefault(pool.name, pool)
            if known is not pool:
                known.update(pool)

    def wake(self, name: str) -> None:
        """Look for work in this pool now. An unknown one is left to other workers."""
        if name in self._by_name:
            self._by_name[name].woken.set()


def load_pools() -> list[Pool]:
    """Read the pools of all models. A disabled one keeps running what was accepted before."""
    models = list(LLMModel.objects.select_related("provider"))
    # Each provider's once: deciphering its secrets takes more than all else here.
    providers = {model.provider_id: model.provider for model in models}
    upstreams: dict[int, Upstream] = {}
    for pk, provider in providers.items():
        # One that cannot be used must not keep the others from being called.
        with surviving("loading models"):
            upstreams[pk] = upstream_of(provider)
    return [
        Pool(
            name=model.pool,
            model_id=model.pk,
            model=model.name,
            upstream_model=model.upstream_name or model.name,
            upstream=upstreams[model.provider_id],
            cap=model.max_concurrency,
        )
        for model in models
        if model.provider_id in upstreams
    ]


def upstream_of(provider: Provider) -> Upstream:
    """How this process calls a provider; `problem` says why it cannot be called, if so."""
    try:
        secrets = _secrets_of(provider)
    except _UnusableError as error:
        secrets = _Secrets(problem=str(error))
    limits = {name: getattr(provider, name) for name in TimeLimits.__struct_fields__}
    return Upstream(
        base_url=provider.base_url,
        api_key=secrets.keys[0] if secrets.keys else None,
        provider=provider.name,
        other_keys=tuple(secrets.keys[1:]),
        key_header=provider.key_header,
        headers=tuple(secrets.headers.items()),
        request_fields=tuple(provider.request_fields.items()),
        limits=tuple((name, value) for name, value in limits.items() if value is not None),
        proxy=Proxy(provider.proxy_url, secrets.proxy) if provider.proxy_url else None,
        ca_bundle=provider.ca_bundle,
        may_reach=provider.may_reach,
        problem=secrets.problem,
    )


@dataclass(frozen=True, slots=True)
class _Secrets:
    """A provider's secrets. `problem`: why there are none."""

    keys: list[str] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    proxy: str = ""
    problem: str = ""


class _UnusableError(Exception):
    """A provider's secrets are not there. The message says why."""


def _secrets_of(provider: Provider) -> _Secrets:
    """Raises _UnusableError."""
    keys = _keys_of_environment(provider)
    try:
        return _Secrets(
            [*keys, *provider.api_keys()], provider.headers(), provider.proxy_credentials()
        )
    except UnreadableSecretError as error:
        raise _UnusableError(
            "its stored secrets cannot be read with this SECRET_KEY: enter them anew"
        ) from error


def _keys_of_environment(provider: Provider) -> list[str]:
    """Raises _UnusableError where one is missing: a call without its key would only be refused."""
    keys = []
    for name in split_names(provider.api_key_env):
        # Rows from before the rule may name any variable: SECRET_KEY, DATABASE_URL.
        if not is_key_variable(name):
            raise _UnusableError(
                f"{name} may not be sent to a provider: a key's variable is {KEY_VARIABLE_RULE}"
            )
        # Files of secrets often end with a newline.
        key = os.environ.get(name, "").strip()
        if not key:
            raise _UnusableError(f"{name} is not set")
        keys.append(key)
    return keys
