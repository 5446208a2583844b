"""Two users with one of each thing, and answers about what is another's or not there at all."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

import pytest

from accounts.models import User
from chat.models import LLMModel, Scene
from chat.models.ids import tagged_id
from tests.chat.api.one_of_each import one_of_each, unmade

Known = dict[str, Any]
#: Method, path and body.
Call = tuple[str, str, Any]
ASKED = {"messages": [{"role": "user", "content": "?"}]}


@pytest.fixture
def theirs(bob: User, model: LLMModel) -> Known:
    """What Bob has, and what he alone may use."""
    known = one_of_each(bob, model.provider, "bobs")
    Scene.objects.filter(slug="bobs").update(is_restricted=True)
    LLMModel.objects.filter(name="bobs").update(is_restricted=True)
    return {**known, **unmade(bob, known["table_id"], "bobs")}


@pytest.fixture
def own(alice: User, model: LLMModel) -> Known:
    known = one_of_each(alice, model.provider, "alices")
    return {**known, **unmade(alice, known["table_id"], "alices")}


def absent(known: Known) -> Known:
    """Ids of the same kinds of what is not there, even where they were given out by aily."""
    return {name: _absent(value) for name, value in known.items()}


def _absent(value: Any) -> Any:
    if isinstance(value, int):
        return value + 10**9
    try:
        UUID(value)
    except ValueError:
        return f"{value}-none"
    return str(tagged_id())


def seen(answer: Any, *ids: Known) -> tuple[int, str]:
    """An answer without what tells requests apart, and without the ids that were sent."""
    text = re.sub(r'"(instance|request_id)": ?"[^"]*"', "", answer.content.decode())
    return answer.status_code, without_ids(text, *ids)


def without_ids(text: str, *ids: Known) -> str:
    """A text to compare with that about something else. `ids` are those of both: a status or a
    limit may have the number of an id, and stands in both texts."""
    text = text.replace("such as f12", "")
    values = {str(value) for known in ids for value in known.values()}
    # The longest first: the names of some begin with those of others.
    for value in sorted(values, key=len, reverse=True):
        for name in (value, value.replace("-", "")):
            text = re.sub(rf"(?<![0-9a-z])f?{re.escape(name)}(?![0-9a-z])", "ID", text)
    return text
