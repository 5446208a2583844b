"""Plain text of an error body: without HTML, and in UTF-8.

The patterns are bounded, so that no page holds the event loop.
"""

from __future__ import annotations

import html
import re

#: Only these: some of Python's codecs are not for text, or are slow.
_CHARSETS = frozenset(
    {
        *("gbk", "gb2312", "gb18030", "big5", "shift_jis", "euc-jp", "euc-kr", "iso-2022-jp"),
        *("iso-8859-1", "iso-8859-15", "latin-1", "windows-1250", "windows-1251", "windows-1252"),
        *("utf-16", "utf-16le", "utf-16be", "utf-8-sig"),
    }
)
_CHARSET = re.compile(r"charset\s{0,9}=\s{0,9}[\"']?([\w-]{1,20})", re.IGNORECASE)
_MAX_PAGE_CHARS = 16 * 1024
_LOOKS_LIKE_HTML = re.compile(r"<(!doctype|html|head|body|title|h1|p|center|div)\b", re.IGNORECASE)
_UNSEEN = re.compile(
    r"<(script|style)\b[^<>]{0,500}>.*?(</(script|style)\s{0,9}>|$)|<!--.*?(-->|$)",
    re.IGNORECASE | re.DOTALL,
)
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_TAG = re.compile(r"<[^<>]{0,500}(>|$)")


def plain_text(text: str) -> str:
    """Return the text of an HTML page without tags, scripts and styles."""
    text = text[:_MAX_PAGE_CHARS].strip()
    if not (text.startswith("<") or _LOOKS_LIKE_HTML.search(text)):
        return text
    text = _TAG.sub(" ", _UNSEEN.sub(" ", text))
    return " ".join(html.unescape(text).split())


def charset_of(content_type: str) -> str:
    """The charset that a Content-Type names, if it is another than UTF-8 that is read; else ""."""
    found = _CHARSET.search(content_type)
    charset = found[1].lower() if found else ""
    return charset if charset in _CHARSETS else ""


def in_utf8(body: bytes, content_type: str) -> bytes:
    """Convert a body to UTF-8 from the charset of its Content-Type."""
    if charset := charset_of(content_type):
        return body.decode(charset, "replace").encode()
    return body.removeprefix(_BYTE_ORDER_MARK)
