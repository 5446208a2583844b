"""Reads from the database where the calls of each pool go, with the secrets they need."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from aily.concurrency.faults import surviving
from aily.secrets.encryption import UnreadableSecretError
from chat.llm.types import Proxy, TimeLimits, Upstream
from chat.models import LLMModel, Provider
from chat.models.provider_fields import KEY_VARIABLE_RULE, is_key_variable, split_names
from chat.observability.metrics import create_model_series
from chat.runner.pools import Pool


def load_pools() -> list[Pool]:
    """Read the pools of all models. A paused or disabled one starts nothing; its calls go on."""
    models = list(LLMModel.objects.select_related("provider"))
    create_model_series(model.name for model in models)
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
            is_held=model.is_paused or not model.is_offered,
            structured_output=model.structured_output_mode,
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
