"""Errors of Jinja2, and of what prompts may not use of it, as reasons."""

from __future__ import annotations

import re

from jinja2 import TemplateSyntaxError

from chat.reasons import Reason

#: Jinja2's messages that authors meet most, with groups named as the parameters of the reason.
_SYNTAX_ERRORS = (
    (re.compile(r"No filter named (?P<name>'.*?')"), "unknown_filter"),
    (re.compile(r"No test named (?P<name>'.*?')"), "unknown_test"),
    (re.compile(r"Encountered unknown tag (?P<name>'.*?')"), "unknown_tag"),
    (re.compile(r"[Uu]nexpected end of template"), "template_ends"),
    (re.compile(r"expected token (?P<expected>'.*?'), got (?P<found>'.*')$"), "expected_token"),
    (re.compile(r"unexpected (?:char )?(?P<found>'.*?')(?: at \d+)?$"), "unexpected_token"),
)
_UNDEFINED_PART = re.compile(r"(?P<owner>.+?) has no (?:attribute|element) (?P<name>.+)", re.DOTALL)


class RestrictedSyntaxError(TemplateSyntaxError):
    """A statement or name of Jinja2 that prompts may not use."""

    def __init__(self, reason: str, lineno: int, name: str = "") -> None:
        super().__init__(reason, lineno)
        self.reason = Reason.of(reason, line=lineno, name=name)


def reason_of_syntax_error(error: TemplateSyntaxError) -> Reason:
    if isinstance(error, RestrictedSyntaxError):
        return error.reason
    message = error.message or ""
    for pattern, name in _SYNTAX_ERRORS:
        if found := pattern.match(message):
            return Reason.of(name, line=error.lineno, **found.groupdict())
    return Reason.of("template_syntax", line=error.lineno, detail=message)


def reason_of_undefined(message: str) -> Reason:
    """The reason of Jinja2's UndefinedError about a part of a variable."""
    if found := _UNDEFINED_PART.fullmatch(message):
        return Reason.of("undefined_part", **found.groupdict())
    return Reason.of("variables_unusable", detail=message)
