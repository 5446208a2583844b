"""What is wrong with an address or a secret: each function returns the rest of a sentence, or "".

The sentences do not quote the value, which may hold a password.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from email.utils import parseaddr
from urllib.parse import SplitResult, parse_qsl, urlsplit

from environ import Env
from psycopg import ProgrammingError
from psycopg.conninfo import make_conninfo

_SECRET_KEY_LENGTH, _SECRET_KEY_CHARACTERS = 32, 5
_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_.])?", re.ASCII)
_DATABASE_SCHEMES = ("postgres", "postgresql", "psql", "pgsql")
_REDIS_SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel")
_EMAIL_SCHEMES = ("smtp", "smtps", "smtp+tls", "smtp+ssl")
#: Backends that send nothing and need no host.
_LOCAL_EMAIL_SCHEMES = ("consolemail", "dummymail", "filemail", "memorymail")
_MAX_REDIS_DATABASE = 2**31 - 1
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
#: Parameters that Django takes out of a database URL before libpq sees the rest.
_DJANGO_OPTIONS = {"isolation_level", "assume_role", "server_side_binding"}


def secret_key_problem(text: str) -> str:
    if len(text) < _SECRET_KEY_LENGTH:
        return f"must have {_SECRET_KEY_LENGTH} characters or more, not {len(text)}"
    if len(set(text)) < _SECRET_KEY_CHARACTERS:
        return "must be random: this one repeats the same few characters"
    return ""


def host_problem(text: str) -> str:
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    # 300.1.1.1 is no name either.
    is_name = _HOST_NAME.fullmatch(text) and not text.rpartition(".")[2].isdecimal()
    if _is_address(bare) or (bare == text and is_name):
        return ""
    return f"must be a host name or IP address without scheme and port, not {text[:60]!r}"


def allowed_host_problem(text: str) -> str:
    """For ALLOWED_HOSTS: `*`, `.example.com`, a name, an address in brackets."""
    if text.startswith("*."):
        return f"must list a domain with all below it as {text[1:60]!r}, not {text[:60]!r}"
    bare = text.removeprefix(".") if text != "*" else "localhost"
    is_bracketed = bare.startswith("[") and bare.endswith("]")
    if is_bracketed and _is_address(bare[1:-1]):
        return ""
    if not is_bracketed and ":" not in bare and _HOST_NAME.fullmatch(bare):
        return ""
    return f"must list host names without scheme and port, not {text[:60]!r}"


def origin_problem(text: str) -> str:
    """For CSRF_TRUSTED_ORIGINS, whose hosts may begin with `*.`."""
    parts = _split(text)
    expected = f"must list origins such as https://app.example.com, not {text[:60]!r}"
    if parts is None or parts.scheme not in ("http", "https"):
        return expected
    host = (parts.hostname or "").removeprefix("*.")
    has_more = parts.path or parts.query or parts.fragment or "@" in parts.netloc
    return "" if host and not has_more and not host_problem(host) else expected


def http_url_problem(text: str) -> str:
    parts = _split(text)
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        return "must be an address that begins with http:// or https:// and has a host"
    return ""


def database_url_problem(text: str) -> str:
    scheme, sign, _ = text.partition("://")
    if not sign or scheme not in _DATABASE_SCHEMES:
        return _wrong_scheme(scheme if sign else "", ("postgres", "postgresql"))
    try:
        # Which takes several hosts, and most passwords that are not escaped.
        parsed = Env.db_url_config(text)
    except ValueError:
        return f"is no address: {_ESCAPE}"
    ports = str(parsed["PORT"] or 5432).split(",")
    if not all(port.isdecimal() and 0 < int(port) < 65_536 for port in ports):
        return "must have a port from 1 to 65535"
    options = parsed.get("OPTIONS", {})
    if not parsed["NAME"] and "service" not in options:
        return "must name a database: postgres://user:password@host:5432/name"
    return _libpq_problem({k: v for k, v in options.items() if k not in _DJANGO_OPTIONS})


def _libpq_problem(options: dict[str, str]) -> str:
    mode = options.get("sslmode")
    if mode is not None and mode not in _SSL_MODES:
        return f"has a wrong sslmode: it must be one of {', '.join(_SSL_MODES)}"
    try:
        make_conninfo("", **options)
    except ProgrammingError as error:
        return f"has a parameter that PostgreSQL does not know: {str(error).strip()}"
    return ""


def redis_url_problem(text: str) -> str:
    scheme = text.partition("://")[0]
    if "://" not in text or scheme not in _REDIS_SCHEMES:
        return _wrong_scheme(scheme if "://" in text else "", _REDIS_SCHEMES)
    if "+sentinel" in scheme:
        # Its several hosts are judged by aily.redis.sentinel.
        return ""
    parts = _split(text)
    if parts is None:
        return f"is no address: {_ESCAPE}"
    return _redis_server_problem(parts) or _redis_option_problem(text)


def _redis_server_problem(parts: SplitResult) -> str:
    if parts.scheme == "unix":
        return _redis_database_problem("", parts) if parts.path else "must name a socket's file"
    if not parts.hostname:
        return "must have a host: redis://host:6379/0"
    return _redis_database_problem(parts.path.strip("/"), parts)


def _redis_database_problem(in_path: str, parts: SplitResult) -> str:
    number = dict(parse_qsl(parts.query)).get("db", in_path) or "0"
    if number.isascii() and number.isdecimal() and int(number) <= _MAX_REDIS_DATABASE:
        return ""
    return "must end with the number of a database, such as /0"


def _redis_option_problem(text: str) -> str:
    if "?" not in text:
        return ""
    # Not for every process: its import takes 0.1 s.
    from redis import ConnectionPool, RedisError

    try:
        pool = ConnectionPool.from_url(text)
        pool.connection_class(**pool.connection_kwargs)
    except TypeError as error:
        name = re.search(r"argument '(\w+)'", str(error))
        return f"has a parameter that Redis does not know{f': {name[1]}' if name else ''}"
    except (ValueError, RedisError):
        return "has a parameter with a wrong value"
    return ""


def email_url_problem(text: str) -> str:
    parts = _split(text)
    if parts is None:
        return f"is no address: {_ESCAPE}"
    if parts.scheme not in (*_EMAIL_SCHEMES, *_LOCAL_EMAIL_SCHEMES):
        return _wrong_scheme(parts.scheme, (*_EMAIL_SCHEMES, *_LOCAL_EMAIL_SCHEMES))
    if parts.scheme in _EMAIL_SCHEMES and not parts.hostname:
        return "must have a host: smtp+tls://user:password@host:587"
    return ""


def sender_problem(text: str) -> str:
    name, _, domain = parseaddr(text)[1].partition("@")
    if name and domain and text.isprintable():
        return ""
    return f"must be a mail address, not {text[:60]!r}"


_ESCAPE = "is a character of the password not written as %XX, or the port no number?"


def _split(text: str) -> SplitResult | None:
    """The parts of an address; None when it is none."""
    try:
        parts = urlsplit(text)
        # The property raises for a port that is no number, or above 65535.
        is_usable = parts.port != 0 and text.isprintable() and " " not in text
    except ValueError:
        return None
    return parts if is_usable else None


def _wrong_scheme(scheme: str, expected: Collection[str]) -> str:
    found = f"not with {scheme + '://'!r}" if scheme else "and has no scheme"
    return f"must begin with {' or '.join(f'{allowed}://' for allowed in expected)}, {found}"


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
