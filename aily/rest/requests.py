"""Reading requests: base classes and types of bodies, and a parser that is strict."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, TypeVar, cast

from django.http import HttpRequest
from django.utils.datastructures import MultiValueDict
from ninja import Field, Schema
from ninja.parser import Parser
from pydantic import AfterValidator, AwareDatetime, ConfigDict

from aily.problems import InvalidRequest, UnsupportedMediaType
from aily.rest.json_input import decode_json
from aily.rest.openapi import JsonObject
from aily.rest.schema_rules import refused_value


class RequestSchema(Schema):
    """Base of every request body: an unknown field is an error."""

    model_config = ConfigDict(extra="forbid")


Body = TypeVar("Body", bound=RequestSchema)


def no_body(schema: type[Body]) -> Body:
    """The default of an endpoint's body whose fields all have defaults: it may be left out."""
    return schema.model_validate({})


def _in_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise refused_value("This time is out of range.", {"rule": "time_range"}) from None


#: A point in time, with its offset from UTC; converted, as PostgreSQL does not take every offset.
Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]


class CreatedBetween(Schema):
    """Filter of a list by the time at which its rows were made."""

    created_after: Moment | None = Field(None, description="At this time or later.")
    created_before: Moment | None = Field(None, description="Before this time.")

    def created(self) -> dict[str, object]:
        """The conditions, for `matching`; None: not given."""
        return {"created_at__gte": self.created_after, "created_at__lt": self.created_before}


class StrictParser(Parser):
    """Accepts only what PostgreSQL can store."""

    def parse_body(self, request: HttpRequest) -> JsonObject:
        if request.content_type != "application/json" and request.body:
            raise UnsupportedMediaType("Send the body as application/json.", field="Content-Type")
        return cast("JsonObject", decode_json(request.body))

    def parse_querydict(
        self, data: MultiValueDict[str, str], list_fields: list[str], request: HttpRequest
    ) -> JsonObject:
        for name, values in data.lists():
            if any("\0" in value for value in values):
                message = "Text must not contain the character U+0000."
                params = {"rule": "null_character"}
                raise InvalidRequest(message, field=f"query.{name}", params=params)
        return super().parse_querydict(data, list_fields, request)
