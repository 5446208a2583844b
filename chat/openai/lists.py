"""Lists of OpenAI's API: `limit`, `after` and `order`, and the object that has a page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeVar
from uuid import UUID

from django.db.models import Model, QuerySet

from chat.openai.errors import OpenAIError
from chat.openai.ids import uuid_of

JsonObject = dict[str, Any]
RowT = TypeVar("RowT", bound=Model)
_ORDERS = ("asc", "desc")
_MAX_ID_CHARS = 100


@dataclass(frozen=True, slots=True)
class Page:
    """Which rows are asked for: those after the row with the id `after`, the newest first unless
    `is_ascending`."""

    limit: int
    after: str | None = None
    is_ascending: bool = False

    @classmethod
    def asked(cls, query: Mapping[str, str], *, default: int, max_limit: int) -> Page:
        """Read the query of a request. Raises OpenAIError."""
        order = query.get("order", "desc")
        if order not in _ORDERS:
            raise _invalid("It is asc or desc.", "order")
        text = query.get("limit", str(default))
        is_number = text.isascii() and text.isdigit() and len(text) <= len(str(max_limit))
        if not (is_number and 1 <= int(text) <= max_limit):
            raise _invalid(f"It is a number from 1 to {max_limit}.", "limit")
        return cls(int(text), query.get("after"), order == "asc")

    def of(
        self, rows: QuerySet[RowT], prefix: str, to_object: Callable[[RowT], JsonObject]
    ) -> JsonObject:
        """The page of these rows, whose ids rise with time. Raises OpenAIError."""
        if self.after is not None:
            # The row may be gone: some clients delete what they list.
            last = uuid_of(prefix, self.after)
            if last is None:
                name = self.after[:_MAX_ID_CHARS]
                raise _invalid(f"There is no {name!r} in this list.", "after")
            rows = rows.filter(**self._beyond(last))
        found = list(rows.order_by("pk" if self.is_ascending else "-pk")[: self.limit + 1])
        data = [to_object(row) for row in found[: self.limit]]
        return {
            "object": "list",
            "data": data,
            # OpenAI's document has no null here.
            "first_id": data[0]["id"] if data else "",
            "last_id": data[-1]["id"] if data else "",
            "has_more": len(found) > self.limit,
        }

    def _beyond(self, last: UUID) -> dict[str, UUID]:
        return {"pk__gt" if self.is_ascending else "pk__lt": last}


def _invalid(message: str, param: str) -> OpenAIError:
    return OpenAIError(HTTPStatus.BAD_REQUEST, message, param=param, code="invalid_value")
