"""Makes the demo table: the same 200 tickets on every installation."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

from pydantic import JsonValue

from accounts.models import User
from aily.problems import Problem
from chat.tables.ai.fields import NewAiField, NewOutput, add_ai_field
from chat.tables.changes import Author
from chat.tables.demo.texts import (
    CHINESE,
    CHINESE_NAMES,
    ENGLISH,
    ENGLISH_NAMES,
    PRODUCTS,
)
from chat.tables.fields import NewField
from chat.tables.models import Field, Table
from chat.tables.rows.batch import Batch, apply_batch
from chat.tables.rows.operations import Create
from chat.tables.stored_views import create_view
from chat.tables.tables import create_table

NAME = "Support tickets 客服工单"
TICKETS = 200
CATEGORIES = ("delivery", "payment", "defect", "account", "question", "praise")
URGENCIES = ("low", "normal", "high")
CLASSIFY, REPLY = "classify-ticket", "draft-reply"
_FIELDS = (
    NewField("Ticket", "text"),
    NewField("Subject", "text"),
    NewField("Message", "long_text"),
    NewField("Language", "select", {"choices": [{"name": "English"}, {"name": "中文"}]}),
    NewField("Channel", "select", {"choices": [{"name": "mail"}, {"name": "chat"}]}),
    NewField("Customer", "text"),
    NewField("E-mail", "email"),
    NewField("Received", "datetime"),
    NewField("Order value", "number", {"decimals": 2, "unit": "USD"}),
    NewField("Closed", "boolean"),
)
#: Pixels of the first fields that are shown, in their order.
_WIDTHS = {"Ticket": 90, "Subject": 190, "Category": 120, "Urgency": 110, "Draft reply": 260}


def seed_tickets(owner: User) -> Table:
    """Make the table, its two AI fields and two views. Raises Problem."""
    table = create_table(owner, NAME, _FIELDS, "Made up. Run its AI fields over a few rows.")
    fields = {field.name: field for field in Field.objects.filter(table=table)}
    rows = [Create(_keyed(fields, values)) for values in _tickets()]
    apply_batch(table, Author(owner.pk), Batch(rows))
    try:
        _add_ai_fields(table, fields, owner)
    except Problem:
        # Without a model or a scene, which staff may have deleted, the table is shown all the same.
        pass
    _add_views(table, fields, owner)
    return table


def _keyed(fields: Mapping[str, Field], values: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    return {fields[name].key: value for name, value in values.items()}


def _tickets() -> Iterator[dict[str, JsonValue]]:
    """Every other one is in Chinese; each text comes four times, about other orders."""
    dice = random.Random(2026)  # noqa: S311 - the same tickets everywhere, nothing secret
    received = datetime(2026, 3, 2, 8, tzinfo=UTC)
    for number in range(TICKETS):
        is_chinese = number % 2 == 1
        domain = "example.cn" if is_chinese else "example.com"
        texts, names = (CHINESE, CHINESE_NAMES) if is_chinese else (ENGLISH, ENGLISH_NAMES)
        subject, message = texts[number // 2 * 7 % len(texts)]
        product = dice.choice(PRODUCTS)[is_chinese]
        received += timedelta(minutes=dice.randint(5, 180))
        ordered = received - timedelta(days=dice.randint(2, 30))
        customer = dice.choice(names)
        yield {
            "Ticket": f"T-{number + 1:04}",
            "Subject": subject,
            "Message": message.format(
                product=product,
                order=f"#{dice.randint(100_000, 999_999)}",
                date=f"{ordered:%Y-%m-%d}",
            ),
            "Language": "中文" if is_chinese else "English",
            "Channel": dice.choice(("mail", "chat")),
            "Customer": customer,
            "E-mail": f"customer{names.index(customer) + 1}@{domain}",
            "Received": received.isoformat(),
            "Order value": round(dice.uniform(9, 900), 2),
            "Closed": dice.random() < 0.3,
        }


def _add_ai_fields(table: Table, fields: Mapping[str, Field], owner: User) -> None:
    """The second one reads an answer of the first: a row is filled one after the other."""
    message = fields["Message"].key
    outputs = [
        NewOutput(_select("Category", CATEGORIES), "category"),
        NewOutput(_select("Urgency", URGENCIES), "urgency"),
    ]
    classify = NewAiField("Triage", CLASSIFY, {"message": message}, outputs=outputs)
    add_ai_field(table.pk, classify, owner)
    category = Field.objects.get(table=table, name="Category", deleted_at=None)
    mapping: dict[str, JsonValue] = {"message": message, "category": category.key}
    drafts = [NewOutput(NewField("Draft reply", "long_text"))]
    add_ai_field(table.pk, NewAiField("Draft reply", REPLY, mapping, outputs=drafts), owner)


def _select(name: str, choices: tuple[str, ...]) -> NewField:
    return NewField(name, "select", {"choices": [{"name": choice} for choice in choices]})


def _add_views(table: Table, fields: Mapping[str, Field], owner: User) -> None:
    latest: JsonValue = [{"field": fields["Received"].key, "desc": True}]
    is_open: JsonValue = {"field": fields["Closed"].key, "op": "is", "value": False}
    grouped: JsonValue = [{"field": fields["Language"].key}]
    summed: JsonValue = {fields["Order value"].key: "sum"}
    create_view(owner, table, {"name": "All tickets", "frozen": 1, **_answers_first(table)})
    create_view(owner, table, {"name": "Open, newest first", "filter": is_open, "sorts": latest})
    create_view(owner, table, {"name": "By language", "groups": grouped, "aggregates": summed})


def _answers_first(table: Table) -> dict[str, JsonValue]:
    """Order and widths by which a screen of 1280 px shows the AI fields beside the tickets."""
    keys = {field.name: field.key for field in Field.objects.filter(table=table, deleted_at=None)}
    shown = [name for name in _WIDTHS if name in keys]
    others = [name for name in keys if name not in _WIDTHS]
    return {
        "order": [keys[name] for name in (*shown, *others)],
        "widths": {keys[name]: _WIDTHS[name] for name in shown},
    }
