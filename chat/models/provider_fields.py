"""Checks of a provider's settings; they raise ValidationError with a message for the author."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable

import httpx
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db.models import TextChoices
from django.utils.translation import gettext as _

from aily.network.public_addresses import is_not_link_local, is_public

#: Environment variables with this prefix may hold a provider's key, and one other variable.
KEY_PREFIX = "LLM_KEY_"
OTHER_KEY_VARIABLE = "DEEPSEEK_API_KEY"
KEY_VARIABLE_RULE = f"{KEY_PREFIX}... or {OTHER_KEY_VARIABLE}"

MAX_URL_CHARS = 500
MAX_KEYS = 20
MAX_KEY_CHARS = 4096
MAX_HEADERS = 20
MAX_HEADER_BYTES = 8192
MAX_REQUEST_FIELDS = 50
MAX_CA_BYTES = 65_536

_KEY_VARIABLE = re.compile(rf"{KEY_PREFIX}[A-Z0-9_]+|{OTHER_KEY_VARIABLE}")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_FIELD_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
#: Headers that the client itself sets: framing, encodings, the host, credentials.
_OWN_HEADERS = frozenset({
    "accept", "accept-encoding", "authorization", "connection", "content-encoding",
    "content-length", "content-type", "expect", "host", "http2-settings", "keep-alive",
    "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "traceparent",
    "trailer", "transfer-encoding", "upgrade", "user-agent",
})  # fmt: skip
#: Names of query parameters that hold keys, without - and _.
_KEYS_IN_QUERY = frozenset({
    "accesskey", "accesstoken", "apikey", "auth", "authorization", "authtoken", "code", "key",
    "password", "secret", "sig", "signature", "subscriptionkey", "token",
})  # fmt: skip
#: How hosts, and those below them, are asked for answers that fit a JSON Schema.
_STRUCTURED_OUTPUT_OF_HOSTS = {
    "deepseek.com": "json_object",
    "openai.com": "native",
    "openai.azure.com": "native",
}
#: Fields of the body that every call sets itself.
UNTOUCHABLE_FIELDS = frozenset({"model", "messages", "stream"})


class StructuredOutput(TextChoices):
    """How a model is asked for an answer that fits a JSON Schema."""

    NATIVE = "native", "The schema is sent as response_format"
    JSON_OBJECT = "json_object", "JSON mode, and the schema in the prompt"
    PROMPT = "prompt", "The schema in the prompt alone"


def structured_output_of_host(base_url: str) -> str:
    """A StructuredOutput that is known of this host; empty: none is."""
    try:
        host = httpx.URL(base_url).host.lower().rstrip(".")
    except httpx.InvalidURL:
        return ""
    for name, mode in _STRUCTURED_OUTPUT_OF_HOSTS.items():
        if host == name or host.endswith(f".{name}"):
            return mode
    return ""


# --- Addresses ----------------------------------------------------------------------------------
def check_base_url(url: str) -> None:
    """Allow any http(s) URL without a key: also names without a dot, IPv6, a port, a query."""
    parsed = check_service_url(url)
    if parsed.path.rstrip("/").endswith("/chat/completions"):
        raise ValidationError(_("Leave out /chat/completions: it is put before the query."))
    if parsed.path.rstrip("/").endswith("/embeddings"):
        raise ValidationError(_("Leave out /embeddings: it is put before the query."))


def check_service_url(url: str) -> httpx.URL:
    """Allow any http(s) URL without a key, and return it parsed."""
    parsed = _parse(url)
    if parsed.scheme not in ("http", "https"):
        raise ValidationError(_("The URL must begin with http:// or https://."))
    names = {re.sub(r"[-_]", "", name.lower()) for name in parsed.params}
    if names & _KEYS_IN_QUERY:
        raise ValidationError(_("No key belongs into a URL: it is stored and sent as a header."))
    return parsed


def check_proxy_url(url: str) -> None:
    parsed = _parse(url)
    if parsed.scheme != "http":
        raise ValidationError(_("The URL of a proxy must begin with http://."))
    if parsed.raw_path != b"/":
        raise ValidationError(_("The URL of a proxy has a host and a port, and nothing more."))


def _parse(url: str) -> httpx.URL:
    if len(url) > MAX_URL_CHARS:
        raise ValidationError(
            _("The URL is longer than %(limit)d characters.") % {"limit": MAX_URL_CHARS}
        )
    if "\\" in url or any(character.isspace() for character in url):
        raise ValidationError(_("The URL must not contain spaces or backslashes."))
    try:
        parsed = httpx.URL(url)
        parsed.raw_host.decode("ascii")
    except (httpx.InvalidURL, UnicodeError, ValueError) as error:
        raise ValidationError(_("This is no URL: %(reason)s") % {"reason": error}) from error
    if not parsed.host:
        raise ValidationError(_("The URL must name a host, as in https://api.deepseek.com."))
    if parsed.userinfo:
        raise ValidationError(_("The URL must not contain a user name or password."))
    if "#" in url:
        raise ValidationError(_("The URL must not have a fragment (#)."))
    if parsed.port is not None and not 0 < parsed.port < 65_536:
        raise ValidationError(_("The URL names no port that can be reached."))
    return parsed


# --- Keys and headers ---------------------------------------------------------------------------
def is_key_variable(name: str) -> bool:
    return _KEY_VARIABLE.fullmatch(name) is not None


def check_key_variables(names: str) -> None:
    """Check one variable, or several separated by commas."""
    listed = split_names(names)
    if len(listed) > MAX_KEYS:
        raise ValidationError(_("More than %(limit)d variables.") % {"limit": MAX_KEYS})
    for name in listed:
        if not is_key_variable(name):
            raise ValidationError(
                _("%(name)r is not the name of a key: %(prefix)s... or %(other)s.")
                % {"name": name[:50], "prefix": KEY_PREFIX, "other": OTHER_KEY_VARIABLE}
            )


def split_names(names: str) -> list[str]:
    return [stripped for name in names.split(",") if (stripped := name.strip())]


def check_keys(keys: list[str]) -> None:
    if len(keys) > MAX_KEYS:
        raise ValidationError(_("More than %(limit)d keys.") % {"limit": MAX_KEYS})
    for key in keys:
        if not (key.isascii() and key.isprintable()):
            raise ValidationError(_("A key holds characters that no header can carry."))
        if len(key) > MAX_KEY_CHARS:
            raise ValidationError(
                _("A key has more than %(limit)d characters.") % {"limit": MAX_KEY_CHARS}
            )


def check_key_header(name: str) -> None:
    if name.lower() != "authorization":
        check_header_name(name)


def check_header_name(name: str) -> None:
    if not _HEADER_NAME.fullmatch(name):
        raise ValidationError(_("%(name)r is not the name of a header.") % {"name": name[:50]})
    if name.lower() in _OWN_HEADERS:
        raise ValidationError(_("The header %(name)s is set by aily itself.") % {"name": name})


def check_headers(headers: dict[str, str]) -> None:
    if len(headers) > MAX_HEADERS:
        raise ValidationError(_("More than %(limit)d headers.") % {"limit": MAX_HEADERS})
    if sum(len(name) + len(value) for name, value in headers.items()) > MAX_HEADER_BYTES:
        raise ValidationError(
            _("The headers have more than %(limit)d bytes.") % {"limit": MAX_HEADER_BYTES}
        )
    names = [name.lower() for name in headers]
    if len(set(names)) != len(names):
        raise ValidationError(_("A header is named twice."))
    for name, value in headers.items():
        check_header_name(name)
        if not (value.isascii() and value.isprintable()):
            raise ValidationError(
                _("The value of %(name)s holds characters that are not printable.") % {"name": name}
            )


def check_proxy_credentials(credentials: str) -> None:
    if not (credentials.isascii() and credentials.isprintable() and ":" in credentials):
        raise ValidationError(_("Credentials are user:password, in printable ASCII."))
    if len(credentials) > 500:
        raise ValidationError(_("The credentials have more than 500 characters."))


# --- Bodies and TLS -----------------------------------------------------------------------------
def check_request_fields(fields: object) -> None:
    """Check an object of names of fields, with null or the name that is sent instead."""
    if not isinstance(fields, dict):
        raise ValidationError(_("This must be a JSON object."))
    if len(fields) > MAX_REQUEST_FIELDS:
        raise ValidationError(_("More than %(limit)d fields.") % {"limit": MAX_REQUEST_FIELDS})
    for name, other in fields.items():
        if other is not None and not (isinstance(other, str) and _FIELD_NAME.fullmatch(other)):
            raise ValidationError(
                _("%(name)s: null, or the name that is sent in its place.") % {"name": name[:64]}
            )
        if not _FIELD_NAME.fullmatch(name):
            raise ValidationError(_("%(name)r is not the name of a field.") % {"name": name[:64]})
        for touched in UNTOUCHABLE_FIELDS & {name, other}:
            raise ValidationError(_("%(name)s is sent as it is.") % {"name": touched})


def check_ca_bundle(pem: str) -> None:
    if len(pem.encode()) > MAX_CA_BYTES:
        raise ValidationError(_("More than %(limit)d bytes.") % {"limit": MAX_CA_BYTES})
    if "PRIVATE KEY" in pem:
        raise ValidationError(_("This holds a private key: certificates alone are asked for."))
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=pem)
    except (ssl.SSLError, ValueError) as error:
        raise ValidationError(_("These are no certificates in PEM.")) from error


def address_check(public_only: bool) -> Callable[[str], bool] | None:
    """The check of IP addresses that calls may connect to. None: all are allowed."""
    if settings.PROVIDER_ALLOW_PRIVATE:
        return None
    return is_public if public_only else is_not_link_local
