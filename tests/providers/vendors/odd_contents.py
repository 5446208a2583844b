"""No vendor's: what an answer has besides its text, such as speech and images."""

from __future__ import annotations

from typing import Any

from tests.providers.playing import (
    STOP,
    Answered,
    Case,
    Failed,
    chunk,
    stream,
    text,
    whole,
)

_IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}


def _with_message(**message: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}


CASES: list[Case] = [
    Answered(
        name="reasoning that is an object, beside text",
        response=stream(chunk({"content": "Hi", "reasoning": {"content": "hm"}}), STOP),
        text="Hi",
        reasoning="hm",
    ),
    Answered(
        name="reasoning under another name",
        response=stream(chunk({"reasoning_text": "hm"}), text("Hi"), STOP),
        text="Hi",
        reasoning="hm",
    ),
    Answered(
        name="what was searched and cited, beside the text",
        response=stream(
            {**text("Hi"), "citations": ["u"], "search_results": [{"title": "t"}]},
            chunk({"content": "!", "annotations": [{"type": "url_citation"}]}),
            {**STOP, "citations": ["u"], "images": None},
        ),
        text="Hi!",
    ),
    Answered(
        name="reasoning that is a list of texts, and text as an object",
        response=stream(chunk({"reasoning_content": ["Hm", "."]}), text({"text": "4"}), STOP),
        text="4",
        reasoning="Hm.",
    ),
    Answered(
        name="a refusal, as content as well",
        response=whole(_with_message(content="No.", refusal="No.")),
        text="No.",
    ),
    Answered(
        name="speech, of which the words are the text",
        response=whole(
            _with_message(content=None, audio={"id": "a", "data": "UklG", "transcript": "Hi"})
        ),
        text="Hi",
    ),
    Answered(
        name="speech in pieces",
        response=stream(
            chunk({"audio": {"id": "a", "transcript": "H"}}),
            chunk({"audio": {"transcript": "i", "data": "UklG"}}),
            chunk({"audio": {"data": "UklG"}, "content": None}),
            chunk({"audio": {"expires_at": 1}}),
            STOP,
        ),
        text="Hi",
    ),
    Answered(
        name="images beside text",
        response=whole(_with_message(content=[{"type": "text", "text": "Look:"}, _IMAGE])),
        text="Look:",
    ),
    *(
        Failed(
            name=f"nothing that is kept: {name}",
            response=response,
            code="provider_empty",
            words=f"neither text nor a tool call, but {what}",
            retryable=False,
        )
        for name, response, what in (
            ("sound", whole(_with_message(content=None, audio={"data": "UklG"})), "audio"),
            ("a part", whole(_with_message(content=[_IMAGE])), "images or other parts"),
            ("images", whole(_with_message(content="", images=[_IMAGE])), "images or other parts"),
            ("images in pieces", stream(chunk({"images": [_IMAGE]}), STOP), "images or other"),
        )
    ),
]
