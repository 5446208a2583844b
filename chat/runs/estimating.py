"""What a run will cost: from the prompts of a sample, and what is known of its model's answers.

A sample of the rows is rendered as a submit would render it, which also finds what is wrong with
them. Prompt bytes of all rows follow from their sizes by regression. Bytes per token and tokens of
an answer are learnt from the rows that were tried, else from the owner's latest tasks of the same
scene and model. Where nothing is known, an answer counts as long as it may get.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from statistics import fmean

import msgspec

from aily.database.rows import Row, fetch_rows
from chat.accounting.prices import Price, charge, highest_costs
from chat.accounting.tokens import Tokens, max_usage
from chat.models import LLMModel, Run, Task
from chat.runs import clock
from chat.runs.creation import check_columns, require_scene
from chat.runs.feeding import cap_of
from chat.runs.kinds import kind_of
from chat.runs.off_peak import next_off_peak, off_peak_price, price_list
from chat.runs.sampling import Sample, sample
from chat.services.sharing import count_answered

#: Bytes per token where nothing is learnt: between English (4) and Chinese (5), and code (3).
BYTES_PER_TOKEN = 3.5
#: Tasks of the owner that are looked at to learn from.
HISTORY_TASKS = 1_000
#: Fewer tasks than these teach nothing.
MIN_LEARNT = 3

_PENDING = """
SELECT count(*) AS rows, coalesce(sum(payload_bytes), 0)::bigint AS bytes
  FROM chat_runrow WHERE run_id = %(run_id)s AND state IN ('pending', 'open')
"""
_CONTENT_BYTES = """
(SELECT coalesce(sum(octet_length(CASE WHEN jsonb_typeof(m->'content') = 'string'
                                       THEN m->>'content' ELSE (m->'content')::text END)), 0)
   FROM jsonb_array_elements(t.messages) m)
"""
_LEARNT = f"""
SELECT count(*) AS tasks, coalesce(sum(bytes), 0)::bigint AS bytes,
       coalesce(sum(prompt), 0)::bigint AS prompt_tokens,
       coalesce(sum(cached), 0)::bigint AS cached_tokens,
       coalesce(avg(completion), 0)::float AS completion_tokens,
       coalesce(avg(seconds), 0)::float AS seconds
  FROM (SELECT {_CONTENT_BYTES} AS bytes, (t.usage->>'prompt_tokens')::bigint AS prompt,
               coalesce((t.usage->>'cached_tokens')::bigint, 0) AS cached,
               (t.usage->>'completion_tokens')::bigint AS completion,
               extract(epoch FROM t.finished_at - t.started_at)::float AS seconds
          FROM {{tasks}}
         WHERE {{condition}} AND t.status = 'succeeded' AND (t.usage->>'prompt_tokens')::bigint > 0
           AND t.started_at IS NOT NULL) learnt
"""  # noqa: S608 - SQL of this module
_OF_ROWS = _LEARNT.format(
    tasks="(SELECT task_id FROM chat_runrow WHERE run_id = %(run_id)s AND state = 'succeeded'"
    " ORDER BY number DESC LIMIT %(limit)s) r JOIN chat_task t ON t.id = r.task_id",
    condition="true",
)
_OF_HISTORY = _LEARNT.format(
    tasks="(SELECT * FROM chat_task WHERE owner_id = %(owner_id)s ORDER BY id DESC"
    " LIMIT %(limit)s) t",
    # Tasks of this run that are not those of its rows were asked something else.
    condition="t.model_id = %(model_id)s AND t.scene_id IS NOT DISTINCT FROM %(scene_id)s"
    " AND t.run_id IS DISTINCT FROM %(run_id)s",
)


class PendingRows(Row, frozen=True):
    """How many rows are to be run, and the sum of their sizes."""

    rows: int
    bytes: int


class Learnt(Row, frozen=True):
    """Sums and means over tasks that have succeeded."""

    tasks: int
    bytes: int
    prompt_tokens: int
    #: Of the prompt tokens: those that the provider had cached.
    cached_tokens: int
    completion_tokens: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Amount:
    """Tokens of all rows to come, and what they cost at a price."""

    prompt_tokens: int
    completion_tokens: int
    cost: Decimal


@dataclass(frozen=True, slots=True)
class Estimate:
    """`likely` costs today's price of this hour, `off_peak` the same in the cheapest hours, and
    `at_most` the dearest. `based_on`: tried rows, earlier tasks, or nothing (limits alone).
    `cached`: rows that kept answers are given to, for nothing, if all are as the sample; `shared`:
    those that are given the answer of an equal row of the same run."""

    rows: int
    cached: int
    shared: int
    model: str
    currency: str
    based_on: str
    likely: Amount
    at_most: Amount
    off_peak: Amount
    off_peak_at: datetime
    seconds: float | None
    #: Rows of the sample that cannot be sent, with why.
    problems: list[dict[str, object]] = field(default_factory=list)
    sampled: int = 0


# --- Estimating ---------------------------------------------------------------------------------
def estimate(
    run: Run, drafts: Sample | None = None, pending: PendingRows | None = None, equal: int = 0
) -> Estimate:
    """What the rows that have not been run will cost, by a sample of them. Raises a Problem if
    none of the sample can be sent.

    `pending`, and `equal` rows among them: of a run that is not stored.
    """
    require_scene(run)
    check_columns(run)
    drafts = drafts or sample(run)
    if pending is None:
        [pending] = fetch_rows(PendingRows, _PENDING, {"run_id": run.pk})
        equal = kind_of(run).count_equal(run) if run.shares_equal_rows else 0
    rows, now = pending.rows, clock.now()
    learnt, based_on = _learn(run, drafts)
    # First: what bounds an answer below would make the requests others than are sent.
    cached = rows * count_answered([task for _, task in drafts.tasks]) // len(drafts.tasks)
    shared = equal if run.shares_equal_rows else 0
    tokens, most = _tokens(drafts, pending, learnt)
    prices = price_list(drafts.model.pk)
    price = prices.at(now)
    asked = (1 - cached / max(rows, 1)) * (1 - shared / max(rows, 1))
    tokens = _share_of(tokens, asked)
    return Estimate(
        rows=rows,
        cached=cached,
        shared=shared,
        model=drafts.model.name,
        currency=price.currency,
        based_on=based_on,
        likely=_amount(tokens, price),
        at_most=Amount(most.prompt, most.completion, _highest(prices.model, most, now, price)),
        off_peak=_amount(tokens, off_peak_price(prices, now)),
        off_peak_at=next_off_peak(prices, now),
        seconds=_seconds(rows - shared, learnt, drafts.model),
        problems=drafts.problems,
        sampled=len(drafts.tasks) + len(drafts.refused),
    )


def _tokens(drafts: Sample, pending: PendingRows, learnt: Learnt | None) -> tuple[Tokens, Tokens]:
    """The tokens that all rows are likely to take, and at most."""
    sizes = [size for size, _ in drafts.tasks]
    limits = [max_usage(task) for _, task in drafts.tasks]
    prompt_bytes = _total(sizes, [_content_bytes(task) for _, task in drafts.tasks], pending)
    most_prompt = _total(sizes, [limit.prompt for limit in limits], pending)
    most_completion = fmean(limit.completion for limit in limits) * pending.rows
    bytes_per_token, cached_share, completion = BYTES_PER_TOKEN, 0.0, most_completion
    if learnt is not None:
        bytes_per_token = learnt.bytes / learnt.prompt_tokens
        cached_share = learnt.cached_tokens / learnt.prompt_tokens
        completion = min(learnt.completion_tokens * pending.rows, most_completion)
    prompt = round(prompt_bytes / bytes_per_token)
    likely = Tokens(prompt, round(prompt * cached_share), round(completion))
    return likely, Tokens(max(round(most_prompt), likely.prompt), 0, round(most_completion))


def _share_of(tokens: Tokens, share: float) -> Tokens:
    return Tokens(
        round(tokens.prompt * share), round(tokens.cached * share), round(tokens.completion * share)
    )


def _learn(run: Run, drafts: Sample) -> tuple[Learnt | None, str]:
    """What tried rows teach, else the owner's latest tasks of scene and model; else nothing."""
    task = drafts.tasks[0][1]
    params = {
        "run_id": run.pk,
        "owner_id": run.owner_id,
        "model_id": task.model_id,
        "scene_id": task.scene_id,
        "limit": HISTORY_TASKS,
    }
    for statement, based_on in ((_OF_ROWS, "rows"), (_OF_HISTORY, "history")):
        [learnt] = fetch_rows(Learnt, statement, params)
        if learnt.tasks >= MIN_LEARNT and learnt.bytes:
            return learnt, based_on
    return None, "limits"


def _total(sizes: Sequence[int], values: Sequence[float], pending: PendingRows) -> float:
    """The sum of a value over all pending rows, whose sizes are known, by linear regression."""
    mean_size, mean = fmean(sizes), fmean(values)
    spread = sum((size - mean_size) ** 2 for size in sizes)
    both = sum(
        (size - mean_size) * (value - mean) for size, value in zip(sizes, values, strict=True)
    )
    slope = max(both / spread, 0.0) if spread else 0.0
    return max(pending.rows * mean + slope * (pending.bytes - pending.rows * mean_size), 0.0)


def _content_bytes(task: Task) -> int:
    """As in _CONTENT_BYTES."""
    contents = [message.get("content") for message in task.messages]
    return sum(
        len(content.encode() if isinstance(content, str) else msgspec.json.encode(content))
        for content in contents
    )


def _amount(tokens: Tokens, price: Price) -> Amount:
    return Amount(tokens.prompt, tokens.completion, charge(price, tokens))


def _highest(model: LLMModel, tokens: Tokens, now: datetime, price: Price) -> Decimal:
    return max(
        highest_costs([model], tokens, now).get(price.currency, Decimal(0)), charge(price, tokens)
    )


def _seconds(rows: int, learnt: Learnt | None, model: LLMModel) -> float | None:
    """How long the rows take if the model has nothing else to do."""
    if learnt is None:
        return None
    return round(rows * learnt.seconds / max(cap_of(model.pk), 1), 1)
