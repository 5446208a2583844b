"""OpenAI's API below its SDKs: methods, paths, headers, bodies of every kind."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator

import httpx
import pytest

from tests.clients.conftest import Installation
from tests.clients.raw import chat_body, error_of, exchange

_CHAT = "/chat/completions"
_JSON = {"Content-Type": "application/json"}


# --- Paths and methods ----------------------------------------------------------------------------
@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/nothing",
        "/chat",
        "/chat/completions/",
        "/chat/completions/extra",
        "/Chat/Completions",
        "//models",
        "/audio/speech",
        "/images/generations",
        "/%00",
        "/%ff",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_unknown_path_is_404_in_openais_form(api: httpx.Client, method: str, path: str) -> None:
    error = error_of(api.request(method, path, json={}), 404)
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", _CHAT, {"POST"}),
        ("PUT", _CHAT, {"POST"}),
        ("DELETE", _CHAT, {"POST"}),
        ("PATCH", _CHAT, {"POST"}),
        ("POST", "/models", {"GET", "HEAD"}),
        ("GET", "/responses", {"POST"}),
        ("PUT", "/responses/resp_1", {"GET", "HEAD", "DELETE"}),
    ],
)
def test_a_wrong_method_is_405_and_names_those_allowed(
    api: httpx.Client, method: str, path: str, allowed: set[str]
) -> None:
    response = api.request(method, path)
    error_of(response, 405)
    assert set(response.headers["allow"].split(", ")) == allowed


def test_a_slash_at_the_end_is_another_path(api: httpx.Client) -> None:
    error_of(api.get("/models/"), 404)


def test_head_is_answered_without_a_body(api: httpx.Client) -> None:
    response = api.head("/models")
    assert (response.status_code, response.content) == (200, b"")


def test_options_of_no_browser_has_openais_form(api: httpx.Client) -> None:
    response = api.options("/models")
    if response.status_code not in (200, 204):
        error_of(response, 405)


# --- Keys -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "value",
    ["", "Bearer", "Bearer sk-unknown", "Basic YWxpY2U6eA==", "{key}", "Bearer {key}x"],
)
def test_what_is_no_key_is_401(api: httpx.Client, installation: Installation, value: str) -> None:
    response = api.get("/models", headers={"Authorization": value.format(key=installation.alice)})
    assert error_of(response, 401)["code"] == "invalid_api_key"
    assert response.headers["www-authenticate"].startswith("Bearer")


def test_a_request_without_a_key_is_401_before_its_body_is_looked_at(
    installation: Installation,
) -> None:
    error_of(httpx.post(installation.base_url + _CHAT, content=b"{", timeout=30), 401)


@pytest.mark.parametrize("scheme", ["bearer", "BEARER"])
def test_the_scheme_of_a_key_may_be_written_in_any_case(
    api: httpx.Client, installation: Installation, scheme: str
) -> None:
    headers = {"Authorization": f"{scheme} {installation.alice}"}
    assert api.get("/models", headers=headers).status_code == 200


def test_a_key_in_the_address_is_none(installation: Installation) -> None:
    url = f"{installation.base_url}/models"
    error_of(httpx.get(url, params={"api_key": installation.alice}, timeout=30), 401)


# --- Headers --------------------------------------------------------------------------------------
def test_every_answer_has_an_id_of_its_own(api: httpx.Client) -> None:
    answers = [api.get("/models"), api.get("/nothing"), api.post(_CHAT, json=chat_body())]
    ids = [answer.headers["x-request-id"] for answer in answers]
    assert len(set(ids)) == 3
    assert all(ids)


def test_the_headers_of_the_sdks_are_taken(api: httpx.Client) -> None:
    headers = {
        "OpenAI-Organization": "org-1",
        "OpenAI-Project": "proj-1",
        "OpenAI-Beta": "assistants=v2",
        "X-Client-Request-Id": "mine",
        "X-Stainless-Lang": "python",
        "x-stainless-retry-count": "0",
        "x-stainless-read-timeout": "600",
    }
    assert api.post(_CHAT, json=chat_body(), headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"x-stainless-retry-count": "x"},
        {"x-stainless-retry-count": "-1"},
        {"x-stainless-read-timeout": "soon"},
        {"x-stainless-read-timeout": "1e999"},
        {"x-stainless-read-timeout": "NaN"},
    ],
)
def test_odd_headers_of_an_sdk_break_nothing(api: httpx.Client, headers: dict[str, str]) -> None:
    assert api.post(_CHAT, json=chat_body(), headers=headers).status_code == 200


# --- Bodies ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b"[]",
        b'"text"',
        b"null",
        b"1",
        b'{"model": "deepseek-flash", "messages": [],}',
        b'{"model": NaN}',
        b'{"temperature": Infinity}',
        b'{"temperature": 1e999}',
        b'{"model": "\xff"}',
        b'{"model": "a", "model": "b"}',
        b'{"model": "\\ud800"}',
        b'{"seed": ' + b"9" * 5_000 + b"}",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"messages": ' + b"[" * 2_000 + b"]" * 2_000 + b"}",
        b"\x00",
        b"\xef\xbb\xbf{}",
        json.dumps(chat_body()).encode("utf-16"),
    ],
    ids=lambda body: repr(body[:40]),
)
def test_what_is_no_json_object_is_400(api: httpx.Client, body: bytes) -> None:
    error = error_of(api.post(_CHAT, content=body, headers=_JSON), 400)
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize("text", ["a\x00b", "\ud800", "\udc00\ud800"])
def test_text_that_no_database_stores_is_refused_or_answered(api: httpx.Client, text: str) -> None:
    """Never a 500, and never half a task."""
    body = json.dumps(chat_body(text)).encode()
    response = api.post(_CHAT, content=body, headers=_JSON)
    assert response.status_code in (200, 400), response.text
    if response.status_code == 400:
        assert "messages" in str(error_of(response, 400)["param"])


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_another_content_type_is_415(api: httpx.Client, media_type: str) -> None:
    body = json.dumps(chat_body()).encode()
    error_of(api.post(_CHAT, content=body, headers={"Content-Type": media_type}), 415)


@pytest.mark.parametrize("media_type", ["application/json; charset=utf-8", "Application/JSON"])
def test_json_may_be_named_in_any_way(api: httpx.Client, media_type: str) -> None:
    body = json.dumps(chat_body()).encode()
    response = api.post(_CHAT, content=body, headers={"Content-Type": media_type})
    assert response.status_code == 200, response.text


def test_a_compressed_body_is_refused(api: httpx.Client) -> None:
    body = gzip.compress(json.dumps(chat_body()).encode())
    for path, encoding in ((_CHAT, "gzip"), ("/files", "deflate"), (_CHAT, "GZip, br")):
        headers = {**_JSON, "Content-Encoding": encoding}
        error = error_of(api.post(path, content=body, headers=headers), 415)
        assert error["param"] == "Content-Encoding"
    headers = {**_JSON, "Content-Encoding": "identity"}
    assert api.post(_CHAT, json=chat_body(), headers=headers).status_code == 200


def test_a_form_in_chunks_is_read(api: httpx.Client, installation: Installation) -> None:
    head = 'form-data; name="file"; filename="a.csv"'
    form = f"--b\r\nContent-Disposition: {head}\r\n\r\ntext\nx\n\r\n--b--\r\n".encode()
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    path = f"{installation.stack.base_url}/api/llmchat/runs"
    response = api.post(path, content=iter([form[:50], form[50:]]), headers=headers)
    assert response.status_code == 201, response.text


def test_a_body_in_chunks_is_read(api: httpx.Client) -> None:
    body = json.dumps(chat_body()).encode()

    def pieces() -> Iterator[bytes]:
        for byte in range(0, len(body), 7):
            yield body[byte : byte + 7]

    assert api.post(_CHAT, content=pieces(), headers=_JSON).status_code == 200


def test_a_body_that_is_too_large_is_413(api: httpx.Client) -> None:
    error_of(api.post(_CHAT, json=chat_body("x" * 20_000_000)), 413)


def test_the_body_of_a_get_is_ignored(api: httpx.Client) -> None:
    assert api.request("GET", "/models", content=b"{").status_code == 200


# --- Old and odd HTTP -----------------------------------------------------------------------------
def _request(key: str, body: bytes, first: str, *headers: str) -> bytes:
    lines = [
        first,
        "Host: 127.0.0.1",
        f"Authorization: Bearer {key}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@pytest.mark.parametrize("stream", [False, True])
def test_http_1_0_is_answered(installation: Installation, stream: bool) -> None:
    body = json.dumps(chat_body(stream=stream)).encode()
    request = _request(installation.alice, body, "POST /v1/chat/completions HTTP/1.0")
    status, headers, answer = exchange(installation.stack.port, request)
    assert status == 200
    assert "transfer-encoding" not in headers
    if stream:
        assert answer.endswith(b"data: [DONE]\n\n")
    else:
        assert json.loads(answer)["object"] == "chat.completion"


@pytest.mark.parametrize(("path", "status"), [("/v1/models", 200), ("/v1/nothing?x=1", 404)])
def test_a_target_with_scheme_and_host_is_its_path(
    installation: Installation, path: str, status: int
) -> None:
    first, close = f"GET HTTP://127.0.0.1:80{path} HTTP/1.1", "Connection: close"
    request = _request(installation.alice, b"", first, close)
    found, headers, body = exchange(installation.stack.port, request)
    assert (found, headers["content-type"]) == (status, "application/json")
    assert json.loads(body).keys() == ({"object", "data"} if status == 200 else {"error"})


def test_a_client_that_asks_before_it_sends_is_answered(installation: Installation) -> None:
    body = json.dumps(chat_body()).encode()
    first, close = "POST /v1/chat/completions HTTP/1.1", "Connection: close"
    request = _request(installation.alice, body, first, close, "Expect: 100-continue")
    status, _, answer = exchange(installation.stack.port, request)
    assert status in (100, 200)
    assert b'"chat.completion"' in answer


def test_one_connection_takes_many_requests(api: httpx.Client) -> None:
    for _ in range(3):
        assert api.post(_CHAT, json=chat_body()).status_code == 200
        error_of(api.post(_CHAT, content=b"{", headers=_JSON), 400)
