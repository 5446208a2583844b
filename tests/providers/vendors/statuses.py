"""No vendor's: statuses, and bodies of errors of every kind."""

from __future__ import annotations

import gzip

from tests.providers.playing import Case, Failed, Response, encoded, page, whole

_BUSY = encoded({"error": {"message": "busy"}})


def _failed(
    name: str, response: Response, code: str, words: str, *, retryable: bool = False
) -> Failed:
    return Failed(name=name, response=response, code=code, words=words, retryable=retryable)


def _status(status: str, code: str, *, retryable: bool) -> Failed:
    response = Response(body=b"", status=status)
    return _failed(status, response, code, f"HTTP status {status[:3]}", retryable=retryable)


def _encoded(name: str, body: bytes, encoding: str, words: str) -> Failed:
    headers = {"content-type": "application/json", "content-encoding": encoding}
    response = Response(body=body, status="503 x", headers=headers)
    return _failed(name, response, "provider_overloaded", words, retryable=True)


def _redirect(name: str, location: str, words: str) -> Failed:
    response = Response(body=b"<a>Moved</a>", status="308 Moved", headers={"location": location})
    return _failed(f"a redirect {name}", response, "provider_bad_request", words)


CASES: list[Case] = [
    _status("400 x", "provider_bad_request", retryable=False),
    _status("401 x", "provider_auth", retryable=False),
    _status("402 x", "provider_balance", retryable=False),
    _status("403 x", "provider_auth", retryable=False),
    _status("404 x", "provider_model_not_found", retryable=False),
    _status("405 x", "provider_bad_request", retryable=False),
    _status("408 x", "provider_error", retryable=True),
    _status("407 x", "provider_auth", retryable=False),
    _status("420 x", "provider_rate_limited", retryable=True),
    _status("499 x", "provider_error", retryable=True),
    _status("409 x", "provider_error", retryable=True),
    _status("413 x", "provider_bad_request", retryable=False),
    _status("422 x", "provider_bad_request", retryable=False),
    _status("423 x", "provider_error", retryable=True),
    _status("425 x", "provider_error", retryable=True),
    _status("429 x", "provider_rate_limited", retryable=True),
    _status("451 x", "provider_bad_request", retryable=False),
    _status("500 x", "provider_error", retryable=True),
    _status("502 x", "provider_error", retryable=True),
    _status("503 x", "provider_overloaded", retryable=True),
    _status("504 x", "provider_error", retryable=True),
    _status("524 x", "provider_error", retryable=True),
    _status("529 x", "provider_overloaded", retryable=True),
    _encoded("gzip", gzip.compress(_BUSY), "gzip", "busy"),
    _encoded("gzip that is none", _BUSY, "gzip", "busy"),
    _encoded("brotli that nobody asked for", b"\x0b\x02\x80busy", "br", "HTTP status 503"),
    _encoded("gzip that is cut", gzip.compress(_BUSY * 99)[:30], "gzip", ""),
    _failed(
        "a page",
        page(
            "<!DOCTYPE html><style>p {color: red}</style><h1>502 Bad &amp; Gone</h1>"
            "<!-- <p>no</p> --><p>nginx",
            "502 x",
        ),
        "provider_error",
        "502 Bad & Gone nginx",
        retryable=True,
    ),
    _failed(
        "a page of XML",
        Response(
            body=b"<?xml?><Error><Code>SlowDown</Code><Message>Reduce</Message></Error>",
            status="503 x",
            headers={"content-type": "application/xml"},
        ),
        "provider_overloaded",
        "SlowDown Reduce",
        retryable=True,
    ),
    _failed(
        "a page in a message",
        whole({"error": {"message": "<html><p>Bad</p></html>"}}, "502 x"),
        "provider_error",
        "Bad",
        retryable=True,
    ),
    _failed(
        "a page where a path is not there",
        page("<h1>Not Found</h1>", "404 x"),
        "provider_bad_request",
        "Not Found",
    ),
    _failed(
        "bytes that are no text",
        Response(body=b"\xff\xfe", status="500 x"),
        "provider_error",
        "\ufffd",
        retryable=True,
    ),
    _failed(
        "an error of an unknown shape",
        whole({"oops": [1]}, "500 x"),
        "provider_error",
        "HTTP status 500",
        retryable=True,
    ),
    _failed(
        "a message in a message",
        whole({"error": {"message": {"message": "deep"}}}, "400 x"),
        "provider_bad_request",
        "deep",
    ),
    _failed(
        "a list of errors",
        whole({"errors": [{"message": "a"}, {"message": "b"}]}, "400 x"),
        "provider_bad_request",
        "a; b",
    ),
    _redirect("elsewhere", "https://api.example.org/v2/chat", "to https://api.example.org/v2/chat"),
    _redirect(
        "without its secrets",
        "https://me:pw@example.org/v2?key=sk-1#x",
        "redirects to https://example.org/v2:",
    ),
    _redirect("on the same host", "/v2/chat/completions?api-version=1", "/v2/chat/completions:"),
    _failed(
        "a redirect to nowhere",
        Response(body=b"", status="302 x"),
        "provider_bad_request",
        "HTTP status 302",
    ),
    _failed(
        "another charset",
        Response(
            body=encoded({"error": {"message": "服务繁忙"}}).decode().encode("gbk"),
            status="503 x",
            headers={"content-type": "application/json; charset=GBK"},
        ),
        "provider_overloaded",
        "服务繁忙",
        retryable=True,
    ),
    _failed(
        "a charset that is none of text",
        Response(body=b"x", status="503 x", headers={"content-type": "text/plain; charset=hex"}),
        "provider_overloaded",
        "x",
        retryable=True,
    ),
    _failed(
        "a byte order mark",
        Response(body=b"\xef\xbb\xbf" + _BUSY, status="503 x"),
        "provider_overloaded",
        "busy",
        retryable=True,
    ),
    _failed(
        "in the form of an event",
        Response(
            body=b"event: error\ndata: " + _BUSY + b"\n\n",
            status="503 x",
            headers={"content-type": "text/event-stream"},
        ),
        "provider_overloaded",
        "busy",
        retryable=True,
    ),
    _failed(
        "JSON that is not quite",
        Response(body=b'{"error":{"message":"a\tb","at":NaN}}', status="500 x"),
        "provider_error",
        "a\tb",
        retryable=True,
    ),
    _failed(
        "JSON within the message, of a gateway",
        whole(
            {
                "error": {
                    "message": '{"code":"Arrearage","message":"Access denied.","request_id":"r"}',
                    "type": "upstream_error",
                }
            },
            "500 x",
        ),
        "provider_balance",
        "Access denied.",
    ),
    _failed(
        "JSON within the message, with an error in it",
        whole({"error": {"message": '{"error":{"code":429,"message":"Slow down"}}'}}, "429 x"),
        "provider_rate_limited",
        "Slow down",
        retryable=True,
    ),
    _failed(
        "JSON after other words of the message",
        whole({"message": 'Upstream: {"error":{"code":"insufficient_quota"}}'}, "500 x"),
        "provider_balance",
        "Upstream: {",
    ),
    _failed(
        "more than is read, in JSON",
        whole({"error": {"message": 'so "many" words ' * 9999}}, "500 x"),
        "provider_error",
        'so "many" words so',
        retryable=True,
    ),
]
