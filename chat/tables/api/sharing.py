"""REST: sharing tables."""

# Annotations stay objects here: decorated endpoints lose the module to look names up in.

from typing import Literal

from ninja import Router, Schema
from pydantic import Field, model_validator

from accounts.authentication import AuthenticatedRequest
from aily.rest.openapi import example
from aily.rest.requests import RequestSchema
from chat.reasons import Reason
from chat.services.refused_values import refused
from chat.tables import sharing
from chat.tables.permissions import Access, get_table

router = Router(tags=["tables"])

AccessName = Literal["read", "review", "run", "edit"]


class ShareIn(RequestSchema):
    model_config = example(user="bob", access=["edit"])

    user: str | None = Field(None, max_length=150, description="A user's name; or else:")
    role: str | None = Field(None, max_length=150, description="a role's name.")
    access: list[AccessName] = Field(
        min_length=1, max_length=4, description="Each contains `read`; `edit` and `run`: `review`."
    )

    @model_validator(mode="after")
    def _names_one(self) -> "ShareIn":
        if (self.user is None) == (self.role is None):
            raise refused(Reason("user_or_role"))
        return self


class ShareOut(Schema):
    model_config = example(user="bob", role=None, access=["edit"])

    user: str | None = None
    role: str | None = None
    access: list[str]


class SharesIn(RequestSchema):
    model_config = example(shares=[])

    shares: list[ShareIn] = Field(max_length=sharing.MAX_SHARES)


class SharesOut(Schema):
    model_config = example(shares=[{"user": "bob", "role": None, "access": ["edit"]}])

    shares: list[ShareOut]


@router.get("/{int:table_id}/shares", response=SharesOut, url_name="get_shares")
def get_shares(request: AuthenticatedRequest, table_id: int) -> dict[str, object]:
    """Who may do what with a table, besides its owner. For its owner."""
    table = get_table(request.auth.user, table_id, Access.OWN)
    return {"shares": sharing.shares(table)}


@router.put("/{int:table_id}/shares", response=SharesOut)
def set_shares(
    request: AuthenticatedRequest, table_id: int, payload: SharesIn
) -> dict[str, object]:
    """Share a table with exactly these users and roles. For its owner."""
    table = get_table(request.auth.user, table_id, Access.OWN)
    wanted = [sharing.Share(share.access, share.user, share.role) for share in payload.shares]
    sharing.set_shares(table, wanted)
    return {"shares": sharing.shares(table)}
