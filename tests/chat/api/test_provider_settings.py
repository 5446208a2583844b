"""A provider's settings over REST: what may be set, what is never shown, and who may send where."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from auditlog.models import LogEntry
from django.db import connection
from django.test import Client, override_settings
from pytest_django import Settings

from accounts.models import User
from chat.models import LLMModel, Provider
from chat.runner.upstreams import load_pools, upstream_of
from chat.services import catalog
from tests.chat.llm.recorder import private_authority
from tests.conftest import ClientOf
from tests.subtests import subtested

JSON = "application/json"
PUBLIC = "https://api.acme.example"


@pytest.fixture
def root(transactional_db: None, client_of: ClientOf) -> Client:
    return client_of(User.objects.create_superuser("root", password="uprooted-3"))


@pytest.fixture
def editor(staff: User, client_of: ClientOf) -> Client:
    """Staff with every permission on chat, no superuser."""
    return client_of(staff)


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Stands in for DNS of names that end with .example."""
    known: dict[str, list[str]] = {"api.acme.example": ["1.1.1.1"], "other.example": ["1.1.1.2"]}
    real = socket.getaddrinfo

    def getaddrinfo(host: str, port: int, *args: Any, **kwargs: Any) -> list[Any]:
        if not host.endswith(".example"):
            return real(host, port, *args, **kwargs)
        if host not in known:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in known[host]
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return known


def add(client: Client, **fields: Any) -> Any:
    body = {"name": "acme", "base_url": PUBLIC, **fields}
    return client.post("/api/providers", body, content_type=JSON)


def edit(client: Client, **fields: Any) -> Any:
    return client.patch("/api/providers/acme", fields, content_type=JSON)


def field_of(refused: Any) -> Any:
    assert refused.status_code == 422, refused.content
    return refused.json()["errors"][0]["field"]


# --- URLs ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "url",
    [
        "http://vllm:8000/v1",
        "http://localhost:8001/v1",
        "http://my_llm:8000/v1",
        "http://[::1]:8000/v1",
        "http://127.0.0.1:8000",
        "https://name.openai.azure.com/openai/deployments/gpt?api-version=2024-10-21",
        "https://llm.example:8443/v1/",
    ],
)
def test_any_http_url_may_be_a_providers(root: Client, url: str) -> None:
    made = add(root, base_url=url)
    assert (made.status_code, made.json()["base_url"]) == (201, url)
    assert made.json()["secrets_changed_at"] is None


@subtested(
    "url",
    [
        "ftp://llm.example", "llm.example/v1", "https://", "https:///v1", "https://u:p@llm.example",
        "https://key@llm.example", "https://llm.example/v1#x", "https://llm.example/v1?key=AIza1",
        "https://llm.example/v1?a=b&api_key=1", "https://llm.example/v1?API-KEY=1",
        "https://llm.example/v1/chat/completions", "https://llm.example:99999",
        "https://llm.example/v1/embeddings/?api-version=1",
        "https://a b.example",
        "https://llm.example\\@127.0.0.1/", "https://llm.example/\r\nx: y", "https://llm.example:0",
        "https://[::1", "https://" + "x" * 600 + ".example", "javascript:alert(1)", "file:///etc",
        5, None,
    ],
)  # fmt: skip
def test_other_urls_are_refused(root: Client, url: Any) -> None:
    assert field_of(add(root, base_url=url)) == "base_url"
    assert not Provider.objects.exists()


@subtested(
    ("field", "value"),
    [
        ("api_key_env", "SECRET_KEY"),
        ("api_key_env", "DATABASE_URL"),
        ("api_key_env", "LLM_KEY_A,SECRET_KEY"),
        ("api_key_env", "LLM_KEY_"),
        ("api_key_env", "llm_key_a"),
        ("api_key_env", "XLLM_KEY_A"),
        ("api_key_env", "DEEPSEEK_API_KEY2"),
        ("api_keys", ["sk-1\r\nx: y"]),
        ("api_keys", ["schlüssel"]),
        ("api_keys", ["x"] * 21),
        ("api_keys", ["x" * 5000]),
        ("api_keys", "sk-1"),
        ("key_header", "a b"),
        ("key_header", "x:y"),
        ("key_header", "Host"),
        ("extra_headers", {"Host": "x"}),
        ("extra_headers", {"Content-Length": "1"}),
        ("extra_headers", {"Transfer-Encoding": "chunked"}),
        ("extra_headers", {"Connection": "close"}),
        ("extra_headers", {"Proxy-Authorization": "x"}),
        ("extra_headers", {"Authorization": "x"}),
        ("extra_headers", {"x-a": "1\r\nx-b: 2"}),
        ("extra_headers", {"x-a\r\nx-b": "1"}),
        ("extra_headers", {"x-a": "1", "X-A": "2"}),
        ("extra_headers", {"": "1"}),
        ("extra_headers", {f"x-{number}": "1" for number in range(21)}),
        ("extra_headers", {"x-a": "1" * 9000}),
        ("request_fields", {"model": None}),
        ("request_fields", {"user": "messages"}),
        ("request_fields", {"stream": "streaming"}),
        ("request_fields", {"a b": None}),
        ("request_fields", {"user": ""}),
        ("request_fields", {f"f{number}": None for number in range(51)}),
        ("connect_seconds", 0),
        ("first_token_seconds", -1),
        ("total_seconds", 1e9),
        ("proxy_url", "socks5://proxy.example"),
        ("proxy_url", "https://proxy.example"),
        ("proxy_url", "http://me:pass@proxy.example"),
        ("proxy_url", "http://proxy.example/path"),
        ("proxy_credentials", "nobody"),
        ("proxy_credentials", "a:b\r\nc: d"),
        ("ca_bundle", "no certificate"),
        ("ca_bundle", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        ("ca_bundle", "x" * 70_000),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(root: Client, field: str, value: Any) -> None:
    named = field_of(add(root, **{field: value}))
    assert named.partition(".")[0] == field
    assert not Provider.objects.exists()


def test_the_keys_header_is_none_of_the_others(root: Client) -> None:
    assert field_of(add(root, key_header="api-key", extra_headers={"API-Key": "1"})) == "key_header"
    add(root, extra_headers={"API-Key": "1"})
    assert field_of(edit(root, key_header="api-key")) == "key_header"


# --- Secrets ------------------------------------------------------------------------------------
SECRETS: dict[str, Any] = {
    "api_keys": ["sk-0123456789abcdef", "sk-fedcba9876543210"],
    "extra_headers": {"X-Token": "token-of-header", "HTTP-Referer": "https://site.example"},
    "proxy_url": "http://other.example:3128",
    "proxy_credentials": "me:passw0rd",
}


def test_secrets_are_stored_encrypted_used_and_never_shown(root: Client) -> None:
    made = add(root, **SECRETS, key_header="api-key")
    assert made.status_code == 201
    shown = made.json()
    assert (shown["has_api_key"], shown["has_proxy_credentials"]) == (True, True)
    assert shown["key_hint"] == "…cdef, …3210"
    assert shown["header_names"] == ["X-Token", "HTTP-Referer"]

    LLMModel.objects.create(provider=Provider.objects.get(), name="m", is_default=True)
    kept = str([catalog.MODELS.get(key) for key in catalog.model_keys()])
    with connection.cursor() as cursor:
        cursor.execute("SELECT p::text FROM chat_provider p")
        stored = str(cursor.fetchall())
    logged = str(list(LogEntry.objects.values_list("changes", flat=True)))
    listed = root.get("/api/providers").content.decode()
    for text in (made.content.decode(), listed, stored, logged, kept):
        for secret in ("0123456789ab", "fedcba98", "token-of", "passw0rd"):
            assert secret not in text
    assert "encrypted" not in logged
    assert "acme" in logged
    assert PUBLIC in kept

    [pool] = load_pools()
    [deployment] = pool.deployments.values()
    upstream = deployment.upstream
    assert (upstream.api_key, upstream.other_keys) == (
        SECRETS["api_keys"][0],
        ("sk-fedcba9876543210",),
    )
    assert dict(upstream.headers) == SECRETS["extra_headers"]
    assert upstream.proxy is not None
    assert upstream.proxy.credentials == "me:passw0rd"


def test_secrets_are_replaced_kept_and_removed_one_by_one(root: Client) -> None:
    add(root, **SECRETS)

    def secrets() -> tuple[list[str], dict[str, str], str]:
        provider = Provider.objects.get()
        return provider.api_keys(), provider.headers(), provider.proxy_credentials()

    before = secrets()
    edit(root, is_enabled=False)
    assert secrets() == before
    edit(root, extra_headers={"x-token": "another", "X-New": "1"})
    assert secrets()[1] == {
        "HTTP-Referer": "https://site.example", "x-token": "another", "X-New": "1"
    }  # fmt: skip
    edit(root, extra_headers={"http-referer": None, "X-TOKEN": None, "x-gone": None})
    assert secrets() == (before[0], {"X-New": "1"}, before[2])
    edit(root, api_keys=["sk-other"])
    # Of a short key not even the end is shown.
    assert root.get("/api/providers/acme").json()["key_hint"] == "…"
    shown = edit(root, api_keys=[], proxy_credentials="", extra_headers={"X-New": None}).json()
    assert secrets() == ([], {}, "")
    assert (shown["has_api_key"], shown["key_hint"], shown["header_names"]) == (False, "", [])


def test_another_secret_is_another_etag(root: Client) -> None:
    add(root, **SECRETS)
    etag = root.get("/api/providers/acme")["ETag"]
    assert edit(root, api_keys=["sk-aaaaaaaaaaaacdef", "sk-bbbbbbbbbbbb3210"]).status_code == 200
    assert root.get("/api/providers/acme")["ETag"] != etag
    late = root.patch(
        "/api/providers/acme", {"is_enabled": False}, content_type=JSON, headers={"If-Match": etag}
    )
    assert late.status_code == 412


def test_secrets_of_another_secret_key_are_entered_anew(root: Client, settings: Settings) -> None:
    add(root, **SECRETS)
    settings.SECRET_KEY = "another"
    assert "SECRET_KEY" in upstream_of(Provider.objects.get()).problem
    assert field_of(edit(root, extra_headers={"x-new": "1"})) == "extra_headers"
    everything = {"X-Token": None, "HTTP-Referer": None, "x-new": "1"}
    anew = edit(root, api_keys=["sk-1"], extra_headers=everything, proxy_credentials="")
    assert anew.status_code == 200
    assert upstream_of(Provider.objects.get()).headers == (("x-new", "1"),)


def test_keys_of_the_environment_and_stored_ones_take_turns(
    root: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLM_KEY_ONE", "sk-1\n")
    monkeypatch.setenv("LLM_KEY_TWO", "sk-2")
    add(root, api_key_env="LLM_KEY_ONE, LLM_KEY_TWO", api_keys=["sk-3"])
    upstream = upstream_of(Provider.objects.get())
    assert (upstream.api_key, upstream.other_keys) == ("sk-1", ("sk-2", "sk-3"))
    monkeypatch.delenv("LLM_KEY_TWO")
    upstream = upstream_of(Provider.objects.get())
    assert (upstream.problem, upstream.api_key) == ("LLM_KEY_TWO is not set", None)


def test_a_row_from_before_the_rule_sends_no_secret_of_ours(
    root: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_KEY", "very secret")
    for name in ("SECRET_KEY", "DATABASE_URL", "PATH"):
        upstream = upstream_of(Provider(name="p", base_url=PUBLIC, api_key_env=name))
        assert (upstream.api_key, upstream.other_keys) == (None, ())
        assert upstream.problem.startswith(f"{name} may not be sent to a provider")


def test_time_limits_and_the_rest_reach_the_calls(root: Client, tmp_path: Path) -> None:
    _, pem = private_authority(tmp_path, "llm.example")
    made = add(
        root, total_seconds=1800, connect_seconds=2.5, ca_bundle=pem,
        request_fields={"stream_options": None, "max_tokens": "max_completion_tokens"},
    )  # fmt: skip
    assert (made.json()["total_seconds"], made.json()["ca_bundle"]) == (1800, pem)
    upstream = upstream_of(Provider.objects.get())
    assert dict(upstream.limits) == {"total_seconds": 1800, "connect_seconds": 2.5}
    assert upstream.ca_bundle == pem
    assert dict(upstream.request_fields) == made.json()["request_fields"]
    edit(root, total_seconds=None, connect_seconds=None)
    assert upstream_of(Provider.objects.get()).limits == ()


# --- Who may send where -------------------------------------------------------------------------
PRIVATE = [
    "http://127.0.0.1:8000", "http://localhost:8000", "http://localhost.", "http://10.0.0.1/v1",
    "http://[::1]:1", "http://[::ffff:10.0.0.1]", "http://2130706433/", "http://127.1",
    "http://0x7f.1/", "http://inside.example",
]  # fmt: skip
LINK_LOCAL = [
    "http://169.254.169.254/latest", "http://[fe80::1]/", "http://168.63.129.16/",
    "http://[fd00:ec2::254]/", "http://metadata.example", "http://[::ffff:169.254.169.254]",
    "http://metadata.google.internal", "http://100.100.100.200",
]  # fmt: skip


@pytest.fixture
def inside(names: dict[str, list[str]]) -> None:
    names["inside.example"] = ["1.1.1.1", "192.168.1.1"]
    names["metadata.example"] = ["169.254.169.254"]


@pytest.mark.usefixtures("inside")
@subtested("url", [*PRIVATE, *LINK_LOCAL])
def test_addresses_inside_are_a_superusers_and_link_local_ones_nobodys(
    root: Client, editor: Client, url: str
) -> None:
    for field in ("base_url", "proxy_url"):
        proxy = {"proxy_url": url.removesuffix("/v1").removesuffix("/latest")}
        fields = {"base_url": url} if field == "base_url" else proxy
        assert field_of(add(editor, **fields)) == field
        if url in LINK_LOCAL:
            assert field_of(add(root, **fields)) == field
    if url in PRIVATE:
        made = add(root, base_url=url)
        assert (made.status_code, made.json()["public_only"]) == (201, False)
        Provider.objects.all().delete()
    with override_settings(PROVIDER_ALLOW_PRIVATE=True):
        assert add(editor, base_url=url).status_code == 201
        assert upstream_of(Provider.objects.get()).may_reach is None
    Provider.objects.all().delete()


@pytest.mark.usefixtures("inside")
def test_a_provider_inside_is_changed_but_not_moved_by_others(root: Client, editor: Client) -> None:
    add(root, base_url="http://127.0.0.1:8000")
    kept = edit(editor, is_enabled=False, base_url="http://127.0.0.1:8000")
    assert (kept.status_code, kept.json()["public_only"]) == (200, False)
    for url in ("http://127.0.0.1:9000", "http://inside.example"):
        assert field_of(edit(editor, base_url=url)) == "base_url"
    moved = edit(editor, base_url=PUBLIC)
    assert (moved.status_code, moved.json()["public_only"]) == (200, True)
    # It was theirs to take away, and is not to give.
    assert field_of(edit(editor, base_url="http://127.0.0.1:8000")) == "base_url"
    assert edit(editor, public_only=False).status_code == 403
    assert edit(root, public_only=False).json()["public_only"] is False
    assert edit(root, base_url="http://127.0.0.1:8000").status_code == 200
    assert field_of(edit(root, public_only=True)) == "base_url"


def test_a_name_that_moves_inside_is_judged_again(
    editor: Client, names: dict[str, list[str]]
) -> None:
    made = add(editor)
    assert made.json()["public_only"] is True
    judge = upstream_of(Provider.objects.get()).may_reach
    assert judge is not None
    assert [judge("1.1.1.1"), judge("127.0.0.1"), judge("169.254.169.254")] == [True, False, False]
    # A name without an address is checked when a connection is made.
    del names["api.acme.example"]
    assert edit(editor, base_url=f"{PUBLIC}/v1").status_code == 200


def test_who_moves_a_provider_does_not_get_its_keys(root: Client, editor: Client) -> None:
    add(root, **SECRETS)
    away = {"base_url": "https://other.example"}
    assert field_of(edit(editor, **away)) == "api_keys"
    assert field_of(edit(editor, **away, api_keys=["sk-own"])) == "extra_headers"
    assert (
        field_of(edit(editor, proxy_url="http://other.example:1", api_keys=[])) == "extra_headers"
    )
    own = {"api_keys": ["sk-own"], "extra_headers": {"x-token": None, "http-referer": None}}
    assert field_of(edit(editor, **away, **own)) == "proxy_credentials"
    assert Provider.objects.get().api_keys() == SECRETS["api_keys"]
    # Another path or version is the same server.
    assert edit(editor, base_url=f"{PUBLIC}/v2?api-version=3").status_code == 200
    assert edit(editor, **away, **own, proxy_credentials="").status_code == 200
    assert edit(root, base_url=PUBLIC).status_code == 200
