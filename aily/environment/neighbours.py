"""Finds variables that nothing reads, but whose name nearly is one that aily reads."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from difflib import SequenceMatcher

from aily.environment.errors import refuse

#: Names that other files of the project read: start.sh, compose, nginx, PgBouncer, libraries.
OTHER_NAMES = frozenset(
    {
        *("DEEPSEEK_API_KEY", "DJANGO_SETTINGS_MODULE", "PROMETHEUS_MULTIPROC_DIR"),
        *("AILY_IMAGE", "AILY_SERVER_NAME", "AILY_TLS_DIR", "HTTP_PORT", "HTTPS_PORT"),
        *("POSTGRES_PASSWORD", "REDIS_PASSWORD", "GRAFANA_PASSWORD", "GRAFANA_PORT"),
        *("POSTGRES_MAX_CONNECTIONS", "POSTGRES_SHARED_BUFFERS"),
        *("QUEUE_MAXMEMORY", "CACHE_MAXMEMORY", "AILY_WEB_SERVERS", "AILY_HTTP_PORT"),
        *("AILY_HTTPS_PORT", "AILY_TLS_CERTIFICATE", "AILY_TLS_KEY", "AILY_TRUSTED_PROXIES"),
        *("AILY_REQUEST_MAX_BYTES", "AILY_CONNECTIONS_PER_ADDRESS", "AILY_STATIC_PARENT"),
        *("POSTGRES_HOST", "POSTGRES_PORT", "POSTGRES_DB", "POSTGRES_USER"),
        *("PGBOUNCER_HOST", "PGBOUNCER_PORT", "PGBOUNCER_DIR"),
        *("PGBOUNCER_MAX_CLIENTS", "PGBOUNCER_POOL_SIZE"),
        "dramatiq_worker_timeout",
    }
)
#: Shorter names, such as HOST, are near to too many of other programs.
_MIN_LENGTH = 7
_MIN_LIKENESS = 0.88
#: Our names never differ from a mistyped one by more letters.
_MAX_LENGTH_DIFFERENCE = 4
_PREFIX = "AILY_"


def refuse_mistyped_names(
    variables: Mapping[str, str], names: Collection[str], ignored: Collection[str]
) -> None:
    """End the process if a variable is not read, but its name is near to one that is."""
    known = OTHER_NAMES.union(names)
    for name in sorted(variables.keys() - known - set(ignored)):
        # Kubernetes sets variables named after services, such as AILY_PORT=tcp://10.0.0.1:80.
        if name.startswith("LLM_KEY_") or (name.endswith("_PORT") and "://" in variables[name]):
            continue
        if meant := _neighbour(name, known):
            refuse(
                f"{name} is no variable of aily; did you mean {meant}? If it is another program's, "
                "name it in AILY_IGNORED_VARIABLES"
            )


def _neighbour(name: str, known: Collection[str]) -> str:
    """The known name that this one was probably meant to be, or ""."""
    written = name.upper()
    for prefixed in (written.removeprefix(_PREFIX), _PREFIX + written):
        if prefixed != written and prefixed in known:
            return prefixed
    if len(written) < _MIN_LENGTH:
        return ""
    likenesses = {
        other: SequenceMatcher(None, written, other).ratio()
        for other in known
        if _may_be_near(written, other)
    }
    nearest = max(likenesses, key=likenesses.__getitem__, default="")
    return nearest if likenesses.get(nearest, 0) >= _MIN_LIKENESS else ""


def _may_be_near(written: str, other: str) -> bool:
    """A quick sieve; false as well for a whole word more: TEST_DATABASE_URL is another's."""
    return (
        abs(len(written) - len(other)) <= _MAX_LENGTH_DIFFERENCE
        and len(other) >= _MIN_LENGTH
        and len(set(written) ^ set(other)) <= _MAX_LENGTH_DIFFERENCE
        and not written.endswith(f"_{other}")
        and not written.startswith(f"{other}_")
    )
