"""FastChat: an error whose words are `text`."""

from __future__ import annotations

from tests.providers.playing import Case, failed, stream

CASES: list[Case] = [
    failed(
        "too long a prompt, in the stream",
        stream(
            {
                "text": "YOUR INPUT VIOLATES OUR CONTENT MODERATION GUIDELINES. PLEASE FIX YOUR "
                "INPUT AND TRY AGAIN.\n\n(max_tokens must be at least 1, got -37938.)",
                "error_code": 50001,
            },
            done=False,
        ),
        "provider_bad_request",
        "VIOLATES",
    ),
]
