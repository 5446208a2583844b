"""What a page of HTML says, where an answer or a reason belongs.

The patterns are bounded, so that no page holds the event loop.
"""

from __future__ import annotations

import html
import re

_MAX_PAGE_CHARS = 16 * 1024
_LOOKS_LIKE_HTML = re.compile(r"<(!doctype|html|head|body|title|h1|p|center|div)\b", re.IGNORECASE)
_UNSEEN = re.compile(
    r"<(script|style)\b[^<>]{0,500}>.*?(</(script|style)\s{0,9}>|$)|<!--.*?(-->|$)",
    re.IGNORECASE | re.DOTALL,
)
_TAG = re.compile(r"<[^<>]{0,500}(>|$)")


def plain_text(text: str) -> str:
    """What a page of HTML says, its tags, scripts and styles left out."""
    text = text[:_MAX_PAGE_CHARS].strip()
    if not (text.startswith("<") or _LOOKS_LIKE_HTML.search(text)):
        return text
    text = _TAG.sub(" ", _UNSEEN.sub(" ", text))
    return " ".join(html.unescape(text).split())
