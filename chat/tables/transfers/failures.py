"""Why an import or export has failed, as its row keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from aily.problems import Problem
from chat.runs.reading.records import FileError
from chat.tables.models import TransferState

MAX_MESSAGE_CHARS = 500


@dataclass(frozen=True, slots=True)
class Failure:
    """A code, its sentence in English, and what a text in another language needs."""

    reason: str
    message: str
    params: Mapping[str, str | float] = field(default_factory=dict)

    @classmethod
    def of(cls, error: FileError | Problem) -> Self:
        return cls(error.code, error.message, error.params)

    def fields(self) -> dict[str, Any]:
        """The columns of a transfer that failed for it."""
        return {
            "state": TransferState.FAILED,
            "reason": self.reason,
            "message": self.message[:MAX_MESSAGE_CHARS],
            "reason_params": dict(self.params),
        }


UNEXPECTED = Failure("internal_error", "Something went wrong here. It has been logged.")
