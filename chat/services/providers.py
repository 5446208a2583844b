"""Saving a provider's settings: which addresses calls and secrets may be sent to.

Addresses are checked here so that an error comes at once. The check that counts is that of each
connection (chat/llm/transport/connections.py), as names change their addresses.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import suppress
from copy import copy
from functools import cache
from typing import Any

import httpx
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Model
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.models import User
from aily.problems import Forbidden, InvalidRequest
from aily.secrets.encryption import UnreadableSecretError
from chat.exceptions import because
from chat.models import Provider, ToolServer
from chat.reasons import Reason

#: How long saving waits for a name server.
RESOLVE_SECONDS = 2
RESOLVER_THREADS = 4
#: Fields that decide which host sees what is sent.
ADDRESS_FIELDS = ("base_url", "proxy_url", "ca_bundle")
#: Names that lead to a cloud's metadata service, where they lead anywhere.
_METADATA_NAMES = frozenset({"metadata.google.internal", "metadata.goog", "instance-data"})

#: IP addresses by URL; none where a name is not known here.
Addresses = Mapping[str, list[str]]


# --- Addresses ----------------------------------------------------------------------------------
async def resolve(urls: Iterable[str]) -> Addresses:
    """The addresses of these URLs' hosts, as far as a name server answers in time."""
    return await asyncio.to_thread(resolve_blocking, urls)


def resolve_blocking(urls: Iterable[str]) -> Addresses:
    """`resolve` for a thread, which must hold no lock or connection that others wait for."""
    hosts = {url: host for url in urls if url and (host := host_of(url))}
    found: dict[str, Future[list[str]]] = {
        url: _resolvers().submit(_look_up, host) for url, host in hosts.items()
    }
    wait_for(found.values(), RESOLVE_SECONDS)
    addresses: dict[str, list[str]] = {url: [] for url in hosts}
    for url, future in found.items():
        if not future.done():
            future.cancel()
            continue
        with suppress(OSError, UnicodeError):
            addresses[url] = future.result()
    return addresses


def check_addresses(provider: Provider, addresses: Addresses) -> None:
    """Raise ValidationError where calls of `provider` would be refused their connection."""
    for field in ("base_url", "proxy_url"):
        check_reach(provider, field, addresses)


def check_reach(row: Provider | ToolServer, field: str, addresses: Addresses) -> None:
    """Raise ValidationError where a connection to the URL in this field would be refused."""
    may_reach, url = row.may_reach, getattr(row, field)
    if may_reach is None or not url:
        return
    host = host_of(url)
    if host in _METADATA_NAMES or not all(map(may_reach, addresses.get(url, []))):
        raise ValidationError({field: str(_REASONS[row.public_only]) % {"host": host}})


_REASONS = {
    True: gettext_lazy(
        "%(host)s is, or resolves to, an address that is not public. A superuser may set such a "
        "provider, or anybody where PROVIDER_ALLOW_PRIVATE is on."
    ),
    False: gettext_lazy(
        "%(host)s is, or resolves to, a link-local address or a metadata service, which is only "
        "allowed where PROVIDER_ALLOW_PRIVATE is on."
    ),
}


def host_of(url: str) -> str:
    """The host of a URL; empty if it has none."""
    try:
        return httpx.URL(url).raw_host.decode("ascii").lower().rstrip(".")
    except (httpx.InvalidURL, UnicodeError, ValueError):
        return ""


def _look_up(host: str) -> list[str]:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


@cache
def _resolvers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(RESOLVER_THREADS, thread_name_prefix="resolve-provider")


# --- Settings -----------------------------------------------------------------------------------
def assign(provider: Provider, fields: Mapping[str, object], actor: User) -> None:
    """Set fields of an unsaved provider, secrets among them: `api_keys`,
    `extra_headers` (None removes one) and `proxy_credentials`.

    Raises ValidationError, or Forbidden where a superuser is asked for.
    """
    before = copy(provider)
    for name in fields.keys() - _SECRETS.keys() - {"public_only"}:
        setattr(provider, name, fields[name])
    _require_secrets_again(before, provider, fields, actor)
    provider.public_only = _public_only(before, provider, fields, actor)
    for name in fields.keys() & _SECRETS.keys():
        try:
            _SECRETS[name](provider, fields[name])
        except UnreadableSecretError as error:
            message = _("What is stored cannot be read with this SECRET_KEY: give all anew.")
            raise ValidationError({name: message}) from error


def create(fields: Mapping[str, object], addresses: Addresses, actor: User) -> Provider:
    """Raises ValidationError."""
    provider = Provider()
    assign(provider, fields, actor)
    provider.full_clean()
    check_addresses(provider, addresses)
    provider.save(force_insert=True)
    return provider


def change(pk: int, fields: Mapping[str, object], addresses: Addresses, actor: User) -> Provider:
    """Raises ValidationError, Forbidden or Provider.DoesNotExist."""
    with transaction.atomic():
        # Locked, as two changes of the headers at once would lose one.
        provider = Provider.objects.select_for_update(no_key=True).get(pk=pk)
        assign(provider, fields, actor)
        provider.full_clean()
        if fields.keys() & {*ADDRESS_FIELDS, "public_only"}:
            check_addresses(provider, addresses)
        provider.save()
    return provider


_SECRETS: dict[str, Callable[[Provider, Any], None]] = {
    "api_keys": Provider.set_api_keys,
    "extra_headers": Provider.set_headers,
    "proxy_credentials": Provider.set_proxy_credentials,
}


def _public_only(
    before: Provider, provider: Provider, fields: Mapping[str, object], actor: User
) -> bool:
    is_moved = fields_differ(before, provider, "base_url", "proxy_url")
    wanted = fields.get("public_only")
    if actor.is_superuser:
        return bool(wanted) if wanted is not None else before.public_only and not is_moved
    if wanted is False and before.public_only:
        raise Forbidden(_("Only a superuser may let a provider be at a private address."))
    return before.public_only or is_moved or bool(wanted)


def _require_secrets_again(
    before: Provider, provider: Provider, fields: Mapping[str, object], actor: User
) -> None:
    """Raise ValidationError where calls would go to another host with secrets that were given for
    this one: an editor could have them sent to a host of their own."""
    is_elsewhere = origin_of(before.base_url) != origin_of(provider.base_url)
    moved = [name for name in ADDRESS_FIELDS[1:] if fields_differ(before, provider, name)]
    if is_elsewhere:
        moved.insert(0, "base_url")
    if actor.is_superuser or not moved:
        return
    headers = fields.get("extra_headers")
    given = {name.lower() for name in headers} if isinstance(headers, Mapping) else set()
    missing = {
        "api_keys": before.has_api_key and "api_keys" not in fields,
        "extra_headers": not given >= {name.lower() for name in before.header_names},
        "proxy_credentials": before.has_proxy_credentials and "proxy_credentials" not in fields,
    }
    for name, is_missing in missing.items():
        if is_missing:
            message = _("Where %(field)s changes, give these anew: they were stored for another.")
            raise ValidationError({name: message % {"field": moved[0]}})


def fields_differ(before: Model, after: Model, *names: str) -> bool:
    """Whether any of these fields has another value."""
    return any(getattr(before, name) != getattr(after, name) for name in names)


def origin_of(url: str) -> tuple[str, str, int | None]:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        return "", url, None
    return parsed.scheme, host_of(url), parsed.port


async def addresses_for(
    fields: Mapping[str, object], provider: Provider | None = None
) -> Addresses:
    """The addresses that saving these fields has to judge; none where it need not."""
    if provider is not None and not fields.keys() & {"base_url", "proxy_url", "public_only"}:
        return {}
    urls = []
    for name in ("base_url", "proxy_url"):
        url = fields.get(name, getattr(provider, name, ""))
        if not isinstance(url, str):
            raise because(InvalidRequest, Reason("not_string"), field=name)
        urls.append(url)
    return await resolve(urls)
