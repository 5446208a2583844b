"""What the cases of all frameworks ask for."""

from __future__ import annotations

import os

from pydantic import BaseModel

MODEL = os.environ["MODEL"]
EMBEDDING_MODEL = os.environ["EMBEDDING_MODEL"]


class District(BaseModel):
    name: str
    people: int


class City(BaseModel):
    """A city and its districts."""

    name: str
    districts: list[District]


def get_weather(city: str) -> str:
    """The weather of a city."""
    return f"sunny in {city}"
