"""Reading requests of OpenAI's API: fields, errors that name them, and aily's own headers."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from pydantic import BaseModel, JsonValue, ValidationError

from aily.rest.schema_rules import REFUSED
from chat.openai.errors import OpenAIError, param_of, unknown_model
from chat.openai.scenes import SCENE_PREFIX
from chat.services.parameters import ExtraBody, Object, path_of
from chat.services.submission import CompositeRequest, EmbeddingsRequest

#: Headers that say how a task is run; OpenAI's clients send them as `extra_headers`.
LANE_HEADER, DEADLINE_HEADER = "aily-lane", "aily-deadline-seconds"
#: The lanes of `service_tier`; None: the API key's, or else the surface's.
_LANE_OF_TIER = {
    "auto": None,
    "default": None,
    "scale": None,
    "flex": "batch",
    "priority": "interactive",
    "fast": "interactive",
}
#: No model's name, and no `scene:<slug>`, is longer.
_MAX_MODEL_CHARS, _MAX_SCENE_CHARS = 100, len(SCENE_PREFIX) + 50
_LANES = ("interactive", "normal", "batch")


def as_object(body: object) -> Object:
    """Return the fields of a decoded body that are not null. Raises OpenAIError."""
    if not isinstance(body, dict):
        raise OpenAIError(HTTPStatus.BAD_REQUEST, "The body must be a JSON object.")
    return {name: value for name, value in body.items() if value is not None}


def model_of(given: Object) -> str:
    """Return the model as the caller has named it. Raises OpenAIError."""
    model = given.get("model")
    if model is None or model == "":
        raise missing("model")
    if not isinstance(model, str):
        raise invalid_type("a text", "model")
    longest = _MAX_SCENE_CHARS if model.startswith(SCENE_PREFIX) else _MAX_MODEL_CHARS
    if len(model) > longest:
        raise unknown_model(model)
    return model


def run_options(headers: Mapping[str, str], given: Object) -> Object:
    """Return the fields `lane` and `deadline_seconds`, those that are asked for.

    A header goes before `service_tier`. Raises OpenAIError.
    """
    options: Object = {}
    lane = _lane_of_header(headers.get(LANE_HEADER)) or _lane_of_tier(given.get("service_tier"))
    if lane is not None:
        options["lane"] = lane
    deadline = headers.get(DEADLINE_HEADER)
    if deadline is not None:
        options["deadline_seconds"] = _number(deadline)
    return options


def _lane_of_header(lane: str | None) -> str | None:
    if lane is None:
        return None
    lane = lane.strip().lower()
    if lane not in _LANES:
        raise invalid_value(f"There are the lanes {', '.join(_LANES)}.", LANE_HEADER)
    return lane


def _lane_of_tier(tier: JsonValue) -> str | None:
    if tier is None:
        return None
    if not isinstance(tier, str) or tier not in _LANE_OF_TIER:
        raise invalid_value(f"There are the tiers {', '.join(_LANE_OF_TIER)}.", "service_tier")
    return _LANE_OF_TIER[tier]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise invalid_value("This is a number of seconds.", DEADLINE_HEADER) from None


def composite_request(fields: Object) -> CompositeRequest:
    """Validate the fields of a task's request; unknown ones are ignored. Raises OpenAIError.

    But for those of `extra_body`, which go to the provider whatever they are.
    """
    given: dict[str, object] = dict(fields)
    try:
        if "extra_body" in fields:
            given["extra_body"] = _Extra.model_validate(fields).extra_body
        return CompositeRequest.model_validate(given, extra="ignore")
    except ValidationError as error:
        raise of_validation(error) from None


def embeddings_request(fields: Object) -> EmbeddingsRequest:
    """`composite_request` for embeddings. All unknown fields are ignored."""
    try:
        return EmbeddingsRequest.model_validate(fields, extra="ignore")
    except ValidationError as error:
        raise of_validation(error) from None


class _Extra(BaseModel):
    extra_body: ExtraBody


# --- Errors -------------------------------------------------------------------------------------
#: Codes that OpenAI's errors have, by the beginning of pydantic's types.
_CODES = {"missing": "missing_required_parameter", "value_error": None, REFUSED: None}
_MAX_MESSAGE_CHARS = 1_000


def of_validation(error: ValidationError) -> OpenAIError:
    """The first of the errors, as OpenAI's form has room for one."""
    detail = error.errors(include_url=False, include_context=False, include_input=False)[0]
    kind, field = detail["type"], param_of(path_of(detail["loc"]))
    if field == "deadline_seconds":
        field = DEADLINE_HEADER
    code = _CODES.get(kind, "invalid_type" if kind.endswith("_type") else "invalid_value")
    message = detail["msg"].removeprefix("Value error, ")
    return OpenAIError(
        HTTPStatus.BAD_REQUEST,
        f"Invalid {field}: {message}"[:_MAX_MESSAGE_CHARS] if field else message,
        param=field or None,
        code=code,
    )


def missing(param: str) -> OpenAIError:
    message = f"Missing required parameter: {param}."
    code = "missing_required_parameter"
    return OpenAIError(HTTPStatus.BAD_REQUEST, message, param=param, code=code)


def invalid_type(wanted: str, param: str) -> OpenAIError:
    message = f"Invalid type for {param}: {wanted} is expected."
    return OpenAIError(HTTPStatus.BAD_REQUEST, message, param=param, code="invalid_type")


def unsupported(message: str, param: str) -> OpenAIError:
    """The error for what is refused, as ignoring it would change what the request means."""
    code = "unsupported_parameter"
    return OpenAIError(HTTPStatus.BAD_REQUEST, message, param=param, code=code)


def invalid_value(message: str, param: str) -> OpenAIError:
    return OpenAIError(HTTPStatus.BAD_REQUEST, message, param=param, code="invalid_value")
