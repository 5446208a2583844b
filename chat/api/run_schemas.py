"""REST schemas of runs."""

# Annotations stay objects here: ninja looks them up.

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal
from uuid import UUID

from ninja import Schema
from pydantic import Field, JsonValue

from aily.rest.openapi import example
from aily.rest.requests import CreatedBetween, Moment, RequestSchema
from chat.models import Run
from chat.models.runs import RunState
from chat.runs.control import MAX_TRIED_ROWS
from chat.runs.progress import COUNTS, progress_of
from chat.services.submission import LaneName

StateName = Literal[
    "validating", "ready", "scheduled", "running", "paused", "finishing", "done", "cancelled",
    "failed", "expired",
]  # fmt: skip
RowStateName = Literal[
    "pending", "open", "succeeded", "failed", "cancelled", "expired", "invalid", "skipped",
]  # fmt: skip
StartName = Literal["now", "off_peak", "at"]
Params = dict[str, JsonValue]
_PARAMS = "What a text in another language needs, such as `limit`; `rule`: the keyword of a schema."
Money = Annotated[Decimal, Field(ge=0, max_digits=18, decimal_places=6)]
_MAPPING = (
    'Of each variable of the scene: the name of its column, or `{"value": a constant}`. Empty: '
    "each column is the variable of its name."
)
_OPTIONS = "Fields of every request, such as `model`, `max_tokens`, `temperature`, `metadata`."
_MAX_COST = "Nothing further is fed once this is spent, in the model's currency."
_MAX_OPEN = "Most tasks of the run in the queue or running; null: by the model's cap."
_WEBHOOK = "The id of one of your endpoints, which is sent the run's end."


class RunForm(RequestSchema):
    """Fields of the form that come with a file."""

    name: str = Field("", max_length=200, description="Default: the file's name.")
    format: Literal["", "csv", "jsonl"] = Field("", description="Default: by the file's name.")
    rows: Literal["", "variables", "requests"] = Field(
        "",
        description="What a line of JSONL is: variables of a scene, or a whole request as in POST "
        "/api/llmchat/request. Default: variables if there is a `scene`.",
    )
    encoding: Literal["", "utf-8", "utf-16-le", "utf-16-be", "gb18030"] = Field(
        "", description="Default: recognised."
    )
    delimiter: Literal["", ",", ";", "\t", "|"] = Field("", description="Default: recognised.")
    key_column: str = Field("", max_length=200, description="The column with your name of a row.")
    scene: str = Field("", max_length=50)
    version: int | None = Field(None, ge=1, lt=2**31)
    mapping: str = Field("", max_length=65_536, description=f"A JSON object. {_MAPPING}")
    options: str = Field("", max_length=262_144, description=f"A JSON object. {_OPTIONS}")
    lane: LaneName = "batch"
    deadline_at: Moment | None = Field(None, description="What has not begun by then expires.")
    max_cost: Money | None = Field(None, description=_MAX_COST)
    max_open: int | None = Field(None, ge=1, le=20_000, description=_MAX_OPEN)
    webhook: int | None = Field(None, ge=1, lt=2**63, description=_WEBHOOK)
    start: Literal["", "now", "off_peak", "at"] = Field(
        "", description="Start it once it is valid. Default: wait for POST .../start."
    )
    start_at: Moment | None = Field(None, description="With `start` at.")


class RunPatch(RequestSchema):
    """For runs that are ready or paused. The scene and the mapping stay once rows were run."""

    model_config = example(mapping={"text": "Body"}, max_cost="2.50")

    name: str = Field("", min_length=1, max_length=200)
    scene: str = Field("", max_length=50)
    version: int | None = Field(None, ge=1, lt=2**31)
    mapping: dict[str, JsonValue] = Field(default_factory=dict, description=_MAPPING)
    options: dict[str, JsonValue] = Field(default_factory=dict, description=_OPTIONS)
    lane: LaneName = "batch"
    deadline_at: Moment | None = None
    max_cost: Money | None = Field(None, description=_MAX_COST)
    max_open: int | None = Field(None, ge=1, le=20_000, description=_MAX_OPEN)
    webhook: int | None = Field(None, ge=1, lt=2**63, description=_WEBHOOK)


class LineError(Schema):
    model_config = example(
        line=17, code="invalid_json", message="This is not valid JSON.", param=None, params={}
    )

    line: int | None
    code: str
    message: str
    param: str | None = None
    params: Params = Field(default_factory=dict, description=_PARAMS)


class Counts(Schema):
    """Rows by their state. Invalid ones are never sent."""

    model_config = example(
        total=5000, pending=3979, open=500, succeeded=500, failed=11, cancelled=0, expired=0,
        invalid=10, skipped=0,
    )  # fmt: skip

    total: int
    pending: int
    open: int = Field(description="In the queue or running.")
    succeeded: int
    failed: int
    cancelled: int
    expired: int
    invalid: int
    skipped: int = Field(description="With nothing to ask, as in runs of tables.")


class RunItem(Schema):
    model_config = example(
        id="0198c0de-9c33-7000-8000-0123456789ab",
        name="reviews.csv",
        state="running",
        reason="",
        message="",
        params=None,
        scene="summary",
        version=3,
        model="deepseek-flash",
        lane="batch",
        start="now",
        start_at=None,
        deadline_at=None,
        max_cost="2.500000",
        cost="0.120400",
        currency="USD",
        prompt_tokens=140000,
        completion_tokens=31000,
        rows_per_second=12.5,
        eta_seconds=358.3,
        created_at="2026-01-31T12:00:00Z",
        started_at="2026-01-31T12:03:00Z",
        ended_at=None,
    )

    id: UUID
    name: str
    state: StateName
    reason: str = Field(
        description="Why it is in its state, such as asked, max_cost, budget_exceeded, deadline, "
        "off_peak, invalid_file, or the code of an error."
    )
    message: str
    params: dict[str, JsonValue] | None = Field(
        None, alias="reason_params", description="What a text in another language needs."
    )
    scene: str
    version: int | None = Field(alias="scene_version")
    model: str | None = Field(description="Of the first row at the start; null before.")
    lane: LaneName
    start: str
    start_at: datetime | None = Field(description="When a scheduled run goes on.")
    deadline_at: datetime | None
    max_cost: Decimal | None
    cost: Decimal = Field(description="Of the rows that have ended.")
    currency: str
    prompt_tokens: int
    completion_tokens: int
    counts: Counts
    rows_per_second: float | None = Field(description="Of late; null while it is not known.")
    eta_seconds: float | None = Field(description="Until the last row has ended.")
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None

    @staticmethod
    def resolve_counts(run: Run) -> dict[str, int]:
        return {name: getattr(run, name) for name in COUNTS}

    @staticmethod
    def resolve_model(run: Run) -> str | None:
        return run.model.name if run.model else None

    @staticmethod
    def resolve_rows_per_second(run: Run) -> float | None:
        return progress_of(run).rows_per_second

    @staticmethod
    def resolve_eta_seconds(run: Run) -> float | None:
        return progress_of(run).eta_seconds

    @staticmethod
    def resolve_lane(run: Run) -> str:
        return run.get_lane_display().lower()


class RunOut(RunItem):
    model_config = example(
        params=None,
        format="csv",
        rows="variables",
        encoding="utf-8",
        columns=["id", "Body"],
        mapping={"text": "Body"},
        options={"max_tokens": 200},
        max_open=None,
        webhook=None,
        errors=[],
    )

    format: str
    rows: str
    encoding: str = Field(description="Empty until it is recognised.")
    columns: list[str]
    mapping: dict[str, JsonValue]
    options: dict[str, JsonValue]
    max_open: int | None
    webhook: int | None = Field(None, alias="webhook_id")
    errors: list[LineError] = Field(description="What is wrong with the file; 100 at the most.")

    @staticmethod
    def resolve_format(run: Run) -> str:
        return str(run.source.get("format", ""))

    @staticmethod
    def resolve_rows(run: Run) -> str:
        return str(run.source.get("rows", ""))

    @staticmethod
    def resolve_encoding(run: Run) -> str:
        return str(run.source.get("encoding", ""))


class RunFilter(CreatedBetween):
    state: StateName | None = None
    scene: str | None = Field(None, max_length=50)
    ordering: Literal["created_at", "-created_at"] = "-created_at"


class RowOut(Schema):
    model_config = example(
        number=12,
        line=13,
        key="order-4711",
        state="failed",
        error={"code": "invalid_variable", "message": "This is missing."},
        task_id=None,
        tries=0,
        payload={"Body": "A text"},
        text=None,
        prompt_tokens=0,
        completion_tokens=0,
        cost="0.000000",
        ended_at=None,
    )

    number: int
    line: int
    key: str
    state: RowStateName
    error: dict[str, JsonValue] | None
    task_id: UUID | None = Field(description="Its latest task, which has the answer.")
    tries: int = Field(description="Tasks of it that failed since it was last asked to be run.")
    payload: dict[str, JsonValue] | None = Field(description="Null for what could not be read.")
    text: str | None = Field(description="The beginning of its answer, 500 characters.")
    prompt_tokens: int
    completion_tokens: int
    cost: Decimal
    ended_at: datetime | None


class RowFilter(Schema):
    state: RowStateName | None = None
    code: str | None = Field(None, max_length=60, description="Of its error.")
    after: int = Field(0, ge=0, lt=2**31, description="Only rows with a higher number.")
    limit: int = Field(50, ge=1, le=500)


class RowPage(Schema):
    """`next` is `after` for the next page; null: there is none."""

    model_config = example(items=[], next=None)

    items: list[RowOut]
    next: int | None


class ErrorGroup(Schema):
    model_config = example(
        code="provider_rate_limited", message="The provider answered 429.", param=None, params={},
        rows=12, numbers=[3, 17, 20, 21, 40],
    )  # fmt: skip

    code: str
    message: str = Field(description="Of the first of them, as `param` and `params`.")
    param: str | None
    params: Params = Field(description=_PARAMS)
    rows: int
    numbers: list[int] = Field(description="The first five.")


class TryIn(RequestSchema):
    model_config = example(rows=10)

    rows: int = Field(10, ge=1, le=MAX_TRIED_ROWS)


class TryOut(Schema):
    model_config = example(numbers=[1, 513, 1021])

    numbers: list[int] = Field(description="The rows that are being run.")


class StartIn(RequestSchema):
    model_config = example(start="off_peak")

    start: StartName = Field("now", description="off_peak: in the cheapest hours of its model.")
    start_at: Moment | None = Field(None, description="With `start` at.")


class AmountOut(Schema):
    model_config = example(prompt_tokens=400000, completion_tokens=90000, cost="0.114000")

    prompt_tokens: int
    completion_tokens: int
    cost: Decimal


class RowProblem(Schema):
    model_config = example(
        row=3,
        code="invalid_variable",
        message="This is missing.",
        field=None,
        params={"rule": "required"},
    )

    row: int
    code: str
    message: str
    field: str | None = None
    params: Params = Field(default_factory=dict, description=_PARAMS)


class EstimateOut(Schema):
    model_config = example(
        rows=4990,
        cached=0,
        shared=0,
        model="deepseek-flash",
        currency="USD",
        based_on="rows",
        off_peak_at="2026-01-31T16:30:00Z",
        seconds=320.0,
        problems=[],
        sampled=40,
    )

    rows: int = Field(description="Rows that have not been run.")
    cached: int = Field(
        description="Of these: given kept answers for nothing, if all are as the sampled ones."
    )
    shared: int = Field(
        description="Of these: given the answer of an equal row of the run, for nothing."
    )
    model: str
    currency: str
    based_on: Literal["rows", "history", "limits"] = Field(
        description="What the length of answers is taken from: rows of this run, your latest tasks "
        "of its scene and model, or nothing but `max_tokens`."
    )
    likely: AmountOut = Field(description="At the price of this hour.")
    at_most: AmountOut = Field(description="If every answer gets as long as it may.")
    off_peak: AmountOut = Field(description="In the cheapest hours.")
    off_peak_at: datetime = Field(description="When these are next; now, if they are.")
    seconds: float | None = Field(description="If the model does nothing else; null: not known.")
    problems: list[RowProblem] = Field(description="Sampled rows that cannot be sent.")
    sampled: int


class ResultsFormat(Schema):
    format: Literal["jsonl", "csv"] = "jsonl"
    state: RowStateName | None = Field(None, description="Default: all that have ended.")
    spreadsheet: bool = Field(
        True,
        description="CSV: put an apostrophe before what a spreadsheet takes for a formula.",
    )
    bom: bool = Field(
        True, description="CSV: begin with the byte order mark by which Excel recognises UTF-8."
    )


ENDED = tuple(state for state in RunState if state.is_terminal)
