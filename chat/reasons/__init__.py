"""Why something is refused or has failed: sentences with names and parameters.

The name is `rule` among the `params` of the error's body, so that a client can show the sentence in
its own language; pages of the admin translate it by gettext. Pure data: rendering imports no
Django. Which keyword of a JSON Schema variables break is found in chat/rendering/rules.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from chat.reasons import keywords, prompts, requests, runs, services, tables

#: Parameters may quote templates and values, which may be as long as a request.
MAX_PARAM_CHARS = 300

SUBJECTS = (
    prompts.SENTENCES,
    tables.SENTENCES,
    runs.SENTENCES,
    services.SENTENCES,
    keywords.SENTENCES,
    requests.SENTENCES,
)
#: By name, which is of one subject. Parameters are texts.
SENTENCES: Mapping[str, str] = {
    name: sentence for sentences in SUBJECTS for name, sentence in sentences.items()
}


@dataclass(frozen=True, slots=True)
class Reason:
    """One sentence of `SENTENCES` with its parameters."""

    name: str
    params: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return SENTENCES[self.name] % self.params

    def as_params(self) -> dict[str, str | float]:
        """The `params` of a problem."""
        return {"rule": self.name, **self.params}

    @classmethod
    def of(cls, name: str, /, **params: object) -> Reason:
        """A reason with its parameters as texts, long ones cut."""
        return cls(name, {key: str(value)[:MAX_PARAM_CHARS] for key, value in params.items()})


class ReasonError(ValueError):
    """Base of errors that have a reason."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(str(reason))
        self.reason = reason
