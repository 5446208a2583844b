"""Reads from the database where the calls of each pool go, with the secrets they need."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from aily.concurrency.faults import surviving
from aily.secrets.encryption import UnreadableSecretError
from chat.llm.types import Proxy, TimeLimits, Upstream
from chat.models import Deployment as Row
from chat.models import LLMModel, Provider
from chat.models.provider_fields import KEY_VARIABLE_RULE, is_key_variable, split_names
from chat.observability.metrics import create_model_series
from chat.runner.pools import Deployment, Pool


def load_pools() -> list[Pool]:
    """Read the pools of all models. A paused or disabled one starts nothing; its calls go on."""
    models = list(LLMModel.objects.with_deployments())
    create_model_series(model.name for model in models)
    rows = {model.pk: model.all_deployments() for model in models}
    # Each provider's once: deciphering its secrets takes more than all else here.
    providers = {row.provider_id: row.provider for of_model in rows.values() for row in of_model}
    upstreams: dict[int, Upstream] = {}
    for pk, provider in providers.items():
        # One that cannot be used must not keep the others from being called.
        with surviving("loading models"):
            upstreams[pk] = upstream_of(provider)
    pools = [_pool(model, rows[model.pk], upstreams) for model in models]
    return [pool for pool in pools if pool.deployments]


def _pool(model: LLMModel, rows: Sequence[Row], upstreams: Mapping[int, Upstream]) -> Pool:
    deployments = [
        _deployment(model, row, upstreams[row.provider_id])
        for row in rows
        if row.provider_id in upstreams
    ]
    return Pool(
        name=model.pool,
        model_id=model.pk,
        model=model.name,
        deployments={deployment.key[1]: deployment for deployment in deployments},
        is_model_held=model.paused_at is not None or not model.is_offered,
    )


def _deployment(model: LLMModel, row: Row, upstream: Upstream) -> Deployment:
    return Deployment(
        key=row.key,
        pk=row.pk,
        name=row.name,
        provider_id=row.provider_id,
        upstream_model=row.upstream_name or model.name,
        upstream=upstream,
        cap=row.max_concurrency,
        weight=row.weight,
        requests_per_minute=row.requests_per_minute or 0,
        tokens_per_minute=row.tokens_per_minute or 0,
        is_held=row.is_held,
        structured_output=model.structured_output_at(row.provider),
    )


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
