"""Every variable has bounds, and a wrong value is refused by a sentence that names it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from aily.environment import ConfigurationError, Environment
from aily.launcher.programs import BASE_DIR, Options
from tests.fresh_settings import import_settings

_SOURCES = (*(BASE_DIR / "aily/settings").glob("*.py"), BASE_DIR / "aily/environment/launcher.py")
_SOURCE = "".join(path.read_text() for path in _SOURCES)

#: By the kind of reading: values that no variable of the kind may have.
_WRONG: dict[str, tuple[str, ...]] = {
    "boolean": ("ture", "2", "none", "-1", "yes please"),
    "integer": ("-1", "1.5", "many", "1e3", "٣", "99999999999999999999", "nan", "1_000", "0x10"),
    "number": ("-1", "-0.5", "soon", "nan", "inf", "1e400", "99999999", "5s", "1,5"),
    "seconds": ("0", "-1", "0.0", "soon", "nan", "inf", "99999999", "5s", "-inf"),
    "choice": ("none", "Text!", "0", "DEBUGGING"),
    "host": ("http://127.0.0.1", "a b", "127.0.0.1:80", "[::1", "a/b", "::1::2", "300.1.1.1"),
    "pairs": ("a", "a=", "=b", "a=b,c"),
}
#: Of variables with a check of their own.
_WRONG_URLS = ("host", "ftp://host/1", "http//host", "://", "mysql://user:hush@host/name")
_WRONG_CHECKED: dict[str, tuple[str, ...]] = {
    "SECRET_KEY": ("short", "a" * 50, "0123456789" * 3),
    "ALLOWED_HOSTS": (
        *("https://example.com", "example.com:80", "a b", "example.com/x,localhost"),
        # Django would let nobody in.
        *("*.example.com", "localhost,*.example.com"),
    ),
    "CSRF_TRUSTED_ORIGINS": (
        "example.com",
        "ftp://example.com",
        "https://example.com/a",
        "https://",
    ),
    "CORS_ALLOWED_ORIGINS": ("example.com", "*,https://example.com", "https://example.com/a"),
    "DATABASE_URL": (
        *(*_WRONG_URLS, "postgres://host", "postgres://u:p@host:port/name"),
        *("postgres://host:99999/name", "sqlite:///db", "postgresql+psycopg://host/name"),
        *("postgres://host/name?sslmode=requre", "postgres://host/name?ssl_mode=require"),
    ),
    "REDIS_URL": (
        *(*_WRONG_URLS, "redis://", "redis://host:port", "redis://host:99999", "redis://host/x"),
        *("redis://host?db=x", "redis+sentinel://host", "unix://", "redis://host/-1"),
        *("redis://host/0?protocl=3", "rediss://host/0?ssl_cert_reqs=maybe"),
        *("redis://host?socket_timeout=soon", "unix:///run/valkey.sock?port=1"),
    ),
    "SIMULATOR_URL": _WRONG_URLS,
    "DEMO_MCP_URL": _WRONG_URLS,
    "OIDC_ISSUER": (*_WRONG_URLS, "http://id.example"),
    "OTEL_EXPORTER_OTLP_ENDPOINT": _WRONG_URLS,
    "EMAIL_URL": ("host", "ftp://host", "smtp://", "smtp://host:port", "smtp+starttls://host"),
    "DEFAULT_FROM_EMAIL": ("aily", "@host", "aily@", "a@b\nBcc: c@d"),
}
_WRONG_CHECKED["DATABASE_REPLICA_URL"] = _WRONG_CHECKED["DATABASE_URL"]
for _role in ("DRAMATIQ_REDIS_URL", "CACHE_URL", "RATES_REDIS_URL", "LAYER_REDIS_URL"):
    _WRONG_CHECKED[_role] = _WRONG_CHECKED["REDIS_URL"]
#: Any text will do for these.
_FREE = {
    *("SECRET_KEY_FALLBACKS", "OIDC_CLIENT_ID", "OIDC_NAME", "OIDC_GROUPS_CLAIM", "OIDC_SCOPES"),
    *("OIDC_STAFF_GROUP", "OIDC_CLIENT_SECRET", "AILY_DATA_DIR", "AILY_IGNORED_VARIABLES"),
}


def read_variables() -> dict[str, str]:
    """Every variable that the settings read, and how: the method's name."""
    readings = re.findall(r'env\.(\w+)\(\s*"([A-Z][A-Z0-9_]+)"', _SOURCE)
    roles = re.findall(r'_redis_role_url\("([A-Z_]+)"', _SOURCE)
    return {name: kind for kind, name in readings} | dict.fromkeys(roles, "checked")


def import_with(monkeypatch: pytest.MonkeyPatch, **variables: str) -> dict[str, Any]:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return import_settings()


def wrong_values() -> list[tuple[str, str]]:
    return [
        (name, value)
        for name, kind in sorted(read_variables().items())
        for value in (_WRONG_CHECKED | {name: _WRONG.get(kind, ())} | _WRONG_CHECKED).get(name, ())
    ]


def test_every_variable_has_wrong_values_or_takes_any_text() -> None:
    tried = {name for name, _ in wrong_values()}
    assert len(tried) > 80
    assert read_variables().keys() - tried == _FREE


@pytest.mark.parametrize("name", sorted({name for name, _ in wrong_values()}))
def test_a_wrong_value_ends_the_process_with_a_sentence_that_names_the_variable(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for value in [value for own, value in wrong_values() if own == name]:
        with pytest.raises(ConfigurationError) as refused:
            import_with(monkeypatch, **{name: value})
        assert refused.value.code == 2
        written = capsys.readouterr().err
        assert written.count("\n") == 1, value
        assert re.match(rf"aily: {name}\b", written), value
        # A password in an address.
        assert "hush" not in written


def test_an_empty_variable_is_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in read_variables():
        with monkeypatch.context() as patched:
            import_with(patched, **{name: ""})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "postgresql://user:p%40ss@[::1]:5432/name?sslmode=require"),
        ("DATABASE_URL", "postgres://user:p@one:5432,two:5433/name?target_session_attrs=primary"),
        ("DATABASE_URL", "postgres:///name?host=%2Fvar%2Frun%2Fpostgresql"),
        ("REDIS_URL", "rediss://user:password@host:6380/3?ssl_cert_reqs=none"),
        ("REDIS_URL", "unix:///run/valkey.sock?db=4"),
        ("REDIS_URL", "redis+sentinel://one,two:26380/aily/0"),
        ("ALLOWED_HOSTS", "*"),
        ("ALLOWED_HOSTS", ".example.com, 10.0.0.1 ,[::1]"),
        ("CSRF_TRUSTED_ORIGINS", "https://*.example.com,http://localhost:3000"),
        ("EMAIL_URL", "consolemail://"),
        ("EMAIL_URL", "smtp+tls://user:password@mail.example:587"),
        ("DEFAULT_FROM_EMAIL", "aily <aily@example.com>"),
        ("HTTPS", "Yes"),
        ("METRICS_HOST", "[::1]"),
        ("METRICS_HOST", "::1"),
        ("DATABASE_ANSWER_SECONDS", "0"),
        ("LOG_LEVEL", "DEBUG"),
        ("LLM_KEY_OTHERS", "sk"),
    ],
)
def test_right_values_are_taken(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import_with(monkeypatch, **{name: value})


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("DATABSE_URL", "DATABASE_URL"),
        ("DATABASE_URI", "DATABASE_URL"),
        ("REDIS_ULR", "REDIS_URL"),
        ("SECERT_KEY", "SECRET_KEY"),
        ("SECRETKEY", "SECRET_KEY"),
        ("secret_key", "SECRET_KEY"),
        ("WORKER_MAX_CALL", "WORKER_MAX_CALLS"),
        ("WORKER_LEASE_SECS", "WORKER_LEASE_SECONDS"),
        ("WORKER_PROCESES", "WORKER_PROCESSES"),
        ("DEEPSEEK_APIKEY", "DEEPSEEK_API_KEY"),
        ("AILY_DATADIR", "AILY_DATA_DIR"),
        ("AILY_SECRET_KEY", "SECRET_KEY"),
        ("AILY_PORT", "PORT"),
        ("DATA_DIR", "AILY_DATA_DIR"),
        ("ALLOWED_HOST", "ALLOWED_HOSTS"),
        ("STAFF_TOTP_REQUIRE", "STAFF_TOTP_REQUIRED"),
    ],
)
def test_a_mistyped_name_is_refused_with_the_one_that_was_meant(
    written: str,
    meant: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(ConfigurationError):
        import_with(monkeypatch, **{written: "1"})
    assert f"{written} is no variable of aily; did you mean {meant}?" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name",
    [
        *("HOSTNAME", "HTTP_PROXY", "HTTPS_PROXY", "HTTP_HOST", "REDIS_HOST", "REDIS_TLS_URL"),
        *("TEST_DATABASE_URL", "DATABASE_URL_OLD", "DATABASE_HOST", "CELERY_BROKER_URL"),
        *("LOGNAME", "LOG_DIR", "CACHE_DIR", "SSL_CERT_FILE", "EMAIL", "POSTGRES_HOST_AUTH_METHOD"),
        *("OPENAI_API_KEY", "OTEL_TRACES_SAMPLER", "WEB_CONCURRENCY", "XDG_DATA_DIRS"),
    ],
)
def test_variables_of_other_programs_are_left_alone(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_with(monkeypatch, **{name: "1"})


def test_a_service_of_kubernetes_and_an_ignored_variable_are_no_mistake(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import_with(
        monkeypatch,
        AILY_PORT="tcp://10.0.0.1:8000",
        DATABASE_URI="postgres://another",
        AILY_IGNORED_VARIABLES="DATABASE_URI,OTHER",
    )


def test_a_data_directory_that_cannot_be_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError):
        import_with(monkeypatch, AILY_DATA_DIR=str(tmp_path / "file"), SECRET_KEY="")
    assert "AILY_DATA_DIR" in capsys.readouterr().err


@pytest.mark.parametrize("variable", ["SIMULATOR_PORT", "METRICS_PORT"])
def test_the_launcher_refuses_one_port_for_two(variable: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{variable} must be a port of its own"):
        Options.from_environment({"PORT": "8000", variable: "8000"})


def test_the_reader_knows_the_names_that_it_was_asked_for() -> None:
    env = Environment({"A": " 3 "})
    assert env.integer("A", default=1) == 3
    assert env.integer("B", default=4) == 4
    assert env.names == {"A", "B"}
    assert os.environ.get("B") is None
