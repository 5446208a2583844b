"""Query parameters: an operation refuses those that it does not know, and those given twice.

A misspelt filter that is ignored would answer with all rows, and look right.
"""

from __future__ import annotations

from typing import Any, ClassVar

from django.http import HttpRequest
from ninja import NinjaAPI
from ninja.operation import Operation
from ninja.params.models import ParamModel
from pydantic import ConfigDict

from aily.problems import InvalidRequest


class _UnknownParameters(ParamModel):
    """The query parameters of a request that its operation does not know; each is an error."""

    model_config = ConfigDict(extra="forbid")

    known: ClassVar[frozenset[str]]
    #: Those that may be given more than once.
    lists: ClassVar[frozenset[str]]

    @classmethod
    def get_request_data(
        cls, request: HttpRequest, api: NinjaAPI, path_params: dict[str, Any]
    ) -> dict[str, Any]:
        for name, values in request.GET.lists():
            if len(values) > 1 and name in cls.known - cls.lists:
                raise InvalidRequest(
                    "This is given more than once.",
                    field=f"query.{name}",
                    params={"rule": "given_twice"},
                )
        return {name: "" for name in request.GET if name not in cls.known}


def refuse_unknown_parameters(operation: Operation) -> None:
    """Have an operation answer 422 to query parameters that its signature does not have."""
    known: set[str] = set()
    lists: set[str] = set()
    for model in operation.models:
        if model.__ninja_param_source__ == "query":
            known.update(getattr(model, "__ninja_flatten_map__", ()))
            lists.update(getattr(model, "__ninja_collection_fields__", ()))
    attributes = {
        "known": frozenset(known),
        "lists": frozenset(lists),
        "__module__": __name__,
        "__ninja_param_source__": "query",
        "__ninja_flatten_map_reverse__": {},
    }
    model = type("_UnknownParametersOf", (_UnknownParameters,), attributes)
    operation.models = [*operation.models, model]
