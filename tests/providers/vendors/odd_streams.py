"""No vendor's: streams and bodies in forms that servers are known to send."""

from __future__ import annotations

import gzip
import zlib

from chat.llm.types import Usage
from tests.providers.playing import (
    STOP,
    Answered,
    Case,
    Failed,
    Response,
    counts,
    encoded,
    error,
    failed,
    page,
    stream,
    text,
    whole,
)

_HI = [text("He"), text("y"), STOP]
_BODY = stream(*_HI).body
_STREAM = {"content-type": "text/event-stream"}
_WHOLE = {"choices": [{"index": 0, "message": {"content": "Hey"}, "finish_reason": "stop"}]}


def _packed(body: bytes, encoding: str, status: str = "200 OK") -> Response:
    return Response(body=body, status=status, headers={**_STREAM, "content-encoding": encoding})


def _bare_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


def _hey(name: str, response: Response) -> Answered:
    return Answered(name=name, response=response, text="Hey")


def _failed(
    name: str, response: Response, code: str, words: str, *, retryable: bool = True
) -> Failed:
    return Failed(name=name, response=response, code=code, words=words, retryable=retryable)


CASES: list[Case] = [
    _hey("a byte order mark", stream(*_HI, head=b"\xef\xbb\xbf")),
    _hey("lines that end with CR", stream(*_HI, end=b"\r\r")),
    _hey("lines that end with CR LF", stream(*_HI, end=b"\r\n\r\n")),
    _hey("ends of lines of all kinds", stream(text("He"), text("y"), STOP, end=b"\r\n\r")),
    _hey(
        "an event of several lines",
        stream(
            b'data: {"choices":[{"index":0,\ndata: "delta":{"content":"He"},\n'
            b'data:"finish_reason":null}]}\n\n',
            text("y"),
            STOP,
        ),
    ),
    _hey(
        "no blank after the colon", stream(*(b"data:" + encoded(event) + b"\n\n" for event in _HI))
    ),
    _hey(
        "names, ids and comments",
        stream(
            b"retry: 10\n\nevent: message\nid: 1\n: x\ndata: " + encoded(_HI[0]) + b"\n\n\n\n",
            *_HI[1:],
        ),
    ),
    _hey("an end mark in quotes", stream(*_HI[:2], '"[DONE]"', done=False)),
    _hey("no end mark", stream(*_HI, done=False)),
    _hey("no finish reason", stream(*_HI[:2])),
    _hey("an end mark without its blank line", stream(*_HI, b"data: [DONE]\n", done=False)),
    _hey(
        "a line that is no field, and the end mark alone without its blank line",
        stream(*_HI[:2], b"well\n\n", b"data: [DONE]\n", done=False),
    ),
    _hey(
        "a stream that says it is JSON",
        Response(
            body=_BODY,
            headers={"content-type": "application/json"},
        ),
    ),
    _hey(
        "a stream that says it is a page",
        Response(body=_BODY, headers={"content-type": "text/html"}),
    ),
    _hey("a stream that does not say what it is", Response(body=_BODY)),
    _hey(
        "a whole answer that says it is a stream", Response(body=encoded(_WHOLE), headers=_STREAM)
    ),
    _hey("a whole answer after blank lines", Response(body=b"\n\n \n" + encoded(_WHOLE))),
    _hey("gzip", _packed(gzip.compress(_BODY), "gzip")),
    _hey(
        "gzip in two members",
        _packed(
            gzip.compress(_BODY[:50]) + gzip.compress(_BODY[50:]),
            "GZIP",
        ),
    ),
    _hey("deflate", _packed(zlib.compress(_BODY), "deflate")),
    _hey("deflate without its head", _packed(_bare_deflate(_BODY), "deflate")),
    _failed(
        "gzip that is cut",
        _packed(gzip.compress(stream(text("Hey" * 999), done=False).body)[:60], "gzip"),
        "provider_truncated",
        "ended before",
    ),
    _failed(
        "an encoding that nobody asked for",
        _packed(b"\x00", "br"),
        "provider_invalid_response",
        "br",
    ),
    _failed(
        "a page with status 200",
        page("<html><title>Log in</title><p>Who?</p></html>"),
        "provider_invalid_response",
        "page, no stream of events: Log in Who?",
    ),
    _failed(
        "a plain text with status 200",
        Response(
            body=b"upstream connect error",
            headers={"content-type": "text/plain"},
        ),
        "provider_invalid_response",
        "upstream connect error",
    ),
    _failed(
        "an error as a text that says it is a stream",
        Response(
            body=encoded({"error": {"message": "no capacity", "type": "server_error"}}),
            headers=_STREAM,
        ),
        "provider_error",
        "no capacity",
    ),
    _failed(
        "an error in JSON over several lines",
        Response(
            body=b'{\n  "error": {\n    "message": "no capacity"\n  }\n}\n',
            headers=_STREAM,
        ),
        "provider_error",
        "no capacity",
    ),
    _failed("nothing", Response(body=b"", headers=_STREAM), "provider_truncated", "ended before"),
    _failed(
        "an error event without data",
        stream(text("He"), b"event: error\n\n"),
        "provider_error",
        "broke off",
    ),
    _failed(
        "an error event that looks like an answer",
        stream(
            b"event: error\ndata: " + encoded(text("He")) + b"\n\n",
        ),
        "provider_error",
        "broke off",
    ),
    _failed(
        "text without an end",
        stream(text("He"), text("y"), done=False),
        "provider_truncated",
        "ended before",
    ),
    _failed(
        "an error after the finish reason",
        stream(*_HI, {"error": "late"}),
        "provider_error",
        "late",
    ),
    _failed(
        "an error with success: false",
        whole(
            {"success": False, "code": 500, "msg": "busy", "data": None},
        ),
        "provider_error",
        "busy",
    ),
    _failed(
        "an error with keys in capitals",
        stream(
            text("He"),
            {"Response": {"Error": {"Code": "LimitExceeded.RateLimit", "Message": "Slow down"}}},
        ),
        "provider_rate_limited",
        "Slow down",
    ),
    _failed(
        "problem details",
        stream(text("He"), {"status": 503, "title": "Unavailable", "detail": "no capacity"}),
        "provider_overloaded",
        "no capacity",
    ),
    _failed(
        "an error that is only true",
        stream(text("He"), {"error": True, "message": "broke"}),
        "provider_error",
        "broke",
    ),
    _hey("an encoding that is none: a charset", _packed(_BODY, "utf-8")),
    _hey("an encoding beside none", _packed(gzip.compress(_BODY), "identity, gzip")),
    _hey("gzip that is none", _packed(_BODY, "gzip")),
    _hey(
        "events within events",
        Response(body=_BODY.replace(b"data: ", b"data: data: "), headers=_STREAM),
    ),
    Answered(
        name="events without a blank line between",
        response=Response(
            body=b"".join(b"data: " + encoded(x) + b"\n" for x in (text("H"), text("i"), STOP))
            + b"data: [DONE]\n",
            headers={"content-type": "text/event-stream"},
        ),
        text="Hi",
    ),
    failed(
        "a fault of a gateway",
        whole(
            {
                "fault": {
                    "faultstring": "Rate limit quota violation. Quota limit exceeded.",
                    "detail": {"errorcode": "policies.ratelimit.QuotaViolation"},
                }
            },
            "429 x",
        ),
        "provider_rate_limited",
        "Rate limit quota",
        retryable=True,
    ),
    failed(
        "a fault of a gateway, with status 200",
        whole(
            {
                "fault": {
                    "faultstring": "Invalid ApiKey",
                    "detail": {"errorcode": "oauth.v2.InvalidApiKey"},
                }
            }
        ),
        "provider_auth",
        "Invalid ApiKey",
    ),
    failed(
        "an exception after some text",
        stream(text("a"), {"exception": "CUDA out of memory"}),
        "provider_error",
        "CUDA",
        retryable=True,
    ),
    failed(
        "a quota that is used up, as a prohibition",
        whole(error("You have exceeded your quota for this month"), "403 x"),
        "provider_balance",
        "quota",
    ),
    failed(
        "a limit by the header of a draft",
        whole(error("x"), "429 x", ratelimit="limit=10, remaining=0, reset=7"),
        "provider_rate_limited",
        "x",
        retryable=True,
        after=7.0,
    ),
    failed(
        "a limit by the header of a newer draft",
        whole(error("x"), "429 x", ratelimit='"default";r=0;t=9'),
        "provider_rate_limited",
        "x",
        retryable=True,
        after=9.0,
    ),
    failed(
        "a limit by another header",
        whole(error("x"), "429 x", x_ratelimit_reset_after="3"),
        "provider_rate_limited",
        "x",
        retryable=True,
        after=3.0,
    ),
    *(
        Answered(
            name=f"an end mark: {mark}",
            response=stream(text("Hi"), STOP, mark, done=False),
            text="Hi",
        )
        for mark in ("[done]", "DONE", '"[DONE]"', '{"type": "done"}')
    ),
    Answered(
        name="signs of life in many forms",
        response=stream(
            *(b"event: ping\ndata: {}\n\n", b'event: keepalive\ndata: {"event":"keepalive"}\n\n'),
            *('""', ": keep-alive", {"type": "ping"}),
            text("Hi"),
            *('"ping"', "[KEEPALIVE]", "[]"),
            STOP,
        ),
        text="Hi",
    ),
    Answered(
        name="events with names and statuses",
        response=stream(
            b"id: 1\nevent: result\n:HTTP_STATUS/200\n"
            b'data: {"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}\n\n',
            b'event: completion\ndata: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n',
        ),
        text="Hi",
    ),
    Failed(
        name="an event that is an exception by its name",
        response=stream(
            text("Once"), b'event: exception\ndata: {"message":"GPU lost"}\n\n', done=False
        ),
        code="provider_error",
        words="GPU lost",
        retryable=True,
    ),
    Failed(
        name="an error event without JSON",
        response=stream(
            text("Once"), b"event: error\ndata: upstream connect error\n\n", done=False
        ),
        code="provider_error",
        words="upstream connect error",
        retryable=True,
    ),
    Failed(
        name="an error of a framework, with its status",
        response=stream(text("Once"), {"status": 504, "error": "Gateway Timeout", "path": "/v1"}),
        code="provider_error",
        words="Gateway Timeout",
        retryable=True,
    ),
    Failed(
        name="a flag and a message",
        response=stream(text("Once"), {"error": True, "message": "Inference failed", "code": 500}),
        code="provider_error",
        words="Inference failed",
        retryable=True,
    ),
    *(
        Failed(
            name=f"words without the form of an event, after some text: {name}",
            response=stream(text("Once"), body, done=False),
            code="provider_invalid_response",
            words="the stream broke off with: 502 Bad Gateway",
            retryable=True,
        )
        for name, body in (
            ("a text", b"502 Bad Gateway\n"),
            ("a page", b"<html><title>502 Bad Gateway</title></html>\n\n"),
        )
    ),
    *(
        _failed(f"an error with status 200: {encoded(body).decode()}", whole(body), code, words)
        for body, code, words in (
            ({"success": False}, "provider_error", 'broke off: {"success": false}'),
            ({"ok": False, "description": "nope"}, "provider_error", "nope"),
            ({"status": "failed", "info": "bad thing"}, "provider_error", "bad thing"),
            ({"retcode": 1001, "retmsg": "bad"}, "provider_error", "bad"),
            ({"detail": "Invalid token id 7"}, "provider_error", "Invalid token id 7"),
        )
    ),
    *(
        _failed(f"an error with status 200: {words}", whole(body), code, words, retryable=False)
        for body, code, words in (
            ({"detail": "Not authenticated"}, "provider_auth", "Not authenticated"),
            ({"msg": "token is expired"}, "provider_auth", "token is expired"),
            (
                {"header": {"code": 10013, "message": "input audit failed", "status": 2}},
                "provider_bad_request",
                "input audit failed",
            ),
        )
    ),
    *(
        _hey(
            f"{charset}, as its type says",
            Response(
                body=_BODY.decode().encode(charset),
                headers={"content-type": f"text/event-stream; charset={charset}"},
            ),
        )
        for charset in ("utf-16", "utf-16le", "gbk")
    ),
    *(
        Answered(
            name=f"{charset}, said to be {said}",
            response=Response(
                body=stream(text("你好é"), STOP).body.decode().encode(charset),
                headers={"content-type": f"text/event-stream; charset={said}"},
            ),
            text="你好é",
        )
        for charset, said in (("gb18030", "GBK"), ("utf-8", "ISO-8859-1"), ("utf-8", "gb2312"))
    ),
    Answered(
        name="gzip of another charset",
        response=Response(
            body=gzip.compress(stream(text("你好"), STOP).body.decode().encode("gbk")),
            headers={"content-type": "text/event-stream;charset=gbk", "content-encoding": "gzip"},
        ),
        text="你好",
    ),
    Answered(
        name="token counts after the end mark, and what does not belong there",
        response=stream(
            *_HI,
            "[DONE]",
            {"choices": [], "usage": counts(3, 1)},
            text("more"),
            error("late"),
            "no JSON",
            done=False,
        ),
        text="Hey",
        usage=Usage(3, 1, 4),
    ),
]
